"""SIGKILL of each process of a running graph: the arm holds, the rest is taken down, and the launch says so with its exit code."""

import signal
import time

import numpy as np
import pytest

from tests.ros import graph as graphs

pytest.importorskip("cyclonedds", reason="the graph needs robot-pt[ros]")
pytest.importorskip("robosuite", reason="the graph needs robot-pt[sim] and robosuite")

DOMAINS = {"policy": 108, "sim": 109, "supervisor": 110, "manager": 111}
HOLD_S = 1.5  # 2.5 control periods are 0.5 s


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return graphs.circling_policy(tmp_path_factory.mktemp("circling"))


@pytest.mark.parametrize(
    "node",
    ["policy", pytest.param("supervisor", marks=pytest.mark.slow), pytest.param("sim", marks=pytest.mark.slow),
     pytest.param("manager", marks=pytest.mark.slow)],
)  # fmt: skip
def test_a_killed_node_ends_in_hold_and_takes_the_graph_down(node, checkpoint, tmp_path):
    watcher = graphs.Watcher(DOMAINS[node])
    watcher.held = True
    launched = graphs.Graph(DOMAINS[node], tmp_path, checkpoint=checkpoint, require_deadman="true")
    try:
        watcher.until_mode("policy", timeout_s=90)
        watcher.until(lambda: len(watcher.motions()) > 30, 20, "the arm does not move")
        killed = launched.send(node, signal.SIGKILL)
        held_s = watcher.time_to_hold(killed)
        code = launched.wait(40)
    finally:
        launched.close()
        watcher.close()
    assert held_s < (HOLD_S if node in ("policy", "sim") else 4.0), held_s  # the end of a manager is a Ctrl-C to all
    assert code == 1, launched.text
    codes = launched.exit_codes()
    assert codes.pop(node) == -signal.SIGKILL
    codes.pop("manager", None)  # it says that it missed somebody
    assert set(codes.values()) == {0}, launched.text
    assert watcher.check_limits() > 30
    if node == "policy":
        assert "policy has been silent for" in launched.text
    if node == "supervisor":  # no command comes any more, and the arm stays by itself
        assert watcher.commands[-1].heard_s - killed < 0.5
        still = np.array([q[:-1] for at, q in watcher.joints if at > killed + 1.0])
        assert not len(still) or np.ptp(still, axis=0).max() < 0.05


@pytest.mark.slow
def test_a_hung_policy_is_taken_down_with_the_graph_while_the_arm_holds(checkpoint, tmp_path):
    """SIGSTOP beyond the bond: it hears no SIGINT either, so launch has to end it."""
    watcher = graphs.Watcher(112)
    watcher.held = True
    launched = graphs.Graph(112, tmp_path, checkpoint=checkpoint, require_deadman="true")
    try:
        watcher.until_mode("policy", timeout_s=90)
        stopped = launched.send("policy", signal.SIGSTOP)
        assert watcher.time_to_hold(stopped) < HOLD_S
        code = launched.wait(60)
    finally:
        launched.close()
        watcher.close()
    assert code == 1
    assert "policy has been silent for 2 s" in launched.text
    assert "did not stop, sending SIGKILL" in launched.text
    assert launched.exit_codes()["supervisor"] == 0
    assert time.monotonic() - stopped < 40
    watcher.check_limits()
