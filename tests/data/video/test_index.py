"""The index of one file and where it is kept."""

from __future__ import annotations

import os
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from robot_pt.errors import DataError, UserError
from robot_pt_data.index_files import BESIDE
from robot_pt_data.video import index as index_module
from robot_pt_data.video import index_cache
from robot_pt_data.video.index import build
from robot_pt_data.video.index_cache import IndexCache, places, stamp
from robot_pt_data.video.reader import VideoReader
from tests.data.video.video_files import (
    Clip,
    cut_off,
    number_of,
    with_matrix,
    with_table_first,
    write_sound,
    write_video,
)


@pytest.fixture
def no_cache_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ROBOT_PT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


def test_what_an_index_says(long_gop: Path) -> None:
    index = build(long_gop)
    assert len(index) == 900
    assert index.size == index.stored == (48, 96)
    assert index.fps == pytest.approx(30)
    assert index.times_s[0] == pytest.approx(1.5)
    assert index.end_s == pytest.approx(31.5)
    assert (index.format, index.codec, index.rotation) == ("mov,mp4,m4a,3gp,3g2,mj2", "h264", 0)
    starts = [0, 250, 500, 750]
    np.testing.assert_array_equal(index.key_pts, index.pts[starts])
    assert [index.keyframe(n) for n in (0, 249, 250, 899)] == [0, 0, 1, 3]
    assert sorted(index.rank.tolist()) == list(range(900)) != index.rank.tolist(), (
        "B-frames lie out of order in the file"
    )


def test_nearest_takes_the_nearer_neighbour(long_gop: Path) -> None:
    index = build(long_gop)
    rng = np.random.default_rng(0)
    times = rng.uniform(-5, 40, 500)
    brute = np.abs(index.times_s[None] - times[:, None]).argmin(axis=1)
    np.testing.assert_array_equal(index.nearest(times), brute)


def test_sizes_are_upright_with_square_pixels(tmp_path: Path) -> None:
    turned = build(write_video(tmp_path / "a.mp4", Clip(frames=3, rotation=90, sample_aspect=Fraction(4, 3))))
    assert (turned.stored, turned.size) == ((48, 96), (128, 48))


@pytest.mark.usefixtures("no_cache_named")
def test_an_index_lies_beside_the_data_is_read_again_and_follows_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "films" / "a.mp4", Clip(frames=20))
    first = IndexCache(path.parent).of(path)
    (kept,) = (path.parent / BESIDE).rglob("*.npz")

    def never(path: Path) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(index_cache, "build", never)
    again = IndexCache(path.parent).of(path)
    for name in ("pts", "rank", "key_pts", "key_dts", "key_rank"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    assert (again.time_base, again.sample_aspect, again.origin_s) == (
        first.time_base,
        first.sample_aspect,
        first.origin_s,
    )
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ROBOT_PT_CACHE", raising=False)

    for damage in (b"", b"no zip at all", kept.read_bytes()[:-50], kept.read_bytes()[:200] + b"\0" * 200):
        kept.write_bytes(damage)
        assert len(IndexCache(path.parent).of(path)) == 20
        assert index_cache.decode(kept, stamp(path)) is not None, "the damaged one was replaced"

    write_video(path, Clip(frames=33))
    assert len(IndexCache(path.parent).of(path)) == 33
    os.utime(path, ns=(1, 1))
    assert index_cache.decode(kept, stamp(path)) is None


@pytest.mark.usefixtures("no_cache_named")
def test_data_that_cannot_be_written_to_has_its_index_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "films" / "a.mp4", Clip(frames=5))
    monkeypatch.setattr(os, "access", lambda place, mode: False)  # as root everything can be written
    assert len(IndexCache(path.parent).of(path)) == 5
    assert not (path.parent / BESIDE).exists()
    assert len(list((tmp_path / "home").rglob("*.npz"))) == 1
    monkeypatch.setenv("ROBOT_PT_CACHE", str(tmp_path / "named"))
    assert places(path.parent)[0].parent == tmp_path / "named"
    (tmp_path / "blocked").write_text("a file")
    with pytest.raises(UserError, match="set ROBOT_PT_CACHE to another folder"):
        index_cache.write([tmp_path / "blocked"], "a/b.npz", b"")


