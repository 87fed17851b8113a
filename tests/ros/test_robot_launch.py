"""launch/robot.launch.yaml in processes of its own against each kind of arm's driver: a policy drives while the operator holds the switch."""

import json
import re
import signal
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from robot_pt.robots import load
from tests.ros import graph as graphs

pytest.importorskip("cyclonedds", reason="the graph needs robot-pt[ros]")

DOMAIN = 113
HERE = Path(__file__).parent
LAUNCH = HERE.parents[1] / "launch/robot.launch.yaml"
AT_ONCE_S = 0.6  # deadman: 0.1 s
SILENT_S = 2.5  # 2.5 control periods are 0.5 s


class Kind(NamedTuple):
    """One `robot:=` with a driver that stands in for it."""

    fake: str
    parameters: dict[str, object]
    driver_namespace: str
    namespace: str
    arm: str
    low: tuple[float, float, float]
    high: tuple[float, float, float]


_DOWN = [
    0.0,
    -0.21,
    0.44,
    0.0,
    1.341,
    0.0,
]  # the WidowX with its gripper down, 0.15 m above the table: far from singularities
_TABLE = ((0.19, -0.07, 0.1), (0.3, 0.07, 0.2))
KINDS = {
    "wx250s": Kind("fake_xs_sdk.py", {"rate_hz": 100.0, "start": _DOWN}, "/wx250s", "/wx250s/pt", "wx250s", *_TABLE),
    "ros2_control": Kind(
        "fake_controllers.py",
        {"joints": list(load("wx250s").joint_names), "finger": "left_finger", "opening": 0.037, "start": _DOWN},
        "/", "/ros2_control", "wx250s", *_TABLE,
    ),
    "franka": Kind(
        "fake_controllers.py", {"follows_pose": True}, "/", "/franka", "panda", tuple(graphs.LOW.tolist()), tuple(graphs.HIGH.tolist())
    ),
}  # fmt: skip
EMBODIMENTS = {"wx250s": "widowx250s", "panda": "panda"}


@pytest.fixture
def frames(tmp_path):
    """A folder of pictures that a camera node plays, of another size than the policy was trained on."""
    import cv2

    folder, rng = tmp_path / "frames", np.random.default_rng(0)
    folder.mkdir()
    for i in range(20):
        cv2.imwrite(str(folder / f"{i:02}.png"), rng.integers(0, 256, (48, 80, 3), np.uint8))
    return folder


@pytest.fixture
def driven(request, program, frames, tmp_path):
    """(graph, watcher) of the whole graph on one kind of arm, up and disarmed."""
    name = request.param
    kind = KINDS[name]
    low, high = np.array(kind.low), np.array(kind.high)
    checkpoint = graphs.circling_policy(tmp_path / "run", low=low, high=high, embodiment=EMBODIMENTS[kind.arm])
    words = [part for key, value in kind.parameters.items() for part in ("-p", f"{key}:={json.dumps(value)}")]
    driver = program((HERE / kind.fake).read_text(), "--ros-args", "-r", f"__ns:={kind.driver_namespace}", *words)
    assert driver.stdout.readline() == "ready\n"
    watcher = graphs.Watcher(DOMAIN, namespace=kind.namespace, arm=kind.arm, low=low, high=high)
    launched = graphs.Graph(
        DOMAIN, tmp_path, launch=LAUNCH, robot=name, checkpoint=checkpoint, teleop="topic", camera=frames, camera_size=[48, 80],
        workspace_min=list(kind.low), workspace_max=list(kind.high), latch_file=tmp_path / "latch.json",
    )  # fmt: skip
    try:
        watcher.until(
            lambda: "the graph is active" in launched.text or launched.process.poll() is not None, 90, "not up"
        )
        assert launched.process.poll() is None, launched.text[-3000:]
        yield launched, watcher
        assert driver.poll() is None
    finally:
        launched.close()
        watcher.close()


def measured(watcher, since_s):
    return np.array([q[:-1] for at, q in list(watcher.joints) if at > since_s])


def stopped_is_held(launched, watcher, node, why):
    """SIGSTOP, shorter than the manager's bond: the gate says why it holds, and nothing moves until it is continued."""
    stopped = launched.send(node, signal.SIGSTOP)
    try:
        watcher.until_said(why, since_s=stopped, timeout_s=1.5)
        assert watcher.time_to_hold(stopped, settle_s=0.3) < SILENT_S
    finally:
        launched.send(node, signal.SIGCONT)


@pytest.mark.parametrize(
    "driven", ["ros2_control", *(pytest.param(k, marks=pytest.mark.slow) for k in ("wx250s", "franka"))], indirect=True
)
def test_a_policy_drives_while_the_switch_is_held_and_ctrl_c_leaves_in_order(driven):
    launched, watcher = driven
    assert not watcher.pull("safety/start_policy")[0], "nothing starts by itself, and nothing without being armed"
    assert not watcher.motions()
    begun = time.monotonic()
    while len(watcher.motions(begun)) < 150:  # a gate that was starved of time faults: on, as an operator would
        assert time.monotonic() - begun < 60, watcher.states[-1]
        watcher.drive()
    assert np.ptp([watcher.arm.fk(q)[:3, 3] for q in measured(watcher, begun)], axis=0)[:2].min() > 0.03
    released = time.monotonic()
    watcher.held = False
    watcher.beat()
    watcher.until_mode("hold", since_s=released, timeout_s=AT_ONCE_S)
    assert watcher.time_to_hold(released) < AT_ONCE_S
    watcher.drive()
    for node, why in (("camera", "policy has sent no|camera"), ("arm", "joint states")):
        stopped_is_held(launched, watcher, node, why)
        watcher.drive()
    code, seconds = launched.end()
    assert code == 0, launched.text[-3000:]
    assert seconds < 10
    assert set(launched.exit_codes().values()) == {0}
    assert watcher.check_limits() > 100
    left = re.findall(r"\] (\w+)-\d+: has finished", launched.text)
    assert left.index("policy") < left.index("supervisor") < left.index("arm"), left
