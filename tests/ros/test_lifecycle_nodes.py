"""Our lifecycle nodes can be configured, cleaned up and configured again, and a mistake leaves nothing behind."""

import time
from importlib import import_module
from itertools import pairwise

import numpy as np
import pytest

from tests.ros.demo_store import demo_store
from tests.ros.node_process import NodeProcess

DOMAIN = 118

XS = {"robot": "wx250s", "driver": "xs_sdk", "gripper_joint": "left_finger", "driver_namespace": "/wx250s"}
HARDWARE = {"robot": "wx250s", "hardware": "true", "latch_file": "latch.json"}
WRONG = {
    "SupervisorNode": ({"robot": "teapot"}, "teapot"),
    "SupervisorNode without walls": (HARDWARE, "workspace"),
    "SupervisorNode on domain 0": (
        {**HARDWARE, "workspace_min": "[0.1, -0.1, 0.0]", "workspace_max": "[0.3, 0.1, 0.2]"}, "DDS domain 0",
    ),
    "PolicyNode": ({"robot": "panda", "checkpoint": "/nowhere"}, "/nowhere"),
    "PolicyNode of no store": ({"robot": "panda", "replay_store": "/nowhere"}, "/nowhere"),
    "PolicyNode of no episode": ({"robot": "panda", "replay_store": "DEMOS", "replay_episode": "7"}, "000007"),
    "ArmNode": ({"robot": "wx250s", "driver": "rope"}, "rope"),
    "ArmNode on domain 0": (XS, "DDS domain 0"),
    "CameraNode": ({"source": "/nowhere.mp4"}, "/nowhere.mp4"),
    "TeleopNode": ({"robot": "wx250s", "device": "kazoo"}, "kazoo"),
    "RecorderNode": ({"robot": "teapot"}, "teapot"),
}  # fmt: skip
FRANKA = {"robot": "panda", "gripper_joint": "finger", "gripper_output": "array"}


@pytest.fixture
def right(tmp_path):
    """Class name -> parameters that it can be configured with."""
    import cv2

    frames = tmp_path / "frames"
    frames.mkdir()
    for i in range(3):
        cv2.imwrite(str(frames / f"{i}.png"), np.full((48, 64, 3), 40 * i, np.uint8))
    demo_store(tmp_path / "demos", np.full((5, 7), 0.01, np.float32))
    return {
        "SupervisorNode": {"robot": "wx250s"},
        "PolicyNode": {"robot": "panda", "replay_store": str(tmp_path / "demos")},
        "ArmNode": XS,
        "ArmNode ros2_control": {**FRANKA, "driver": "ros2_control", "driver_namespace": "/driver"},
        "ArmNode crisp": {**FRANKA, "driver": "crisp", "driver_namespace": "/driver"},
        "CameraNode": {"source": str(frames)},
        "TeleopNode": {"robot": "wx250s", "device": "topic"},
        "TeleopNode joy": {"robot": "wx250s", "device": "joy", "window": "true", "window_port": "0"},
        "RecorderNode": {"robot": "panda", "root": str(tmp_path / "recorded"), "min_free_bytes": "1000", "hard_min_bytes": "1000"},
    }  # fmt: skip


@pytest.fixture
def made():
    """Nodes take no context: give them the test's own as the default one."""
    import rclpy

    nodes = []

    def make(name, parameters, domain=DOMAIN):
        words = [part for key, value in parameters.items() for part in ("-p", f"{key}:={value}")]
        rclpy.init(args=["test", "--ros-args", *words], domain_id=domain)
        kind = name.split()[0]
        module = import_module(f"robot_pt_ros.{kind.removesuffix('Node').lower()}_node")
        nodes.append(getattr(module, kind)())
        return nodes[-1]

    yield make
    for node in nodes:
        if hasattr(node, "leave"):
            node.leave()
        node.destroy_node()
    rclpy.try_shutdown()


def entities(node):
    kinds = (node.publishers, node.subscriptions, node.services, node.clients, node.timers)
    return [len(list(kind)) for kind in kinds]


