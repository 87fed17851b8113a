"""What lies about in a toy kitchen, as data: primitive shapes, mass, colours, where to grip it and what fits in or on it.

Sizes are those of toy food and toddlers' kitchenware, small enough for the WidowX's fingers, which open 45 mm. Every thing's frame is
at its lowest point's height below its middle: it stands on a table top when its frame is in that plane.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

Colour = tuple[float, float, float]
Point = tuple[float, float, float]


class Part(NamedTuple):
    """One primitive in the frame of its thing."""

    shape: str
    """box | capsule | cylinder | ellipsoid: MuJoCo's, with MuJoCo's half sizes."""
    size: tuple[float, ...]  # [m]
    position: Point  # [m]
    colour: Colour
    rpy: Point = (0.0, 0.0, 0.0)  # [rad]


class Hold(NamedTuple):
    """How two fingers take it, in the frame of the thing."""

    at: Point
    """Between the fingertips [m]."""
    yaw: float = 0.0
    """Of the tool: fingers close along its y [rad]."""
    period: float = np.pi
    """The tool may be turned by multiples of this [rad]; 0: any yaw."""
    along: float = 0.0
    """It may be taken so far to either side along x, too [m]."""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One kind of free body."""

    name: str
    parts: tuple[Part, ...]
    mass_kg: float
    hold: Hold
    radius_m: float
    """Of the circle it is in, seen from above."""
    height_m: float
    opening_m: float = 0.0
    """Receptacles: radius around the frame's axis in which something counts as in or on it."""
    floor_m: float = 0.0
    """Receptacles: height of what is in or on it."""
    friction: float = 0.8
    words: str = field(default="")
    """In an instruction; the name where empty."""

    @property
    def noun(self) -> str:
        return self.words or self.name.replace("-", " ")


LID_REST_M = 0.006
"""A lid on a pot hangs so far below its rim [m]."""
_GREEN, _WOOD = (0.20, 0.50, 0.15), (0.62, 0.42, 0.22)
_ALONG_X: Point = (0.0, np.pi / 2, 0.0)


def _stick(name: str, colour: Colour, radius: float, half: float, tip: Colour | None, mass: float) -> Thing:
    """A lying capsule along x, with a cap of another colour at one end; flat sides below keep it from rolling away."""
    parts = [
        Part("capsule", (radius, half), (0, 0, radius), colour, _ALONG_X),
        Part("box", (half, radius * 0.55, radius * 0.25), (0, 0, radius * 0.25), colour),
    ]
    if tip is not None:
        parts.append(Part("cylinder", (radius * 0.6, 0.008), (half + radius + 0.006, 0, radius), tip, _ALONG_X))
    return Thing(
        name=name, parts=tuple(parts), mass_kg=mass, hold=Hold((0, 0, radius), along=0.2 * half),
        radius_m=half + radius + (0.014 if tip else 0.0), height_m=2 * radius,
    )  # fmt: skip


def _arc(name: str, colour: Colour, radius: float, mass: float) -> Thing:
    """Three capsules in a bow."""
    half, bend = 0.020, 0.5
    reach = half * (1 + np.cos(bend))
    parts = (
        Part("capsule", (radius, half), (0, 0, radius), colour, _ALONG_X),
        Part("capsule", (radius * 0.9, half), (reach, half * np.sin(bend), radius), colour, (0, np.pi / 2, bend)),
        Part("capsule", (radius * 0.9, half), (-reach, half * np.sin(bend), radius), colour, (0, np.pi / 2, -bend)),
        Part("box", (half, radius * 0.55, radius * 0.25), (0, 0, radius * 0.25), colour),
    )
    return Thing(
        name=name,
        parts=parts,
        mass_kg=mass,
        hold=Hold((0, 0, radius), along=0.004),
        radius_m=2 * reach,
        height_m=2 * radius,
    )


