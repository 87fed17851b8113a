import pickle

import numpy as np
import pytest

from robot_pt.errors import UserError
from robot_pt_sim.kitchen.fixtures import FIXTURES
from robot_pt_sim.kitchen.layouts import LAYOUTS, find_layout
from robot_pt_sim.kitchen.tasks import (
    PAIRS,
    TASKS,
    TURNS,
    find_kitchen,
    moved_past,
    rests_beside,
    rests_in,
    rests_over,
    scenes,
    tasks_of,
)
from robot_pt_sim.scene import LEFT_FINGER, RIGHT_FINGER, Pose, SceneState


def state(objects=(), joint=None, touching=()):
    upright = np.eye(3)
    return SceneState(
        tool=Pose(np.zeros(3), upright),
        target=Pose(np.zeros(3), upright),
        gripper=1.0,
        objects={name: Pose(np.array(position, float), upright) for name, position in dict(objects).items()},
        joints={} if joint is None else {"fixture": joint},
        contacts=frozenset(frozenset(pair) for pair in touching),
    )


HELD = [(LEFT_FINGER, "egg"), (RIGHT_FINGER, "egg")]


@pytest.mark.parametrize(
    ("offset", "touching", "done"),
    [
        ((0.0, 0.0, 0.01), (), True),
        ((0.03, 0.03, 0.01), (), True),
        ((0.04, 0.04, 0.01), (), False),  # 57 mm from the axis
        ((0.0, 0.0, 0.06), (), False),
        ((0.0, 0.0, -0.02), (), False),
        ((0.0, 0.0, 0.01), HELD, False),
        ((0.0, 0.0, 0.01), HELD[:1], True),
    ],
)
def test_in_a_bowl(offset, touching, done):
    bowl = np.array([0.3, 0.1, -0.02])
    seen = state({"egg": bowl + offset, "bowl": bowl}, touching=touching)
    assert rests_in(seen, thing="egg", receptacle="bowl", radius=0.054, low=0.0, high=0.04) is done


def test_over_a_box_and_beside_a_thing():
    sink = find_layout(1).sink
    x, y = sink.centre
    for position, done in (((x, y, -0.08), True), ((x, y, -0.01), False), ((x, sink.y[1] + 0.01, -0.08), False)):
        assert rests_over(state({"egg": position}), thing="egg", box=sink, low=-0.09, high=-0.05) is done
    for dx, z, done in ((0.10, -0.02, True), (0.05, -0.02, False), (0.10, 0.05, False)):
        seen = state({"egg": (0.2 + dx, 0, z), "pot": (0.2, 0, -0.02)})
        assert rests_beside(seen, thing="egg", other="pot", distance=0.09, high=0.0) is done


def test_a_joint_counts_from_its_goal_on_in_either_direction():
    for start, goal, at, done in (
        (0.0, 0.7, 0.69, False), (0.0, 0.7, 0.70, True), (0.0, 0.7, 0.9, True), (0.0, 0.7, -0.9, False),
        (0.0, -0.7, -0.71, True), (0.0, -0.7, 0.9, False), (0.072, 0.012, 0.03, False), (0.072, 0.012, 0.0, True),
    ):  # fmt: skip
        assert moved_past(state(joint=at), start=start, goal=goal) is done


def test_there_are_the_tasks_and_scenes_that_were_asked_for():
    assert len(PAIRS) >= 24
    assert len(set(PAIRS)) == len(PAIRS)
    assert len({turn.fixture for turn in TURNS}) == len(FIXTURES) == 3
    assert "kitchen/take-lid-off-pot" in TASKS
    assert "kitchen/put-carrot-on-plate" in TASKS
    assert len(scenes()) >= 6
    instructions = [task.instruction for task in TASKS.values()]
    assert len(set(instructions)) == len(instructions)
    assert TASKS["kitchen/put-hot-dog-on-plate"].instruction == "put the hot dog on the plate"


@pytest.mark.parametrize("scene", LAYOUTS)
def test_scenes_hold_at_most_six_free_bodies_each_once(scene):
    for task in tasks_of(scene).values():
        assert len(task.things) == len(set(task.things)) <= 6
        assert set(task.needed) <= set(task.things)
        assert pickle.loads(pickle.dumps(task)) == task  # workers get it


def test_scenes_differ_in_their_distractors():
    assert len({find_kitchen("kitchen/put-carrot-on-plate", scene).distractors for scene in scenes()}) > 1


def test_a_name_may_say_the_scene():
    assert find_kitchen("kitchen/open-drawer@4") == find_kitchen("kitchen/open-drawer", 4)
    assert find_kitchen("kitchen/open-drawer").scene == 1
    assert find_kitchen("kitchen/open-drawer@4").name == "kitchen/open-drawer"


@pytest.mark.parametrize(
    ("name", "scene", "words"),
    [
        ("kitchen/knit", None, "no task 'kitchen/knit'; choose one of: kitchen/put-carrot-on-plate"),
        ("kitchen/open-drawer@9", None, "no scene 9; choose one of: 1, 2, 3, 4, 5, 6"),
        ("kitchen/open-drawer", 0, "no scene 0"),
        ("kitchen/open-drawer@two", None, "no scene two; choose one of: 1, 2, 3, 4, 5, 6"),
        ("kitchen/open-drawer@2", 3, "give one number"),
    ],
)
def test_what_is_unknown_is_said_with_what_is_known(name, scene, words):
    with pytest.raises(UserError, match=words):
        find_kitchen(name, scene)
