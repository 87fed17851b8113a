"""SIGKILL of a process of a running graph, or a policy that hangs: the arm holds, the rest is taken down, and the launch says so with its exit code."""

import signal

import numpy as np
import pytest

from tests.ros import graph as graphs

pytest.importorskip("cyclonedds", reason="the graph needs robot-pt[ros]")
pytest.importorskip("robosuite", reason="the graph needs robot-pt[sim] and robosuite")

DOMAINS = {"policy": 108, "sim": 109, "supervisor": 110, "hung policy": 112}
HOLD_S = 2.5  # 2.5 control periods are 0.5 s


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return graphs.circling_policy(tmp_path_factory.mktemp("circling"))


@pytest.mark.parametrize("nodes", [("policy", "supervisor"), ("sim", "hung policy")], ids=" and ".join)
def test_a_killed_node_ends_in_hold_and_takes_the_graph_down(nodes, checkpoint, tmp_path):
    """Two graphs at a time, each on a domain of its own: they take as long to come up as one."""
    graphs_of = {}
    try:
        for node in nodes:
            folder = tmp_path / node
            folder.mkdir()
            watcher = graphs.Watcher(DOMAINS[node])
            watcher.held = True
            impatient = {"sigterm_timeout": 1.0, "sigkill_timeout": 1.0} if "hung" in node else {}
            launched = graphs.Graph(DOMAINS[node], folder, checkpoint=checkpoint, require_deadman="true", **impatient)
            graphs_of[node] = launched, watcher
        for node, (launched, watcher) in graphs_of.items():
            watcher.until_mode("policy", timeout_s=120)
            while (
                len(watcher.motions()) <= 30
            ):  # a gate or policy that was starved of time stops: on, as an operator would
                watcher.drive(60)
            ended = exit_code_after_hanging if "hung" in node else exit_code_after_killing
            assert ended(node, launched, watcher) == 1, launched.text
    finally:
        for launched, watcher in graphs_of.values():
            launched.close()
            watcher.close()


def exit_code_after_killing(node, launched, watcher):
    """Of the launch; what becomes of the arm and of the other nodes is checked on the way."""
    killed_s = launched.send(node, signal.SIGKILL)
    held_s = watcher.time_to_hold(killed_s)
    code = launched.wait(60)
    assert held_s < (HOLD_S if node in ("policy", "sim") else 6.0), held_s
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


def exit_code_after_hanging(node, launched, watcher):
    """SIGSTOP of a policy beyond the bond: it hears no SIGINT either, so launch has to end it."""
    stopped_s = launched.send("policy", signal.SIGSTOP)
    assert watcher.time_to_hold(stopped_s) < HOLD_S
    code = launched.wait(60)
    assert "policy has been silent for 5 s" in launched.text
    assert "did not stop, sending SIGKILL" in launched.text
    codes = launched.exit_codes()
    assert codes.pop("policy") == -signal.SIGKILL
    codes.pop("manager")
    assert set(codes.values()) == {0}, launched.text
    assert watcher.check_limits() > 30
    return code
