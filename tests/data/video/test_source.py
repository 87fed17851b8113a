"""Clips of videos as an EpisodeSource."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

import robot_pt_data
from robot_pt.errors import DataError
from robot_pt.schema import UNKNOWN
from robot_pt.sources import Concat, EpisodeSource
from robot_pt_data.video.source import VideoSource
from tests.data.video.video_files import Clip, number_of, numbers_of, write_sound, write_video


def opened(path: Path, **options: object) -> VideoSource:
    source = robot_pt_data.open(path, mapping=options or None)  # type: ignore[arg-type]
    assert isinstance(source, VideoSource)
    return source


def test_a_plain_folder(plain_folder: Path) -> None:
    source = opened(plain_folder)
    assert isinstance(source, EpisodeSource)
    assert source.spec.cameras == {"primary": (48, 96)}
    assert (source.spec.embodiment, source.spec.control_hz, source.spec.action_names) == ("video", 5.0, ())
    table = source.episodes
    assert table.length.tolist() == [15, 8, 10]
    assert [source.file(e).name for e in range(3)] == ["a.mp4", "c.mkv", "b.MP4"]
    assert set(table.success.tolist()) == {UNKNOWN}
    assert table.split == ["train"] * 3
    rows = len(source.actions)
    assert source.actions.shape == source.proprio.shape == (rows, 0)
    assert source.rewards.tolist() == [0.0] * rows
    assert not source.terminated.any()
    assert np.flatnonzero(source.truncated).tolist() == (np.cumsum(table.length) - 1).tolist()


def test_rows_show_the_frames_of_their_times(plain_folder: Path) -> None:
    source = opened(plain_folder)
    first = {"a.mp4": 0, "b.MP4": 500, "c.mkv": 1000}
    rng = np.random.default_rng(0)
    steps = rng.integers(0, len(source.actions), 40)
    images = source.images(steps, "primary")
    episodes = np.searchsorted(np.cumsum(source.episodes.length), steps, side="right")
    for image, step, episode in zip(images, steps.tolist(), episodes.tolist(), strict=True):
        within = step - int(source.episodes.start[episode])
        assert number_of(image) == first[source.file(episode).name] + within * 6, "30 frames a second, 5 rows"
    numbers = source.frame_numbers(steps)
    np.testing.assert_allclose(source.times_s(steps), numbers / 30, atol=1e-3)
    assert source.images(steps[:3], "primary", (16, 24)).shape == (3, 16, 24, 3)
    assert source.images(np.zeros(0, np.int64), "primary").shape == (0, 48, 96, 3)


def test_other_rates_and_fixed_clips(plain_folder: Path) -> None:
    every = opened(plain_folder, rate_hz=0)
    assert sorted(every.episodes.length.tolist()) == [45, 60, 90]
    assert every.spec.control_hz == pytest.approx(30)
    a = [every.file(e).name for e in range(3)].index("a.mp4")
    start = int(every.episodes.start[a])
    assert numbers_of(every.images(np.arange(start, start + 90), "primary")) == list(range(90))

    cut = opened(plain_folder, rate_hz=10, clip_s=1)
    assert sorted(cut.episodes.length.tolist()) == [10] * 6, "what is left over of 1.5 s is too short for a clip"
    seconds = cut.clip_times_s[:, 1] - cut.clip_times_s[:, 0]
    np.testing.assert_allclose(seconds, 1, atol=1e-3)

    fast = opened(plain_folder, rate_hz=60)
    assert any("frames repeat" in sentence for sentence in fast.warnings)
    assert fast.episodes.length.max() == 180


def test_one_file_is_a_data_set(tmp_path: Path) -> None:
    path = write_video(tmp_path / "film.mp4", Clip(frames=60, start_s=2.0))
    source = opened(path, rate_hz=30)
    assert len(source.episodes) == 1
    assert numbers_of(source.images(np.array([59, 0, 30]), "primary")) == [59, 0, 30]
    assert source.clip_times_s[0].tolist() == pytest.approx([2.0, 4.0])


def test_gaps_of_a_video_shorten_its_clip(tmp_path: Path) -> None:
    ticks = [*range(0, 1000, 33), *range(5000, 9000, 33)]
    write_video(tmp_path / "gap.mp4", Clip(ticks=ticks, gop=30))
    source = opened(tmp_path)
    assert source.clip_times_s[0, 0] == pytest.approx(5.0, abs=0.11)
    assert int(source.episodes.length[0]) in (20, 21)
    assert "clips shortened where their video has no frames" in source.table.notes
    times = source.times_s(np.arange(len(source.actions)))
    assert (np.abs(np.diff(times) - 0.2) < 0.04).all()


def test_pickling_concatenating_and_caching(plain_folder: Path, tmp_path: Path) -> None:
    source = opened(plain_folder)
    steps = np.array([3, 20, 30, 1])
    wanted = source.images(steps, "primary")
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again.images(steps, "primary"), wanted)
    both = Concat([source, again])
    np.testing.assert_array_equal(both.images(steps + len(source.actions), "primary"), wanted)

    raw = robot_pt_data.cache(source, tmp_path / "raw", (24, 48))
    jpeg = robot_pt_data.cache(source, tmp_path / "jpeg", (24, 48), encoding="jpeg")
    small = source.images(np.arange(len(source.actions)), "primary", (24, 48))
    for cached in (raw, jpeg, robot_pt_data.open(tmp_path / "jpeg")):
        assert cached.actions.shape == (len(source.actions), 0)
        assert cached.episodes.length.tolist() == source.episodes.length.tolist()
        images = cached.images(np.arange(len(cached.actions)), "primary")
        assert np.abs(images.astype(int) - small).mean() < (0.01 if cached is raw else 3)
    assert jpeg.images(steps, "primary", (12, 24)).shape == (4, 12, 24, 3)


def test_inspect_and_index_tell_what_there_is(plain_folder: Path) -> None:
    report = robot_pt_data.index(plain_folder).to_json()
    assert (report["episodes"], report["steps"], report["cameras"]) == (3, 33, {"primary": (48, 96)})
    assert report["skipped"] == []
    assert report["passed_over"] == {"other files in the folder": 1}
    found = robot_pt_data.inspect(plain_folder)
    assert (found["kind"], found["executable"], found["action"], found["proprio"]) == ("video", False, {}, {})
    assert found["video"]["files"] == 3
    assert found["video"]["hours"] == pytest.approx(195 / 30 / 3600, abs=1e-3)
    assert robot_pt_data.describes_itself(plain_folder)


def test_faults_are_refused_or_left_out_by_choice(tmp_path: Path) -> None:
    write_video(tmp_path / "good.mp4", Clip(frames=60))
    (tmp_path / "empty.mp4").touch()
    write_sound(tmp_path / "sound.mp4")
    with pytest.raises(DataError, match=r"2 videos or annotations are wrong: .*empty\.mp4 is empty.*--skip-corrupt"):
        robot_pt_data.open(tmp_path)
    with pytest.raises(DataError, match="2 videos or annotations are wrong"):
        robot_pt_data.index(tmp_path)
    with pytest.warns(UserWarning, match="2 damaged records are left out"):
        source = robot_pt_data.open(tmp_path, skip_corrupt=True)
    assert len(source.episodes) == 1
    skipped = robot_pt_data.index(tmp_path, skip_corrupt=True).skipped
    assert [next(n for n in ("empty", "sound") if n in s) for s in skipped] == ["empty", "sound"]
    (tmp_path / "good.mp4").unlink()
    with pytest.raises(DataError, match=r"gives no clip of at least 2 frames.*raise rate_hz or clip_s"):
        robot_pt_data.open(tmp_path, skip_corrupt=True)


def test_what_cannot_be_asked_for(plain_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has the splits \['train'\], not 'val'"):
        robot_pt_data.open(plain_folder, "val")
    with pytest.raises(DataError, match="have no actions; leave the action source out"):
        robot_pt_data.open(plain_folder, action_source="commanded")
    for options, why in (
        ({"rate_hz": -1}, "give a rate of 0 to 1000"),
        ({"rate": 5}, "a mapping of videos has the fields"),
        ({"fit": "stretch"}, "give one of"),
        ({"clip_s": True}, "give a float"),
        ({"open_files": 0}, "give at least 1"),
        ({"min_clip_s": 5, "max_clip_s": 2}, "not shorter than the shortest"),
    ):
        with pytest.raises(DataError, match=why):
            opened(plain_folder, **options)  # type: ignore[arg-type]
    source = opened(plain_folder)
    with pytest.raises(DataError, match="videos have one camera, 'primary', not 'wrist'"):
        source.images(np.array([0]), "wrist")
    for steps in ([-1], [33]):
        with pytest.raises(DataError, match="steps run from 0 to 32"):
            source.images(np.array(steps), "primary")
    (tmp_path / "robot_pt_mapping.toml").write_text("rate_hz = 15\n")
    write_video(tmp_path / "a.mp4", Clip(frames=30))
    assert robot_pt_data.open(tmp_path).spec.control_hz == 15


def test_starts_that_are_far_apart_are_told_once_before_training(tmp_path: Path) -> None:
    for n in range(3):
        write_video(tmp_path / "long" / f"{n}.mp4", Clip(frames=300, size=(96, 48), gop=250 if n else 30))
    with pytest.warns(UserWarning, match="copies are read several times faster"):
        source = opened(tmp_path / "long")
    assert source.summary()["frames_per_start"] == 150.0
    [said] = source.warnings
    assert "decoded from up to 150 frames before it, at 96x48" in said
    assert "scale=256:-2" in said  # the short side becomes 256
    write_video(tmp_path / "short" / "a.mp4", Clip(frames=300, gop=30))
    assert opened(tmp_path / "short").warnings == []
