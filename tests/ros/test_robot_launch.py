"""launch/robot.launch.yaml in processes of its own against each kind of arm's driver: a policy drives while the operator holds the switch."""

import signal
import time

import numpy as np
import pytest

from robot_pt.store import DemoStore
from tests.ros import robot_graph

pytest.importorskip("cyclonedds", reason="the graph needs robot-pt[ros]")

DOMAIN = 113
AT_ONCE_S = 1.0  # deadman: 0.1 s
SILENT_S = 2.5  # 2.5 control periods are 0.5 s
STARVED = "the gate was not run"
"""What a gate faults of that got no time for 0.2 s: it holds too, and an operator drives on."""


@pytest.fixture
def driven(request, program, tmp_path):
    """(graph, watcher) of the whole graph on one kind of arm, up and disarmed."""
    kind = robot_graph.KINDS[request.param]
    driver = robot_graph.driver(program, kind)
    watcher = robot_graph.Operator(DOMAIN, kind)
    launched = robot_graph.launched(request.param, DOMAIN, tmp_path, robot_graph.PATIENT)
    try:
        robot_graph.until_up(watcher, launched)
        yield launched, watcher
        assert driver.poll() is None
    finally:
        launched.close()
        watcher.close()


def measured(watcher, since_s):
    return np.array([q[:-1] for at, q in list(watcher.joints) if at > since_s])


def until_held(watcher, why, since_s):
    """The gate says that it holds, and for which of the reasons between |."""

    def held():
        said = [state for state in list(watcher.states) if state.heard_s > since_s]
        return any(
            STARVED in s.fault or (s.mode == "hold" and any(part in s.text for part in why.split("|"))) for s in said
        )

    watcher.until(held, 30, f"waited for hold because {why!r}")


def stopped_is_held(launched, watcher, node, why, bound_s):
    """SIGSTOP: the gate says why it holds, and nothing moves until it is continued."""
    stopped = launched.send(node, signal.SIGSTOP)
    try:
        until_held(watcher, why, stopped)
        assert watcher.time_to_hold(stopped, settle_s=0.3) < bound_s
    finally:
        launched.send(node, signal.SIGCONT)


def moved(watcher, commands, timeout_s=60):
    """So many commands move the arm from now on, driven as an operator drives it; when that began [s, monotonic]."""
    begun = time.monotonic()
    while len(watcher.motions(begun)) < commands:
        assert time.monotonic() - begun < timeout_s, watcher.states[-1]
        watcher.drive()
    return begun


def stopped_recorder_stops_nothing(launched, watcher):
    """While it records: the arm goes on, and so does the episode."""
    answer = watcher.pull("recorder/start")
    assert answer[0], answer[1]
    moved(watcher, 20)  # some control periods
    launched.send("recorder", signal.SIGSTOP)
    try:
        moved(watcher, 20)
    finally:
        launched.send("recorder", signal.SIGCONT)
    answer = watcher.pull("recorder/stop")
    assert answer[0], answer[1]


@pytest.mark.parametrize(
    "driven", ["ros2_control", *(pytest.param(k, marks=pytest.mark.slow) for k in ("wx250s", "franka"))], indirect=True
)
def test_a_policy_drives_while_the_switch_is_held_and_ctrl_c_leaves_in_order(driven, tmp_path):
    launched, watcher = driven
    assert not watcher.pull("safety/start_policy")[0], "nothing starts by itself, and nothing without being armed"
    assert not watcher.motions()
    begun = moved(watcher, 150)
    assert np.ptp([watcher.arm.fk(q)[:3, 3] for q in measured(watcher, begun)], axis=0)[:2].min() > 0.03
    released = time.monotonic()
    watcher.held = False
    watcher.beat()
    until_held(watcher, "", released)
    assert watcher.time_to_hold(released) < AT_ONCE_S
    watcher.drive()
    for node, why, bound_s in (
        ("camera", "policy has sent no|camera", SILENT_S), ("arm", "joint states", SILENT_S),
        ("teleop", "hold-to-run", AT_ONCE_S),
    ):  # fmt: skip
        stopped_is_held(launched, watcher, node, why, bound_s)
        watcher.drive()
    stopped_recorder_stops_nothing(launched, watcher)
    code, seconds = launched.end()
    assert code == 0, launched.text[-3000:]
    assert seconds < 20
    assert set(launched.exit_codes().values()) == {0}
    assert watcher.check_limits() > 100
    last = watcher.commands[-1]
    assert max(step["stamp_ns"] for step in watcher.steps) < last.stamp_ns - 300_000_000, "the policy stops first"
    assert watcher.joints[-1][0] > last.heard_s, "the arm goes on while the supervisor sends its hold"
    assert len(DemoStore(tmp_path / "demos").episodes) == 1