def _round(name: str, colour: Colour, half: Point, mass: float, cap: Colour | None = None) -> Thing:
    """An ellipsoid on a flat foot."""
    parts = [
        Part("ellipsoid", half, (0, 0, half[2]), colour),
        Part("box", (half[0] * 0.5, half[1] * 0.5, 0.002), (0, 0, 0.002), colour),
    ]
    if cap is not None:
        parts.append(Part("cylinder", (half[1] * 0.4, 0.003), (0, 0, 2 * half[2]), cap))
    period = 0.0 if half[0] == half[1] else np.pi
    return Thing(
        name=name, parts=tuple(parts), mass_kg=mass, hold=Hold((0, 0, half[2]), period=period), radius_m=max(half[:2]),
        height_m=2 * half[2],
    )  # fmt: skip


def _slab(name: str, colour: Colour, half: Point, mass: float, *more: Part) -> Thing:
    parts = (Part("box", half, (0, 0, half[2]), colour), *more)
    return Thing(
        name=name, parts=parts, mass_kg=mass, hold=Hold((0, 0, half[2]), along=0.2 * half[0]), radius_m=float(max(np.hypot(*half[:2]), *(part.position[0] + part.size[0] for part in more), 0.0)),
        height_m=2 * half[2],
    )  # fmt: skip


def _wall(radius: float, low: float, high: float, colour: Colour, sides: int = 10, thick: float = 0.0025) -> list[Part]:
    """A ring of boxes around the z axis between two heights [m]; `radius` is that of its middle."""
    half = radius * np.tan(np.pi / sides) + thick / 2
    turns = 2 * np.pi * np.arange(sides) / sides
    return [
        Part(
            "box", (thick, half, (high - low) / 2), (radius * np.cos(a), radius * np.sin(a), (low + high) / 2), colour, (0, 0, a)
        )
        for a in turns
    ]  # fmt: skip


def _vessel(name: str, colour: Colour, radius: float, height: float, mass: float, handle: bool = False) -> Thing:
    """A disc with a wall; taken by its rim, at -x, or by a handle there."""
    floor = 0.004
    parts = [Part("cylinder", (radius, floor / 2), (0, 0, floor / 2), colour), *_wall(radius, floor, height, colour)]
    hold = Hold((-radius, 0, height - 0.008), yaw=np.pi / 2, period=0.0 if not handle else 2 * np.pi)
    if handle:
        parts.append(Part("box", (0.030, 0.008, 0.006), (-radius - 0.028, 0, height - 0.006), (0.1, 0.1, 0.1)))
        hold = Hold((-radius - 0.036, 0, height - 0.006), period=2 * np.pi)
    return Thing(
        name=name, parts=tuple(parts), mass_kg=mass, hold=hold, radius_m=radius + (0.058 if handle else 0.003),
        height_m=height, opening_m=radius, floor_m=floor,
    )  # fmt: skip


def _plate(name: str, colour: Colour, radius: float) -> Thing:
    parts = (
        Part("cylinder", (radius * 0.8, 0.003), (0, 0, 0.003), colour),
        *_wall(radius * 0.9, 0.003, 0.009, colour, thick=radius * 0.1),
    )
    return Thing(
        name=name, parts=parts, mass_kg=0.08, hold=Hold((-radius, 0, 0.006), yaw=np.pi / 2, period=0.0), radius_m=radius,
        height_m=0.009, opening_m=radius, floor_m=0.006,
    )  # fmt: skip


def _board(name: str, colour: Colour, half: Point) -> Thing:
    thing = _slab(name, colour, half, 0.10)
    return Thing(**{**thing.__dict__, "opening_m": min(half[:2]), "floor_m": 2 * half[2]})


def _lid(name: str, colour: Colour, radius: float) -> Thing:
    """A disc that lies on a pot's rim, with a rim of its own inside and a knob."""
    parts = (
        Part("cylinder", (radius, 0.003), (0, 0, LID_REST_M + 0.003), colour),
        *_wall(radius - 0.018, 0.0, LID_REST_M, colour, sides=8),
        Part("box", (0.010, 0.007, 0.011), (0, 0, 0.023), (0.08, 0.08, 0.08)),
    )
    return Thing(
        name=name, parts=parts, mass_kg=0.05, hold=Hold((0, 0, 0.027)), radius_m=radius, height_m=0.034, friction=0.6
    )


