"""Scripted experts of the kitchens: phases of `robot_pt_sim.experts` over what the tables say about things and places."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from robot_pt.rotations import Array, matrix_to_rpy, wrap_angle
from robot_pt_sim.experts import CLOSED, OPEN, Goal, Phase, frozen
from robot_pt_sim.kitchen.fixtures import FIXTURES, JOINT
from robot_pt_sim.kitchen.layouts import COUNTER_M, find_layout
from robot_pt_sim.kitchen.model import SINK_FLOOR_M, STOVE_M
from robot_pt_sim.kitchen.spawn import distance_to
from robot_pt_sim.kitchen.tasks import KitchenTask
from robot_pt_sim.kitchen.things import LID_REST_M, THINGS, Thing
from robot_pt_sim.scene import SceneState

TIPS_M = 0.0175
"""Lowest tool over a surface: the fingertips are 14.4 mm ahead of it [m]."""
ABOVE_M, CARRY_M = 0.075, 0.085
"""Over the hold before the grasp, and over the counter while carrying [m]."""
FINGERS_M = 0.0125
"""From the tool's middle to the outside of a closed finger [m]."""
PULL_M, TURN_RAD = 0.035, 0.35
"""How far ahead of a handle its pull is aimed."""
ASIDE = 0.25
"""Share of a receptacle's radius that habits differ by at most."""
BEYOND = 0.15
"""Share of a fixture's way that is pulled beyond its goal."""


class Habit(NamedTuple):
    """How one episode's operator goes about it."""

    above_m: float = ABOVE_M
    carry_m: float = CARRY_M
    along: float = 0.0
    """Where a long thing is taken: -1 .. 1, from one end of what is safe to the other."""
    aside: tuple[float, float] = (0.0, 0.0)
    """Where in its place a thing is let go: x and y, -1 .. 1."""


def draw_habit(rng: np.random.Generator) -> Habit:
    """Another operator's."""
    above, carry = rng.uniform(0.055, 0.095), rng.uniform(0.075, 0.105)
    along, x, y = rng.uniform(-1.0, 1.0, 3)
    return Habit(float(above), float(carry), float(along), (float(x), float(y)))


PLAIN = Habit()


def kitchen_phases(task: KitchenTask, habit: Habit = PLAIN) -> list[Phase]:
    """Fresh phases for one episode of the task."""
    return FAMILIES[task.family](task, habit)


def place_phases(task: KitchenTask, habit: Habit) -> list[Phase]:
    """Take the thing where the table says, carry it over its place, lower it, let go, retreat."""
    return carry_phases(THINGS[task.thing], lambda state: destination(task, state, habit), habit)


def uncover_phases(task: KitchenTask, habit: Habit) -> list[Phase]:
    """Take the lid by its knob and lay it where the counter is free."""
    spots: list[Array] = []

    def spot(state: SceneState) -> Array:
        if not spots:
            spots.append(free_spot(task, state))
        return spots[0]

    return carry_phases(THINGS[task.thing], spot, habit)


def carry_phases(thing: Thing, spot: Callable[[SceneState], Array], habit: Habit) -> list[Phase]:
    """Take the thing and let it go with its frame at `spot` (3,) [m]."""

    def at(level: float, gripper: float) -> Callable[[SceneState], Goal]:
        return lambda state: hold_goal(state, thing, level, gripper, habit.along)

    def held_over(height: Callable[[SceneState], float]) -> Callable[[SceneState], Goal]:
        def goal(state: SceneState) -> Goal:
            # the held thing may sit off the tool: aim the thing
            slip = state.tool.position - state.objects[thing.name].position
            x, y, _ = spot(state)
            return Goal(np.array([x + slip[0], y + slip[1], height(state)]), _yaw(state), CLOSED)

        return goal

    def low(state: SceneState) -> float:
        slip = state.tool.position[2] - state.objects[thing.name].position[2]
        return float(spot(state)[2] + max(slip, TIPS_M))

    def lifted(state: SceneState) -> Goal:
        x, y, z = state.target.position
        return Goal(np.array([x, y, max(z, COUNTER_M) + habit.carry_m]), _yaw(state), CLOSED)

    carry = COUNTER_M + habit.carry_m + thing.hold.at[2]
    return [
        Phase(kind="reach", goal=at(habit.above_m, OPEN), reached_m=0.015),
        Phase(kind="reach", goal=at(0.0, OPEN), reached_m=0.006, least_steps=2, most_steps=10),
        Phase(kind="grasp", goal=frozen(at(0.0, CLOSED)), least_steps=3, most_steps=5, until=lambda s: s.grasped(thing.name)),
        Phase(kind="lift", goal=frozen(lifted), reached_m=0.02),
        Phase(kind="carry", goal=held_over(lambda state: carry), reached_m=0.012, least_steps=2),
        Phase(kind="place", goal=held_over(low), reached_m=0.008, least_steps=2, most_steps=9),
        *retreat_phases(),
    ]  # fmt: skip


def retreat_phases() -> list[Phase]:
    """Open where the tool is, then straight up."""

    def stay(state: SceneState) -> Goal:
        return Goal(state.target.position.copy(), _yaw(state), OPEN)

    def up(state: SceneState) -> Goal:
        return Goal(state.target.position + np.array([0.0, 0.0, 0.09]), _yaw(state), OPEN)

    return [
        Phase(kind="release", goal=frozen(stay), least_steps=2, until=lambda state: state.gripper > 0.8, most_steps=4),
        Phase(kind="release", goal=frozen(up), reached_m=0.02),
    ]


