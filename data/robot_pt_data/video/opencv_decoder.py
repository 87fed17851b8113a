"""Frames through OpenCV, which is always installed. Its seeks are not exact, so every landing is checked by its time stamp."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from robot_pt.errors import DataError
from robot_pt_data.video.decoders import Put, damaged
from robot_pt_data.video.index import VideoIndex

_BACK = (0, 4, 16, 64, 256)  # frames before a start to aim for, one after the other, until a landing is early enough


class OpenCvDecoder:
    """See `decoders.Decoder`. Raises DataError where OpenCV cannot open the file."""

    def __init__(self, path: Path, index: VideoIndex, threads: int = 1):
        self._path, self._index = path, index
        self._options = [int(cv2.CAP_PROP_N_THREADS), threads]
        self._at: int | None = -1  # number of the frame that was grabbed last; None: unknown
        self._capture: Any = None
        self._open()

    def read(self, numbers: Sequence[int], put: Put) -> None:
        for number in numbers:
            try:
                self._go_to(number)
                done, image = self._capture.retrieve()
            except cv2.error as error:
                self._at = None
                raise self._damaged(number, error.err) from None
            if not done:
                self._at = None
                raise self._damaged(number, "OpenCV gives no picture")
            put(number, np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8))

    def close(self) -> None:
        self._capture.release()

    def _open(self) -> None:
        if self._capture is not None:
            self._capture.release()
        self._capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG, self._options)
        if not self._capture.isOpened():
            raise DataError(
                f"{self._path} cannot be opened by OpenCV; install PyAV (pip install 'robot-pt[video]') or transcode the file."
            )
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        self._at = -1

    def _go_to(self, number: int) -> None:
        """Grab frame `number`."""
        first = int(np.searchsorted(self._index.pts, self._index.key_pts[self._index.keyframe(number)]))
        if self._at != number and (self._at is None or not first - 1 <= self._at < number):
            self._land_before(number, first)
        while self._at != number:
            self._at = self._where() if self._capture.grab() else None
            if self._at is None or self._at > number:
                self._at = None
                raise self._damaged(number, "OpenCV passes over it")

    def _land_before(self, number: int, first: int) -> None:
        """Seek to where frame `number` is the one grabbed last or still to come; at worst to the beginning."""
        origin = float(self._index.times_s[0])
        for back in _BACK:
            aim = first - back
            if aim <= 0:
                break
            self._capture.set(cv2.CAP_PROP_POS_MSEC, 1000.0 * (float(self._index.times_s[aim]) - origin))
            self._at = self._where() if self._capture.grab() else None
            if self._at is not None and self._at <= number:
                return
        self._open()

    def _where(self) -> int | None:
        """The number of the frame that was grabbed last, by its time."""
        shown_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000.0 + float(self._index.times_s[0])
        number = int(self._index.nearest(np.array([shown_s]))[0])
        off = abs(float(self._index.times_s[number]) - shown_s)
        return number if off < 0.25 / self._index.fps else None

    def _damaged(self, number: int, why: str) -> DataError:
        return damaged(self._path, number, float(self._index.times_s[number]), why)
