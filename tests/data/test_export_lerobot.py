"""LeRobot export: the layout as pyarrow and PyAV see it, and statistics against plain numpy."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.errors import DataError, MissingExtraError
from robot_pt.schema import Episode, Spec
from robot_pt.store import DemoStore
from robot_pt_data import export_lerobot
from robot_pt_data.export import export
from robot_pt_data.export_stats import QUANTILES, Histogram, array_stats
from robot_pt_data.export_video import VideoFiles

pq = pytest.importorskip("pyarrow.parquet")
av = pytest.importorskip("av")

SPEC = Spec(cameras={"primary": (48, 64), "wrist": (33, 35)}, embodiment="panda", control_hz=5.0)


def episode(steps: int, seed: int, spec: Spec = SPEC) -> Episode:
    rng = np.random.default_rng(seed)
    frames = {}
    for camera, (height, width) in spec.cameras.items():
        ramp = np.linspace(0, 80, height)[:, None, None] + np.linspace(0, 80, width)[None, :, None]
        colour = np.array([seed * 9 % 90, 40, 90 - seed * 9 % 90])
        frames[camera] = np.uint8(ramp + colour + np.arange(steps)[:, None, None, None] * 3)
    return Episode(
        spec=spec,
        images=frames,
        proprio=rng.normal(size=(steps, len(spec.proprio_names))).astype(np.float32),
        actions=rng.normal(size=(steps, len(spec.action_names))).astype(np.float32),
        rewards=rng.normal(size=steps).astype(np.float32),
        terminated=np.arange(steps) == (steps - 1 if seed % 2 else -1),
        truncated=np.arange(steps) == (-1 if seed % 2 else steps - 1),
        instruction=["lift the cube", "open the door"][seed % 2],
        success=bool(seed % 2),
        policy_version=f"v{seed}",
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DemoStore:
    made = DemoStore.create(tmp_path_factory.mktemp("demo") / "s", SPEC, codec="png")
    for seed in range(6):
        made.append(episode(4 + seed, seed), split="val" if seed == 1 else "train")
    return made


@pytest.fixture(scope="module")
def folder(store: DemoStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(store.source(), tmp_path_factory.mktemp("lerobot") / "toy", format="lerobot")


ORDER = [0, 2, 3, 4, 5, 1]  # splits are ranges: train, then val


def listing(folder: Path) -> list[dict]:
    return pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pylist()


def test_info_says_what_is_there(folder: Path) -> None:
    info = json.loads((folder / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"], info["fps"]) == (6, 39, 2, 5)
    assert info["splits"] == {"train": "0:5", "val": "5:6"}
    assert info["features"]["observation.state"]["names"] == list(SPEC.proprio_names)
    assert info["features"]["observation.images.wrist"]["shape"] == [33, 35, 3]
    table = pq.read_table(folder / "data/chunk-000/file-000.parquet")
    videos = {k for k, v in info["features"].items() if v["dtype"] == "video"}
    assert set(table.column_names) == set(info["features"]) - videos
    assert (
        folder / info["video_path"].format(video_key="observation.images.wrist", chunk_index=0, file_index=0)
    ).exists()


def test_rows_are_the_recorded_steps(folder: Path) -> None:
    table = pq.read_table(folder / "data/chunk-000/file-000.parquet").to_pydict()
    recorded = [episode(4 + seed, seed) for seed in ORDER]
    np.testing.assert_array_equal(np.float32(table["action"]), np.concatenate([e.actions for e in recorded]))
    np.testing.assert_array_equal(np.float32(table["observation.state"]), np.concatenate([e.proprio for e in recorded]))
    np.testing.assert_array_equal(np.float32(table["next.reward"]), np.concatenate([e.rewards for e in recorded]))
    np.testing.assert_array_equal(table["next.terminated"], np.concatenate([e.terminated for e in recorded]))
    assert table["index"] == list(range(39))
    assert table["frame_index"] == [i for e in recorded for i in range(len(e))]
    assert table["episode_index"] == [n for n, e in enumerate(recorded) for _ in range(len(e))]
    assert np.abs(np.array(table["timestamp"]) - np.array(table["frame_index"]) / 5).max() < 1e-4
    assert table["next.done"] == [i == len(e) - 1 for e in recorded for i in range(len(e))]


def test_what_else_was_recorded_per_step_is_written(tmp_path: Path) -> None:
    spec = Spec(cameras={}, embodiment="panda")
    store, rng, recorded = DemoStore.create(tmp_path / "s", spec), np.random.default_rng(0), []
    for seed in range(2):
        also = {
            "requested_actions": rng.normal(size=(3, 7)).astype(np.float32),
            "joint_positions": rng.normal(size=(3, 6)).astype(np.float32),
            "capture_time_ns": 1_700_000_000_000_000_000 + np.arange(3) * 200_000_001,
            "operator": ["policy", "intervention", "policy"],
        }
        recorded.append(Episode(**{**episode(3, seed, spec).__dict__, **also}))
        store.append(recorded[-1])
    folder = export(store.source(), tmp_path / "x", format="lerobot")
    table = pq.read_table(folder / "data/chunk-000/file-000.parquet").to_pydict()
    for feature, name in (
        ("requested_action", "requested_actions"), ("observation.joint_position", "joint_positions"),
        ("observation.capture_time_ns", "capture_time_ns"), ("operator", "operator"),
    ):  # fmt: skip
        values = np.concatenate([getattr(e, name) for e in recorded])
        np.testing.assert_array_equal(np.array(table[feature], values.dtype), values)
    features = json.loads((folder / "meta/info.json").read_text())["features"]
    assert features["requested_action"]["names"] == list(spec.action_names)
    assert features["observation.joint_position"] == {
        "dtype": "float32", "shape": [6], "names": [f"joint_{i}" for i in range(6)],
    }  # fmt: skip
    assert features["observation.capture_time_ns"] == {"dtype": "int64", "shape": [1], "names": None}
    assert features["operator"]["dtype"] == "string"
    stats = json.loads((folder / "meta/stats.json").read_text())
    assert "operator" not in stats
    joints = np.concatenate([e.joint_positions for e in recorded]).astype(np.float64)
    np.testing.assert_allclose(stats["observation.joint_position"]["mean"], joints.mean(0))


def test_episodes_point_at_their_rows_tasks_and_clips(folder: Path) -> None:
    tasks = pq.read_table(folder / "meta/tasks.parquet").to_pydict()
    assert dict(zip(tasks["task"], tasks["task_index"], strict=True)) == {"lift the cube": 0, "open the door": 1}
    data = pq.read_table(folder / "data/chunk-000/file-000.parquet")
    for number, (row, seed) in enumerate(zip(listing(folder), ORDER, strict=True)):
        rows = data.slice(row["dataset_from_index"], row["dataset_to_index"] - row["dataset_from_index"]).to_pydict()
        assert set(rows["episode_index"]) == {number} == {row["episode_index"]}
        assert row["length"] == len(rows["index"]) == 4 + seed
        assert row["tasks"] == [episode(4, seed).instruction]
        assert (row["success"], row["policy_version"]) == (seed % 2, f"v{seed}")
        for camera in SPEC.cameras:
            clip = {k: row[f"videos/observation.images.{camera}/{k}"] for k in ("from_timestamp", "to_timestamp")}
            assert clip["to_timestamp"] - clip["from_timestamp"] == pytest.approx(row["length"] / 5)


@pytest.mark.parametrize("camera", SPEC.cameras)
def test_clips_show_the_recorded_frames(folder: Path, camera: str) -> None:
    with av.open(str(folder / f"videos/observation.images.{camera}/chunk-000/file-000.mp4")) as file:
        stream = file.streams.video[0]
        assert stream.codec_context.name == "h264"
        shown = [(float(f.pts * f.time_base), f.key_frame, f.to_ndarray(format="rgb24")) for f in file.decode(video=0)]
    frames = np.concatenate([episode(4 + seed, seed).images[camera] for seed in ORDER])
    np.testing.assert_allclose([t for t, _, _ in shown], np.arange(39) / 5, atol=1e-4)
    assert all(key for _, key, _ in shown[::2]), "every other frame is a key frame"
    difference = np.abs(np.stack([image for _, _, image in shown]).astype(int) - frames)
    assert difference.mean() < 3
    for row in listing(folder):
        at = round(row[f"videos/observation.images.{camera}/from_timestamp"] * 5)
        assert at == row["dataset_from_index"]


def test_files_roll_over_at_their_sizes(store: DemoStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_lerobot, "DATA_BYTES", 1200)
    monkeypatch.setattr(export_lerobot, "VIDEO_BYTES", 4000)
    monkeypatch.setattr(export_lerobot, "FILES_PER_CHUNK", 2)
    monkeypatch.setattr(export_lerobot, "_BATCH", 2)
    done = export(store.source(), tmp_path / "x", format="lerobot", split="train")
    rows = listing(done)
    assert len(rows) == 6
    assert rows[-1]["data/chunk_index"] >= 1
    assert max(r["videos/observation.images.primary/file_index"] for r in rows) >= 1
    for row in rows:
        path = done / f"data/chunk-{row['data/chunk_index']:03d}/file-{row['data/file_index']:03d}.parquet"
        table = pq.read_table(path).to_pydict()
        assert table["episode_index"].count(row["episode_index"]) == row["length"]
        for camera in SPEC.cameras:
            clip = {
                k.rsplit("/", 1)[1]: v for k, v in row.items() if k.startswith(f"videos/observation.images.{camera}/")
            }
            name = f"chunk-{clip['chunk_index']:03d}/file-{clip['file_index']:03d}.mp4"
            with av.open(str(done / f"videos/observation.images.{camera}" / name)) as file:
                times = [float(f.pts * f.time_base) for f in file.decode(video=0)]
            inside = [t for t in times if clip["from_timestamp"] - 1e-3 < t < clip["to_timestamp"] - 1e-3]
            assert len(inside) == row["length"]


def test_statistics_of_all_data_and_of_each_episode(folder: Path) -> None:
    stats = json.loads((folder / "meta/stats.json").read_text())
    actions = np.concatenate([episode(4 + seed, seed).actions for seed in ORDER]).astype(np.float64)
    np.testing.assert_allclose(stats["action"]["mean"], actions.mean(0))
    np.testing.assert_allclose(stats["action"]["std"], actions.std(0))
    np.testing.assert_allclose(stats["action"]["q99"], np.quantile(actions, 0.99, axis=0))
    assert stats["action"]["count"] == [39]
    images = np.concatenate([episode(4 + s, s).images["wrist"] for s in ORDER]) / 255.0
    np.testing.assert_allclose(np.squeeze(stats["observation.images.wrist"]["mean"]), images.mean((0, 1, 2)))
    np.testing.assert_allclose(np.squeeze(stats["observation.images.wrist"]["std"]), images.std((0, 1, 2)))
    assert np.shape(stats["observation.images.wrist"]["min"]) == (3, 1, 1)
    np.testing.assert_allclose(listing(folder)[1]["stats/action/min"], episode(6, 2).actions.min(0))


@given(st.integers(1, 16), st.integers(0, 10**6))
def test_a_histogram_gives_the_statistics_of_its_pixels(frames: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, rng.integers(1, 257), (frames, 5, 4, 3), np.uint8)
    stats, values = Histogram.of(pixels).stats(), pixels.reshape(-1, 3) / 255
    expected = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    expected |= {n: np.quantile(values, q, axis=0, method="inverted_cdf") for n, q in QUANTILES.items()}
    for name, value in expected.items():
        np.testing.assert_allclose(np.squeeze(stats[name]), value, atol=1e-9, err_msg=name)
    both = Histogram.of(pixels) + Histogram.of(255 - pixels)
    np.testing.assert_allclose(np.squeeze(both.stats()["mean"]), 0.5)
    assert both.stats()["count"] == [2 * frames]


def test_a_column_of_one_step_has_statistics() -> None:
    assert array_stats(np.array([True]))["mean"] == [1.0]
    assert array_stats(np.zeros((1, 3)))["std"] == [0.0, 0.0, 0.0]


def test_a_rate_that_lerobot_cannot_keep_is_refused(tmp_path: Path) -> None:
    spec = Spec(cameras={}, embodiment="arm", control_hz=7.5)
    store = DemoStore.create(tmp_path / "s", spec)
    store.append(episode(3, 0, spec))
    with pytest.raises(DataError, match=r"runs at 7.5 Hz; LeRobot stores whole frames"):
        export(store.source(), tmp_path / "x", format="lerobot")
    assert not (tmp_path / "x").exists()


def test_no_cameras_no_state_no_instruction(tmp_path: Path) -> None:
    spec = Spec(cameras={}, embodiment="arm", proprio_names=())
    store = DemoStore.create(tmp_path / "s", spec)
    store.append(Episode(**{**episode(3, 0, spec).__dict__, "instruction": "", "task": "wipe"}))
    done = export(store.source(), tmp_path / "x", format="lerobot")
    info = json.loads((done / "meta/info.json").read_text())
    assert info["video_path"] is None
    assert "observation.state" not in info["features"]
    assert listing(done)[0]["tasks"] == ["wipe"]


def test_an_interrupted_export_leaves_nothing(store: DemoStore, tmp_path: Path) -> None:
    def stop(done: int, _: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(store.source(), tmp_path / "x", format="lerobot", progress=stop)
    assert not list(tmp_path.iterdir())


def test_without_pyarrow_the_extra_is_named(store: DemoStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'robot-pt\[lerobot\]'"):
        export(store.source(), tmp_path / "x", format="lerobot")


def test_without_h264_the_reason_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", set())
    with pytest.raises(DataError, match=r"no H\.264 encoder"):
        VideoFiles(tmp_path, (8, 8), 5, 1000).write(np.zeros((1, 8, 8, 3), np.uint8))
