"""Ego4D folders as the client leaves them: which clips come out, at which times, and what is said about what is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import robot_pt_data
from robot_pt.errors import DataError
from robot_pt_data.video import ego4d_annotations
from robot_pt_data.video.source import VideoSource
from tests.data.video.ego4d_files import FPS, Ego4d, write_ego4d
from tests.data.video.video_files import Clip, cut_off, number_of

SMALL = Clip(size=(24, 48), gop=30, crf=30)


@pytest.fixture
def folder(ego4d: Ego4d, tmp_path: Path) -> Ego4d:
    """A copy to change."""
    shutil.copytree(ego4d.root, tmp_path / "data")
    return Ego4d(tmp_path / "data", ego4d.version, ego4d.videos, ego4d.clips, ego4d.seconds)


def opened(data: Ego4d, split: str = "train", **options: Any) -> VideoSource:
    source = robot_pt_data.open(data.root, split, mapping=options or None)
    assert isinstance(source, VideoSource)
    return source


def times_of(source: VideoSource) -> dict[str, list[tuple[float, float]]]:
    """Caption -> the times of its clips."""
    out: dict[str, list[tuple[float, float]]] = {}
    for caption, (a, b) in zip(source.episodes.instruction, source.clip_times_s.tolist(), strict=True):
        out.setdefault(caption, []).append((round(a, 3), round(b, 3)))
    return out


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_narrations_become_windows_of_the_mean_distance(ego4d: Ego4d) -> None:
    source = opened(ego4d)
    first = (ego4d.seconds - 0.05 - 0.0210286) / 3  # mean gap of pass 1 of both videos; pass 2 of the first one has 4 s
    alpha = (first + first + 4.0) / 3
    half = {"pass 1": max(first / alpha, 1) / 2, "pass 2": max(4.0 / alpha, 1) / 2}
    found = times_of(source)
    assert found["C closes the drawer"] == [pytest.approx((2.5 - half["pass 2"], 2.5 + half["pass 2"]), abs=1e-3)]
    assert found["C picks a knife"] == [pytest.approx((4 - half["pass 1"], 4 + half["pass 1"]), abs=1e-3)] * 2
    assert found["C opens the drawer"] == [pytest.approx((0, 2 * half["pass 1"]), abs=1e-3)] * 2, "moved inside at 0"
    end = 12.0
    assert found["C puts down the knife"] == [pytest.approx((end - 2 * half["pass 1"], end), abs=1e-3)] * 2
    assert "man X walks in the kitchen" in found
    assert not any("looks around" in caption for caption in found)
    assert source.table.notes == {"narrations marked #unsure": 1}
    assert set(source.episodes.dataset) == {"ego4d"}
    assert source.episodes.length.min() >= 5, "at least 1 s at 5 Hz"


def test_frames_of_a_narration_are_those_of_its_times(ego4d: Ego4d) -> None:
    source = opened(ego4d)
    steps = np.arange(len(source.actions))
    images = source.images(steps, "primary")
    times = source.times_s(steps)
    for image, time_s in zip(images, times.tolist(), strict=True):
        assert number_of(image) == round(time_s * FPS)
    begin = np.repeat(source.clip_times_s[:, 0], source.episodes.length)
    within = steps - np.repeat(source.episodes.start, source.episodes.length)
    assert (np.abs(times - (begin + within / 5)) <= 0.5 / FPS + 1e-3).all()


def test_window_lengths_are_capped(ego4d: Ego4d) -> None:
    seconds = np.diff(opened(ego4d, min_clip_s=2.0, max_clip_s=2.0).clip_times_s, axis=1)
    np.testing.assert_allclose(seconds, 2.0, atol=1e-6)


def test_fho_actions_without_the_rejected_ones(ego4d: Ego4d) -> None:
    source = opened(ego4d, annotations="fho")
    assert times_of(source) == {"C picks a knife": [(3.0, 5.0)] * 2, "C cuts the bread": [(5.0, 6.5)] * 2}
    assert set(source.episodes.task) == {"take"}
    assert source.table.notes == {"actions that their annotators rejected": 4, "redacted intervals": 2}


def test_lta_and_state_changes_know_their_splits(ego4d: Ego4d) -> None:
    lta = opened(ego4d, "all", annotations="lta")
    found = zip(lta.episodes.split, lta.episodes.instruction, lta.clip_times_s.tolist(), strict=True)
    wanted = [("test", "", [3.0, 5.0]), ("train", "take knife", [2.5, 6.5]), ("validation", "take knife", [2.5, 6.5])]
    assert sorted(found) == wanted
    assert len(opened(ego4d, "validation", annotations="lta").episodes) == 1
    oscc = opened(ego4d, "all", annotations="oscc")
    assert sorted(oscc.episodes.task) == ["", "no state change", "state change"]
    assert oscc.clip_times_s.tolist() == [[2.5, 7.5]] * 3


def test_canonical_clips_have_a_clock_of_their_own(ego4d: Ego4d) -> None:
    fho = opened(ego4d, annotations="fho", videos="clips")
    assert times_of(fho) == {"C picks a knife": [(1.0, 3.0)] * 2, "C cuts the bread": [(3.0, 4.5)] * 2}
    assert number_of(fho.images(np.array([0]), "primary")[0]) == 3 * FPS, "the same frame as in the whole video"
    narrated = opened(ego4d, videos="clips")
    assert "C opens the drawer" not in times_of(narrated), "narrated before the clip begins"
    middle = np.mean(times_of(narrated)["C picks a knife"][0])
    assert middle == pytest.approx(2.0, abs=1e-3)


@pytest.mark.parametrize(("version", "home", "folder"), [("v1", "", "full_scale"), ("v2_1", "v2_1", "video_540ss")])
def test_versions_and_places_of_the_metadata(tmp_path: Path, version: str, home: str, folder: str) -> None:
    data = write_ego4d(tmp_path / "d", 1, 12.0, version, (folder,), ("narrations",), home, SMALL)
    source = opened(data)
    assert len(source.episodes) == 5
    assert source.file(0) == data.file(data.videos[0], folder)
    inner = robot_pt_data.open(data.root / version, skip_corrupt=True)
    assert len(inner.episodes) == 5, "a version folder by itself"


def test_fho_of_version_1(folder: Ego4d) -> None:
    values = json.loads((folder.annotations / "fho_main.json").read_text())
    (folder.annotations / "fho_main.json").unlink()
    old = {"video_data": {video["video_uid"]: video for video in values["videos"]}}
    (folder.annotations / "fho.json").write_text(json.dumps(old))
    assert len(opened(folder, annotations="fho").episodes) == 4


def test_missing_files_are_named(folder: Ego4d) -> None:
    folder.file(folder.videos[1]).unlink()
    with pytest.raises(DataError, match=rf"names {folder.videos[1]}, of which no file is there"):
        opened(folder)
    source = robot_pt_data.open(folder.root, skip_corrupt=True)
    assert len(source.episodes) == 5
    report = robot_pt_data.index(folder.root, skip_corrupt=True)
    assert report.passed_over["videos of narration.json that are not in the folder"] == 1


def test_damaged_files_are_named_and_the_rest_is_read(folder: Ego4d) -> None:
    cut_off(folder.file(folder.videos[0]), 0.5)
    with pytest.raises(DataError, match=rf"{folder.videos[0]}.mp4 is no readable video"):
        robot_pt_data.index(folder.root)
    report = robot_pt_data.index(folder.root, skip_corrupt=True)
    assert len(report.skipped) == 1
    assert report.splits == {"train": 4}


def test_missing_and_damaged_annotations(folder: Ego4d) -> None:
    rewrite(folder.annotations / "narration.json", lambda v: v.pop(folder.videos[1]))
    with pytest.raises(DataError, match=rf"{folder.videos[1]}.mp4 has no narrations"):
        opened(folder)
    (folder.annotations / "narration.json").write_text('{"half a fi')
    with pytest.raises(DataError, match=r"narration\.json is damaged: it is no JSON"):
        robot_pt_data.open(folder.root, skip_corrupt=True)
    (folder.annotations / "narration.json").write_text("[]")
    with pytest.raises(DataError, match="holds a list, not an object"):
        opened(folder)
    shutil.rmtree(folder.annotations)
    with pytest.raises(DataError, match="holds no annotations that make clips"):
        opened(folder)
    with pytest.raises(DataError, match="has no fho annotations; fetch them"):
        opened(folder, annotations="fho")
    whole = opened(folder, annotations="none")
    assert whole.episodes.length.tolist() == [50, 10] * 2, "12 s in clips of 10 s"


def test_annotations_that_cannot_be(folder: Ego4d) -> None:
    def spoil(values: Any) -> None:
        entries = values[folder.videos[0]]["narration_pass_1"]["narrations"]
        entries[1]["timestamp_sec"] = "soon"
        entries[2]["narration_text"] = "#C "
        entries += [{"timestamp_sec": float("nan"), "narration_text": "#C C waits"}, 7]
        values[folder.videos[1]]["narration_pass_1"]["narrations"][3]["timestamp_sec"] = 400.0
        values[folder.videos[1]]["narration_pass_2"] = None
        values["b" * 36] = {"status": "redacted"}

    rewrite(folder.annotations / "narration.json", spoil)
    report = robot_pt_data.index(folder.root, skip_corrupt=True)
    assert len(report.skipped) == 2
    assert f"4 narrations of {folder.videos[0]} have no time or no text" in report.skipped[0]
    assert "lies at 398.66 to 401.34 s" in report.skipped[1]
    assert "the video ends at 12.00 s" in report.skipped[1]

    def late(values: Any) -> None:
        actions = values["videos"][0]["annotated_intervals"][0]["narrated_actions"]
        actions[0]["end_sec"], actions[1]["start_sec"] = 99.0, 8.0

    rewrite(folder.annotations / "fho_main.json", late)
    with pytest.raises(
        DataError, match=r"2 videos or annotations are wrong: .*picks a knife.*ends at 12.*cuts the bread.*starts at 8"
    ):
        opened(folder, annotations="fho")


def test_start_times_a_hair_before_zero_are_zero(folder: Ego4d) -> None:
    def early(values: Any) -> None:
        values["videos"][0]["annotated_intervals"][0]["narrated_actions"][0]["start_sec"] = -4e-7

    rewrite(folder.annotations / "fho_main.json", early)
    assert times_of(opened(folder, annotations="fho"))["C picks a knife"] == [(3.0, 5.0), (0.0, 5.0)]


def test_without_videos_or_metadata(folder: Ego4d) -> None:
    (folder.root / "ego4d.json").unlink()
    with pytest.raises(DataError, match=r"ego4d\.json is missing"):
        opened(folder)
    assert len(robot_pt_data.open(folder.root, skip_corrupt=True).episodes) > 0
    (folder.root / "ego4d.json").write_text("{}")
    for name in ("video_540ss", "clips"):
        shutil.rmtree(folder.root / folder.version / name)
    with pytest.raises(DataError, match="Ego4D folder with no folder of videos; fetch some"):
        opened(folder)


def test_words() -> None:
    assert ego4d_annotations.plain("#C C opens  the #drawer ") == "C opens the"
    assert ego4d_annotations.label("take_(pick,_grab,_get)") == "take"
    assert ego4d_annotations.label("screw_driver") == "screw driver"
    assert ego4d_annotations.label(None) == ""


def test_new_annotations_are_noticed(folder: Ego4d) -> None:
    before = len(opened(folder).episodes)
    rewrite(folder.annotations / "narration.json", lambda v: v[folder.videos[0]].pop("narration_pass_2"))
    assert len(opened(folder).episodes) == before - 1


def test_settings_for_ego4d_are_said_to_mean_nothing_one_folder_too_deep(ego4d: Ego4d) -> None:
    inner = robot_pt_data.open(ego4d.file(ego4d.videos[0]).parent, mapping={"annotations": "fho"}, skip_corrupt=True)
    assert isinstance(inner, VideoSource)
    assert inner.table.notes["settings for Ego4D in what is no Ego4D folder"] == 1
    assert any("settings for Ego4D in what is no Ego4D folder" in sentence for sentence in inner.warnings)
