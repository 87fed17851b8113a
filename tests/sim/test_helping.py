"""The scripted operator who takes over where a policy is stuck: when, with what result, and what is recorded of it."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from robot_pt.errors import UserError
from robot_pt.store import DemoStore
from robot_pt_sim import make
from robot_pt_sim.experts import UnreachableTarget
from robot_pt_sim.helping import CLEAR_M, NEAR_M, StuckHelper, approached
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


def lowered(simulator, beside_m):
    """Brings the open gripper to `beside_m` from where it would grasp, along x, 1.5 cm too high."""
    for _ in range(20):
        state = simulator.state()
        goal = state.objects["cube"].position + np.array([beside_m, 0, 0.015])
        move = goal - state.target.position
        if beside_m > NEAR_M and abs(move[2]) > 0.01 and abs(move[0]) > 0.01:
            move[2] = 0.0  # first over the table, then down beside the cube
        length = np.linalg.norm(move)
        simulator.step(np.array([*(move * min(1, 0.03 / max(length, 1e-9))), 0, 0, 0, 1], np.float32))


@pytest.mark.parametrize(("beside_m", "goes_up"), [(0.0, False), (0.02, False), (0.09, True)])
def test_where_the_open_gripper_is_at_the_object_it_closes_without_going_back(robosuite, beside_m, goes_up) -> None:
    with closing(make("lift-red", camera=())) as simulator:
        simulator.reset(3)
        lowered(simulator, beside_m)
        helper = StuckHelper(simulator, 0.0)
        helper.begin(3)
        assert approached(simulator.definition, simulator.state()) == (0 if goes_up else 1)
        actions = []
        for step in range(20):
            action = helper(step)
            assert action is not None
            actions.append(action)
            if simulator.step(action).terminated:
                break
        assert simulator.state().grasped("cube")
        first_close = next(i for i, a in enumerate(actions) if a[6] < 0.5)
        climbed = max(float(a[2]) for a in actions[:first_close])
        assert (climbed > 0.02) == goes_up
        assert (first_close > 5) == goes_up


def test_a_closed_gripper_at_the_object_is_opened_and_taken_up_first(robosuite) -> None:
    with closing(make("lift-red", camera=())) as simulator:
        simulator.reset(3)
        lowered(simulator, 0.09)
        for _ in range(3):
            simulator.step(np.array(STILL, np.float32))
        assert approached(simulator.definition, simulator.state()) == 0


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
