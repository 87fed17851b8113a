"""launch/replay.launch.yaml in processes of its own: a stored episode goes through the gate, and the arm's joints go where they went."""

from pathlib import Path

import numpy as np
import pytest

from tests.ros import graph as graphs
from tests.ros.demo_store import demo_store

pytest.importorskip("cyclonedds", reason="the graph needs robot-pt[ros]")

DOMAIN = 115
HERE = Path(__file__).parent
LAUNCH = HERE.parents[1] / "launch/replay.launch.yaml"
ACTIONS = np.zeros((16, 7), np.float32)
ACTIONS[:8, 0], ACTIONS[:8, 1], ACTIONS[8:, 1], ACTIONS[4:12, 2], ACTIONS[8:, 5] = 0.01, 0.02, -0.015, 0.012, 0.05
ACTIONS[:, 6] = [1.0] * 10 + [0.0] * 6


def launched(tmp_path, watcher, **arguments):
    """The graph, up; replays what is in `store`."""
    graph = graphs.Graph(DOMAIN, tmp_path, launch=LAUNCH, store=tmp_path / "demos", **arguments)
    watcher.until(lambda: "the graph is active" in graph.text or graph.process.poll() is not None, 90, "not up")
    assert graph.process.poll() is None, graph.text[-3000:]
    return graph


def rests(watcher, graph):
    """Every action was asked for, commands stay where they are, and the operator hears that it is over."""
    watcher.until(lambda: len(watcher.steps) > len(ACTIONS) + 12, 40, "the replay does not go on")
    watcher.until(
        lambda: np.ptp([c.q for c in watcher.commands[-10:]], axis=0).max() < 1e-3, 20, "the replay does not end"
    )
    watcher.until(lambda: "every action of the episode was played" in graph.text, 30, "nobody says that it is over")


def goes_through(measured, stored, tolerance_rad):
    """Whether the joints passed each of `stored` (T, J) in turn."""
    at = 0
    for wanted in stored:
        off = np.abs(measured[at:] - wanted).max(axis=1)
        assert off.min() < tolerance_rad, (wanted, off.min())
        at += int(off.argmin())


def test_in_simulation_the_joints_follow_the_stored_ones(tmp_path):
    simulation = pytest.importorskip("robot_pt_sim.panda", reason="needs robot-pt[sim]")
    from robot_pt_sim.tasks import find_task

    simulator = simulation.PandaSimulator(find_task("lift-red"), render=False)
    simulator.reset(3)
    stored = np.array([simulator.step(action).observation.joint_positions for action in ACTIONS])
    simulator.close()
    demo_store(tmp_path / "demos", ACTIONS)
    watcher = graphs.Watcher(DOMAIN, namespace="/sim")
    graph = launched(tmp_path, watcher, task="lift-red", seed=3, lockstep="true")
    try:
        rests(watcher, graph)
        goes_through(
            np.array([q[:-1] for _, q in watcher.joints]), stored, 0.06
        )  # a busy machine plays two actions in one
        assert np.ptp(stored, axis=0).max() > 0.2
        assert watcher.joints[-1][1][-1] < 0.5, "the gripper closed as it did"
        code, _ = graph.end()
        assert code == 0, graph.text[-3000:]
    finally:
        graph.close()
        watcher.close()


@pytest.mark.slow
def test_on_an_arm_it_waits_for_the_operator(tmp_path, program):
    from robot_pt.robots import load
    from robot_pt.targets import moved

    arm = load("panda")
    driver = program((HERE / "fake_controllers.py").read_text(), "--ros-args", "-p", "follows_pose:=true")
    assert driver.stdout.readline() == "ready\n"
    demo_store(tmp_path / "demos", ACTIONS)
    low, high = [0.3, -0.3, 0.0], [0.8, 0.4, 0.4]
    watcher = graphs.Watcher(DOMAIN, namespace="/franka", low=np.array(low), high=np.array(high))
    graph = launched(
        tmp_path, watcher, robot="franka", teleop="topic", workspace_min=low, workspace_max=high,
        latch_file=tmp_path / "latch.json",
    )  # fmt: skip
    try:
        start = watcher.joints[-1][1][:-1]
        assert not watcher.commands
        watcher.until(lambda: watcher.pull("safety/arm")[0], 10, "it does not arm")
        assert not watcher.pull("safety/start_policy")[0], "without the switch nothing is replayed"
        watcher.held = True
        asked = ("safety/start_policy", "policy/start")
        watcher.until(lambda: all(watcher.pull(name)[0] for name in asked), 20, "no start")
        rests(watcher, graph)
        goal = arm.fk(start)
        for action in ACTIONS:
            goal = moved(goal, action)
        reached = arm.fk(watcher.joints[-1][1][:-1])
        np.testing.assert_allclose(reached[:3, 3], goal[:3, 3], atol=5e-3)
        np.testing.assert_allclose(reached[:3, :3], goal[:3, :3], atol=2e-2)
        assert watcher.check_limits() > 50
        assert graph.end()[0] == 0
    finally:
        graph.close()
        watcher.close()
