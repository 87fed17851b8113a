"""Where frames come from: a device, a network stream, a video file, a folder of pictures. No ROS here."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import UserError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
STREAMS = ("rtsp://", "rtsps://", "http://", "https://", "udp://", "tcp://")
STREAM_TIMEOUT_MS = 5000
OLDEST_CAPTURE_S = 1.0
"""A driver's own stamp that is older is of another clock."""

Rgb = NDArray[np.uint8]


class Wanted(NamedTuple):
    """What is asked of a source; 0 and "" leave it to the source."""

    height: int = 0
    width: int = 0
    rate_hz: float = 0.0
    fourcc: str = ""
    loop: bool = True


class Captured(NamedTuple):
    """One frame."""

    at_s: float
    """time.monotonic() when the light hit the sensor, as far as the driver tells; else when the frame came."""
    rgb: Rgb  # (H, W, 3)


class Source(Protocol):
    """Frames one after the other.

    Attributes:
        period_s: of a file, by which it is played; None for what sets its own pace.
    """

    period_s: float | None

    def read(self) -> Captured | None:
        """Wait for the next frame; None where there is none any more."""
        ...

    def close(self) -> None: ...


def open_source(text: str, wanted: Wanted) -> Callable[[], Source]:
    """What opens the source, again after it went away; raises UserError where it can be told at once that it never will.

    Args:
        text: "/dev/video0", "0", a stream's address, a video file or a folder of pictures.
    """
    if not text:
        raise UserError("source is empty; give a device such as /dev/video0, a file, a folder or a stream's address.")
    if text.startswith(STREAMS):
        return lambda: Capture(text, wanted, live=True)
    device = f"/dev/video{text}" if text.isdecimal() else text
    if device.startswith("/dev/"):
        return lambda: Capture(_present(device), wanted, live=True)
    path = Path(text).expanduser()
    if not path.exists():
        raise UserError(f"source {text!r} is no file, folder, device or address; check the path.")
    if path.is_dir():
        return lambda: Folder(path, wanted)
    return lambda: Capture(str(path), wanted, live=False)


def _present(device: str) -> str:
    if not os.path.exists(device):
        there = ", ".join(sorted(glob.glob("/dev/video*"))) or "none"
        raise UserError(f"camera {device} is not there (devices: {there}); plug it in or give another source.")
    return device


class Capture:
    """OpenCV's reader of devices, streams and video files. Raises UserError where it cannot be opened."""

    def __init__(self, name: str, wanted: Wanted, *, live: bool):
        self._name, self._loop, self._live = name, wanted.loop and not live, live
        self._capture = self._open(wanted)
        self._own_clock = live and self._capture.getBackendName() == "V4L2"
        rate_hz = wanted.rate_hz or float(self._capture.get(cv2.CAP_PROP_FPS)) or 30.0
        self.period_s: float | None = None if live else 1 / min(max(rate_hz, 0.1), 1000.0)

    def _open(self, wanted: Wanted) -> cv2.VideoCapture:
        if self._name.startswith("/dev/"):
            capture = cv2.VideoCapture(self._name, cv2.CAP_V4L2)
            self._set_up(capture, wanted)
        else:
            limits = [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
                STREAM_TIMEOUT_MS,
                cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                STREAM_TIMEOUT_MS,
            ]
            capture = cv2.VideoCapture(self._name, cv2.CAP_FFMPEG, limits)
        if not capture.isOpened():
            capture.release()
            raise UserError(
                f"camera {self._name} cannot be opened; check that no other program has it and that you may read it."
            )
        return capture

    def _set_up(self, capture: cv2.VideoCapture, wanted: Wanted) -> None:
        """In the order in which drivers want it: the format first. One buffer, for the newest frame."""
        if wanted.fourcc:
            capture.set(cv2.CAP_PROP_FOURCC, float(cv2.VideoWriter.fourcc(*wanted.fourcc)))
        for key, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, wanted.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, wanted.height),
            (cv2.CAP_PROP_FPS, wanted.rate_hz),
            (cv2.CAP_PROP_BUFFERSIZE, 1),
        ):
            if value:
                capture.set(key, float(value))

    def read(self) -> Captured | None:
        grabbed = self._capture.grab()
        if not grabbed and self._loop:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            grabbed = self._capture.grab()
        at_s = time.monotonic() - self._age_s()
        found, bgr = self._capture.retrieve() if grabbed else (False, None)
        if not found or bgr is None:
            return None
        return Captured(at_s, np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8))

    def _age_s(self) -> float:
        """V4L2 stamps a buffer on the monotonic clock when its exposure ends."""
        if not self._own_clock:
            return 0.0
        age_s = time.monotonic() - float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000
        return age_s if 0 <= age_s < OLDEST_CAPTURE_S else 0.0

    def close(self) -> None:
        self._capture.release()


class Folder:
    """Pictures in the order of their names. Raises UserError where there is none, or one cannot be read."""

    def __init__(self, path: Path, wanted: Wanted):
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES)
        if not files:
            raise UserError(f"folder {path} has no pictures ({', '.join(PICTURES)}); give another source.")
        self._files, self._loop, self._next = files, wanted.loop, 0
        self.period_s: float | None = 1 / (wanted.rate_hz or 30.0)

    def read(self) -> Captured | None:
        if self._next == len(self._files):
            if not self._loop:
                return None
            self._next = 0
        file = self._files[self._next]
        self._next += 1
        rgb = cv2.imread(str(file), cv2.IMREAD_COLOR_RGB)
        if rgb is None:
            raise UserError(f"picture {file} cannot be read; remove it or restore it.")
        return Captured(time.monotonic(), np.asarray(rgb, np.uint8))

    def close(self) -> None:
        """Nothing is held open."""
