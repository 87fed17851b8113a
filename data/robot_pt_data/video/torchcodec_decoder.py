"""Frames through torchcodec, where it is installed beside an FFmpeg it can load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robot_pt.errors import DataError, MissingExtraError
from robot_pt.schema import Image
from robot_pt_data.video.decoders import damaged
from robot_pt_data.video.index import HALF, VideoIndex


class TorchcodecDecoder:
    """See `decoders.Decoder`. Raises DataError where torchcodec cannot read the file or counts its frames otherwise."""

    def __init__(self, path: Path, index: VideoIndex, threads: int = 1):
        self._path, self._index = path, index
        try:
            from torchcodec.decoders import VideoDecoder  # type: ignore[import-not-found]
        except (ImportError, RuntimeError, OSError):  # it loads FFmpeg's libraries when imported
            raise MissingExtraError("torchcodec with its FFmpeg", "video", "The torchcodec backend") from None
        try:
            self._decoder: Any = VideoDecoder(
                str(path), dimension_order="NHWC", num_ffmpeg_threads=threads, seek_mode="exact"
            )
        except (RuntimeError, ValueError) as error:
            raise DataError(f"torchcodec cannot open {path} ({_first(error)}); use the pyav backend.") from None
        if len(self._decoder) != len(index):
            raise DataError(
                f"torchcodec finds {len(self._decoder)} frames in {path} where there are {len(index)}; use the pyav backend."
            )

    def frames(self, numbers: Sequence[int]) -> Iterator[tuple[int, Image]]:
        if not numbers:
            return
        try:
            batch = self._decoder.get_frames_at(list(numbers))
        except (RuntimeError, ValueError, IndexError) as error:
            raise self._damaged(numbers[0], _first(error)) from None
        shown_s = np.asarray(batch.pts_seconds, np.float64)
        off = np.abs(shown_s - self._index.times_s[list(numbers)])
        if (off > HALF / self._index.fps).any():
            raise self._damaged(
                numbers[int(np.argmax(off))], f"torchcodec gives the one at {shown_s[np.argmax(off)]:.3f} s"
            )
        for number, image in zip(numbers, batch.data.numpy(), strict=True):
            yield number, self._as_coded(image)

    def close(self) -> None:
        self._decoder = None

    def _as_coded(self, image: Image) -> Image:
        """Undo the turn that torchcodec has done itself (0.11 and later do), told by the sides; half turns are left as asked for."""
        turned = self._index.rotation % 180 and image.shape[:2] == self._index.stored[::-1]
        return np.rot90(image, -self._index.rotation // 90) if turned else image

    def _damaged(self, number: int, why: str) -> DataError:
        return damaged(self._path, number, float(self._index.times_s[number]), why)


def _first(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
