"""The scripted operator who takes over where a policy is stuck: when, with what result, and what is recorded of it."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from robot_pt.errors import UserError
from robot_pt.store import DemoStore
from robot_pt_sim import make
from robot_pt_sim.experts import UnreachableTarget
from robot_pt_sim.helping import CLEAR_M, StuckHelper
from robot_pt_sim.rollouts import EpisodePlayer
from robot_pt_sim.styles import Demonstrator


class Constant:
    """Asks for the same at every step and counts how often it was asked."""

    version = "constant"

    def __init__(self, action):
        self.action, self.asked = np.asarray(action, np.float32)[None], 0

    def reset(self, task):
        self.asked = 0

    def act(self, history):
        self.asked += 1
        return self.action


STILL = (0, 0, 0, 0, 0, 0, 0)  # with the gripper closed: as after a grasp that missed


def play(task, policy, seed, *, after, cameras=()):
    player = EpisodePlayer(task, cameras, (16, 16), help_after_s=after)
    with closing(player):
        return player(policy, seed)


@pytest.mark.parametrize("after", [0.0, 1.0, 3.0])
def test_from_the_first_step_after_the_time_on_it_solves_what_the_policy_does_not(robosuite, after) -> None:
    policy = Constant(STILL)
    episode = play("lift-red", policy, 7, after=after)
    mine = round(5 * after)
    assert episode.success
    assert episode.operator[:mine] == ["policy"] * mine
    assert set(episode.operator[mine:]) == {"intervention"}
    np.testing.assert_array_equal(episode.requested_actions[:mine], np.repeat(policy.action, mine, axis=0))
    assert episode.requested_actions[mine, 6] == 1  # it opens first
    assert 0 < episode.requested_actions[mine, 2] <= CLEAR_M
    assert policy.asked == len(episode)  # so that a policy with a memory has seen everything when it is back
    assert episode.policy_version == "constant"
    again = play("lift-red", Constant(STILL), 7, after=after)
    np.testing.assert_array_equal(again.actions, episode.actions)


def test_without_help_or_before_its_time_the_policy_is_alone(robosuite) -> None:
    for after in (None, 8.0):
        episode = play("lift-red", Constant(STILL), 7, after=after)
        assert not episode.success
        assert episode.operator == ["policy"] * 40


class Scripted(Constant):
    """Does what the clean demonstrations do."""

    def __init__(self, simulator):
        super().__init__(STILL)
        self._simulator = simulator
        self._expert = Demonstrator(simulator.definition, "clean", np.random.default_rng(0))

    def act(self, history):
        return self._expert(self._simulator.state())[None]


def test_who_holds_the_object_is_left_alone(robosuite) -> None:
    player = EpisodePlayer("lift-red", (), (16, 16), help_after_s=0.0)
    with closing(player):
        policy = Scripted(player._simulator)
        episode = player(policy, 3)
        helper = StuckHelper(player._simulator, 0.0)
        helper.begin(3)
        assert episode.success
        assert player._simulator.state().grasped("cube")
        assert helper(20) is None
        player._simulator.reset(3)
        assert helper(20) is not None


def test_the_steps_go_to_a_store_under_their_driver(robosuite, tmp_path) -> None:
    episode = play("lift-red", Constant(STILL), 5, after=2.0)
    store = DemoStore.create(tmp_path / "s", episode.spec)
    name = store.append(episode)
    assert store.read(name).operator == episode.operator
    assert store.source().episodes.operator == ["mixed"]


def test_in_a_maze_it_walks_to_the_goal() -> None:
    episode = play("maze-medium", Constant((0.0, 0.0)), 4, after=2.0)
    wait = round(2.0 * episode.spec.control_hz)
    assert episode.success
    assert episode.operator[:wait] == ["policy"] * wait
    assert set(episode.operator[wait:]) == {"intervention"}


def test_where_its_way_is_out_of_reach_the_policy_has_it_back(robosuite, monkeypatch) -> None:
    with closing(make("lift-red", camera=())) as simulator:
        helper = StuckHelper(simulator, 0.0)

        def unreachable(self, state):
            raise UnreachableTarget("too far")

        simulator.reset(1)
        helper.begin(1)
        with monkeypatch.context() as patch:
            patch.setattr(Demonstrator, "__call__", unreachable)
            assert helper(0) is None
        assert helper(1) is None  # for the rest of the episode
        helper.begin(2)
        assert helper(0) is not None


@pytest.mark.parametrize("after", [-1.0, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(after) -> None:
    with closing(make("maze-u", camera=())) as maze, pytest.raises(UserError, match="give a time from 0"):
        StuckHelper(maze, after)
