"""Damaged files: every failure is a declared error, a training run may go on, and nothing leaks."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest

import robot_pt_data
from robot_pt.errors import DataError
from robot_pt_data.video.index import build
from robot_pt_data.video.reader import VideoReader
from robot_pt_data.video.source import VideoSource
from tests.data.video.video_files import Clip, cut_off, number_of, numbers_of, write_video

SMALL = Clip(frames=60, size=(32, 48), gop=15, crf=25)
NAMES = ("a.mp4", "b.mkv", "c.webm", "d.ts")


def spoiled(content: bytes, rng: np.random.Generator) -> bytes:
    """Bytes flipped, a stretch zeroed, cut out or doubled, or the end missing."""
    data = bytearray(content)
    kind = rng.integers(5)
    at, length = int(rng.integers(len(data))), int(rng.integers(1, 2000))
    if kind == 0:
        for place in rng.integers(0, len(data), int(rng.integers(1, 40))).tolist():
            data[place] = int(rng.integers(256))
    elif kind == 1:
        data[at : at + length] = bytes(len(data[at : at + length]))
    elif kind == 2:
        del data[at : at + length]
    elif kind == 3:
        data[at:at] = data[at : at + length]
    else:
        del data[at:]
    if rng.integers(3) == 0:  # the head, where sizes and counts are
        for place in rng.integers(0, min(len(data), 200) or 1, 4).tolist():
            if place < len(data):
                data[place] = int(rng.integers(256))
    return bytes(data)


def attempts(folder: Path, count: int, seed: int) -> tuple[int, int, int]:
    """(refused when indexed, refused when read, read) of `count` spoiled files."""
    rng = np.random.default_rng(seed)
    wholes = [
        write_video(
            folder / name, Clip(**{**SMALL.__dict__, "codec": "libvpx-vp9" if name.endswith("webm") else "libx264"})
        )
        for name in NAMES
    ]
    contents = [path.read_bytes() for path in wholes]
    refused = failed = fine = 0
    for n in range(count):
        which = n % len(wholes)
        path = folder / f"spoiled{wholes[which].suffix}"
        path.write_bytes(spoiled(contents[which], rng))
        reader = VideoReader(folder)
        try:
            reader.indexes._held[path] = index = build(path)
        except DataError:
            refused += 1
            continue
        asked = rng.integers(0, len(index), 6)
        try:
            images = reader.frames(path, asked).images
            assert images.shape[0] == 6
            fine += 1
        except DataError:
            failed += 1
        finally:
            reader.close()
    return refused, failed, fine


def test_spoiled_files_end_in_declared_errors_only(tmp_path: Path) -> None:
    refused, failed, fine = attempts(tmp_path, 120, seed=0)
    assert refused > 10
    assert failed > 3
    assert fine > 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_many_spoiled_files_end_in_declared_errors_only(tmp_path: Path, seed: int) -> None:
    assert sum(attempts(tmp_path, 1500, seed=seed + 1)) == 1500


def damage_after(path: Path, share: float) -> None:
    """Zero 2 kB of the pictures."""
    data = bytearray(path.read_bytes())
    at = int(len(data) * share)
    data[at : at + 2000] = bytes(2000)
    path.write_bytes(data)


def test_a_damaged_frame_is_refused_or_stood_in_for_by_choice(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", Clip(frames=120, gop=30, crf=10))
    times = path.stat().st_mtime_ns
    source = robot_pt_data.open(tmp_path, mapping={"rate_hz": 0})
    damage_after(path, 0.55)
    os.utime(path, ns=(times, times))
    every = np.arange(120)
    with pytest.raises(
        DataError, match=r"frame \d+ of .*a\.mp4 \(at [\d.]+ s\) cannot be decoded .* skip_corrupt \(--skip-corrupt\)"
    ):
        source.images(every, "primary")

    tolerant = robot_pt_data.open(tmp_path, mapping={"rate_hz": 0}, skip_corrupt=True)
    assert isinstance(tolerant, VideoSource)
    with pytest.warns(UserWarning, match="stands in for it") as told:
        images = tolerant.images(every, "primary")
    assert len(told) == 1
    numbers = np.array(numbers_of(images))
    sound = numbers == every
    assert 30 <= sound.sum() < 120
    assert sound[:30].all()
    assert np.abs(numbers - every).max() <= 30, "a neighbour, not a black picture"
    assert list(tolerant.damaged) == [str(path)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tolerant.images(every, "primary")  # once per file
    assert any("is damaged" in sentence for sentence in tolerant.warnings)


def test_a_file_without_one_sound_frame_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", Clip(frames=60, gop=30, crf=10))
    times = path.stat().st_mtime_ns
    source = robot_pt_data.open(tmp_path, mapping={"rate_hz": 0}, skip_corrupt=True)
    data = bytearray(path.read_bytes())
    begin = data.index(b"mdat") + 4
    data[begin : len(data) * 3 // 4] = b"\xaa" * (len(data) * 3 // 4 - begin)
    path.write_bytes(data)
    os.utime(path, ns=(times, times))
    with (
        pytest.warns(UserWarning, match="stands in for it"),
        pytest.raises(DataError, match=r"no frame of .* can be decoded|cannot be read|no readable"),
    ):
        source.images(np.array([0, 5]), "primary")


def test_a_reader_works_on_after_a_damaged_file(tmp_path: Path) -> None:
    good, bad = (write_video(tmp_path / f"{n}.mp4", Clip(frames=90, gop=30, crf=10)) for n in ("good", "bad"))
    reader = VideoReader(tmp_path)
    index = reader.index(bad)
    damage_after(bad, 0.6)
    for _ in range(3):
        with pytest.raises(DataError):
            reader.frames(bad, range(90))
        assert number_of(reader.frames(bad, [3]).images[0]) == 3, "before the damage"
        assert numbers_of(reader.frames(good, [80, 2]).images) == [80, 2]
    assert len(index) == 90
    cut_off(good, 0.0)
    with pytest.raises(DataError, match="is empty"):
        VideoReader(tmp_path).frames(good, [0])
