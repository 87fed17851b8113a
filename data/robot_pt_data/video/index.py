"""The index of one video file: when every frame is shown, in which order the file holds them, where decoding can start.

Built by reading the packets once, without decoding more than the first frame. Times come from the presentation time stamps
(PTS) alone, never from a frame rate: files start late, drop frames and change their rate.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import DataError
from robot_pt.schema import Int
from robot_pt_data.video.container import MAX_PIXELS, failures, opened, packets, pyav, reason, video_stream

_CHECKED = (
    64  # packets decoded where a container may have guessed its times, to see that frames come out in their order
)
_LOST_S = 1.0  # a container may promise so much more than its last frame without being called cut off


@dataclass(frozen=True, kw_only=True)
class VideoIndex:
    """n frames in the order they are shown, and k places where decoding can start, in the order the file holds them."""

    pts: Int  # (n,) ascending, in ticks of `time_base`
    rank: Int  # (n,) number of the frame's packet in the file
    key_pts: Int  # (k,)
    key_dts: Int  # (k,)
    key_rank: Int  # (k,) ascending
    time_base: Fraction  # [s]
    stored: tuple[int, int]  # (height, width) as coded
    rotation: int  # 0, 90, 180 or 270 degrees counter-clockwise to turn a decoded frame upright
    sample_aspect: Fraction  # width : height of a pixel as coded
    origin_s: float  # when the container starts to play, on the clock of `times_s` [s]
    format: str  # FFmpeg's name of the container
    codec: str
    mirrored: bool = False  # left and right change places, once a frame is upright

    def __len__(self) -> int:
        return len(self.pts)

    @cached_property
    def times_s(self) -> NDArray[np.float64]:
        """(n,) when each frame is shown [s], on the file's own clock, which need not start at 0."""
        return np.asarray(self.pts * float(self.time_base), np.float64)

    @cached_property
    def fps(self) -> float:
        """Frames per second while the file runs at its usual rate (median of the distances)."""
        steps = np.diff(self.pts)
        return 1.0 / (float(np.median(steps)) * float(self.time_base)) if len(steps) else 1.0

    @property
    def half_s(self) -> float:
        """How far a frame may be shown from the time that was asked for [s]: half a usual frame, and what rounding times to ticks adds."""
        return 0.5 / self.fps + min(float(self.time_base), 0.25 / self.fps)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) upright and with square pixels, as frames come out."""
        height, width = self.stored
        width = max(1, round(width * self.sample_aspect))
        return (width, height) if self.rotation % 180 else (height, width)

    @property
    def end_s(self) -> float:
        """When the last frame has been shown for one usual frame [s]."""
        return float(self.times_s[-1]) + 1.0 / self.fps

    def nearest(self, times_s: NDArray[np.float64]) -> Int:
        """(m,) numbers of the frames shown nearest to `times_s` (m,), however far away."""
        asked, shown = np.asarray(times_s, np.float64), self.times_s
        after = np.clip(np.searchsorted(shown, asked), 0, len(shown) - 1)
        before = np.maximum(after - 1, 0)
        return np.where(asked - shown[before] <= shown[after] - asked, before, after).astype(np.int64)

    def at(self, times_s: NDArray[np.float64], path: Path) -> Int:
        """(m,) numbers of the frames at `times_s` (m,). Raises DataError where none is within half a usual frame."""
        asked = np.asarray(times_s, np.float64)
        if not np.isfinite(asked).all():
            raise DataError(f"times to read from {path} must be finite; {asked[~np.isfinite(asked)][0]} was given.")
        found = self.nearest(asked)
        off = np.abs(self.times_s[found] - asked)
        if (off > self.half_s).any():
            worst = int(np.argmax(off))
            raise DataError(
                f"{path} shows no frame at {asked[worst]:.3f} s: the nearest is at {self.times_s[found[worst]]:.3f} s, and it runs "
                f"from {self.times_s[0]:.3f} to {self.times_s[-1]:.3f} s; ask for a time with a frame."
            )
        return found

    def check(self, numbers: Int, path: Path) -> Int:
        """`numbers` as int64. Raises DataError for frames that the file does not have."""
        asked = np.asarray(numbers, np.int64)
        if asked.size and not 0 <= int(asked.min()) <= int(asked.max()) < len(self):
            raise DataError(
                f"{path} has the frames 0 to {len(self) - 1}; {int(asked.min())} to {int(asked.max())} were asked for."
            )
        return asked

    def keyframe(self, number: int) -> int:
        """Which start (0..k-1) is the last one shown no later than frame `number`; 0 where none is."""
        return max(int(self._key_pts_so_far.searchsorted(self.pts[number], side="right")) - 1, 0)

    @cached_property
    def _key_pts_so_far(self) -> Int:
        # ascending also where a file's starts are not shown in the order it holds them
        return np.maximum.accumulate(self.key_pts)


def build(path: Path) -> VideoIndex:
    """Read every packet of `path` once. Raises DataError saying what is wrong, MissingExtraError without PyAV."""
    with opened(path) as container:
        stream = video_stream(container, path)
        try:
            found = _scan(container, stream)
            lost = _lost(container, stream, found, path)
        except failures() as error:
            raise DataError(f"{path} cannot be read to its end ({reason(error)}); fetch it again.") from None
        if found.first is None or not len(found.pts):
            raise DataError(f"{path} holds no frame that can be decoded; it is damaged: fetch it again.")
        if lost:
            raise DataError(f"{path} is cut off: {lost}; fetch it again.")
        return _index(container, stream, found, path)


@dataclass(frozen=True)
class _Packets:
    """All packets of the video stream, in file order."""

    pts: Int
    dts: Int
    key: NDArray[np.bool_]
    shown: NDArray[np.bool_]
    torn: bool  # the last one is short
    timed: bool  # every one carries a presentation time
    first: Any  # frame, decoded; None where there is none
    come_out: list[Any]  # PTS of the first frames as they come out of the decoder


def _scan(container: Any, stream: Any) -> _Packets:
    pts: list[int] = []
    dts, flags, come_out = [], [], []
    first, torn, timed = None, False, True
    trusted = any(
        name in container.format.name for name in ("mov", "matroska")
    )  # they store presentation times, others may guess
    hidden = _hidden_vp8 if stream.codec_context.name.startswith(("vp8", "libvpx")) else _never
    for packet in packets(container, stream):
        if first is None or (not trusted and len(pts) < _CHECKED):
            for frame in _decoded(packet):
                first = first or frame
                come_out.append(frame.pts)
        shown = packet.pts if packet.pts is not None else packet.dts
        timed = timed and packet.pts is not None
        if shown is None:
            continue
        pts.append(shown)
        dts.append(packet.dts if packet.dts is not None else shown)
        flags.append((packet.is_keyframe, not (packet.is_discard or hidden(packet))))
        torn = bool(packet.is_corrupt)
    if first is None:
        first = next(iter(_decoded(None, stream)), None)
    key, shown = np.array(flags, bool).reshape(-1, 2).T
    return _Packets(np.array(pts, np.int64), np.array(dts, np.int64), key, shown, torn, timed, first, come_out)


def _hidden_vp8(packet: Any) -> bool:
    return not bytes(packet)[0] & 0x10  # RFC 6386, 9.1: the show_frame bit


def _never(packet: Any) -> bool:
    return False


def _decoded(packet: Any, stream: Any = None) -> list[Any]:
    try:
        return list(packet.decode() if packet is not None else stream.decode(None))
    except pyav().error.FFmpegError:
        return []  # damaged; another packet may do


def _lost(container: Any, stream: Any, found: _Packets, path: Path) -> str:
    """What of a file that was cut off is missing; "" where nothing is."""
    if "mov" in container.format.name:
        entries = stream.index_entries
        ends = max((e.pos + e.size for e in entries), default=0)
        promised, size = len(entries), path.stat().st_size
        if ends > size:
            return f"its table of frames needs {ends:,} bytes and it has {size:,}"
        return f"{promised} frames are promised, {len(found.pts)} found" if promised > len(found.pts) else ""
    if found.torn:
        return "its last frame is incomplete"
    if container.duration and not container.streams.audio and len(found.pts):
        first_s, last_s = float(found.pts.min() * stream.time_base), float(found.pts.max() * stream.time_base)
        # in Matroska FFmpeg writes when a file ends, elsewhere how long it is
        late_s = max(first_s, 0.0) if "matroska" in container.format.name else 0.0
        promised_s, found_s = container.duration / 1e6 - late_s, last_s - first_s
        if found_s < promised_s - max(_LOST_S, 0.05 * promised_s):
            return f"{promised_s:.1f} s are promised, {found_s:.1f} s found"
    return ""


_TURNS = {(1, 0): 0, (0, -1): 90, (-1, 0): 180, (0, 1): 270}
"""What a display matrix makes of a step to the right, (right, down) -> degrees counter-clockwise."""


def _turns(frame: Any, path: Path) -> tuple[int, bool]:
    """(degrees counter-clockwise that turn a frame upright, whether it is then mirrored), by its display matrix.

    FFmpeg's own number for the angle is wrong where the matrix mirrors. Raises DataError for angles between quarter turns.
    """
    found = frame.side_data.get("DISPLAYMATRIX")
    if found is None:
        return int(frame.rotation) % 360, False
    a, b, _, c, d = struct.unpack("=9i", bytes(found))[:5]  # x' = a x + c y, y' = b x + d y, y downwards
    mirrored = a * d - b * c < 0
    size = max(abs(a), abs(b)) or 1
    rotation = _TURNS.get((round(-a / size if mirrored else a / size, 3), round(b / size, 3)))  # type: ignore[call-overload]
    if rotation is None:
        raise DataError(
            f"{path} is to be turned by {frame.rotation} degrees; only quarter turns are known: transcode it."
        )
    return int(rotation), mirrored


def _index(container: Any, stream: Any, found: _Packets, path: Path) -> VideoIndex:
    first = found.first
    if not found.timed or None in found.come_out or found.come_out != sorted(found.come_out):
        raise DataError(
            f"{path} does not say when its frames are shown; give it presentation times: ffmpeg -i IN -c:v libx264 OUT.mp4."
        )
    height, width = int(first.height), int(first.width)
    if not 0 < height * width <= MAX_PIXELS:
        raise DataError(f"{path} claims {height}x{width} pixels; at most {MAX_PIXELS} are allowed, it is damaged.")
    rotation, mirrored = _turns(first, path)
    starts = np.flatnonzero(found.key)
    if not len(starts):
        raise DataError(
            f"{path} has no key frame, so nothing can be decoded; transcode it: ffmpeg -i IN -c:v libx264 OUT.mp4."
        )
    reachable = (np.arange(len(found.pts)) >= starts[0]) & (found.pts >= found.pts[starts[0]])
    rank = np.flatnonzero(found.shown & reachable)
    pts, place = np.unique(found.pts[rank], return_index=True)
    if not len(pts):
        raise DataError(f"{path} holds no frame that is shown; it is damaged: fetch it again.")
    aspect = stream.sample_aspect_ratio
    time_base = Fraction(stream.time_base)
    started = None if container.start_time is None else container.start_time / 1e6
    return VideoIndex(
        pts=pts,
        rank=rank[place],
        key_pts=found.pts[starts],
        key_dts=found.dts[starts],
        key_rank=starts,
        time_base=time_base,
        stored=(height, width),
        rotation=rotation,
        mirrored=mirrored,
        sample_aspect=Fraction(aspect) if aspect and Fraction(1, 16) <= aspect <= 16 else Fraction(1),
        origin_s=float(pts[0] * time_base) if started is None else started,
        format=str(container.format.name),
        codec=str(stream.codec_context.name),
    )
