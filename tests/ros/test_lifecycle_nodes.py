"""Our lifecycle nodes can be configured, cleaned up and configured again, and a mistake leaves nothing behind."""

from importlib import import_module

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
    [("supervisor", {"workspace_min": [0, -1, 0]}, "written with a point"), ("camera", {"jpeg_quality": 1000}, "1000")],
)
def test_a_parameter_of_another_kind_is_one_sentence(tmp_path, name, given, said):
    process = NodeProcess(name, DOMAIN, tmp_path, **given)
    assert process.process.wait(60) == 2
    assert "Traceback" not in process.text
    assert (len(process.text.splitlines()), next(iter(given)) in process.text, said in process.text) == (1, True, True)