_STEEL = (0.62, 0.64, 0.67)
THINGS: Mapping[str, Thing] = {
    thing.name: thing
    for thing in (
        _stick("carrot", (0.93, 0.42, 0.06), 0.012, 0.036, _GREEN, 0.035),
        _stick("cucumber", (0.13, 0.40, 0.12), 0.014, 0.040, None, 0.045),
        _stick("corn", (0.95, 0.80, 0.18), 0.015, 0.030, _GREEN, 0.045),
        _stick("eggplant", (0.28, 0.08, 0.35), 0.017, 0.022, _GREEN, 0.045),
        _stick("hot-dog", (0.72, 0.25, 0.16), 0.012, 0.030, None, 0.035),
        _arc("banana", (0.95, 0.83, 0.15), 0.012, 0.040),
        _arc("croissant", (0.80, 0.55, 0.25), 0.014, 0.030),
        _round("lemon", (0.97, 0.88, 0.20), (0.022, 0.017, 0.017), 0.030),
        _round("strawberry", (0.85, 0.10, 0.14), (0.016, 0.016, 0.017), 0.020, _GREEN),
        _round("potato", (0.66, 0.50, 0.30), (0.030, 0.018, 0.016), 0.040),
        _round("mushroom", (0.90, 0.84, 0.74), (0.018, 0.018, 0.016), 0.020),
        _round("egg", (0.95, 0.93, 0.88), (0.020, 0.016, 0.016), 0.025),
        _slab("sponge", (0.95, 0.85, 0.30), (0.034, 0.017, 0.012), 0.015, Part("box", (0.034, 0.017, 0.003), (0, 0, 0.026), _GREEN)),
        _slab("cheese", (0.97, 0.75, 0.20), (0.022, 0.015, 0.014), 0.030),
        _slab("butter", (0.98, 0.93, 0.62), (0.030, 0.014, 0.013), 0.040),
        _slab("cloth", (0.25, 0.45, 0.75), (0.030, 0.017, 0.009), 0.015),
        _slab("spoon", _STEEL, (0.045, 0.005, 0.006), 0.025, Part("ellipsoid", (0.017, 0.013, 0.006), (0.058, 0, 0.006), _STEEL)),
        _slab("knife", (0.12, 0.12, 0.13), (0.030, 0.007, 0.007), 0.025, Part("box", (0.030, 0.006, 0.002), (0.058, 0, 0.007), _STEEL)),
        Thing(
            name="can", parts=(Part("cylinder", (0.016, 0.021), (0, 0, 0.021), (0.75, 0.12, 0.12)),), mass_kg=0.045,
            hold=Hold((0, 0, 0.024), period=0.0), radius_m=0.016, height_m=0.042,
        ),
        Thing(
            name="cup", parts=(Part("cylinder", (0.016, 0.002), (0, 0, 0.002), (0.20, 0.55, 0.75)), *_wall(0.0165, 0.002, 0.042, (0.20, 0.55, 0.75), 8, 0.0018)),
            mass_kg=0.030, hold=Hold((0, 0, 0.026), period=0.0), radius_m=0.020, height_m=0.042,
        ),
        _plate("plate", (0.90, 0.90, 0.92), 0.062),
        _vessel("bowl", (0.85, 0.30, 0.25), 0.054, 0.034, 0.07),
        _vessel("pot", (0.55, 0.57, 0.60), 0.056, 0.046, 0.12, handle=True),
        _vessel("pan", (0.18, 0.18, 0.20), 0.058, 0.020, 0.12, handle=True),
        _board("cutting-board", _WOOD, (0.070, 0.055, 0.006)),
        _lid("lid", (0.50, 0.52, 0.56), 0.060),
    )
}  # fmt: skip
