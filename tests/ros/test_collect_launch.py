"""launch/collect.launch.yaml in processes of its own: an operator's demonstration in simulation is an episode in the store."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robot_pt import cli
from robot_pt.commands import PoseTarget
from robot_pt.simulated import told, versions_of
from robot_pt.store import DemoStore
from tests.ros import graph as graphs

pytest.importorskip("cyclonedds", reason="the graph needs robot-pt[ros]")
pytest.importorskip("robosuite", reason="the graph needs robot-pt[sim] and robosuite")

DOMAIN = 117
LAUNCH = Path(__file__).parents[2] / "launch/collect.launch.yaml"
STEP_M = 0.02


class Hand:
    """Asks five times a second for a place a step farther along y, from where the arm was when it began."""

    def __init__(self, watcher):
        from geometry_msgs.msg import PoseStamped
        from trajectory_msgs.msg import JointTrajectory

        from robot_pt_ros import topics

        self._watcher, node = watcher, watcher.node
        self._pose = node.create_publisher(PoseStamped, topics.TELEOP_POSE, topics.newest())
        self._gripper = node.create_publisher(JointTrajectory, topics.TELEOP_GRIPPER, topics.newest())
        self._goal, self.moves = watcher.arm.fk(watcher.joints[-1][1][:-1]), False
        node.create_timer(0.2, self._ask)

    def _ask(self):
        from robot_pt_ros.conversions import target_messages

        if not self.moves:
            return
        self._goal = self._goal.copy()
        self._goal[1, 3] += STEP_M
        target = PoseTarget(self._watcher.node.get_clock().now().nanoseconds, self._goal, 1.0)
        for publisher, message in zip(
            (self._pose, self._gripper), target_messages(target, "base_link", 0.2), strict=True
        ):
            publisher.publish(message)


def in_another_version(store, folder):
    """A store with the same episode, as another robosuite would have recorded it."""
    (name,) = store.episodes
    episode = store.read(name)
    other = replace(episode, metadata={**episode.metadata, **told(("robosuite", "1.4.0"))})
    DemoStore.create(folder, store.spec).append(other)
    return folder


def test_a_demonstration_is_in_the_store_with_who_was_in_control_and_in_which_simulator(tmp_path, capsys):
    low, high = np.array([0.2, -0.5, -0.1]), np.array([0.9, 0.7, 0.6])
    watcher = graphs.Watcher(DOMAIN, namespace="/sim", low=low, high=high)
    launched = graphs.Graph(
        DOMAIN, tmp_path, launch=LAUNCH, task="lift-red", teleop="topic", window="false", store=tmp_path / "demos"
    )
    try:
        watcher.until(lambda: "the graph is active" in launched.text, 120, "not up")
        assert not watcher.motions()
        watcher.until(lambda: watcher.joints, 10, "no joints")
        begun = watcher.arm.fk(watcher.joints[-1][1][:-1])[:3, 3]
        watcher.held = True
        hand = Hand(watcher)
        watcher.until(lambda: watcher.pull("episode/start")[0], 20, "no episode")
        hand.moves = True
        watcher.until_mode("teleop", timeout_s=30)
        watcher.until(lambda: len(watcher.motions()) > 60, 30, "the arm does not follow the hand")
        hand.moves = False
        answer = watcher.pull("episode/end", True)
        assert answer[0], answer[1]
        assert launched.end()[0] == 0, launched.text[-3000:]  # the recorder puts the episode away before it leaves
        store = DemoStore(tmp_path / "demos")
        (name,) = store.episodes
        episode = store.read(name)
        assert (episode.success, episode.task, episode.instruction) == (True, "lift-red", "lift the red cube")
        assert "teleop" in set(episode.operator)
        assert np.ptp(episode.actions[:, 1]) > 0.01
        assert watcher.arm.fk(watcher.joints[-1][1][:-1])[1, 3] > begun[1] + 3 * STEP_M
        assert watcher.check_limits() > 60

        from robot_pt_sim.simulators import version_of

        name, version = version_of("lift-red")
        assert versions_of(store.source()) == {name: {version}}
        assert isinstance(episode.metadata["seed"], int)
        old = in_another_version(store, tmp_path / "old")
        train = ["pretrain", "--data", str(store.path), str(old), "--out", str(tmp_path / "run"), "--image-size", "64"]
        assert cli.main([*train, "--steps", "1", "--encoder", "small"]) == 2
        assert f"in version {version} of robosuite and {old} in version 1.4.0" in " ".join(
            capsys.readouterr().err.split()
        )
    finally:
        launched.close()
        watcher.close()
