"""Frames shared out among decoders: every frame once, no start twice, about as much work for each, the same pictures as from one."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.errors import DataError
from robot_pt_data.video.decoders import PREFERRED
from robot_pt_data.video.index import VideoIndex, build
from robot_pt_data.video.pyav_decoder import PyAvDecoder
from robot_pt_data.video.reader import VideoReader
from robot_pt_data.video.sharing import parts
from tests.data.video.video_files import Clip, number_of, numbers_of, write_video

GOP, FRAMES = 10, 120


@pytest.fixture(scope="module")
def short_gop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("short") / "a.mp4", Clip(frames=FRAMES, gop=GOP))


@pytest.fixture(scope="module")
def index(short_gop: Path) -> VideoIndex:
    return build(short_gop)


@given(numbers=st.sets(st.integers(0, FRAMES - 1)).map(sorted), workers=st.integers(1, 5))
def test_every_frame_is_in_one_part_and_every_start_too(index: VideoIndex, numbers: list[int], workers: int) -> None:
    shared = parts(index, numbers, workers)
    assert sorted(n for part in shared for n in part) == numbers
    assert all(part == sorted(part) for part in shared)
    assert 1 <= len(shared) <= workers
    starts = [{index.keyframe(n) for n in part} for part in shared]
    assert sum(map(len, starts)) == len(set().union(*starts))
    assert len(shared) == 1 or all(shared), "a part without frames would open a decoder for nothing"


def test_what_follows_closely_stays_with_one_decoder_and_what_does_not_is_shared(index: VideoIndex) -> None:
    assert parts(index, range(40, 80), 2) == [list(range(40, 80))]
    assert parts(index, [3, 5, 9], 2) == [[3, 5, 9]], "one start"
    assert parts(index, [3, 35], 1) == [[3, 35]]
    assert parts(index, [], 2) == [[]]
    assert sorted(parts(index, [3, 35], 2)) == [[3], [35]]


def test_work_is_shared_evenly(index: VideoIndex) -> None:
    assert sorted(parts(index, [1, 19, 20, 59], 2)) == [[1, 19], [20, 59]], "two long and two short stretches"
    each = parts(index, list(range(4, FRAMES, 10)), 3)
    assert [len(part) for part in each] == [4, 4, 4]


@pytest.mark.parametrize("backend", [b for b in PREFERRED if b != "torchcodec"])
def test_shared_or_not_the_pictures_are_the_same(short_gop: Path, backend: str) -> None:
    one, many = (VideoReader(short_gop.parent, backend, threads=n) for n in (1, 3))  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    for call in range(30):
        asked = rng.integers(0, FRAMES, 6) if call % 3 else np.arange(call, call + 25)
        found = many.frames(short_gop, asked)
        assert numbers_of(found.images) == asked.tolist()
        np.testing.assert_array_equal(found.images, one.frames(short_gop, asked).images)
    for reader in (one, many):
        reader.close()


def test_several_threads_decode(short_gop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two parts wait for each other: they pass only when both are under way."""
    met, read = threading.Barrier(2, timeout=60), PyAvDecoder.read
    monkeypatch.setattr(PyAvDecoder, "read", lambda self, numbers, put: (met.wait(), read(self, numbers, put))[1])
    assert numbers_of(VideoReader(short_gop.parent, threads=2).frames(short_gop, [3, 77]).images) == [3, 77]


@pytest.mark.parametrize("bad", [3, 77])
def test_a_frame_that_no_decoder_gives_is_said_whichever_part_it_is_in(
    short_gop: Path, monkeypatch: pytest.MonkeyPatch, bad: int
) -> None:
    read = PyAvDecoder.read

    def failing(self: PyAvDecoder, numbers: list[int], put: object) -> None:
        if bad in numbers:
            raise DataError(f"frame {bad} cannot be decoded.")
        read(self, numbers, put)  # type: ignore[arg-type]

    reader = VideoReader(short_gop.parent, threads=2)
    with monkeypatch.context() as broken:
        broken.setattr(PyAvDecoder, "read", failing)
        with pytest.raises(DataError, match=f"frame {bad} cannot"):
            reader.frames(short_gop, [3, 77])
    assert numbers_of(reader.frames(short_gop, [3, 77]).images) == [3, 77]


def test_a_damaged_file_ends_in_a_declared_error_and_the_reader_goes_on(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", Clip(frames=FRAMES, gop=GOP))
    sound = write_video(tmp_path / "b.mp4", Clip(frames=FRAMES, gop=GOP))
    reader = VideoReader(tmp_path, threads=2)
    reader.index(path)
    content = bytearray(path.read_bytes())
    begin = content.index(b"mdat")
    content[begin + 200 : begin + 200 + (len(content) - begin) // 2] = bytes((len(content) - begin) // 2)
    path.write_bytes(content)
    with pytest.raises(DataError):
        reader.frames(path, [3, 33, 77])
    assert numbers_of(reader.frames(sound, [3, 33, 77]).images) == [3, 33, 77]


def test_open_files_stay_bounded_and_no_thread_stays(short_gop: Path) -> None:
    reader, before = VideoReader(short_gop.parent, open_files=1, threads=3), set(threading.enumerate())
    for _ in range(3):
        assert numbers_of(reader.frames(short_gop, [3, 33, 77]).images) == [3, 33, 77]
        assert len(reader._idle._held) <= 1
    assert set(threading.enumerate()) <= before


def test_a_forked_child_shares_out_too(short_gop: Path) -> None:
    reader = VideoReader(short_gop.parent, threads=2)
    assert number_of(reader.frames(short_gop, [3, 77]).images[1]) == 77
    child = os.fork()
    if child == 0:
        good = numbers_of(reader.frames(short_gop, [5, 92]).images) == [5, 92]
        os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
