"""What users and disks do to a data set: one sentence that names it, the rest stays usable, nothing is half done."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import robot_pt_data
from robot_pt.errors import DataError, UserError
from robot_pt_data.tfrecord import frame, map_file, scan

Write = Callable[..., Path]


@pytest.fixture
def copy(write_rlds: Write, tmp_path: Path) -> Callable[..., Path]:
    """A data set of four episodes that a test may spoil."""

    def make(name: str = "bridge_dataset", file_format: str = "tfrecord") -> Path:
        folder = tmp_path / name / "1.0.0"
        shutil.copytree(write_rlds(name, file_format, episodes=4), folder)
        return folder

    return make


def shard_of(folder: Path) -> Path:
    return next(p for p in folder.iterdir() if "-of-" in p.name)


def payloads(folder: Path) -> list[bytes]:
    data = map_file(shard_of(folder))
    return [data[r.offset : r.offset + r.length].tobytes() for r in scan(data, "s")]


def rewrite(folder: Path, change: Callable[[int, Any], Any]) -> None:
    """Pass every Example through `change` and write it back."""
    import tensorflow as tf

    out = []
    for i, payload in enumerate(payloads(folder)):
        example = tf.train.Example.FromString(payload)
        change(i, example.features.feature)
        out.append(frame(example.SerializeToString()))
    shard_of(folder).write_bytes(b"".join(out))


def refuses_then_skips(folder: Path, sentence: str, left: int = 3, **options: Any) -> Any:
    """The split is refused with `sentence`, twice, and opens without the damage when told to."""
    for _ in range(2):
        with pytest.raises(DataError, match=sentence) as caught:
            robot_pt_data.open(folder, **options)
        assert "--skip-corrupt" in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.warns(UserWarning, match="damaged records"):
        source: Any = robot_pt_data.open(folder, skip_corrupt=True, **options)
    assert len(source.episodes) == left
    for camera in source.spec.cameras:
        steps = np.concatenate(
            [np.arange(s, s + n) for s, n in zip(source.episodes.start, source.episodes.length, strict=True)]
        )
        assert source.images(steps, camera, (8, 8)).shape == (len(steps), 8, 8, 3)
    with pytest.raises(DataError, match=sentence):  # the stored index remembers what was left out
        robot_pt_data.open(folder, **options)
    return source


def test_a_bit_flipped_in_a_payload(copy: Callable[..., Path]) -> None:
    folder = copy()
    raw = bytearray(shard_of(folder).read_bytes())
    second = list(scan(np.frombuffer(bytes(raw), np.uint8), "s"))[1]
    raw[second.offset + 1000] ^= 4
    shard_of(folder).write_bytes(raw)
    refuses_then_skips(folder, "record 1 of bridge_dataset-train.tfrecord-00000-of-00001 fails its checksum")


def test_a_bit_flipped_in_a_length(copy: Callable[..., Path]) -> None:
    folder = copy()
    raw = bytearray(shard_of(folder).read_bytes())
    raw[0] ^= 1
    shard_of(folder).write_bytes(raw)
    refuses_then_skips(folder, "the length of record 0")


def test_a_truncated_shard(copy: Callable[..., Path]) -> None:
    folder = copy()
    raw = shard_of(folder).read_bytes()
    shard_of(folder).write_bytes(raw[: len(raw) - 100])
    refuses_then_skips(folder, "record 3 of .* is cut off, 100 bytes are missing")


def test_a_shard_cut_between_records(copy: Callable[..., Path]) -> None:
    folder = copy()
    shard_of(folder).write_bytes(b"".join(map(frame, payloads(folder)[:2])))
    refuses_then_skips(folder, "ends after 2 of 4 records", left=2)


def test_a_missing_shard(copy: Callable[..., Path]) -> None:
    folder = copy()
    shard_of(folder).unlink()
    with pytest.raises(DataError, match=r"the shard .* is missing"):
        robot_pt_data.open(folder)
    with pytest.raises(DataError, match="holds no episodes"):
        robot_pt_data.open(folder, skip_corrupt=True)


def test_a_damaged_array_record(copy: Callable[..., Path]) -> None:
    folder = copy("bridge_dataset", "array_record")
    raw = bytearray(shard_of(folder).read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    shard_of(folder).write_bytes(raw)
    with pytest.raises(DataError, match="array_record-00000-of-00001"):
        robot_pt_data.open(folder)
    shard_of(folder).write_bytes(b"no shard at all")
    with pytest.raises(DataError, match="not a sound ArrayRecord shard"):
        robot_pt_data.open(folder)


def test_nan_actions_are_named_by_record_and_step(copy: Callable[..., Path]) -> None:
    folder = copy()

    def spoil(i: int, feature: Any) -> None:
        if i == 2:
            feature["steps/action"].float_list.value[7 * 3 + 1] = float("nan")

    rewrite(folder, spoil)
    refuses_then_skips(folder, "record 2 of .*actions hold NaN or Inf at step 3")


def test_wrong_shapes(copy: Callable[..., Path]) -> None:
    folder = copy()

    def spoil(i: int, feature: Any) -> None:
        if i == 1:
            del feature["steps/action"].float_list.value[-3:]

    rewrite(folder, spoil)
    refuses_then_skips(folder, "record 1 of .*'steps/action' has 32 values, 5 steps of 7 need 35")


def test_empty_episodes_and_short_cameras(copy: Callable[..., Path]) -> None:
    folder = copy()

    def spoil(i: int, feature: Any) -> None:
        for key in ("image_0", "image_1", "image_3"):
            if i == 0:
                del feature[f"steps/observation/{key}"].bytes_list.value[:]
        if i == 3:
            del feature["steps/observation/image_1"].bytes_list.value[0]

    rewrite(folder, spoil)
    source = refuses_then_skips(folder, "record 0 of .* it has no steps", left=2)
    assert any("2 damaged records" in w for w in source.warnings)


def test_frames_of_another_size_or_no_image_at_all(copy: Callable[..., Path]) -> None:
    import cv2

    folder = copy()

    def spoil(i: int, feature: Any) -> None:
        frames = feature["steps/observation/image_0"].bytes_list.value
        if i == 0:
            frames[0] = cv2.imencode(".jpg", np.zeros((7, 9, 3), np.uint8))[1].tobytes()
        if i == 1:
            frames[0] = b"GIF89a"
        if i == 2:
            frames[4] = frames[4][:40] + b"\xff" * 20  # found only when it is read

    rewrite(folder, spoil)
    with pytest.raises(DataError, match=r"7x9, features.json says 24x32"):
        robot_pt_data.open(folder)
    with pytest.warns(UserWarning, match="2 damaged records"):
        source: Any = robot_pt_data.open(folder, skip_corrupt=True)
    step = int(source.episodes.start[0]) + 4
    with pytest.raises(DataError, match=rf"step {step}, camera 'primary', record 2 of bridge_dataset-train"):
        source.images(np.arange(step - 4, step + 1), "primary")


def test_a_frame_of_another_size_within_an_episode_is_named_when_it_is_read(copy: Callable[..., Path]) -> None:
    import cv2

    folder = copy()

    def spoil(i: int, feature: Any) -> None:
        if i == 2:
            other = cv2.imencode(".jpg", np.zeros((48, 32, 3), np.uint8))[1].tobytes()
            feature["steps/observation/image_0"].bytes_list.value[3] = other

    rewrite(folder, spoil)
    source: Any = robot_pt_data.open(folder)
    step = int(source.episodes.start[2]) + 3
    for size in (None, (8, 8)):
        with pytest.raises(
            DataError, match=rf"step {step}, camera 'primary', record 2 of .*48x32, the others are 24x32"
        ):
            source.images(np.arange(step - 3, step + 2), "primary", size)
    assert source.images(np.arange(step - 3, step), "primary").shape == (3, 24, 32, 3)


def test_episodes_of_different_sizes_are_resized_and_said(copy: Callable[..., Path]) -> None:
    import cv2

    folder = copy()
    features = json.loads((folder / "features.json").read_text())
    text = json.dumps(features).replace('["24", "32", "3"]', '["-1", "-1", "3"]')
    assert text != json.dumps(features)
    (folder / "features.json").write_text(text)

    def spoil(i: int, feature: Any) -> None:
        frames = feature["steps/observation/image_0"].bytes_list.value
        if i == 2:
            for t in range(len(frames)):
                frames[t] = cv2.imencode(".jpg", np.full((48, 32, 3), 9 * t, np.uint8))[1].tobytes()

    rewrite(folder, spoil)
    source: Any = robot_pt_data.open(folder)
    assert any("have several sizes" in w for w in source.warnings)
    rows = np.arange(int(source.episodes.start[1]), int(source.episodes.start[3]))
    assert source.images(rows, "primary").shape == (len(rows), 24, 32, 3)


def test_a_column_that_is_gone(copy: Callable[..., Path]) -> None:
    folder = copy()
    rewrite(folder, lambda i, feature: feature.pop("steps/action") if i == 0 else None)
    refuses_then_skips(folder, "record 0 of .* its column 'steps/action' is missing")


def test_zlib_columns_that_are_damaged_or_bombs(copy: Callable[..., Path]) -> None:
    import zlib

    folder = copy("kuka")

    def spoil(i: int, feature: Any) -> None:
        values = feature["steps/observation/gripper_closed"].bytes_list.value
        values[0] = [zlib.compress(b"\0" * 100_000_000), b"nonsense", values[0], values[0]][i]

    rewrite(folder, spoil)
    with pytest.warns(UserWarning, match="2 damaged records"):
        source = robot_pt_data.open(folder, skip_corrupt=True)
    assert len(source.episodes) == 2


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda p: None, "does not exist"),
        (lambda p: p.write_text("x"), "is a file"),
        (lambda p: p.mkdir(), "neither an RLDS data set .* holds nothing"),
        (lambda p: (p / "meta").mkdir(parents=True) or (p / "meta/info.json").write_text("{}"), "LeRobot"),
    ],
)
def test_folders_that_are_no_data_set(tmp_path: Path, make: Callable[[Path], Any], sentence: str) -> None:
    make(tmp_path / "x")
    with pytest.raises(DataError, match=sentence):
        robot_pt_data.open(tmp_path / "x")


def test_folders_and_shards_that_may_not_be_read(copy: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy()
    shard_of(folder).unlink()
    (folder / "x").mkdir()
    (folder / "x").rename(folder / "bridge_dataset-train.tfrecord-00000-of-00001")
    with pytest.raises(DataError, match=r"cannot be opened \(Is a directory\); fetch it again or check its rights"):
        robot_pt_data.open(folder)

    def refuse(path: Path) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(DataError, match=r"1.0.0 cannot be read \(Permission denied\); check its rights"):
        robot_pt_data.open(folder)


def test_metadata_that_is_damaged_or_not_rlds(copy: Callable[..., Path]) -> None:
    folder = copy()
    for nonsense in ('{"pythonClassName": "nonsense"}', '{"a": 3}', "[]", "{nope", ""):
        (folder / "features.json").write_text(nonsense)
        with pytest.raises(DataError, match=r"restore its dataset_info.json and features.json"):
            robot_pt_data.open(folder)
    (folder / "dataset_info.json").write_text("{")
    with pytest.raises(DataError, match=r"dataset_info.json cannot be read"):
        robot_pt_data.open(folder)


def test_a_tfds_folder_without_steps(tmp_path: Path) -> None:
    tfds = pytest.importorskip("tensorflow_datasets")
    tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(8, 8, 3))}).save_config(str(tmp_path))
    info = {"name": "bridge_dataset", "version": "1.0.0", "fileFormat": "tfrecord", "splits": []}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match="not an RLDS one"):
        robot_pt_data.open(tmp_path)


def test_splits_parents_and_options(copy: Callable[..., Path]) -> None:
    folder = copy()
    with pytest.raises(DataError, match=r"has the splits \['train'\], not 'test'"):
        robot_pt_data.open(folder, "test")
    assert len(robot_pt_data.open(folder.parent).episodes) == 4
    shutil.copytree(folder, folder.parent / "2.0.0")
    with pytest.raises(DataError, match=r"\['1.0.0', '2.0.0'\]; name one"):
        robot_pt_data.open(folder.parent)
    with pytest.raises(DataError, match="give 'commanded' or 'achieved'"):
        robot_pt_data.open(folder, action_source="wished")  # type: ignore[arg-type]


def test_achieved_actions_need_a_pose(write_rlds: Write) -> None:
    with pytest.raises(DataError, match="no measured pose"):
        robot_pt_data.open(write_rlds("toto"), action_source="achieved")


def test_unknown_cameras_and_steps(write_rlds: Write) -> None:
    source = robot_pt_data.open(write_rlds("toto"))
    with pytest.raises(DataError, match=r"camera 'wrist' is not in toto, which has \['primary'\]"):
        source.images(np.arange(2), "wrist")
    for steps in ([-1, 0], [0, 10]):
        with pytest.raises(DataError, match="steps run from 0 to 9"):
            source.images(np.array(steps), "primary")


def test_a_shard_that_changes_is_indexed_again_and_one_that_shrinks_is_named(copy: Callable[..., Path]) -> None:
    folder = copy()
    source: Any = robot_pt_data.open(folder)
    rewrite(folder, lambda i, feature: feature["steps/reward"].float_list.value.__setitem__(4, 7.0))
    again: Any = robot_pt_data.open(folder)
    assert source.rewards[4] == 1
    assert again.rewards[4] == 7
    with shard_of(folder).open("r+b") as file:
        file.truncate(2000)
    stale: Any = robot_pt_data.rlds.RldsSource(
        again._index, robot_pt_data.shards.MappedShards(folder, again._index.shards)
    )
    with pytest.raises(DataError, match="shorter since it was indexed"):
        stale.images(np.arange(10), "primary")
    shard_of(folder).unlink()
    gone: Any = robot_pt_data.rlds.RldsSource(
        again._index, robot_pt_data.shards.MappedShards(folder, again._index.shards)
    )
    with pytest.raises(DataError, match="cannot be opened"):
        gone.images(np.arange(2), "primary")


def test_a_damaged_index_is_built_again(
    copy: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBOT_PT_CACHE", str(tmp_path / "cache"))
    folder = copy()
    robot_pt_data.open(folder)
    for name in ("index.json", "actions.npy", "proprio.npy"):
        victim = next((tmp_path / "cache").rglob(name))
        victim.write_bytes(b"\x93NUMPY garbage")
        assert len(robot_pt_data.open(folder).episodes) == 4
        victim.unlink()
        assert len(robot_pt_data.open(folder).episodes) == 4
    left = [p.name for p in (tmp_path / "cache").rglob("*") if ".part" in p.name or ".old" in p.name]
    assert not left


def test_a_cache_that_cannot_be_written(
    copy: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy()
    (tmp_path / "taken").write_text("a file, not a folder")
    monkeypatch.setenv("ROBOT_PT_CACHE", str(tmp_path / "taken"))
    with pytest.raises(UserError, match=r"cannot be written .* set ROBOT_PT_CACHE"):
        robot_pt_data.open(folder)


def test_a_full_disk_while_indexing_leaves_no_trace(
    copy: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy()
    monkeypatch.setenv("ROBOT_PT_CACHE", str(tmp_path / "cache"))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        robot_pt_data.open(folder)
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []


def test_ctrl_c_while_indexing_leaves_no_trace(
    copy: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy()
    monkeypatch.setenv("ROBOT_PT_CACHE", str(tmp_path / "cache"))

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            robot_pt_data.open(folder)
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []
    assert len(robot_pt_data.open(folder).episodes) == 4


def test_processes_that_index_at_once_all_end_up_with_a_sound_source(copy: Callable[..., Path], tmp_path: Path) -> None:
    import subprocess
    import sys

    folder = copy()
    code = "import sys, robot_pt_data; print(len(robot_pt_data.open(sys.argv[1]).episodes))"
    environment = {**os.environ, "ROBOT_PT_CACHE": str(tmp_path / "cache")}
    runs = [
        subprocess.Popen([sys.executable, "-c", code, str(folder)], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [run.communicate()[0].strip() for run in runs] == ["4"] * 4
    assert [p.name for p in (tmp_path / "cache").rglob("*") if p.name.startswith(".")] == []