def test_an_index_that_does_not_hold_together_is_no_index(tmp_path: Path) -> None:
    index = build(write_video(tmp_path / "a.mp4", Clip(frames=20)))
    for broken in (
        {"pts": index.pts[::-1]},
        {"rank": index.rank[:5]},
        {"rotation": 45},
        {"key_pts": index.key_pts[:0]},
    ):
        changed = type(index)(**{**{f: getattr(index, f) for f in index.__dataclass_fields__}, **broken})
        (tmp_path / "i.npz").write_bytes(index_cache.encode(changed, [1, 2]))
        assert index_cache.decode(tmp_path / "i.npz", [1, 2]) is None


def test_what_is_no_sound_video(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", Clip(frames=300, crf=1))
    cases = {
        "empty": (b"", "is empty"),
        "text": (b"#EXTM3U\n#EXTINF:1,\nother.mp4\n" * 50, "is no readable video"),
        "picture": (_png(), "is no readable video"),
        "cut": (whole.read_bytes()[: whole.stat().st_size // 2], "is no readable video"),
    }
    for name, (content, why) in cases.items():
        path = tmp_path / f"{name}.mp4"
        path.write_bytes(content)
        with pytest.raises(DataError, match=why):
            build(path)
    with pytest.raises(DataError, match="cannot be opened"):
        build(tmp_path / "absent.mp4")
    with pytest.raises(DataError, match="audio only"):
        build(write_sound(tmp_path / "sound.mp4"))
    with pytest.raises(DataError, match=r"is cut off: its table of frames needs"):
        build(cut_off(with_table_first(whole), 0.6))
    for name in ("cut.mkv", "cut.webm"):
        clip = Clip(frames=300, gop=30, crf=1, codec="libx264" if name.endswith("mkv") else "libvpx-vp9")
        with pytest.raises(DataError, match=r"is cut off|to its end"):
            build(cut_off(write_video(tmp_path / name, clip), 0.5))


@pytest.mark.parametrize("start_s", [0.0, 5.0, 8000.0])
def test_a_film_that_begins_late_is_whole_or_cut_off_as_any_other(tmp_path: Path, start_s: float) -> None:
    """Matroska as FFmpeg writes it tells when it ends, not how long it is."""
    path = write_video(tmp_path / "late.mkv", Clip(frames=300, gop=30, crf=1, start_s=start_s))
    index = build(path)
    assert len(index) == 300
    assert index.times_s[0] == pytest.approx(start_s, abs=2e-3)
    with pytest.raises(DataError, match=r"is cut off|to its end"):
        build(cut_off(path, 0.5))


def test_pictures_that_cannot_be_told_when_or_how_to_show(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"to be turned by -?45 degrees; only quarter turns"):
        build(write_video(tmp_path / "askew.mp4", Clip(frames=3, rotation=45)))
    with pytest.raises(DataError, match="only quarter turns"):
        build(with_matrix(write_video(tmp_path / "sheared.mp4", Clip(frames=3)), 1, 0.5, -1, 1))
    with pytest.raises(DataError, match="does not say when its frames are shown"):
        build(write_video(tmp_path / "old.avi", Clip(frames=30)))
    path = write_video(tmp_path / "grey.mp4", Clip(frames=30, gop=30))
    content = bytearray(path.read_bytes())
    begin = content.index(b"mdat") + 4
    end = content.index(b"moov") - 4
    content[begin:end] = bytes(end - begin)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"no frame that can be decoded|is damaged|no readable"):
        build(path)


def test_frames_of_impossible_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "MAX_PIXELS", 1000)
    with pytest.raises(DataError, match="claims 48x96 pixels; at most 1000"):
        build(write_video(tmp_path / "a.mp4", Clip(frames=3)))


def test_a_video_under_another_video_name_is_read(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", Clip(frames=10))
    shutil.move(path, tmp_path / "a.mp4")
    reader = VideoReader(tmp_path)
    assert number_of(reader.frames(tmp_path / "a.mp4", [7]).images[0]) == 7


def _png() -> bytes:
    import cv2

    done, content = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))
    assert done
    return bytes(content)
