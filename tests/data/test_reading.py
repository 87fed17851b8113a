"""Sources, the index on disk, inspect and the decoded cache, on data sets that tensorflow-datasets wrote."""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import robot_pt_data
from robot_pt.errors import DataError, UserError
from robot_pt.images import resize
from robot_pt.sources import Concat, EpisodeSource, split_episodes
from robot_pt_data import index_files, shards
from robot_pt_data.decoded import DecodedSource
from robot_pt_data.files import LocalFiles
from robot_pt_data.oxe import BRIDGE_DATASET
from robot_pt_data.report import motion_checks

Write = Callable[..., Path]


def test_both_sources_are_episode_sources(write_rlds: Write, tmp_path: Path) -> None:
    source = robot_pt_data.open(write_rlds("bridge_dataset"))
    assert isinstance(source, EpisodeSource)
    assert isinstance(robot_pt_data.cache(source, tmp_path / "c", (8, 8)), EpisodeSource)


def test_sizes_scale_decode_and_resize(write_rlds: Write) -> None:
    source: Any = robot_pt_data.open(write_rlds("bridge_dataset"))
    steps = np.arange(10)
    full = source.images(steps, "primary")
    assert full.shape == (10, 24, 32, 3)
    for size in ((12, 16), (6, 8), (9, 11), (48, 64)):
        small = source.images(steps, "primary", size)
        assert small.shape == (10, *size, 3)
        off = np.abs(small.astype(int) - resize(full, size).astype(int))
        assert off.mean() < 8, size
    png = source.images(steps, "wrist", (12, 16))
    np.testing.assert_array_equal(png, resize(source.images(steps, "wrist"), (12, 16)))


def test_threads_change_nothing_and_order_is_kept(write_rlds: Write) -> None:
    source: Any = robot_pt_data.open(write_rlds("bridge_dataset", episodes=6, steps=4))
    steps = np.random.default_rng(0).integers(0, 24, 100)
    source.threads = 1
    alone = source.images(steps, "primary", (12, 16))
    source.threads = 3
    np.testing.assert_array_equal(source.images(steps, "primary", (12, 16)), alone)
    one_by_one = np.concatenate([source.images(np.array([s]), "primary", (12, 16)) for s in steps])
    np.testing.assert_array_equal(one_by_one, alone)


def test_views_concat_and_splits_work_on_it(write_rlds: Write) -> None:
    first, second = robot_pt_data.open(write_rlds("bridge_dataset")), robot_pt_data.open(write_rlds("bridge"))
    both = Concat([first, second])
    assert len(both.episodes) == 4
    np.testing.assert_array_equal(
        both.images(np.array([12, 3]), "primary")[1], first.images(np.array([3]), "primary")[0]
    )
    train, held = split_episodes(robot_pt_data.open(write_rlds("bridge_dataset", episodes=6, steps=4)), 0.2)
    assert (len(train.episodes), len(held.episodes)) == (5, 1)


