"""From stretches of files to rows, frames cut to a shape, and the table on disk."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from robot_pt_data.video import clips
from robot_pt_data.video.clips import Cutter
from robot_pt_data.video.index import VideoIndex
from robot_pt_data.video.spans import WHOLE, Span, Spans
from robot_pt_data.video.upright import picture


def index_of(times_s: np.ndarray, size: tuple[int, int] = (48, 96), **changed: object) -> VideoIndex:
    """An index of frames at these times, every one a start."""
    pts = np.round(times_s * 1000).astype(np.int64)
    ranks = np.arange(len(pts))
    index = VideoIndex(
        pts=pts, rank=ranks, key_pts=pts, key_dts=pts, key_rank=ranks, time_base=Fraction(1, 1000), stored=size, rotation=0,
        sample_aspect=Fraction(1), origin_s=float(times_s[0]), format="mov", codec="h264",
    )  # fmt: skip
    return replace(index, **changed)  # type: ignore[arg-type]


def cut(
    spans: list[Span], index: VideoIndex, rate_hz: float = 5.0, clip_s: float = 0.0, from_start: bool = False
) -> Cutter:
    found = Spans(Path("films"), "films", files=["a.mp4"], spans=spans, from_start=from_start)
    cutter = Cutter(found, rate_hz, clip_s, 1.0)
    cutter.add("a.mp4", index, spans)
    return cutter


def rows(cutter: Cutter) -> list[tuple[float, float, int, int]]:
    return [row[1:] for row in cutter.rows]


@example(1.25, 1.0, 30.0, 30.0)  # every row midway between two frames whose times are rounded to ms
@given(
    st.floats(0, 20),
    st.floats(0.5, 12),
    st.sampled_from([0.0, 1.0, 5.0, 7.5, 30.0]),
    st.sampled_from([10.0, 24.0, 30.0]),
)
def test_every_row_shows_the_frame_of_its_time(start_s: float, length_s: float, rate_hz: float, fps: float) -> None:
    index = index_of(np.arange(int(40 * fps)) / fps)
    cutter = cut([Span(0, start_s, start_s + length_s)], index, rate_hz)
    assert not cutter.faults
    if not cutter.rows:
        assert length_s * (rate_hz or fps) < clips.LEAST + 1
        return
    table = cutter.table(Counter([index.size]), [fps], 40.0)
    count = int(table.length[0])
    numbers = table.numbers(0, np.arange(count), index)
    shown = index.times_s[numbers]
    if rate_hz:
        wanted = start_s + np.arange(count) / rate_hz
        assert (np.abs(shown - wanted) <= 0.5 / min(fps, rate_hz) + 2e-3).all()
        assert count == pytest.approx(length_s * rate_hz, abs=1)
    else:
        assert (np.diff(numbers) == 1).all()
    assert shown.min() >= start_s - 0.5 / fps - 2e-3
    assert shown.max() < start_s + length_s + 0.5 / fps + 2e-3


def test_consecutive_clips_share_no_row_and_leave_none_out() -> None:
    index = index_of(np.arange(300) / 30 + 2.0)
    whole = cut([Span(0, *WHOLE)], index)
    assert rows(whole) == [(2.0, pytest.approx(12.0), 0, 50)]
    pieces = rows(cut([Span(0, *WHOLE)], index, clip_s=3.0))
    assert [count for *_, count in pieces] == [15, 15, 15, 5]
    assert [a for a, *_ in pieces] == [2, 5, 8, 11]
    named = rows(cut([Span(0, *WHOLE, "stirs")], index, clip_s=3.0))
    assert len(named) == 1


def test_clocks() -> None:
    index = index_of(np.arange(300) / 30 + 2.0)
    assert rows(cut([Span(0, 3.0, 4.0)], index))[0][:2] == (3.0, 4.0)
    assert rows(cut([Span(0, 3.0, 4.0)], index, from_start=True))[0][:2] == (5.0, 6.0)


@pytest.mark.parametrize(
    ("start_s", "end_s", "why"),
    [
        (9.0, 40.0, "lies at 9.00 to 40.00 s and the video ends at 12.00 s"),
        (13.0, 13.2, "the video ends at 12.00 s"),
        (5.0, 5.0, "ends at 5.00 s and starts at 5.00 s"),
        (float("nan"), 5.0, "has no finite times"),
        (0.0, 4.0, "the video begins at 2.00 s"),
        (0.0, 1.0, "the video begins at 2.00 s"),
    ],
)
def test_times_that_cannot_be(start_s: float, end_s: float, why: str) -> None:
    cutter = cut([Span(0, start_s, end_s, "x")], index_of(np.arange(300) / 30 + 2.0))
    assert not cutter.rows
    assert why in cutter.faults[0]


def test_ends_a_little_late_are_moved_in() -> None:
    cutter = cut([Span(0, 10.0, 12.4), Span(0, 1.7, 3.0)], index_of(np.arange(300) / 30 + 2.0))
    assert [(a, round(b, 6)) for a, b, *_ in rows(cutter)] == [(10.0, 12.0), (2.0, 3.0)]


def test_windows_around_moments_move_inside_or_fall_out() -> None:
    index = index_of(np.arange(300) / 30)
    about = [Span(0, -0.5, 1.5, about=True), Span(0, 9.0, 11.0, about=True), Span(0, -30, 40, about=True)]
    assert [(round(a, 6), round(b, 6)) for a, b, *_ in rows(cut(about, index))] == [(0, 2), (8, 10), (0, 10)]
    assert len(cut([Span(0, 11, 13, about=True)], index).faults) == 1


@given(st.lists(st.booleans(), max_size=40))
def test_longest_run_is_the_longest(good: list[bool]) -> None:
    begin, length = clips._longest_run(np.array(good, bool))
    assert all(good[begin : begin + length])
    stretches = "".join("x" if g else " " for g in good).split()
    assert length == max((len(s) for s in stretches), default=0)


def test_a_table_comes_back_whole_and_only_for_its_fingerprint() -> None:
    index = index_of(np.arange(300) / 30)
    spans = [Span(0, 1, 2, "a", "t", "test"), Span(0, 3, 5, "b"), Span(0, 6, 8, "a")]
    table = cut(spans, index).table(Counter({(48, 96): 2, (24, 24): 1}), [30.0, 24.0, 30.0], 10.0)
    content = clips.encode(table, [1, "x"])
    again = clips.decode(content, [1, "x"])
    assert again is not None
    for name in table.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(again, name), getattr(table, name))
    assert (again.size, again.fps, again.task, again.split) == (
        (48, 96),
        30.0,
        ["t", "b", "a"],
        ["test", "train", "train"],
    )
    assert clips.decode(content, [1, "y"]) is None


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([0, 90, 180, 270]),
    st.sampled_from([Fraction(1), Fraction(4, 3), Fraction(8, 9)]),
    st.sampled_from(["crop", "squeeze"]),
)
def test_pictures_have_the_size_asked_for(
    stored: tuple[int, int], size: tuple[int, int], rotation: int, aspect: Fraction, fit: str
) -> None:
    index = index_of(np.arange(2) / 30, stored, rotation=rotation, sample_aspect=aspect)
    frame = np.full((*stored, 3), 77, np.uint8)
    out = picture(frame, index, size, fit)  # type: ignore[arg-type]
    assert out.shape == (*size, 3)
    assert (out == 77).all()


def test_cutting_keeps_the_middle_and_the_proportions() -> None:
    frame = np.zeros((40, 80, 3), np.uint8)
    frame[:, 39:41] = 255
    index = index_of(np.arange(2) / 30, (40, 80))
    square = picture(frame, index, (40, 40))
    assert (square[:, 19:21] == 255).all()
    assert square[:, :19].max() == 0
    whole = picture(frame, index, (40, 40), "squeeze")
    assert (whole[:, 19:21] == 128).all(), "half as wide"
    wide = index_of(np.arange(2) / 30, (40, 40), sample_aspect=Fraction(2))
    assert picture(frame[:, :40], wide, (40, 80)).shape == (40, 80, 3)
