"""Videos that several tests read; written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.video.ego4d_files import Ego4d, write_ego4d
from tests.data.video.video_files import Clip, write_video


@pytest.fixture(scope="session")
def long_gop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """900 frames, a start every 250, B-frames, the first one shown at 1.5 s."""
    return write_video(tmp_path_factory.mktemp("long") / "long.mp4", Clip(frames=900, gop=250, b_frames=3, start_s=1.5))


@pytest.fixture(scope="session")
def plain_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sound videos in two folders and a text."""
    root = tmp_path_factory.mktemp("plain") / "films"
    write_video(root / "a.mp4", Clip(frames=90))
    write_video(root / "deep" / "er" / "b.MP4", Clip(frames=60), first=500)
    write_video(root / "deep" / "c.mkv", Clip(frames=45, gop=10), first=1000)
    (root / "readme.txt").write_text("films")
    return root


@pytest.fixture(scope="session")
def ego4d(tmp_path_factory: pytest.TempPathFactory) -> Ego4d:
    """Two videos of 12 s with every kind of annotation, at short side 540's place and as canonical clips."""
    return write_ego4d(tmp_path_factory.mktemp("ego4d") / "ego4d_data", folders=("video_540ss", "clips"))