@pytest.mark.parametrize(
    "name",
    [
        *("SupervisorNode", "PolicyNode", "ArmNode", "ArmNode ros2_control", "ArmNode crisp", "CameraNode"),
        *("TeleopNode", "TeleopNode joy", "RecorderNode"),
    ],
)
def test_a_node_goes_through_its_life_twice(made, right, name):
    from rclpy.lifecycle import TransitionCallbackReturn

    node = made(name, right[name])
    empty, seen = entities(node), []
    for _ in range(2):
        for change in ("configure", "activate", "deactivate", "cleanup"):
            assert getattr(node, f"trigger_{change}")() == TransitionCallbackReturn.SUCCESS, change
            seen.append(entities(node))
    assert seen[:4] == seen[4:], "nothing is made twice"
    assert sum(seen[0]) > sum(empty) + 2
    assert seen[3] == empty, "nothing is left behind"


@pytest.mark.parametrize("lockstep", [False, True])
def test_ticks_are_rehearsed_just_before(made, monkeypatch, lockstep):
    import rclpy

    node, calls = made("SupervisorNode", {"robot": "wx250s", "lockstep": str(lockstep).lower()}), []
    node.trigger_configure()
    for name in ("rehearse", "tick"):
        work = getattr(node.gate, name)
        monkeypatch.setattr(node.gate, name, lambda *a, _n=name, _w=work, **k: (calls.append(_n), _w(*a, **k))[1])
    node.trigger_activate()
    end_s = time.monotonic() + 30
    while calls.count("tick") < (2 if lockstep else 20) and time.monotonic() < end_s:
        rclpy.spin_once(node, timeout_sec=0.1)
    if lockstep:  # there ticks come with the joint states, and nobody waits for them
        assert set(calls) == {"tick"}
        return
    rehearsed = sum(pair == ("rehearse", "tick") for pair in pairwise(calls))
    assert rehearsed >= 15, calls
    node.trigger_deactivate()
    assert calls[-1] == "tick"


def test_a_state_is_said_before_the_first_tick_of_a_slow_gate(made, capfd):
    """At 1 Hz it is asked for its state half a second before it ever decided."""
    import rclpy

    node = made("SupervisorNode", {"robot": "wx250s", "tick_hz": "1.0"})
    node.trigger_configure()
    node.trigger_activate()
    for _ in range(100):
        rclpy.spin_once(node, timeout_sec=0.02)
        if node._last is not None:
            break
    assert node._last is not None
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_mistake_leaves_nothing_half_started(made, name, tmp_path, capfd):
    from rclpy.lifecycle import TransitionCallbackReturn

    parameters, word = WRONG[name]
    demo_store(tmp_path / "DEMOS", np.zeros((2, 7), np.float32))
    parameters = {key: value.replace("DEMOS", str(tmp_path / "DEMOS")) for key, value in parameters.items()}
    node = made(name, parameters, 0 if "domain 0" in name else DOMAIN)
    empty = entities(node)
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert entities(node) == empty
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert word in said
    assert said.count("[ERROR]") == 1, "one sentence"


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("supervisor", {"workspace_min": [0, -1, 0]}, "give a list, as [0.0, -0.15, 0.02], its numbers with a point."),
        ("supervisor", {"workspace_min": ""}, "give a list, as [0.0, -0.15, 0.02]"),
        ("policy", {"image_size": 64}, "give a list, as [480, 640]."),
        ("teleop", {"rate_hz": 20}, "written with a point, as 2.0."),
        ("camera", {"jpeg_quality": 1000}, "1000"),
    ],
)
def test_a_parameter_of_another_kind_is_one_sentence(tmp_path, name, given, said):
    process = NodeProcess(name, DOMAIN, tmp_path, **given)
    assert process.process.wait(60) == 2
    assert "Traceback" not in process.text
    assert (len(process.text.splitlines()), next(iter(given)) in process.text, said in process.text) == (1, True, True)
