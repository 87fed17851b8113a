"""Toy kitchens as data: where counter, sink and stove are, what they look like, where the cameras stand. Frame: the robot's base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from robot_pt.errors import UserError
from robot_pt.targets import Limits
from robot_pt_sim.kitchen.things import Colour, Point

COUNTER_M = -0.02
"""Height of every counter top [m]."""
LIMITS = Limits(low=(0.10, -0.15, -0.10, -0.8, -0.8, -1.9), high=(0.45, 0.25, 0.25, 0.8, 0.8, 1.9))
"""BridgeData's workspace (sources.md); its tools hardly roll or pitch."""


class Box(NamedTuple):
    """An upright rectangle seen from above [m]."""

    x: tuple[float, float]
    y: tuple[float, float]

    @property
    def centre(self) -> tuple[float, float]:
        return (self.x[0] + self.x[1]) / 2, (self.y[0] + self.y[1]) / 2


class Texture(NamedTuple):
    """MuJoCo's builtin."""

    kind: str
    """flat | checker | gradient."""
    first: Colour
    second: Colour
    repeat: float = 6.0


class Light(NamedTuple):
    position: Point
    brightness: float


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One kitchen."""

    counter: Texture
    wall: Texture
    cabinet: Colour
    sink: Box
    stove: Box
    free: Box
    """Where on the counter the middle of what is moved, and of where it goes, starts."""
    unit_y: float
    """Where a drawer, a cabinet or a tap stands, if the task has one: to the left of the robot's middle [m]."""
    lights: tuple[Light, ...]
    primary: tuple[Point, Point]
    """Over the robot's shoulder: where the camera stands and what it looks at."""
    secondary: tuple[Point, Point]
    sink_colour: Colour = (0.70, 0.72, 0.74)


_SUN, _LAMP = Light((0.3, -0.4, 1.4), 0.50), Light((-0.2, 0.5, 1.1), 0.35)
_WOOD = Texture("checker", (0.66, 0.48, 0.30), (0.60, 0.43, 0.26), 8)
_STONE = Texture("checker", (0.52, 0.52, 0.54), (0.47, 0.47, 0.50), 20)
_WHITE = Texture("flat", (0.86, 0.85, 0.82), (0.86, 0.85, 0.82))
_TILES = Texture("checker", (0.90, 0.92, 0.93), (0.55, 0.72, 0.78), 10)
_LEFT, _RIGHT = Box((0.19, 0.38), (0.10, 0.24)), Box((0.19, 0.38), (-0.15, -0.02))
_SHOULDER = ((-0.02, -0.30, 0.48), (0.29, 0.04, 0.0))
_OTHER_SHOULDER = ((-0.03, 0.36, 0.46), (0.29, 0.04, 0.0))
_SIDE, _OTHER_SIDE = ((0.32, -0.52, 0.30), (0.29, 0.04, 0.0)), ((0.34, 0.60, 0.28), (0.29, 0.04, 0.0))

LAYOUTS: Mapping[int, Layout] = {
    1: Layout(
        counter=_WOOD, wall=_WHITE, unit_y=0.15, cabinet=(0.55, 0.36, 0.20), sink=_LEFT, stove=Box((0.37, 0.47), (-0.12, 0.06)),
        free=Box((0.19, 0.36), (-0.13, 0.08)), lights=(_SUN, _LAMP), primary=_SHOULDER, secondary=_OTHER_SIDE,
    ),
    2: Layout(
        counter=_STONE, wall=_TILES, unit_y=-0.06, cabinet=(0.88, 0.88, 0.86), sink=_RIGHT, stove=Box((0.37, 0.47), (0.04, 0.22)),
        free=Box((0.19, 0.36), (0.01, 0.22)), lights=(Light((-0.2, 0.5, 1.1), 0.60),), primary=_OTHER_SHOULDER, secondary=_SIDE,
    ),
    3: Layout(
        counter=Texture("flat", (0.80, 0.78, 0.72), (0.8, 0.8, 0.8)), wall=Texture("gradient", (0.45, 0.60, 0.75), (0.85, 0.90, 0.95)),
        unit_y=0.12, cabinet=(0.25, 0.38, 0.55), sink=Box((0.20, 0.36), (0.12, 0.24)), stove=Box((0.37, 0.47), (-0.14, 0.02)),
        free=Box((0.18, 0.36), (-0.14, 0.09)), lights=(Light((0.3, -0.4, 1.4), 0.75),), primary=((-0.05, -0.22, 0.52), (0.30, 0.04, 0.0)), secondary=_OTHER_SIDE,
    ),
    4: Layout(
        counter=Texture("flat", (0.23, 0.24, 0.26), (0.2, 0.2, 0.2)), wall=_WHITE, unit_y=0.20, cabinet=(0.70, 0.20, 0.18), sink=_LEFT,
        stove=Box((0.37, 0.47), (-0.05, 0.12)), free=Box((0.20, 0.36), (-0.14, 0.08)), lights=(_SUN, _LAMP),
        primary=_SHOULDER, secondary=_SIDE, sink_colour=(0.85, 0.86, 0.88),
    ),
    5: Layout(
        counter=Texture("checker", (0.84, 0.76, 0.62), (0.78, 0.69, 0.54), 14), wall=Texture("flat", (0.62, 0.74, 0.58), (0.6, 0.7, 0.6)),
        unit_y=-0.06, cabinet=(0.93, 0.90, 0.80), sink=_RIGHT, stove=Box((0.37, 0.47), (0.02, 0.20)), free=Box((0.19, 0.36), (0.01, 0.23)),
        lights=(_SUN, Light((0.6, 0.3, 1.2), 0.4)), primary=((-0.08, 0.28, 0.50), (0.30, 0.05, 0.0)), secondary=_SIDE,
    ),
    6: Layout(
        counter=Texture("checker", (0.75, 0.83, 0.86), (0.66, 0.75, 0.80), 10), wall=Texture("checker", (0.85, 0.55, 0.50), (0.93, 0.88, 0.80), 8),
        unit_y=-0.02, cabinet=(0.45, 0.47, 0.50), sink=Box((0.20, 0.36), (-0.15, -0.03)), stove=Box((0.37, 0.47), (0.06, 0.24)),
        free=Box((0.18, 0.36), (0.00, 0.22)), lights=(Light((0.1, 0.1, 1.6), 0.6),), primary=_OTHER_SHOULDER,
        secondary=_SIDE, sink_colour=(0.30, 0.31, 0.33),
    ),
}  # fmt: skip


def find_layout(scene: int) -> Layout:
    """Raises UserError with the known scenes."""
    if scene not in LAYOUTS:
        raise no_scene(str(scene))
    return LAYOUTS[scene]


def no_scene(said: str) -> UserError:
    """With the known scenes."""
    return UserError(f"there is no scene {said}; choose one of: {', '.join(map(str, LAYOUTS))}.")
