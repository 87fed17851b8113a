"""From stretches of files to episodes: which rows a clip has, which frame each row shows, and what cannot be."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_pt.schema import Int
from robot_pt_data.video.index import VideoIndex
from robot_pt_data.video.spans import Span, Spans

LEAST = 2
"""Rows of the shortest episode."""

_BEYOND_S = 0.5  # an annotation may end so much after its video without being called wrong
_EPS = 1e-6  # [rows] a whole number of rows stays one under rounding


@dataclass(frozen=True, kw_only=True)
class ClipTable:
    """E clips. Row k of a clip shows the frame nearest to ``start_s + k / rate_hz``, or frame ``first + k`` at rate 0."""

    rate_hz: float
    video: Int  # (E,) row of `files`
    start_s: NDArray[np.float64]  # (E,) on the clock of the file's time stamps
    end_s: NDArray[np.float64]  # (E,)
    first: Int  # (E,) frame number of the first row
    length: Int  # (E,) rows
    caption: list[str]
    task: list[str]
    split: list[str]
    files: list[str]  # relative to the root
    size: tuple[int, int]  # (H, W) that most of the files have
    fps: float  # median over files
    video_s: float  # of all sound files together [s]
    dataset: str
    faults: list[str]
    notes: dict[str, int]
    frames_per_start: float = 0.0  # that have to be decoded at most for one; median over files

    def numbers(self, clip: int, rows: Int, index: VideoIndex) -> Int:
        """Frame numbers of `rows` (0-based within the clip)."""
        if not self.rate_hz:
            return np.asarray(self.first[clip] + rows, np.int64)
        return index.nearest(self.start_s[clip] + rows / self.rate_hz)


class Cutter:
    """Collects the clips of one file after the other."""

    def __init__(self, spans: Spans, rate_hz: float, clip_s: float, least_s: float):
        self._spans, self._rate, self._clip_s, self._least_s = spans, rate_hz, clip_s, least_s
        self.faults: list[str] = []
        self.notes: Counter[str] = Counter()
        self.rows: list[tuple[Span, float, float, int, int]] = []  # span, start_s, end_s, first frame, length

    def add(self, name: str, index: VideoIndex, spans: list[Span]) -> None:
        """The clips that `spans` make of the file called `name`."""
        offset = index.origin_s if self._spans.from_start else 0.0
        for span in spans:
            if span.end_s == np.inf:
                for start_s, end_s in self._pieces(index, whole=bool(span.caption)):
                    self._cut(span, start_s, end_s, index)
                continue
            start_s, end_s = span.start_s + offset, span.end_s + offset
            if span.about:
                start_s, end_s = _moved_inside(start_s, end_s, index)
            trouble = _trouble(start_s, end_s, index)
            if trouble:
                self.faults.append(f"{name}: the clip {span.caption[:60]!r} {trouble}.")
                continue
            self._cut(span, max(start_s, float(index.times_s[0])), min(end_s, index.end_s), index)

    def _pieces(self, index: VideoIndex, whole: bool) -> list[tuple[float, float]]:
        """The whole file, or stretches of one length; what is left over is one too where it is long enough."""
        begin, end = float(index.times_s[0]), index.end_s
        if whole or not self._clip_s:
            return [(begin, end)]
        edges = np.arange(begin, end - _EPS, self._clip_s).tolist()
        pieces = [(a, min(a + self._clip_s, end)) for a in edges]
        if len(pieces) > 1 and pieces[-1][1] - pieces[-1][0] < self._least_s:
            pieces.pop()
        return pieces

    def _cut(self, span: Span, start_s: float, end_s: float, index: VideoIndex) -> None:
        if self._rate:
            count = max(int(np.ceil((end_s - start_s) * self._rate - _EPS)), 0)
            wanted = start_s + np.arange(count) / self._rate
            numbers = index.nearest(wanted)
            near = np.abs(index.times_s[numbers] - wanted) <= max(index.half_s, 0.5 / self._rate)
            begin, count = _longest_run(near)
            if count < len(near):
                self.notes["clips shortened where their video has no frames"] += 1
            start_s += begin / self._rate
            first = int(numbers[begin]) if count else 0
        else:
            first, past = np.searchsorted(index.times_s, [start_s - _EPS, end_s - _EPS]).tolist()
            count = past - first
        if count < LEAST:
            self.notes[f"clips of fewer than {LEAST} frames"] += 1
            return
        self.rows.append((span, start_s, end_s, first, count))

    def table(self, sizes: Counter[tuple[int, int]], fps: list[float], video_s: float) -> ClipTable:
        """What was collected, for files of these sizes and rates."""
        spans = [row[0] for row in self.rows]
        numbers = np.array([row[1:] for row in self.rows], np.float64).reshape(-1, 4)
        largest = max(sizes, key=lambda size: (sizes[size], size)) if sizes else (0, 0)
        return ClipTable(
            rate_hz=self._rate,
            video=np.array([s.file for s in spans], np.int64),
            start_s=numbers[:, 0],
            end_s=numbers[:, 1],
            first=numbers[:, 2].astype(np.int64),
            length=numbers[:, 3].astype(np.int64),
            caption=[s.caption for s in spans],
            task=[s.task or s.caption for s in spans],
            split=[s.split for s in spans],
            files=list(self._spans.files),
            size=largest,
            fps=float(np.median(fps)) if fps else 0.0,
            video_s=video_s,
            dataset=self._spans.dataset,
            faults=[*self._spans.faults, *self.faults],
            notes=dict(self._spans.notes + self.notes),
        )


def _moved_inside(start_s: float, end_s: float, index: VideoIndex) -> tuple[float, float]:
    """The window, as long as before, inside the video; unchanged where its middle is not."""
    begin, end = float(index.times_s[0]), index.end_s
    if not begin - _BEYOND_S <= (start_s + end_s) / 2 <= end + _BEYOND_S:
        return start_s, end_s
    length = min(end_s - start_s, end - begin)
    start_s = min(max(start_s, begin), end - length)
    return start_s, start_s + length


def _trouble(start_s: float, end_s: float, index: VideoIndex) -> str:
    if not (np.isfinite(start_s) and np.isfinite(end_s)):
        return "has no finite times"
    if not end_s > start_s:
        return f"ends at {end_s:.2f} s and starts at {start_s:.2f} s"
    if start_s >= index.end_s or end_s > index.end_s + _BEYOND_S:
        return f"lies at {start_s:.2f} to {end_s:.2f} s and the video ends at {index.end_s:.2f} s"
    if end_s <= float(index.times_s[0]) or start_s < float(index.times_s[0]) - _BEYOND_S:
        return f"lies at {start_s:.2f} to {end_s:.2f} s and the video begins at {float(index.times_s[0]):.2f} s"
    return ""


def _longest_run(good: NDArray[np.bool_]) -> tuple[int, int]:
    """(begin, length) of the longest stretch of True; the first of equally long ones."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(np.int8))).reshape(-1, 2)
    if not len(edges):
        return 0, 0
    best = edges[int(np.argmax(edges[:, 1] - edges[:, 0]))]
    return int(best[0]), int(best[1] - best[0])


