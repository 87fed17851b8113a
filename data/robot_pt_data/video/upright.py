"""From a frame as it is coded to the picture a viewer sees: turned upright, unmirrored, pixels square, cut and resized to one size."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Literal

import numpy as np

from robot_pt.images import resize
from robot_pt.schema import Image
from robot_pt_data.video.index import VideoIndex

Fit = Literal["crop", "squeeze"]
"""crop: the largest centred part with the sides of the target; squeeze: the whole picture, as robot cameras are resized."""


def picture(frame: Image, index: VideoIndex, size: tuple[int, int], fit: Fit = "crop") -> Image:
    """(H, W, 3) uint8 as coded -> (*size, 3) uint8 upright."""
    aspect = index.sample_aspect
    if index.rotation:
        frame = np.rot90(frame, index.rotation // 90)
        aspect = 1 / aspect if index.rotation % 180 else aspect
    if index.mirrored:
        frame = frame[:, ::-1]
    if fit == "crop":
        rows, columns = _centre(frame.shape[0], frame.shape[1], aspect.as_integer_ratio(), size)
        frame = frame[rows, columns]
    return resize(np.ascontiguousarray(frame), size)


@lru_cache(maxsize=1024)
def _centre(height: int, width: int, ratio: tuple[int, int], size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the largest centred part with the shape of `size`; `ratio` is how wide pixels are to how high.

    A pair, since hashing a fraction for the cache takes longer than copying a row of pixels.
    """
    aspect = Fraction(*ratio)
    # cross-multiplied, so that equal shapes leave the frame whole whatever they round to
    shown, wanted = width * aspect * size[0], height * size[1]
    if shown > wanted:
        kept = max(1, round(wanted / (aspect * size[0])))
        return slice(None), slice((width - kept) // 2, (width - kept) // 2 + kept)
    kept = max(1, round(shown / size[1]))
    return slice((height - kept) // 2, (height - kept) // 2 + kept), slice(None)
