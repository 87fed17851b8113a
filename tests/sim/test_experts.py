import numpy as np
import pytest

from robot_pt.rotations import rpy_to_matrix
from robot_pt_sim.experts import Goal, Phase, ScriptedExpert, action_towards, frozen, phases_for
from robot_pt_sim.scene import Pose, SceneState
from robot_pt_sim.tasks import TASKS, find_task

NAMES = [
    "lift",
    "lift-red",
    "stack",
    "door",
    "door-anywhere",
    *(f"pick-place-{name}" for name in ("milk", "bread", "cereal", "can")),
]


def at(position, yaw=0.0, target=None):
    tool = Pose(np.array(position, float), rpy_to_matrix([0, 0, yaw]))
    aim = tool if target is None else Pose(np.array(target, float), rpy_to_matrix([0, 0, yaw]))
    return SceneState(tool=tool, target=aim, gripper=1.0, objects={}, joints={}, contacts=frozenset())


def fixed(position, kind="reach", **settings):
    return Phase(kind=kind, goal=lambda state: Goal(np.array(position, float), 0.0, 1.0), **settings)


def solve(simulator, seed, compare=None):
    """Success of the expert without noise; `compare(simulator)` is called after every step."""
    simulator.reset(seed)
    expert = ScriptedExpert(phases_for(simulator.definition), max_step_m=simulator.definition.limits.max_step_m)
    while True:
        result = simulator.step(expert(simulator.state()))
        if compare is not None:
            compare(simulator)
        if result.terminated or result.truncated:
            return result.success


@pytest.mark.parametrize("task", NAMES)
def test_experts_solve_their_task_and_success_agrees_with_robosuite(scene, task):
    def compare(simulator):
        assert simulator.definition.success(simulator.state()) == bool(simulator._env._check_success())

    assert all(solve(scene(task), seed, compare) for seed in (1, 2, 3))


@pytest.mark.slow
@pytest.mark.parametrize("task", list(TASKS))
def test_experts_solve_nine_of_ten_of_50_seeds(scene, task):
    solved = sum(solve(scene(task), seed) for seed in range(50))
    assert solved >= 45, f"{task}: {solved}/50"


def test_steps_are_bounded_and_go_straight():
    action = action_towards(at([0.5, 0, 0.1]), Goal(np.array([0.8, 0.4, 0.1]), 0.0, 0.5), 0.05)
    np.testing.assert_allclose(action, [0.03, 0.04, 0, 0, 0, 0, 0.5], atol=1e-6)
    near = action_towards(at([0.5, 0, 0.1]), Goal(np.array([0.51, 0, 0.1]), 0.3, 1.0), 0.05)
    np.testing.assert_allclose(near, [0.01, 0, 0, 0, 0, 0.3, 1.0], atol=1e-6)


def test_the_commanded_target_is_corrected_not_the_lag():
    """The tool lags 2 cm behind a target that is already right: nothing is left to ask for."""
    lagging = at([0.48, 0, 0.1], target=[0.5, 0, 0.1])
    np.testing.assert_allclose(action_towards(lagging, Goal(np.array([0.5, 0, 0.1]), 0.0, 1.0), 0.05)[:3], 0, atol=1e-9)


def test_phases_follow_one_another_when_they_are_reached():
    expert = ScriptedExpert([fixed([0.5, 0, 0.1]), fixed([0.6, 0, 0.1])], max_step_m=0.05)
    expert(at([0.4, 0, 0.1]))
    expert(at([0.495, 0, 0.1]))
    assert expert(at([0.5, 0, 0.1]))[0] > 0.03
    assert not expert.finished
    expert(at([0.6, 0, 0.1]))
    assert expert.finished


def test_a_phase_waits_its_least_and_gives_up_after_its_most_steps():
    waiting = ScriptedExpert([fixed([0.5, 0, 0.1], least_steps=3), fixed([0.9, 0, 0.1])], max_step_m=0.05)
    moves = [waiting(at([0.5, 0, 0.1]))[0] for _ in range(5)]
    assert [abs(move) > 1e-6 for move in moves] == [False, False, False, True, True]
    stuck = ScriptedExpert([fixed([0.9, 0, 0.1], most_steps=4)], max_step_m=0.05)
    finished = [stuck(at([0.5, 0, 0.1])) is not None and stuck.finished for _ in range(5)]
    assert finished == [False] * 4 + [True]


def test_a_condition_replaces_the_distance():
    expert = ScriptedExpert([fixed([0.9, 0, 0.1], until=lambda state: state.gripper < 0.5)], max_step_m=0.05)
    expert(at([0.9, 0, 0.1]))
    expert(at([0.9, 0, 0.1]))
    assert not expert.finished
    closed = SceneState(**{**vars(at([0.1, 0, 0.1])), "gripper": 0.2})
    expert(closed)
    assert expert.finished


def test_a_frozen_goal_stays_where_it_was_first():
    goal = frozen(lambda state: Goal(state.tool.position, 0.0, 1.0))
    first = goal(at([0.5, 0, 0.1]))
    assert goal(at([0.7, 0, 0.1])) is first


def test_an_expert_needs_phases_and_a_speed():
    with pytest.raises(AssertionError):
        ScriptedExpert([], max_step_m=0.05)
    with pytest.raises(AssertionError):
        ScriptedExpert([fixed([0, 0, 0])], max_step_m=0.05, speed=1.5)


def test_every_family_has_fresh_phases_each_time():
    for name in NAMES:
        first, second = phases_for(find_task(name)), phases_for(find_task(name))
        assert [p.kind for p in first] == [p.kind for p in second]
        assert all(a is not b for a, b in zip(first, second, strict=True))
