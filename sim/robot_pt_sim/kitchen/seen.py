"""What the state of a kitchen says where no camera looks: numbers of the same meaning in every task, so that one policy learns of many."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from robot_pt.rotations import Array, matrix_to_rpy
from robot_pt_sim.kitchen.fixtures import FIXTURES, HANDLE
from robot_pt_sim.kitchen.layouts import find_layout
from robot_pt_sim.kitchen.model import SINK_FLOOR_M, STOVE_M
from robot_pt_sim.kitchen.tasks import KitchenTask
from robot_pt_sim.kitchen.things import THINGS
from robot_pt_sim.scene import Pose

NAMES = ("thing_x", "thing_y", "thing_z", "thing_cos", "thing_sin", "goal_x", "goal_y", "goal_z")
"""What is moved: its place [m] and yaw; where to [m]. In the robot's base frame."""
FAR_M = ((-0.05, -0.30, -0.25), (0.60, 0.40, 0.33))
"""A thing beyond is told as at this border: one that fell off the counter falls for ever. No limit of the arm's, so that policies read on the same."""


def seen(task: KitchenTask, objects: Mapping[str, Pose]) -> Array:
    """The numbers of `NAMES`: of the thing, or of a fixture's handle; distractors are not told."""
    moved = objects[HANDLE if task.fixture else task.thing]
    yaw = matrix_to_rpy(moved.rotation)[2]
    return np.concatenate([moved.position.clip(*FAR_M), [np.cos(yaw), np.sin(yaw)], goal_of(task, objects)])


def goal_of(task: KitchenTask, objects: Mapping[str, Pose]) -> Array:
    """(3,) [m] the frame of the thing's place, the middle of sink or stove, or the handle where its task is done; a lid's pot either way."""
    if task.fixture:
        return FIXTURES[task.fixture].handle_at(find_layout(task.scene), task.goal)
    if task.place in THINGS:
        return np.asarray(objects[task.place].position)
    layout = find_layout(task.scene)
    box, floor = (layout.sink, SINK_FLOOR_M) if task.place == "sink" else (layout.stove, STOVE_M)
    return np.array([*box.centre, floor])