def fixture_phases(task: KitchenTask, habit: Habit) -> list[Phase]:
    """To the handle from above, close on it or beside it, lead it along its way past the goal, retreat."""
    fixture = FIXTURES[task.fixture]
    sign = float(np.sign(task.goal - task.start))
    lead = sign * (PULL_M if fixture.slides else TURN_RAD)
    low, high = fixture.range
    end = float(np.clip(task.goal + BEYOND * (task.goal - task.start), low, high))

    def handle(position: float, side: float, level: float) -> Array:
        """Tool at the handle, `side` [m] behind the way it will go."""
        here, ahead = (handle_at(position + d) for d in (0.0, 1e-4 * sign))
        way = (ahead - here) / np.linalg.norm(ahead - here)
        return np.asarray(here - side * way + [0.0, 0.0, level])

    def handle_at(position: float) -> Array:
        return fixture.handle_at(find_layout(task.scene), position)

    def before(level: float, gripper: float) -> Callable[[SceneState], Goal]:
        side = 0.0 if fixture.grasped else 0.045
        return lambda state: Goal(handle(state.joints[JOINT], side, level), fixture.yaw, gripper)

    def onwards(state: SceneState) -> Goal:
        least, most = sorted((task.start, end + lead / 2))
        at = float(np.clip(state.joints[JOINT] + lead, least, most))
        side = 0.0 if fixture.grasped else FINGERS_M
        return Goal(handle(at, side, 0.0), fixture.yaw, CLOSED)

    waiting = OPEN if fixture.grasped else CLOSED
    moved: Callable[[SceneState], bool] = lambda state: (state.joints[JOINT] - end) * sign >= 0  # noqa: E731
    return [
        Phase(kind="reach", goal=before(habit.above_m, waiting), reached_m=0.015),
        Phase(kind="reach", goal=before(0.0, waiting), reached_m=0.006, least_steps=2, most_steps=8),
        Phase(kind="grasp", goal=frozen(before(0.0, CLOSED)), least_steps=2 if fixture.grasped else 1, most_steps=2),
        Phase(kind="lift", goal=onwards, until=moved, most_steps=30),
        *retreat_phases(),
    ]


def destination(task: KitchenTask, state: SceneState, habit: Habit = PLAIN) -> Array:
    """Where the thing's frame is let go (3,) [m]: just over the floor, or over the rim's lower half of what is deep."""
    if task.place in THINGS:
        receptacle = THINGS[task.place]
        on_rim = receptacle.height_m - LID_REST_M + 0.004
        drop = on_rim if task.thing == "lid" else max(receptacle.floor_m + 0.005, receptacle.height_m - 0.025)
        aside = 0.0 if task.thing == "lid" else ASIDE * receptacle.opening_m
        x, y = aside * np.array(habit.aside)
        return np.asarray(state.objects[task.place].position + np.array([x, y, drop]))
    layout = find_layout(task.scene)
    box, floor = (layout.sink, SINK_FLOOR_M + 0.03) if task.place == "sink" else (layout.stove, STOVE_M + 0.004)
    return np.array([*box.centre, floor])


def free_spot(task: KitchenTask, state: SceneState) -> Array:
    """Where on the reachable counter there is most room around the thing (3,) [m]."""
    layout, limits = find_layout(task.scene), task.limits
    others = [(pose.position, THINGS[name]) for name, pose in state.objects.items() if name != task.thing]

    def room(x: float, y: float) -> float:
        between = [float(np.hypot(x - p[0], y - p[1])) - one.radius_m for p, one in others]
        return min(*between, distance_to(layout.sink, x, y))

    xs = np.linspace(0.19, limits.high[0] - 0.05, 9)
    ys = np.linspace(limits.low[1] + 0.01, limits.high[1] - 0.01, 15)
    x, y = max(((float(x), float(y)) for x in xs for y in ys), key=lambda spot: room(*spot))
    return np.array([x, y, COUNTER_M + 0.006])


def hold_goal(state: SceneState, thing: Thing, level: float, gripper: float, along: float = 0.0) -> Goal:
    """Tool at the thing's hold, `level` [m] above it, turned the shorter way; `along` as in Habit."""
    pose, (x, y, z) = state.objects[thing.name], thing.hold.at
    x += along * thing.hold.along
    # what may be taken at any yaw is taken as if it lay at zero
    turned = float(matrix_to_rpy(pose.rotation)[2]) if thing.hold.period else 0.0
    yaw = float(wrap_angle(turned + thing.hold.yaw, min(thing.hold.period or np.pi, 2 * np.pi)))
    cos, sin = np.cos(turned), np.sin(turned)
    spot = pose.position + np.array([cos * x - sin * y, sin * x + cos * y, max(z, TIPS_M) + level])
    return Goal(spot, yaw, gripper)


def _yaw(state: SceneState) -> float:
    return float(matrix_to_rpy(state.target.rotation)[2])


FAMILIES: Mapping[str, Callable[[KitchenTask, Habit], list[Phase]]] = {
    "kitchen-place": place_phases,
    "kitchen-fixture": fixture_phases,
    "kitchen-uncover": uncover_phases,
}
