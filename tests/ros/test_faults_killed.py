"""SIGKILL of each process of a running graph: the arm holds, the rest is taken down, and the launch says so with its exit code."""

import signal
import time

import numpy as np
import pytest

from tests.ros import graph as graphs

pytest.importorskip("cyclonedds", reason="the graph needs robot-pt[ros]")
pytest.importorskip("robosuite", reason="the graph needs robot-pt[sim] and robosuite")

DOMAINS = {"policy": 108, "sim": 109, "supervisor": 110, "manager": 111}
HOLD_S = 2.5  # 2.5 control periods are 0.5 s


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return graphs.circling_policy(tmp_path_factory.mktemp("circling"))


@pytest.mark.parametrize("nodes", [("policy", "supervisor"), ("sim", "manager")], ids=" and ".join)
def test_a_killed_node_ends_in_hold_and_takes_the_graph_down(nodes, checkpoint, tmp_path):
    """Two graphs at a time, each on a domain of its own: they take as long to come up as one."""
    graphs_of = {}
    try:
        for node in nodes:
            folder = tmp_path / node
            folder.mkdir()
            watcher = graphs.Watcher(DOMAINS[node])
            watcher.held = True
            launched = graphs.Graph(DOMAINS[node], folder, checkpoint=checkpoint, require_deadman="true")
            graphs_of[node] = launched, watcher
        for node, (launched, watcher) in graphs_of.items():
            watcher.until_mode("policy", timeout_s=120)
            watcher.until(lambda watcher=watcher: len(watcher.motions()) > 30, 60, "the arm does not move")
            assert exit_code_after_killing(node, launched, watcher) == 1, launched.text
    finally:
        for launched, watcher in graphs_of.values():
            launched.close()
            watcher.close()


def exit_code_after_killing(node, launched, watcher):
    """Of the launch; what becomes of the arm and of the other nodes is checked on the way."""
    killed_s = launched.send(node, signal.SIGKILL)
    held_s = watcher.time_to_hold(killed_s)
    code = launched.wait(60)
    assert held_s < (HOLD_S if node in ("policy", "sim") else 6.0), held_s  # the end of a manager is a Ctrl-C to all
    codes = launched.exit_codes()
    assert codes.pop(node) == -signal.SIGKILL
    codes.pop("manager", None)  # it says that it missed somebody
    assert set(codes.values()) == {0}, launched.text
    assert watcher.check_limits() > 30
    if node == "policy":
        assert "policy has been silent for" in launched.text
    if node == "supervisor":  # no command comes any more, and the arm stays by itself
        assert watcher.commands[-1].heard_s - killed_s < 1.0
        still = np.array([q[:-1] for at, q in watcher.joints if at > killed_s + 2.0])
        assert not len(still) or np.ptp(still, axis=0).max() < 0.05
    return code


@pytest.mark.slow
def test_a_hung_policy_is_taken_down_with_the_graph_while_the_arm_holds(checkpoint, tmp_path):
    """SIGSTOP beyond the bond: it hears no SIGINT either, so launch has to end it."""
    watcher = graphs.Watcher(112)
    watcher.held = True
    launched = graphs.Graph(112, tmp_path, checkpoint=checkpoint, require_deadman="true")
    try:
        watcher.until_mode("policy", timeout_s=120)
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
