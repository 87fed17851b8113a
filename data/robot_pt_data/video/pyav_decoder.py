"""Frames through PyAV: seek to the last start before a frame, decode forward, and no further back than needed.

What lies between a start and the frames wanted is decoded only where other frames depend on it, which leaves out half to two
thirds of a usual H.264 file. The frames themselves are told by their time stamps, so nothing is guessed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robot_pt.errors import DataError
from robot_pt.schema import Image
from robot_pt_data.video.container import failures, open_container, packets, pyav, reason, video_stream
from robot_pt_data.video.decoders import Put, damaged
from robot_pt_data.video.index import VideoIndex

_ALL, _NEEDED = "DEFAULT", "NONREF"  # FFmpeg's names for what a decoder leaves out: nothing, frames nothing depends on
_EARLIER_STARTS = 3  # tried for a frame that does not come out


class PyAvDecoder:
    """See `decoders.Decoder`. Raises DataError where the file is no video any more."""

    def __init__(self, path: Path, index: VideoIndex, threads: int = 1):
        self._path, self._index, self._threads = path, index, threads
        self._container = open_container(path)
        self._stream = video_stream(self._container, path, threads)
        self._reformatter = pyav().video.reformatter.VideoReformatter()
        self._packets: Iterator[Any] = iter(())
        self._rank: int | None = None  # of the last packet taken; None: seek first
        self._from_pts = 0  # of the start it came from: frames shown earlier cannot be decoded from there
        self._wanted: dict[int, int] = {}  # PTS -> number of the frames that are still to be put
        self._until = 0  # PTS of the last frame wanted
        self._inside: set[int] = set()  # PTS of frames that are still to come out without another packet
        self._out: deque[Any] = deque()  # frames that came out and were not looked at yet
        self._careful = False  # leave nothing out: this file marks frames as dispensable that are not
        self._last = -1  # number of the last frame of the call before
        self._on = True  # this call reads on where the one before ended, so the next one may too

    def read(self, numbers: Sequence[int], put: Put) -> None:
        self._wanted = {int(self._index.pts[n]): n for n in numbers}
        self._until = max(self._wanted, default=0)
        self._on = bool(numbers) and self._reads_on(numbers[0])
        self._last = numbers[-1] if numbers else self._last
        for number in numbers:
            if int(self._index.pts[number]) not in self._wanted:
                continue  # came out on the way to another
            try:
                self._find(number, put)
            except DataError:
                self._forget()
                raise
            except failures() as error:
                self._forget()
                raise self._damaged(number, reason(error)) from None

    def _reads_on(self, number: int) -> bool:
        """Whether a call that begins with this frame goes on where the one before ended, or begins the file."""
        if self._last < 0:
            return number == 0
        return number > self._last and self._index.keyframe(number) - self._index.keyframe(self._last) <= 1

    def close(self) -> None:
        """Release the file; the codec context goes with the last reference to its stream, which this drops."""
        self._forget()
        container, self._container, self._stream = self._container, None, None
        if container is not None:
            container.close()

    def _find(self, number: int, put: Put) -> None:
        """Decode until `number` came out, together with other wanted frames on the way."""
        if int(self._index.pts[number]) not in self._inside:
            start = self._index.keyframe(number)
            if not self._can_go_on(number, start):
                self._seek(start)
        if self._decode_to(number, put):
            return
        self._careful = True
        start = self._index.keyframe(number)
        for earlier in range(start, max(start - _EARLIER_STARTS, -1), -1):
            self._seek(earlier)
            if self._decode_to(number, put):
                return
        raise self._damaged(number, "it does not come out of the decoder")

    def _can_go_on(self, number: int, start: int) -> bool:
        """Whether the frame is still to come and decoding on from here is the shortest way to it."""
        if self._rank is None or int(self._index.pts[number]) < self._from_pts:
            return False
        return int(self._index.rank[number]) > self._rank and int(self._index.key_rank[start]) <= self._rank + 1

    def _seek(self, start: int) -> None:
        """Take the packet of start number `start`. Seeking lands where the container likes; packets tell where that is."""
        index, stream = self._index, self._stream
        pts, dts = int(index.key_pts[start]), int(index.key_dts[start])
        before, first = int(index.key_dts[max(start - 1, 0)]), int(index.key_dts[0])
        for target in (pts, dts, min(before, dts), min(first, int(index.pts[0]))):
            self._forget()
            self._container.seek(target, stream=stream, backward=True)
            self._packets = packets(self._container, stream)
            for packet in self._packets:
                if packet.is_keyframe and (packet.pts if packet.pts is not None else packet.dts) == pts:
                    self._rank, self._from_pts = int(index.key_rank[start]) - 1, pts
                    self._feed(packet, skip=False)
                    return
                if packet.dts is not None and packet.dts > pts:
                    break  # landed behind it
        raise DataError(
            f"{self._path} has no start any more where its index says; the file has changed: open it again."
        )

    def _decode_to(self, number: int, put: Put) -> bool:
        """Decode until `number` came out (True) or cannot come any more (False)."""
        target = int(self._index.pts[number])
        while True:
            while self._out:
                frame = self._out.popleft()
                self._inside.discard(frame.pts)
                if frame.is_corrupt:
                    raise self._damaged(number, "the file is damaged on the way to it")
                shown = self._wanted.pop(frame.pts, None)
                if shown is not None:
                    put(shown, _pixels(self._reformatter.reformat(frame, format="rgb24", threads=self._threads)))
                if frame.pts == target:
                    return True
                if frame.pts is not None and frame.pts > target:
                    return False
            if self._rank is None:
                return False
            if int(self._index.rank[number]) <= self._rank and self._is_done_here():
                self._drain()  # saves the packets behind the frame, which decoders wait for to be sure of the order
            else:
                self._next()

    def _is_done_here(self) -> bool:
        """Whether what is wanted next is not read on the way from here."""
        following = min(
            (n for n in self._wanted.values() if int(self._index.rank[n]) > (self._rank or 0)), default=None
        )
        if following is None:
            return not self._on
        return not self._can_go_on(following, self._index.keyframe(following))

    def _drain(self) -> None:
        """All that is inside comes out; the next frame needs a seek."""
        self._rank = None
        self._out.extend(self._stream.decode(None))

    def _next(self) -> None:
        assert self._rank is not None
        packet = next(self._packets, None)
        if packet is None:
            self._drain()
        elif packet.pts is not None and packet.pts < self._from_pts:
            self._rank += 1  # hangs on frames before the start
        else:
            # what is shown after the last frame wanted is fed whole: the next call goes on there
            passed = packet.pts is not None and packet.pts < self._until and packet.pts not in self._wanted
            self._feed(packet, skip=passed and not self._careful)

    def _feed(self, packet: Any, skip: bool) -> None:
        assert self._rank is not None
        self._stream.codec_context.skip_frame = _NEEDED if skip else _ALL
        self._rank += 1
        if not skip:
            self._inside.add(packet.pts)
        self._out.extend(packet.decode())

    def _forget(self) -> None:
        self._packets, self._rank = iter(()), None
        self._inside.clear()
        self._out.clear()

    def _damaged(self, number: int, why: str) -> DataError:
        return damaged(self._path, number, float(self._index.times_s[number]), why)


def _pixels(frame: Any) -> Image:
    """(H, W, 3) of an rgb24 frame, in its own memory."""
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(frame.height, plane.line_size)
    return rows[:, : 3 * frame.width].reshape(frame.height, frame.width, 3)
