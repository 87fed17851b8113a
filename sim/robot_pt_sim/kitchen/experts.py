"""Scripted experts of the kitchens: phases of `robot_pt_sim.experts` over what the tables say about things and places."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from robot_pt.rotations import Array, matrix_to_rpy, wrap_angle
from robot_pt_sim.experts import CLOSED, OPEN, Goal, Phase, frozen
from robot_pt_sim.kitchen.layouts import COUNTER_M, find_layout
from robot_pt_sim.kitchen.model import SINK_FLOOR_M, STOVE_M
from robot_pt_sim.kitchen.tasks import KitchenTask
from robot_pt_sim.kitchen.things import THINGS, Thing
from robot_pt_sim.scene import SceneState

TIPS_M = 0.0175
"""Lowest tool over a surface: the fingertips are 14.4 mm ahead of it [m]."""
ABOVE_M, CARRY_M = 0.075, 0.085
"""Over the hold before the grasp, and over the counter while carrying [m]."""


def kitchen_phases(task: KitchenTask) -> list[Phase]:
    """Fresh phases for one episode of the task."""
    return FAMILIES[task.family](task)


def place_phases(task: KitchenTask) -> list[Phase]:
    """Take the thing where the table says, carry it over its place, lower it, let go, retreat."""
    thing = THINGS[task.thing]

    def at(level: float, gripper: float) -> Callable[[SceneState], Goal]:
        return lambda state: _hold(state, thing, level, gripper)

    def held_over(height: Callable[[SceneState], float]) -> Callable[[SceneState], Goal]:
        def goal(state: SceneState) -> Goal:
            # the held thing may sit off the tool: aim the thing
            slip = state.tool.position - state.objects[thing.name].position
            spot = destination(task, state)
            return Goal(np.array([spot[0], spot[1], height(state)]) + [slip[0], slip[1], 0.0], _yaw(state), CLOSED)

        return goal

    def low(state: SceneState) -> float:
        slip = state.tool.position[2] - state.objects[thing.name].position[2]
        return float(max(destination(task, state)[2] + slip, destination(task, state)[2] + TIPS_M))

    def up(state: SceneState) -> Goal:
        return Goal(state.target.position + [0.0, 0.0, 0.09], _yaw(state), OPEN)

    def lifted(state: SceneState) -> Goal:
        x, y, z = state.target.position
        return Goal(np.array([x, y, max(z, COUNTER_M) + CARRY_M]), _yaw(state), CLOSED)

    def stay(state: SceneState) -> Goal:
        return Goal(state.target.position.copy(), _yaw(state), OPEN)

    carry = COUNTER_M + CARRY_M + thing.hold.at[2]
    return [
        Phase(kind="reach", goal=at(ABOVE_M, OPEN), reached_m=0.015),
        Phase(kind="reach", goal=at(0.0, OPEN), reached_m=0.006, least_steps=2, most_steps=10),
        Phase(kind="grasp", goal=frozen(at(0.0, CLOSED)), least_steps=3, most_steps=5, until=lambda s: s.grasped(thing.name)),
        Phase(kind="lift", goal=frozen(lifted), reached_m=0.02),
        Phase(kind="carry", goal=held_over(lambda state: carry), reached_m=0.012, least_steps=2),
        Phase(kind="place", goal=held_over(low), reached_m=0.008, least_steps=2, most_steps=9),
        Phase(kind="release", goal=frozen(stay), least_steps=2, until=lambda state: state.gripper > 0.8, most_steps=4),
        Phase(kind="release", goal=frozen(up), reached_m=0.02),
    ]  # fmt: skip


def destination(task: KitchenTask, state: SceneState) -> Array:
    """Where the thing's frame is let go (3,) [m]: just over the floor, or over the rim's lower half of what is deep."""
    if task.place in THINGS:
        receptacle = THINGS[task.place]
        drop = max(receptacle.floor_m + 0.005, receptacle.height_m - 0.025)
        spot: Array = state.objects[task.place].position + [0.0, 0.0, drop]
        return spot
    layout = find_layout(task.scene)
    box, floor = (layout.sink, SINK_FLOOR_M + 0.03) if task.place == "sink" else (layout.stove, STOVE_M + 0.004)
    return np.array([*box.centre, floor])


def _hold(state: SceneState, thing: Thing, level: float, gripper: float) -> Goal:
    """Tool at the thing's hold, `level` [m] above it, turned the shorter way."""
    pose, (x, y, z) = state.objects[thing.name], thing.hold.at
    turned = float(matrix_to_rpy(pose.rotation)[2])
    if thing.hold.period == 0.0:  # any yaw will do: as if it lay at zero
        turned = 0.0
    yaw = turned + thing.hold.yaw
    if 0.0 < thing.hold.period < 2 * np.pi or thing.hold.period == 0.0:
        yaw = float(wrap_angle(yaw, np.pi))
    cos, sin = np.cos(turned), np.sin(turned)
    spot = pose.position + [cos * x - sin * y, sin * x + cos * y, max(z, TIPS_M) + level]
    return Goal(spot, float(wrap_angle(yaw)), gripper)


def _yaw(state: SceneState) -> float:
    return float(matrix_to_rpy(state.target.rotation)[2])


FAMILIES: Mapping[str, Callable[[KitchenTask], list[Phase]]] = {"kitchen-place": place_phases}
