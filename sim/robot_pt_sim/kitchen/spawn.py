"""Where things lie at the start: drawn from the counter, apart from one another, out of sink and stove; collisions are drawn again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from robot_pt.rotations import Array
from robot_pt_sim.kitchen.fixtures import unit_box
from robot_pt_sim.kitchen.layouts import COUNTER_M, Box, Layout
from robot_pt_sim.kitchen.model import COUNTER
from robot_pt_sim.kitchen.tasks import KitchenTask
from robot_pt_sim.kitchen.things import LID_REST_M, THINGS, Thing

GAP_M = 0.012
"""Between the circles around two things."""
LONGEST_M = 0.030
"""Largest circle that is kept free around a long thing: whether its ends touch something is looked at in the scene itself."""
REACH_M = 0.020
"""Further room around the thing to be taken, so that the fingers come down beside it."""
MOST_TRIES, TRIES_OF_ONE = 400, 20
HANDLE_M = 0.04
"""What has a handle towards the robot stands so much farther from it."""
HANDLE_RADIUS_M = 0.025
"""Of the circle that is kept free around the end of a handle."""
HANDLE_YAW = 0.5
"""Handles point at the robot within this angle [rad]."""
CLEARANCE_M = 0.001
"""Everything is let fall from so high, as MuJoCo counts what just touches as a collision."""


class Start(NamedTuple):
    """Of one thing."""

    x: float  # [m]
    y: float
    yaw: float  # [rad]
    height: float = 0.0  # over the counter [m]

    def qpos(self) -> Array:
        """(7,) of a free joint: position [m] and quaternion w x y z."""
        half = self.yaw / 2
        z = COUNTER_M + self.height + CLEARANCE_M
        return np.array([self.x, self.y, z, np.cos(half), 0.0, 0.0, np.sin(half)])


class Drawn(NamedTuple):
    """One arrangement."""

    starts: Mapping[str, Start]
    rejected: int
    """Arrangements drawn before, in which something was in the way."""


class Circle(NamedTuple):
    """Part of the counter [m]."""

    x: float
    y: float
    radius: float


Fits = Callable[[Mapping[str, Start]], bool]


def draw(task: KitchenTask, layout: Layout, rng: np.random.Generator, fits: Fits) -> Drawn:
    """Starts of all things: those needed within the arm's reach, the others anywhere on the counter.

    `fits` says whether an arrangement that the circles allow is free of collisions. A scene too full for `MOST_TRIES`
    tries is a mistake in the tables: AssertionError.
    """
    for rejected in range(MOST_TRIES):
        starts = _attempt(task, layout, rng)
        if starts is not None and fits(starts):
            return Drawn(starts, rejected)
    raise AssertionError(f"no room for {', '.join(task.things)} in {MOST_TRIES} tries")


def _attempt(task: KitchenTask, layout: Layout, rng: np.random.Generator) -> dict[str, Start] | None:
    covered = task.family == "kitchen-uncover"
    things = [THINGS[name] for name in task.things if not (covered and name == task.thing)]
    taken = [layout.sink, layout.stove, *([unit_box(layout)] if task.fixture else [])]
    starts: dict[str, Start] = {}
    for thing in things:
        box = layout.free if thing.name in task.needed else COUNTER
        others = [c for t in things if t.name in starts for c in _circles(t, starts[t.name], _gap(t, task))]
        start = _place(thing, box, taken, others, rng)
        if start is None:
            return None
        starts[thing.name] = start
    if covered:
        under = starts[task.place]
        height = THINGS[task.place].height_m - LID_REST_M + CLEARANCE_M
        starts[task.thing] = Start(under.x, under.y, float(rng.uniform(-np.pi, np.pi)), height)
    return starts


def _place(
    thing: Thing, box: Box, taken: Sequence[Box], others: Sequence[Circle], rng: np.random.Generator
) -> Start | None:
    for _ in range(TRIES_OF_ONE):
        start = _anywhere(box, thing, rng)
        own = _circles(thing, start)
        clear = all(np.hypot(a.x - b.x, a.y - b.y) > a.radius + b.radius for a in own for b in others)
        if clear and not any(distance_to(one, start.x, start.y) < own[0].radius for one in taken):
            return start
    return None


def _anywhere(box: Box, thing: Thing, rng: np.random.Generator) -> Start:
    handled = thing.hold.period > np.pi
    x, y = (float(rng.uniform(low, high)) for low, high in ((box.x[0] + HANDLE_M * handled, box.x[1]), box.y))
    return Start(x, y, float(rng.uniform(-HANDLE_YAW, HANDLE_YAW) if handled else rng.uniform(-np.pi, np.pi)))


def _circles(thing: Thing, start: Start, gap: float = 0.0) -> list[Circle]:
    """What a thing takes of the counter, its handle last, with a gap around it."""
    circles = [Circle(start.x, start.y, (thing.opening_m or min(thing.radius_m, LONGEST_M)) + gap)]
    if thing.hold.period > np.pi:
        x, y, _ = thing.hold.at
        cos, sin = np.cos(start.yaw), np.sin(start.yaw)
        circles.append(Circle(start.x + cos * x - sin * y, start.y + sin * x + cos * y, HANDLE_RADIUS_M + gap))
    return circles


def _gap(thing: Thing, task: KitchenTask) -> float:
    return REACH_M if thing.name == task.thing else GAP_M


def distance_to(box: Box, x: float, y: float) -> float:
    """From a point to an upright box seen from above [m]; 0 inside."""
    dx = max(box.x[0] - x, 0.0, x - box.x[1])
    dy = max(box.y[0] - y, 0.0, y - box.y[1])
    return float(np.hypot(dx, dy))
