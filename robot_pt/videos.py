"""Rollouts as MP4: H.264 in yuv420p, which every browser plays, enlarged without smoothing so that 64 x 64 can be watched.

Needs PyAV, the `video` extra. Frames are (T, H, W, 3) uint8 RGB.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from robot_pt.errors import DataError, MissingExtraError
from robot_pt.results import EpisodeResult
from robot_pt.schema import Image

SUCCESS_RGB = (0, 158, 115)  # bluish green and vermillion of Okabe and Ito: told apart with any colour vision
FAILURE_RGB = (213, 94, 0)
PAPER = 24  # grey level between the clips of a grid


class ClipWriter:
    """Observer for `evaluate`: writes ``seed-N.mp4`` of every result that carries frames, as it ends."""

    def __init__(self, folder: Path, fps: float = 10.0):
        self._folder, self._fps = folder, fps

    def __call__(self, result: EpisodeResult) -> None:
        if result.frames is not None:
            write_mp4(clip_path(self._folder, result.seed), enlarge(result.frames), self._fps)


def clip_path(folder: Path, seed: int) -> Path:
    """Where `ClipWriter` puts the clip of an episode."""
    return folder / f"seed-{seed}.mp4"


def write_mp4(path: Path, frames: Image, fps: float = 10.0, quality: int = 26) -> None:
    """Write `frames` to `path`, whole or not at all; odd heights and widths lose their last row or column.

    Args:
        quality: x264's constant rate factor, 0 (lossless) to 51.
    Raises:
        DataError: frames of another shape or type, or none.
        MissingExtraError: without PyAV.
    """
    _check(frames)
    if not fps > 0:
        raise DataError(f"a video needs a frame rate above 0; it was given {fps}.")
    av = _av()
    frames = np.ascontiguousarray(frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2])
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with av.open(str(part), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1  # same bytes on every machine
        stream.options = {"crf": str(quality), "preset": "fast"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    os.replace(part, path)


def enlarge(frames: Image, side: int = 192) -> Image:
    """Repeat pixels by the whole factor, at least 1, that brings the longer side nearest to `side`."""
    _check(frames)
    factor = max(1, round(side / max(frames.shape[1:3])))
    return frames.repeat(factor, axis=1).repeat(factor, axis=2)


def bordered(frames: Image, success: bool, width: int = 6) -> Image:
    """A border in the outcome's colour around every frame; failures carry a diagonal notch in the corner as well."""
    _check(frames)
    out = np.pad(frames, ((0, 0), (width, width), (width, width), (0, 0)))
    colour = SUCCESS_RGB if success else FAILURE_RGB
    frame = np.ones(out.shape[1:3], bool)
    frame[width:-width, width:-width] = False
    if not success:
        rows, columns = np.indices(frame.shape)
        frame |= rows + columns < 5 * width
    out[:, frame] = colour
    return out


def grid(clips: Sequence[Image], successes: Sequence[bool], columns: int = 4, gap: int = 4) -> Image:
    """All clips side by side, in reading order, each with its outcome's border; short ones hold their last frame.

    Raises DataError on no clips, unequal frame sizes, or as many outcomes as clips not given.
    """
    if not clips or len(clips) != len(successes):
        raise DataError(
            f"a grid needs one outcome per clip; it was given {len(clips)} clips and {len(successes)} outcomes."
        )
    if len({c.shape[1:] for c in clips}) > 1:
        raise DataError(f"the clips of a grid need one frame size; these have {sorted({c.shape[1:3] for c in clips})}.")
    cells = [bordered(c, s) for c, s in zip(clips, successes, strict=True)]
    height, width = cells[0].shape[1:3]
    columns = min(columns, len(cells))
    rows = -(-len(cells) // columns)
    steps = max(len(c) for c in cells)
    shape = (steps, rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    out = np.full(shape, PAPER, np.uint8)
    for i, cell in enumerate(cells):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        out[: len(cell), top : top + height, left : left + width] = cell
        out[len(cell) :, top : top + height, left : left + width] = cell[-1]
    return out


def _check(frames: Image) -> None:
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not all(frames.shape):
        raise DataError(f"a video needs (T, H, W, 3) uint8 frames, T >= 1; it was given {frames.shape} {frames.dtype}.")


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("PyAV", "video", "writing MP4 videos") from error
    return av
