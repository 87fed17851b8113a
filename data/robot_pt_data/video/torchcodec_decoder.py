"""Frames through torchcodec, where it is installed beside an FFmpeg it can load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robot_pt.errors import DataError
from robot_pt.schema import Image
from robot_pt_data.video.decoders import Put, damaged, no_torchcodec
from robot_pt_data.video.index import VideoIndex


class TorchcodecDecoder:
    """See `decoders.Decoder`. Raises DataError where torchcodec cannot read the file or counts its frames otherwise."""

    def __init__(self, path: Path, index: VideoIndex, threads: int = 1):
        self._path, self._index = path, index
        try:
            from torchcodec.decoders import VideoDecoder  # type: ignore[import-not-found]
        except (ImportError, RuntimeError, OSError):  # it loads FFmpeg's libraries when imported
            raise no_torchcodec() from None
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

        if index.mirrored:  # releases differ in what they make of it
            raise DataError(f"{path} is to be shown mirrored, which torchcodec is not asked for; use the pyav backend.")

    def read(self, numbers: Sequence[int], put: Put) -> None:
        if not numbers:
            return
        try:
            batch = self._decoder.get_frames_at(list(numbers))
        except (RuntimeError, ValueError, IndexError) as error:
            raise self._damaged(numbers[0], _first(error)) from None
        shown_s = np.asarray(batch.pts_seconds, np.float64)
        off = np.abs(shown_s - self._index.times_s[list(numbers)])
        if (off > self._index.half_s).any():
            raise self._damaged(
                numbers[int(np.argmax(off))], f"torchcodec gives the one at {shown_s[np.argmax(off)]:.3f} s"
            )
        for number, image in zip(numbers, batch.data.numpy(), strict=True):
            put(number, self._as_coded(image))

    def close(self) -> None:
        self._decoder = None

    def _as_coded(self, image: Image) -> Image:
        """Undo the turn that torchcodec does itself where its metadata tell of it (older releases do neither)."""
        turned = getattr(self._decoder.metadata, "rotation", None)
        return np.rot90(image, -self._index.rotation // 90) if turned else image

    def _damaged(self, number: int, why: str) -> DataError:
        return damaged(self._path, number, float(self._index.times_s[number]), why)


def _first(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
