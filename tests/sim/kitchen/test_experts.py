from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from robot_pt_sim.collection import CollectSetup, Unreachable
from robot_pt_sim.experts import ScriptedExpert, UnreachableTarget
from robot_pt_sim.kitchen.experts import destination, draw_habit, free_spot, hold_goal, kitchen_phases
from robot_pt_sim.kitchen.layouts import LAYOUTS
from robot_pt_sim.kitchen.tasks import TASKS
from robot_pt_sim.kitchen.things import THINGS
from robot_pt_sim.scene import Pose
from robot_pt_sim.styles import mixture


def solve(simulator, seed, speed=0.8):
    simulator.reset(seed)
    expert = ScriptedExpert(kitchen_phases(simulator.definition), max_step_m=0.05, speed=speed)
    result = None
    with suppress(UnreachableTarget):  # a thing that was knocked out of reach: a failure
        while result is None or not (result.terminated or result.truncated):
            result = simulator.step(expert(simulator.state()))
    return result


@pytest.mark.parametrize(
    "task",
    [
        "put-carrot-on-plate",
        "put-cup-in-sink",
        "put-pot-on-stove",
        "open-drawer",
        "close-door",
        "turn-lever-left",
        "take-lid-off-pot",
    ],
)
def test_the_expert_solves_a_task_of_each_kind(kitchen, task):
    assert sum(solve(kitchen(task), seed).success for seed in range(3)) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("scene", LAYOUTS)
def test_experts_solve_nine_in_ten_of_every_task(scene):
    """As `collect` plays them: every episode has a habit of its own, and one given up as out of reach is not solved. Two lost of 20 are
    nine in ten; where it is more, a hundred decide."""
    lost = {}
    for name in TASKS:
        play = CollectSetup(f"{name}@{scene}", mixture("none"), 1.0, (), (64, 64), {})()
        count = 20
        solved = sum(succeeds(play, seed) for seed in range(count))
        if solved < 18:
            count, solved = 100, solved + sum(succeeds(play, seed) for seed in range(20, 100))
        if solved < 0.9 * count:
            lost[name] = (solved, count)
    assert lost == {}


def succeeds(play, seed):
    episode = play(seed)
    return not isinstance(episode, Unreachable) and bool(episode.success)


@pytest.mark.parametrize("task", ["put-carrot-on-plate", "open-drawer", "turn-lever-right", "put-lid-on-pot"])
def test_doing_nothing_and_closing_the_hand_solve_nothing(kitchen, task):
    simulator = kitchen(task)
    for gripper in (0.0, 1.0):
        simulator.reset(1)
        for _ in range(simulator.horizon):
            result = simulator.step(np.array([0, 0, 0, 0, 0, 0, gripper], np.float32))
        assert result.truncated
        assert not result.success


def test_the_hold_turns_with_the_thing_the_shorter_way(kitchen):
    simulator = kitchen("put-carrot-on-plate")
    simulator.reset(0)
    state, carrot = simulator.state(), THINGS["carrot"]
    for yaw, wanted in ((0.3, 0.3), (2.9, 2.9 - np.pi), (-2.9, np.pi - 2.9)):
        turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        seen = replace(state, objects={"carrot": Pose(np.array([0.3, 0.0, -0.02]), turn)})
        goal = hold_goal(seen, carrot, 0.0, 1.0)
        assert goal.yaw == pytest.approx(wanted)
        np.testing.assert_allclose(goal.position, [0.3, 0.0, -0.02 + 0.0175], atol=1e-9)  # fingertips over the counter


def test_a_pan_is_taken_by_its_handle(kitchen):
    simulator = kitchen("put-pan-on-stove")
    simulator.reset(0)
    state = simulator.state()
    handle, pan = hold_goal(state, THINGS["pan"], 0.0, 1.0).position, state.objects["pan"].position
    assert np.hypot(*(handle - pan)[:2]) == pytest.approx(0.094, abs=1e-6)
    assert handle[0] < pan[0]


def test_the_free_spot_is_free(kitchen):
    simulator = kitchen("take-lid-off-pot")
    for seed in range(5):
        simulator.reset(seed)
        state = simulator.state()
        x, y, _ = free_spot(simulator.definition, state)
        assert np.hypot(*(state.objects["pot"].position[:2] - (x, y))) > 0.1


def test_deep_vessels_are_filled_from_higher_up(kitchen):
    heights = {}
    for task, place in (("put-carrot-on-plate", "plate"), ("put-corn-in-pot", "pot")):
        simulator = kitchen(task)
        simulator.reset(0)
        state = simulator.state()
        heights[place] = destination(simulator.definition, state)[2] - state.objects[place].position[2]
    assert heights["plate"] < 0.015 < heights["pot"] < THINGS["pot"].height_m


def test_habits_differ_and_all_of_them_succeed(kitchen):
    """Twelve operators at one start: paths apart by centimetres, hardly a failure."""
    simulator = kitchen("put-cucumber-on-plate")
    ends, solved = [], 0
    for number in range(12):
        simulator.reset(7)
        habit = draw_habit(np.random.default_rng(number))
        expert = ScriptedExpert(kitchen_phases(simulator.definition, habit), max_step_m=0.05, speed=0.8)
        done = False
        while not done:
            result = simulator.step(expert(simulator.state()))
            done = result.terminated or result.truncated
        solved += result.success
        state = simulator.state()
        ends.append(state.objects["cucumber"].position[:2] - state.objects["plate"].position[:2])
    assert solved >= 11
    assert np.std(ends, axis=0).min() > 0.004


def test_an_expert_says_what_is_out_of_its_reach(kitchen):
    """The plate stands in the far left corner of the counter, 0.66 m from the base."""
    simulator = kitchen("put-carrot-on-plate")
    simulator.reset(0)
    address = int(simulator._model.joint("plate").qposadr[0])
    simulator._data.qpos[address : address + 3] = [0.53, 0.37, -0.05]
    expert = ScriptedExpert(kitchen_phases(simulator.definition), max_step_m=0.05)

    def drive():
        for _ in range(simulator.horizon):
            simulator.step(expert(simulator.state()))

    with pytest.raises(UnreachableTarget, match=r"mm short of \[0.45, 0.25, .* put nearer what it is to reach"):
        drive()


def test_a_moment_out_of_reach_is_no_reason_to_give_up(kitchen):
    simulator = kitchen("put-carrot-on-plate")
    simulator.reset(0)
    expert = ScriptedExpert(kitchen_phases(simulator.definition), max_step_m=0.05)
    for short in [0.02, 0.02, 0.004, 0.02, 0.02]:
        assert expert(replace(simulator.state(), unreached_m=short)).shape == (7,)
    with pytest.raises(UnreachableTarget, match="20 mm short"):
        expert(replace(simulator.state(), unreached_m=0.02))
