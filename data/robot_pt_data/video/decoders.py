"""What a decoder of one open file is, and the ones there are: PyAV, torchcodec and OpenCV behind one interface.

All three find frames by the same `VideoIndex`, so that a frame number means the same frame to each, and say so when they
cannot give exactly that frame.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

from robot_pt.errors import DataError, MissingExtraError, UserError
from robot_pt.schema import Image
from robot_pt_data.video.index import VideoIndex

Backend = Literal["auto", "pyav", "torchcodec", "opencv"]

Put = Callable[[int, Image], None]
"""(number, (H, W, 3) uint8 RGB as coded, not yet upright), called while the frame is there."""

PREFERRED = ("pyav", "torchcodec", "opencv")
"""What "auto" takes, the first that is installed: PyAV was the fastest (benchmarks/README.md, section Video)."""

_PACKAGES = {"pyav": "av", "torchcodec": "torchcodec", "opencv": "cv2"}


class Decoder(Protocol):
    """One open file, for one thread at a time."""

    def read(self, numbers: Sequence[int], put: Put) -> None:
        """Call `put` once with each of `numbers`, which ascend strictly, and its frame, which is only lent.

        Raises DataError where a frame cannot be decoded; the decoder can be used again afterwards.
        """
        ...

    def close(self) -> None: ...


def backend(wanted: Backend) -> str:
    """The name of the backend to use. Raises DataError on an unknown one, UserError on one that is not installed."""
    if wanted != "auto" and wanted not in PREFERRED:
        raise DataError(f"the video backend is {wanted!r}; choose auto, pyav, torchcodec or opencv.")
    for name in PREFERRED if wanted == "auto" else (wanted,):
        if importlib.util.find_spec(_PACKAGES[name]) is not None:
            return name
    if wanted == "torchcodec":
        raise no_torchcodec()
    raise MissingExtraError("PyAV", "video", "Decoding videos")


def opener(name: str) -> Callable[[Path, VideoIndex, int], Decoder]:
    """(path, index, decoding threads) -> an open decoder of the backend called `name`."""
    if name == "pyav":
        from robot_pt_data.video.pyav_decoder import PyAvDecoder

        return PyAvDecoder
    if name == "torchcodec":
        from robot_pt_data.video.torchcodec_decoder import TorchcodecDecoder

        return TorchcodecDecoder
    from robot_pt_data.video.opencv_decoder import OpenCvDecoder

    return OpenCvDecoder


def no_torchcodec() -> UserError:
    """The sentence about torchcodec where it cannot be used; no extra brings it, since it must fit torch and FFmpeg."""
    return UserError(
        "the video backend torchcodec is not installed or finds no FFmpeg; install the torchcodec that fits your torch, and FFmpeg, or use pyav."
    )


def damaged(path: Path, number: int, time_s: float, why: str) -> DataError:
    """The sentence about a frame that cannot be had."""
    return DataError(
        f"frame {number} of {path} (at {time_s:.3f} s) cannot be decoded ({why}); fetch the file again, or leave it out with skip_corrupt (--skip-corrupt)."
    )
