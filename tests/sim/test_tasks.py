from dataclasses import replace

import numpy as np
import pytest

from robot_pt.errors import UserError
from robot_pt_sim.scene import LEFT_FINGER, RIGHT_FINGER, Pose, SceneState
from robot_pt_sim.tasks import (
    COLOURS,
    TABLE_TOP,
    TASKS,
    cube_lifted,
    cube_stacked,
    door_open,
    find_task,
    in_bin,
    task_names,
)


def state(objects=None, joints=None, contacts=(), tool=(0.5, 0.0, 0.1)):
    at = Pose(np.array(tool), np.eye(3))
    places = {name: Pose(np.array(position, float), np.eye(3)) for name, position in (objects or {}).items()}
    pairs = frozenset(frozenset(pair) for pair in contacts)
    return SceneState(tool=at, target=at, gripper=1.0, objects=places, joints=joints or {}, contacts=pairs)


@pytest.mark.parametrize(("height", "lifted"), [(0.02, False), (0.039, False), (0.041, True), (0.2, True)])
def test_a_lifted_cube_is_4_cm_up(height, lifted):
    assert cube_lifted(state({"cube": (0.5, 0, TABLE_TOP + height)})) is lifted


@pytest.mark.parametrize(
    ("height", "contacts", "stacked"),
    [
        (0.07, [("cube", "base_cube")], True),
        (0.07, [("cube", "base_cube"), ("cube", LEFT_FINGER)], True),
        (0.07, [("cube", "base_cube"), ("cube", LEFT_FINGER), ("cube", RIGHT_FINGER)], False),
        (0.07, [], False),
        (0.02, [("cube", "base_cube")], False),
    ],
)
def test_a_stacked_cube_rests_on_the_other_and_is_let_go(height, contacts, stacked):
    where = {"cube": (0.5, 0, TABLE_TOP + height), "base_cube": (0.5, 0, TABLE_TOP + 0.025)}
    assert cube_stacked(state(where, contacts=contacts)) is stacked


@pytest.mark.parametrize(
    ("offset", "tool_above", "done"),
    [
        ((0, 0, 0.05), 0.2, True),
        ((0.09, -0.12, 0.05), 0.2, True),
        ((0.10, 0, 0.05), 0.2, False),
        ((0, 0.13, 0.05), 0.2, False),
        ((0, 0, 0.11), 0.2, False),
        ((0, 0, 0.05), 0.03, False),
    ],
)
def test_an_object_in_its_quarter_counts_once_the_hand_is_away(offset, tool_above, done):
    thing = np.array([0.6, 0.3, TABLE_TOP]) + offset
    objects = {"object": thing, "bin": (0.6, 0.3, -0.05)}
    assert in_bin(state(objects, tool=thing + np.array([0, 0, tool_above]))) is done


def test_a_door_is_open_past_0_3_rad():
    assert not door_open(state(joints={"hinge": 0.3}))
    assert door_open(state(joints={"hinge": 0.31}))


def test_every_task_is_found_by_its_name():
    assert set(task_names()) >= {"lift", "stack", "door", "pick-place-milk", "pick-place-can", "lift-purple"}
    assert len(set(task_names())) == len(task_names())
    for name in task_names():
        task = find_task(name)
        assert task.name == name
        assert set(task.views) == {"primary", "secondary", "wrist"}
        assert (np.array(task.limits.low) < np.array(task.limits.high)).all()


def test_colours_are_tasks_of_their_own_and_start_far_apart():
    for colour in COLOURS:
        task = TASKS[f"lift-{colour}"]
        assert task.instruction == f"lift the {colour} cube"
        assert task.placement_m == 0.10  # at robosuite's 3 cm a blind policy solves it
    assert TASKS["lift"].placement_m is None


def test_a_door_anywhere_is_the_door_about_its_usual_place():
    usual, anywhere = TASKS["door"], TASKS["door-anywhere"]
    assert anywhere == replace(usual, name="door-anywhere", ranges=anywhere.ranges)
    assert usual.ranges is None
    for (low, high), middle, half in zip(
        anywhere.ranges, (0.08, 0.0, -np.pi / 2 - 0.125), (0.08, 0.16, 0.35), strict=True
    ):
        assert (low + high) / 2 == pytest.approx(middle)
        assert (high - low) / 2 == pytest.approx(half)


def test_an_unknown_task_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match=r"'lift-pink'.*lift-red.*door"):
        find_task("lift-pink")
