"""Where things lie at the start: drawn from the counter, apart from one another, out of sink and stove; collisions are drawn again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from robot_pt_sim.kitchen.layouts import COUNTER_M, Box, Layout
from robot_pt_sim.kitchen.model import COUNTER
from robot_pt_sim.kitchen.things import Thing

GAP_M = 0.012
"""Between the circles around two things."""
LONGEST_M = 0.030
"""Largest circle that is kept free around a long thing: whether its ends touch something is looked at in the scene itself."""
REACH_M = 0.020
"""Further room around the thing to be taken, so that the fingers come down beside it."""
MOST_TRIES = 400
HANDLE_M = 0.04
"""What has a handle towards the robot stands so much farther from it."""
HANDLE_YAW = 0.5
"""Handles point at the robot within this angle [rad]."""


class Start(NamedTuple):
    """Of one thing, on the counter."""

    x: float  # [m]
    y: float
    yaw: float  # [rad]


class Drawn(NamedTuple):
    """One arrangement."""

    starts: Mapping[str, Start]
    rejected: int
    """Arrangements drawn before, in which something was in the way."""


def draw(
    layout: Layout, things: Sequence[Thing], needed: int, rng: np.random.Generator, fits: Fits | None = None
) -> Drawn:
    """Starts of all things; the first `needed` within the arm's reach, the others anywhere on the counter.

    `fits` says whether an arrangement that the circles allow is free of collisions. AssertionError when the scene is too full
    for `MOST_TRIES` tries.
    """
    for rejected in range(MOST_TRIES):
        starts = _attempt(layout, things, needed, rng)
        if starts is not None and (fits is None or fits(starts)):
            return Drawn(starts, rejected)
    raise AssertionError(f"no room for {', '.join(thing.name for thing in things)} in {MOST_TRIES} tries")


class Fits:
    """Callable: starts -> bool."""

    def __call__(self, starts: Mapping[str, Start]) -> bool:
        raise NotImplementedError


def _attempt(
    layout: Layout, things: Sequence[Thing], needed: int, rng: np.random.Generator
) -> dict[str, Start] | None:
    starts: dict[str, Start] = {}
    for number, thing in enumerate(things):
        for _ in range(20):
            start = _draw_one(layout.free if number < needed else COUNTER, thing, rng)
            others = [(starts[t.name], _circle(t) + (REACH_M if i == 0 else GAP_M)) for i, t in enumerate(things[:number])]
            clear = all(np.hypot(s.x - start.x, s.y - start.y) > r + _circle(thing) for s, r in others)
            if clear and not any(_overlaps(start, _circle(thing), box) for box in (layout.sink, layout.stove)):
                starts[thing.name] = start
                break
        else:
            return None
    return starts


def _draw_one(box: Box, thing: Thing, rng: np.random.Generator) -> Start:
    handled = thing.hold.period > np.pi
    x, y = (float(rng.uniform(low, high)) for low, high in ((box.x[0] + HANDLE_M * handled, box.x[1]), box.y))
    yaw = float(rng.uniform(-HANDLE_YAW, HANDLE_YAW) if handled else rng.uniform(-np.pi, np.pi))
    return Start(x, y, yaw)


def _circle(thing: Thing) -> float:
    return thing.opening_m or min(thing.radius_m, LONGEST_M)


def _overlaps(start: Start, radius: float, box: Box) -> bool:
    dx = max(box.x[0] - start.x, 0.0, start.x - box.x[1])
    dy = max(box.y[0] - start.y, 0.0, start.y - box.y[1])
    return bool(np.hypot(dx, dy) < radius)


def qpos(start: Start, clearance: float = 0.001) -> np.ndarray:
    """(7,) of the free joint: position [m] and quaternion w x y z."""
    return np.array(
        [start.x, start.y, COUNTER_M + clearance, np.cos(start.yaw / 2), 0.0, 0.0, np.sin(start.yaw / 2)]
    )
