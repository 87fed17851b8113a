"""A list of videos that are known to be bad: they are not read, and nothing about them stops anybody."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import robot_pt_data
from robot_pt.errors import DataError
from robot_pt_data.video.source import VideoSource
from tests.data.video.ego4d_files import Ego4d
from tests.data.video.video_files import Clip, write_video


def opened(path: Path, **options: object) -> VideoSource:
    source = robot_pt_data.open(path, mapping={"leave_out": "bad.txt", **options})
    assert isinstance(source, VideoSource)
    return source


def files(source: VideoSource) -> list[str]:
    return sorted({source.file(e).name for e in range(len(source.episodes))})


def test_names_of_any_kind_are_left_out_and_counted(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4", "deep/c.mp4", "deep/ab.mp4"):
        write_video(tmp_path / name, Clip(frames=30))
    (tmp_path / "torn.mp4").write_bytes(b"\0" * 100)
    (tmp_path / "bad.txt").write_text("# seen to be bad\ntorn.mp4\n\n a \ndeep/c  # shaky\nnobody.mp4\n")
    source = opened(tmp_path)
    assert files(source) == ["ab.mp4", "b.mp4"]
    assert source.summary()["passed_over"]["videos named as to be left out"] == 3
    (tmp_path / "bad.txt").write_text("torn\n")
    assert files(opened(tmp_path)) == ["a.mp4", "ab.mp4", "b.mp4", "c.mp4"], "the list is read again when it changes"
    with pytest.raises(DataError, match=r"torn.mp4 is no readable video"):
        robot_pt_data.open(tmp_path)


def test_faults_of_what_is_left_out_stop_nobody(tmp_path: Path) -> None:
    for name in ("1.mp4", "2.mp4", "21.mp4"):
        write_video(tmp_path / name, Clip(frames=30))
    (tmp_path / "captions.csv").write_text("video,text\n1.mp4,cut\n21.mp4,stir\n")
    with pytest.raises(DataError, match=r"2.mp4 has no caption"):
        robot_pt_data.open(tmp_path)
    (tmp_path / "bad.txt").write_text("2.mp4\n")
    assert opened(tmp_path).episodes.instruction == ["cut", "stir"]


def test_uids_of_ego4d(ego4d: Ego4d, tmp_path: Path) -> None:
    root = shutil.copytree(ego4d.root, tmp_path / "data")
    whole = robot_pt_data.open(root, mapping={"annotations": "fho"})
    assert isinstance(whole, VideoSource)
    uid = whole.file(0).stem
    (root / "bad.txt").write_text(f"{uid}\n")
    source = opened(root, annotations="fho")
    assert 0 < len(source.episodes) < len(whole.episodes)
    assert f"{uid}.mp4" in files(whole)
    assert f"{uid}.mp4" not in files(source)


def test_a_list_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", Clip(frames=30))
    with pytest.raises(
        DataError, match=r"bad.txt, which leave_out names, cannot be read \(No such file or directory\)"
    ):
        opened(tmp_path)
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="give a text file with a video to a line"):
        opened(tmp_path)
    (tmp_path / "bad.txt").write_text("a\n")
    with pytest.raises(DataError, match="gives no clip"):
        opened(tmp_path)
