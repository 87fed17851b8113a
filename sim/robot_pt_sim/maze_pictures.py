"""A maze seen from above: dark walls, black pits, a green goal, a red point."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from robot_pt.schema import Image

FLOOR, WALL, PIT, GOAL, POINT = (225, 225, 220), (45, 50, 60), (0, 0, 0), (60, 160, 70), (200, 40, 40)  # RGB
GOAL_SHOWN_M, POINT_SHOWN_M = 0.4, 0.25
_SUBPIXEL_BITS = 6


def draw(rows: tuple[str, ...], position: NDArray[np.float64], size: tuple[int, int]) -> Image:
    """(H, W, 3) uint8 RGB of the whole maze with the point at `position` (2,) [m]; `size` = (H, W) [px]."""
    picture = _empty(rows, size).copy()
    _disc(picture, rows, position, POINT_SHOWN_M, POINT)
    return picture


@lru_cache(maxsize=8)
def _empty(rows: tuple[str, ...], size: tuple[int, int]) -> Image:
    """The maze without a point; cell edges fall on whole pixels, so the walls are where they are."""
    cells = np.array([[{"#": WALL, "x": PIT}.get(cell, FLOOR) for cell in row] for row in rows], np.uint8)
    picture: Image = cv2.resize(cells, size[::-1], interpolation=cv2.INTER_NEAREST)
    down = next(j for j, row in enumerate(rows) if "G" in row)
    goal = np.array([rows[down].index("G") + 0.5, len(rows) - down - 0.5])
    _disc(picture, rows, goal, GOAL_SHOWN_M, GOAL)
    return picture


def _disc(
    picture: Image, rows: tuple[str, ...], position: NDArray[np.float64], radius_m: float, colour: tuple[int, int, int]
) -> None:
    """A filled ellipse in place, smooth and with subpixel position: small steps are to be seen."""
    height, width = picture.shape[:2]
    pixels_per_m = np.array([width / len(rows[0]), height / len(rows)])
    column, row = position[0] * pixels_per_m[0] - 0.5, (len(rows) - position[1]) * pixels_per_m[1] - 0.5
    scale = 1 << _SUBPIXEL_BITS
    centre = (round(column * scale), round(row * scale))
    axes = tuple(max(scale, round(float(r) * scale)) for r in radius_m * pixels_per_m)
    cv2.ellipse(picture, centre, axes, 0, 0, 360, colour, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)
