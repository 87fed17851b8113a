"""What in a kitchen moves on a joint: a drawer, a cabinet door, a lever; and where their handles go.

Each stands on the counter as one unit of the same size, its front at `FRONT_M`; a layout says how far to the side. Positions are relative to
the middle of the unit's front, on the counter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from robot_pt.rotations import Array
from robot_pt_sim.kitchen.layouts import COUNTER_M, Box, Layout
from robot_pt_sim.kitchen.things import Colour, Part, Point

FRONT_M, HALF_WIDTH_M, HEIGHT_M = 0.41, 0.055, 0.060
JOINT, HANDLE = "fixture", "handle"
"""Names of the moving body and its joint, and of the site and geoms that a hand takes."""
_DARK: Colour = (0.12, 0.12, 0.13)


@dataclass(frozen=True, kw_only=True)
class Fixture:
    """One joint with a handle."""

    name: str
    slides: bool
    axis: Point
    """Of the joint: a slide moves along it, a hinge turns about it."""
    pivot: Point
    """A point of the hinge's axis [m]."""
    range: tuple[float, float]
    """[m] or [rad]."""
    handle: Point
    """Where a hand takes it at 0 [m]."""
    grasped: bool
    """The fingers close on the handle; else they push it, closed, from the side that they leave behind."""
    yaw: float
    """Of the tool [rad]."""
    still: tuple[Part, ...]
    moving: tuple[Part, ...]
    grip: tuple[Part, ...]
    friction: float
    """Of the joint [N] or [N m]."""

    def handle_at(self, layout: Layout, position: float) -> Array:
        """(3,) [m] the handle in the robot's base frame, with the joint there."""
        origin = np.array([FRONT_M, layout.unit_y, COUNTER_M])
        if self.slides:
            return np.asarray(origin + np.array(self.handle) + position * np.array(self.axis))
        angle = position * self.axis[2]
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        return np.asarray(origin + np.array(self.pivot) + turn @ (np.array(self.handle) - np.array(self.pivot)))


def unit_box(layout: Layout) -> Box:
    """The counter that a unit takes, with the way of its handle."""
    return Box((FRONT_M - 0.13, FRONT_M + 0.11), (layout.unit_y - 0.075, layout.unit_y + 0.075))


def add_fixture(root: Element, world: Element, fixture: Fixture, layout: Layout) -> None:
    """The fixture's bodies, joint and handle."""
    at = f"{FRONT_M:.8g} {layout.unit_y:.8g} {COUNTER_M:.8g}"
    still = SubElement(world, "body", name="unit", pos=at)
    _parts(still, "unit", fixture.still)
    body = SubElement(world, "body", name=JOINT, pos=at)
    SubElement(body, "inertial", pos="0 0 0.03", mass="0.15", diaginertia="2e-4 2e-4 2e-4")
    SubElement(
        body, "joint", name=JOINT, type="slide" if fixture.slides else "hinge", axis=_numbers(fixture.axis),
        pos=_numbers(fixture.pivot), range=_numbers(fixture.range), frictionloss=f"{fixture.friction:g}",
        damping="2" if fixture.slides else "0.02", armature="0.005" if fixture.slides else "0.0005",
    )  # fmt: skip
    _parts(body, JOINT, fixture.moving)
    _parts(body, HANDLE, fixture.grip)
    SubElement(body, "site", name=HANDLE, pos=_numbers(fixture.handle))
    contact = root.find("contact")
    assert contact is not None, "the arm's file has a contact section"
    for other in ("unit", "world"):
        SubElement(contact, "exclude", body1=JOINT, body2=other)


def _parts(body: Element, owner: str, parts: tuple[Part, ...]) -> None:
    for number, part in enumerate(parts):
        SubElement(
            body, "geom", name=f"{owner}:{number}", type=part.shape, size=_numbers(part.size), pos=_numbers(part.position),
            rgba=_numbers((*part.colour, 1.0)), mass="0",
        )  # fmt: skip


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.8g}" for value in values)


_PALE: Colour = (0.80, 0.74, 0.62)
_HOUSING = (
    Part("box", (0.045, 0.003, HEIGHT_M / 2), (0.052, HALF_WIDTH_M + 0.003, HEIGHT_M / 2), _PALE),
    Part("box", (0.045, 0.003, HEIGHT_M / 2), (0.052, -HALF_WIDTH_M - 0.003, HEIGHT_M / 2), _PALE),
    Part("box", (0.045, HALF_WIDTH_M + 0.006, 0.002), (0.052, 0, HEIGHT_M + 0.002), _PALE),
    Part("box", (0.003, HALF_WIDTH_M, HEIGHT_M / 2), (0.094, 0, HEIGHT_M / 2), _PALE),
)
FIXTURES: Mapping[str, Fixture] = {
    one.name: one
    for one in (
        Fixture(
            name="drawer", slides=True, axis=(-1, 0, 0), pivot=(0, 0, 0), range=(0.0, 0.08), handle=(-0.030, 0, 0.046),
            grasped=True, yaw=np.pi / 2, still=_HOUSING, friction=0.4,
            moving=(
                Part("box", (0.004, HALF_WIDTH_M, 0.028), (0, 0, 0.030), (0.72, 0.62, 0.46)),
                Part("box", (0.040, 0.045, 0.003), (0.044, 0, 0.008), _PALE),
            ),
            grip=(
                Part("box", (0.004, 0.030, 0.005), (-0.030, 0, 0.046), _DARK),
                Part("box", (0.013, 0.003, 0.004), (-0.017, 0.027, 0.046), _DARK),
                Part("box", (0.013, 0.003, 0.004), (-0.017, -0.027, 0.046), _DARK),
            ),
        ),
        Fixture(
            name="door", slides=False, axis=(0, 0, -1), pivot=(0, HALF_WIDTH_M, 0), range=(0.0, 1.5),
            handle=(-0.030, -0.040, 0.058), grasped=True, yaw=0.0, still=_HOUSING, friction=0.01,
            moving=(Part("box", (0.004, HALF_WIDTH_M, 0.028), (0, 0, 0.030), (0.45, 0.55, 0.62)),),
            grip=(
                Part("cylinder", (0.006, 0.024), (-0.030, -0.040, 0.046), _DARK),
                Part("box", (0.013, 0.004, 0.003), (-0.016, -0.040, 0.026), _DARK),
            ),
        ),
        Fixture(
            name="lever", slides=False, axis=(0, 0, -1), pivot=(0, 0, 0), range=(-1.2, 1.2), handle=(-0.070, 0, 0.050),
            grasped=False, yaw=0.0, friction=0.02,
            still=(Part("cylinder", (0.012, 0.021), (0, 0, 0.021), (0.62, 0.64, 0.67)),),
            moving=(Part("cylinder", (0.014, 0.007), (0, 0, 0.050), (0.62, 0.64, 0.67)),),
            grip=(Part("box", (0.038, 0.006, 0.006), (-0.045, 0, 0.050), (0.75, 0.12, 0.12)),),
        ),
    )
}  # fmt: skip