def test_a_second_open_imports_neither_tensorflow_nor_tfds(write_rlds: Write) -> None:
    folder = write_rlds("bridge_dataset")
    robot_pt_data.open(folder)
    code = (
        "import sys, numpy as np, robot_pt_data; s = robot_pt_data.open(sys.argv[1]); s.images(np.arange(4), 'primary');"
        "print([m for m in ('tensorflow', 'tensorflow_datasets', 'torch', 'zarr') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_index_report_and_progress(write_rlds: Write) -> None:
    seen: list[tuple[int, int]] = []
    report = robot_pt_data.index(write_rlds("bridge_dataset"), progress=lambda d, t: seen.append((d, t)))
    values = report.to_json()
    assert seen == [(1, 2), (2, 2)]
    assert (values["dataset"], values["episodes"], values["steps"], values["splits"]) == (
        "bridge_dataset",
        2,
        10,
        {"train": 2},
    )
    assert values["mb_per_s"] > 0
    assert values["skipped"] == []
    json.dumps(values)


def test_index_beside_the_data(write_rlds: Write, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "bridge_dataset" / "1.0.0"
    shutil.copytree(write_rlds("bridge_dataset"), folder)
    report = robot_pt_data.index(folder, beside=True)
    assert Path(report.path) == folder / "robot_pt_index"
    assert index_files.load(index_files.index_path(folder, "train", BRIDGE_DATASET), LocalFiles(folder)) is not None
    assert len(robot_pt_data.open(folder).episodes) == 2


def test_demo_stores_open_too(tmp_path: Path, write_rlds: Write) -> None:
    from robot_pt.schema import Episode
    from robot_pt.store import DemoStore

    source: Any = robot_pt_data.open(write_rlds("bridge_dataset"))
    store = DemoStore.create(tmp_path / "demos", source.spec)
    rows = slice(0, 5)
    columns = {
        name: getattr(source, name)[rows] for name in ("proprio", "actions", "rewards", "terminated", "truncated")
    }
    frames = {camera: source.encoded(np.arange(5), camera) for camera in source.spec.cameras}
    store.append(Episode(spec=source.spec, images=frames, instruction="go", success=True, **columns))
    again: Any = robot_pt_data.open(tmp_path / "demos")
    np.testing.assert_array_equal(again.images(np.arange(5), "wrist"), source.images(np.arange(5), "wrist"))
    assert robot_pt_data.inspect(tmp_path / "demos")["kind"] == "demo_store"
    with pytest.raises(DataError, match="takes no mapping or action source"):
        robot_pt_data.open(tmp_path / "demos", action_source="achieved")


def test_cache_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROBOT_PT_CACHE", str(tmp_path / "a"))
    assert index_files.cache_root() == tmp_path / "a"
    monkeypatch.delenv("ROBOT_PT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert index_files.cache_root() == tmp_path / "b" / "robot-pt"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert index_files.cache_root() == tmp_path / ".cache" / "robot-pt"


def test_more_shards_than_open_files(write_rlds: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    source: Any = robot_pt_data.open(write_rlds("bridge_dataset"))
    mapped = source._shards
    mapped._names = mapped._names * 40
    monkeypatch.setattr(mapped, "_limit", 3)
    rows = np.arange(40, dtype=np.int32) % 40
    offset, size = np.repeat(source._index.offset[:1, 0], 40), np.repeat(source._index.size[:1, 0].astype(np.int64), 40)
    images = mapped.fetch(rows, np.zeros(40, np.int32), offset, size)
    assert len({image.tobytes() for image in images}) == 1
    assert len(mapped._maps) == 3


def test_more_array_records_than_open_files(write_rlds: Write, tmp_path: Path) -> None:
    source: Any = robot_pt_data.open(write_rlds("bridge_dataset", "array_record", episodes=6, steps=4))
    name, folder = source._shards._names[0], source._shards._folder
    names = [f"{i}.array_record" for i in range(20)]
    for each in names:
        (tmp_path / each).symlink_to(folder / name)
    many = shards.ArrayRecordShards(tmp_path, names, keep=2)
    many._limit = 3
    index = source._index
    rows = np.repeat(np.arange(20, dtype=np.int32), 2)
    step = np.tile(np.array([0, 9]), 20)  # of episodes 0 and 2
    arguments = index.record[step], index.offset[step, 0], index.size[step, 0].astype(np.int64)

    def opened() -> int:
        return sum(os.readlink(f).endswith(name) for f in glob.glob("/proc/self/fd/*") if os.path.islink(f))

    before = opened()
    for _ in range(2):
        images = [image.tobytes() for image in many.fetch(rows, *arguments)]
        assert images[:2] * 20 == images
        assert images[:2] == [bytes(b) for b in source.encoded(np.array([0, 9]), "primary")]
    assert len(many._open) == 3
    assert len(many._recent) == 2
    assert opened() - before <= 3 + 1
    with ThreadPoolExecutor(4) as pool:  # shards are closed and opened again while others read from them
        orders = [np.random.default_rng(seed).permutation(40) for seed in range(8)]
        found = pool.map(lambda order: many.fetch(rows[order], *(a[order] for a in arguments)), orders)
        for order, got in zip(orders, found, strict=True):
            assert [image.tobytes() for image in got] == [images[i] for i in order]


def test_an_array_record_that_shrank_is_named(write_rlds: Write) -> None:
    source: Any = robot_pt_data.open(write_rlds("bridge_dataset", "array_record", episodes=6, steps=4))
    far = np.array([1 << 40])
    with pytest.raises(DataError, match="index it again"):
        source._shards.fetch(np.zeros(1, np.int32), np.zeros(1, np.int32), far, np.array([10]))
    shard = next(iter(source._shards._open.values()))
    with pytest.raises(DataError, match=r"record 99 of .* cannot be read"):
        shard.read(99)
    assert isinstance(source._shards, shards.ArrayRecordShards)


def test_dummy_cameras_are_left_out_or_marked(bridge: Path) -> None:
    source: Any = robot_pt_data.open(bridge)
    assert set(source.spec.cameras) == {"primary", "secondary"}
    assert source.camera_present("secondary").all()
    assert any("wrist" in w and "place holder" in w for w in source.warnings)


def test_inspect_says_what_a_user_must_know(bridge: Path) -> None:
    found = robot_pt_data.inspect(bridge)
    json.dumps(found)
    assert (found["episodes"], found["steps"]) == (50, 450)
    assert found["splits"]["val"]["unknown"] == 25
    assert found["executable"] is True
    assert found["instructions"]["distinct"] == 4
    assert found["entry"]["verified"] is True
    assert "train: 25 of 25 episodes of bridge_dataset carry no success label." in found["warnings"]
    assert (
        "train: 25 of 25 episodes of bridge_dataset do not end in a terminal step and are treated as truncated."
        in found["warnings"]
    )
    assert found["checks"]["dyaw commanded vs achieved"] > 0.8
    assert not any("hardly agree" in w for w in found["warnings"])
    assert found["action"]["dx"]["min"] < found["action"]["dx"]["mean"] < found["action"]["dx"]["max"]


def test_motion_checks_notice_a_flipped_sign(bridge: Path) -> None:
    source: Any = robot_pt_data.open(bridge)
    source.actions = source.actions * np.array([1, -1, 1, 1, 1, 1, 1], np.float32)
    checks, doubts = motion_checks(source)
    assert checks["dy commanded vs achieved"] < 0
    assert "hardly agree in ['dy']" in doubts[0]


def test_inspect_of_random_data_doubts_its_actions(write_rlds: Write) -> None:
    found = robot_pt_data.inspect(write_rlds("toto"))
    assert found["checks"] == {}
    assert found["executable"] is False
    assert any("refused for execution" in w for w in found["warnings"])


@pytest.mark.parametrize("size", [(12, 16), (10, 10)])
def test_decoded_cache_holds_what_the_source_decodes(write_rlds: Write, tmp_path: Path, size: tuple[int, int]) -> None:
    source: Any = robot_pt_data.open(write_rlds("droid"), action_source="achieved")  # leaves rows out
    seen: list[tuple[int, int]] = []
    cached: Any = robot_pt_data.cache(source, tmp_path / "c", size, progress=lambda d, t: seen.append((d, t)))
    assert seen[-1] == (24, 24)
    again: Any = robot_pt_data.open(tmp_path / "c")
    assert isinstance(again, DecodedSource)
    assert again.spec.cameras == dict.fromkeys(source.spec.cameras, size)
    for e in range(2):
        old = np.arange(source.episodes.start[e], source.episodes.start[e] + source.episodes.length[e])
        new = np.arange(again.episodes.start[e], again.episodes.start[e] + again.episodes.length[e])
        np.testing.assert_array_equal(again.actions[new], source.actions[old])
        np.testing.assert_array_equal(again.truncated[new], source.truncated[old])
        for camera in source.spec.cameras:
            np.testing.assert_array_equal(again.images(new, camera), source.images(old, camera, size))
    np.testing.assert_array_equal(cached.images(np.array([7, 0]), "wrist"), again.images(np.array([7, 0]), "wrist"))
    assert again.images(np.array([1]), "wrist", (5, 5)).shape == (1, 5, 5, 3)
    assert again.episodes.instruction == source.episodes.instruction


def test_large_batches_of_the_cache_are_shared_out_to_threads(write_rlds: Write, tmp_path: Path) -> None:
    source = robot_pt_data.open(write_rlds("toto"))
    robot_pt_data.cache(source, tmp_path / "c", (64, 64))
    many, few = DecodedSource(tmp_path / "c", threads=3), DecodedSource(tmp_path / "c", threads=1)
    steps = np.random.default_rng(0).integers(0, 10, 1000)
    np.testing.assert_array_equal(many.images(steps, "primary"), few.images(steps, "primary"))


def test_decoded_cache_errors(write_rlds: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = robot_pt_data.open(write_rlds("toto"))
    with pytest.raises(DataError, match=r"the cameras \['wrist'\] are not in this data"):
        robot_pt_data.cache(source, tmp_path / "c", cameras=["wrist"])
    with pytest.raises(DataError, match="height, width"):
        robot_pt_data.cache(source, tmp_path / "c", (0, 8))
    cached: Any = robot_pt_data.cache(source, tmp_path / "c", (8, 8))
    with pytest.raises(DataError, match="exists; name a new folder"):
        robot_pt_data.cache(source, tmp_path / "c", (8, 8))
    with pytest.raises(DataError, match="camera 'wrist' is not in this cache"):
        cached.images(np.arange(2), "wrist")
    with pytest.raises(DataError, match="steps run from 0 to 9"):
        cached.images(np.array([10]), "primary")
    with pytest.raises(DataError, match="takes no mapping"):
        robot_pt_data.open(tmp_path / "c", mapping=BRIDGE_DATASET)
    with pytest.raises(DataError, match="needs no index"):
        robot_pt_data.index(tmp_path / "c")
    (tmp_path / "c" / "primary.npy").unlink()
    with pytest.raises(DataError, match="no complete decoded cache"):
        robot_pt_data.open(tmp_path / "c")

    def full(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        robot_pt_data.cache(source, tmp_path / "d", (8, 8))
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
