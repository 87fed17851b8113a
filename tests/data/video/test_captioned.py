"""Something-Something, EPIC-KITCHENS and other folders with a file of captions."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import robot_pt_data
from robot_pt.errors import DataError
from robot_pt_data.video.source import VideoSource
from robot_pt_data.video.tables import load_json, number, read_csv, seconds
from tests.data.video.video_files import Clip, number_of, write_video


def opened(path: Path, split: str = "train", **options: object) -> VideoSource:
    source = robot_pt_data.open(path, split, mapping=options or None)  # type: ignore[arg-type]
    assert isinstance(source, VideoSource)
    return source


def write_csv(path: Path, rows: Sequence[Sequence[object]], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


@pytest.fixture
def something(tmp_path: Path) -> Path:
    """As the release unpacks: labels/*.json and 20bn-something-something-v2/<id>.webm."""
    root = tmp_path / "sthv2"
    for name in ("78687", "42326", "10", "11"):
        film = Clip(frames=24, fps=12, codec="libvpx-vp9", size=(48, 96), gop=12)
        write_video(root / "20bn-something-something-v2" / f"{name}.webm", film, first=int(name) % 4000)
    labels = root / "labels"
    labels.mkdir()
    entry = {"label": "holding potato next to vicks", "template": "Holding [something] next to [something]"}
    (labels / "train.json").write_text(
        json.dumps([{"id": "78687", **entry, "placeholders": ["potato", "vicks"]}, {"id": "10", "label": "pushing it", "template": "Pushing [something]"}])
    )  # fmt: skip
    (labels / "validation.json").write_text(json.dumps([{"id": "42326", **entry, "placeholders": ["a", "b"]}]))
    (labels / "test.json").write_text(json.dumps([{"id": "11"}]))
    (labels / "labels.json").write_text(json.dumps({"Holding something next to something": "0"}))
    return root


@pytest.fixture
def epic(tmp_path: Path) -> Path:
    """EPIC-KITCHENS-100: P01/videos/P01_01.MP4 and its annotation files."""
    root = tmp_path / "epic"
    write_video(root / "P01" / "videos" / "P01_01.MP4", Clip(frames=300, gop=30))
    write_video(root / "P02" / "videos" / "P02_01.MP4", Clip(frames=150, gop=30), first=1000)
    names = [
        "narration_id", "participant_id", "video_id", "narration_timestamp", "start_timestamp", "stop_timestamp", "start_frame",
        "stop_frame", "narration", "verb", "verb_class", "noun", "noun_class", "all_nouns", "all_noun_classes",
    ]  # fmt: skip
    rest = ["open", 3, "door", 3, "['door']", "[3]"]
    write_csv(
        root / "EPIC_100_train.csv",
        [
            names,
            ["P01_01_0", "P01", "P01_01", "00:00:01.089", "00:00:00.50", "00:00:03.25", 8, 202, "open door", *rest],
            ["P01_01_1", "P01", "P01_01", "00:00:02.6", "00:00:04.00", "00:00:06.06", 262, 370, "turn on light", *rest],
        ],
    )
    write_csv(
        root / "EPIC_100_validation.csv",
        [names, ["P02_01_0", "P02", "P02_01", "00:00:01", "00:00:01.00", "00:00:02.00", 60, 120, "close door", *rest]],
    )
    return root


def test_something_something(something: Path) -> None:
    source = opened(something)
    assert sorted(source.episodes.instruction) == ["holding potato next to vicks", "pushing it"]
    assert sorted(source.episodes.task) == ["Holding something next to something", "Pushing something"]
    assert source.episodes.length.tolist() == [10, 10]
    for episode in range(2):
        image = source.images(source.episodes.start[[episode]], "primary")[0]
        assert number_of(image) == int(source.file(episode).stem) % 4000
    assert len(opened(something, "validation").episodes) == 1
    assert opened(something, "test").episodes.instruction == [""]
    cut = opened(something, "all", clip_s=1).episodes
    lengths = {bool(text): set() for text in cut.instruction}
    for text, length in zip(cut.instruction, cut.length.tolist(), strict=True):
        lengths[bool(text)].add(length)
    assert lengths == {True: {10}, False: {5}}, "only what has no caption is cut"


def test_epic_kitchens(epic: Path) -> None:
    source = opened(epic)
    assert source.episodes.instruction == ["open door", "turn on light"]
    np.testing.assert_allclose(source.clip_times_s, [[0.5, 3.25], [4.0, 6.06]], atol=1e-3)
    assert number_of(source.images(np.array([0]), "primary")[0]) == 15
    close = opened(epic, "validation")
    assert close.episodes.instruction == ["close door"]
    assert number_of(close.images(np.array([0]), "primary")[0]) == 1030


def test_any_csv_and_times_from_when_a_player_starts(tmp_path: Path) -> None:
    write_video(tmp_path / "v" / "film.ts", Clip(frames=150, gop=30, start_s=1.5), first=7)
    write_csv(tmp_path / "my captions.tsv", [["video", "start", "end", "text"], ["v/film.ts", 1.0, 3.0, "stir"]], "\t")
    source = opened(tmp_path)
    assert source.episodes.instruction == ["stir"]
    index = source._reader.index(source.file(0))
    assert index.times_s[0] > 1
    assert source.clip_times_s[0, 0] - index.times_s[0] == pytest.approx(1.0, abs=0.07)
    (tmp_path / "my captions.tsv").rename(tmp_path / "v" / "deep.csv")
    assert opened(tmp_path, captions="v/deep.csv").episodes.instruction == ["stir"]
    with pytest.raises(DataError, match="is no file of captions"):
        opened(tmp_path, captions="nothing.csv")


def test_rows_that_cannot_be(epic: Path) -> None:
    path = epic / "EPIC_100_train.csv"
    lines = path.read_text().splitlines()
    bad = [
        lines[1].replace("P01_01,", "P99_09,"),
        lines[1].replace("00:00:00.50", "noon"),
        lines[1].replace("00:00:03.25", "00:01:40.00").replace("open door", "open late"),
        lines[1].replace("00:00:00.50", "00:00:05.00").replace("open door", "open turned"),
        lines[1].replace("P01_01,", ","),
        lines[1].replace("00:00:03.25", "00:00:00.55").replace("open door", "blink"),
    ]
    path.write_text("\n".join([*lines, *bad]) + "\n")
    with pytest.raises(DataError, match=r"5 videos or annotations are wrong"):
        opened(epic)
    report = robot_pt_data.index(epic, skip_corrupt=True)
    told = "\n".join(report.skipped)
    for part in (
        "'P99_09' of the captions is not in the folder",
        "'noon' to '00:00:03.25' are no times",
        "row 7 names no video",
    ):
        assert part in told
    assert "'open late' lies at 0.50 to 100.00 s and the video ends at 10.00 s" in told
    assert "'open turned' ends at 3.25 s and starts at 5.00 s" in told
    assert report.passed_over == {"clips of fewer than 2 frames": 1}
    assert report.splits == {"train": 2, "validation": 1}


def test_videos_without_captions_and_captions_that_fit_two(something: Path) -> None:
    write_video(something / "more" / "99.webm", Clip(frames=24, codec="libvpx-vp9"))
    with pytest.raises(DataError, match=r"more/99\.webm has no caption in"):
        opened(something)
    write_video(something / "more" / "10.webm", Clip(frames=24, codec="libvpx-vp9"))
    report = robot_pt_data.index(something, skip_corrupt=True)
    assert any(
        "'10' of the captions may be 20bn-something-something-v2/10.webm or more/10.webm" in s for s in report.skipped
    )
    (something / "labels" / "train.json").write_text('[{"id": "78687", "label": "x"}, {"label": "no id"}]')
    report = robot_pt_data.index(something, skip_corrupt=True)
    assert any("train.json, entry 2 names no video" in s for s in report.skipped)


def test_times_and_numbers() -> None:
    assert seconds("12.5") == 12.5
    assert seconds("01:02") == 62
    assert seconds("1:00:00.25") == 3600.25
    for text in ("", "x", "1:2:3:4", "1:-2", "inf", "nan"):
        assert math.isnan(seconds(text)), text
    assert number(3) == 3
    for value in (True, "3", None, float("inf"), 10**400):
        assert math.isnan(number(value))


def test_damaged_tables_are_sentences(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(DataError, match="is damaged: it is no JSON"):
        load_json(tmp_path / "a.json")
    with pytest.raises(DataError, match="cannot be read"):
        load_json(tmp_path / "absent.json")
    (tmp_path / "a.csv").write_text("video,text\na," + "x" * (1 << 25))
    with pytest.raises(DataError, match="is damaged: it is no CSV"):
        list(read_csv(tmp_path / "a.csv"))
    (tmp_path / "a.csv").write_bytes(b"video,text\n\xff\xfe,\x00\n")
    with pytest.raises(DataError, match=r"a\.csv is not in UTF-8 \(byte 11 of it\); save it so"):
        list(read_csv(tmp_path / "a.csv"))
    with pytest.raises(DataError, match="cannot be read"):
        list(read_csv(tmp_path / "absent.csv"))


@pytest.mark.parametrize("header", ["video,text", "vid\xe9o,video,text"])
def test_captions_in_another_encoding_are_told_of_and_not_passed_over(tmp_path: Path, header: str) -> None:
    write_video(tmp_path / "a.mp4", Clip(frames=30))
    (tmp_path / "captions.csv").write_bytes(f"{header}\na.mp4,a.mp4,caf\xe9\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"captions\.csv is not in UTF-8"):
        robot_pt_data.open(tmp_path)