_ARRAYS = ("video", "start_s", "end_s", "first", "length")
_TEXTS = ("caption", "task", "split")


def encode(table: ClipTable, fingerprint: list[Any]) -> bytes:
    """A table as the bytes of an .npz; texts that repeat are kept once."""
    values = {f.name: getattr(table, f.name) for f in fields(ClipTable) if f.name not in (*_ARRAYS, *_TEXTS)}
    arrays = {name: getattr(table, name) for name in _ARRAYS}
    for name in _TEXTS:
        words = list(dict.fromkeys(getattr(table, name)))
        place = {word: i for i, word in enumerate(words)}
        values[name] = words
        arrays[name] = np.array([place[word] for word in getattr(table, name)], np.int64)
    values["fingerprint"] = fingerprint
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, allow_pickle=False, values=np.frombuffer(json.dumps(values).encode(), np.uint8), **arrays
    )
    return buffer.getvalue()


def decode(content: bytes, fingerprint: list[Any]) -> ClipTable | None:
    """What `encode` wrote; None where it belongs to another fingerprint. Raises as numpy and zipfile do on damage."""
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        values = json.loads(bytes(stored["values"]))
        if values.pop("fingerprint") != fingerprint:
            return None
        for name in _TEXTS:
            words = values[name]
            values[name] = [words[i] for i in stored[name].tolist()]
        height, width = values.pop("size")
        return ClipTable(**{name: stored[name] for name in _ARRAYS}, **values, size=(int(height), int(width)))
