"""RLDS export: TensorFlow's own parser, tensorflow-datasets and our reader all find what was recorded."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import robot_pt_data
from robot_pt.errors import DataError, MissingExtraError
from robot_pt.images import decode, encode_png, image_size
from robot_pt.schema import Episode, Spec
from robot_pt.sources import Concat, EpisodeView, filter_episodes, leaf, split_episodes
from robot_pt.store import DemoStore
from robot_pt_data import export_rlds
from robot_pt_data.export import export
from robot_pt_data.export_example import encode_example

SPEC = Spec(cameras={"primary": (24, 32), "wrist": (16, 16)}, embodiment="panda", control_hz=10.0)


def episode(steps: int, seed: int, spec: Spec = SPEC, **changes: object) -> Episode:
    rng = np.random.default_rng(seed)
    actions = rng.normal(size=(steps, len(spec.action_names))).astype(np.float32)
    actions[:, -1] = rng.random(steps)
    ends = seed % 2 == 0
    values = {
        "spec": spec,
        "images": {c: rng.integers(0, 256, (steps, *s, 3), np.uint8) for c, s in spec.cameras.items()},
        "proprio": rng.normal(size=(steps, len(spec.proprio_names))).astype(np.float32),
        "actions": actions,
        "rewards": (np.arange(steps) == steps - 1).astype(np.float32) * ends,
        "terminated": (np.arange(steps) == steps - 1) & ends,
        "truncated": (np.arange(steps) == steps - 1) & (not ends),
        "instruction": f"sæt kop {seed} på bordet",
        "task": f"task{seed % 2}",
        "success": [True, False, None][seed % 3],
        "dataset": "toy",
        "operator": ["scripted"] * steps,
        "policy_version": f"v{seed}",
        "metadata": {"seed": seed},
    }
    return Episode(**{**values, **changes})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DemoStore:
    made = DemoStore.create(tmp_path_factory.mktemp("demo") / "s", SPEC)
    for seed in range(7):
        made.append(episode(3 + seed, seed), split="val" if seed in (2, 5) else "train")
    return made


@pytest.fixture(scope="module")
def folder(store: DemoStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(store.source(), tmp_path_factory.mktemp("rlds") / "toy")


numbers = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20).map(lambda v: np.array(v, np.int64))
reals = st.lists(st.floats(width=32), max_size=20).map(lambda v: np.array(v, np.float32))
flags = st.lists(st.booleans(), max_size=20).map(lambda v: np.array(v, bool))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(min_size=1), st.lists(st.binary(max_size=300), max_size=5) | numbers | reals | flags))
def test_tensorflow_parses_any_example(columns: dict) -> None:
    tf = pytest.importorskip("tensorflow")
    parsed = tf.train.Example.FromString(encode_example(columns)).features.feature
    assert set(parsed) == set(columns)
    for key, column in columns.items():
        if isinstance(column, list):
            assert list(parsed[key].bytes_list.value) == column
        elif column.dtype == np.float32:
            np.testing.assert_array_equal(np.array(parsed[key].float_list.value, np.float32), column)
        else:
            assert list(parsed[key].int64_list.value) == column.astype(np.int64).tolist()


def test_our_reader_finds_identical_columns(store: DemoStore, folder: Path) -> None:
    for split in ("train", "val"):
        before, after = store.source(split), robot_pt_data.open(folder, split=split)
        assert after.spec == before.spec
        rows = np.concatenate(
            [np.arange(s, s + n) for s, n in zip(before.episodes.start, before.episodes.length, strict=True)]
        )
        for column in ("proprio", "actions", "rewards", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(after, column), getattr(before, column)[rows], err_msg=column)
        assert after.episodes.instruction == before.episodes.instruction
        assert after.episodes.task == before.episodes.task
        assert after.episodes.operator == before.episodes.operator
        np.testing.assert_array_equal(after.episodes.success, before.episodes.success)
        np.testing.assert_array_equal(after.episodes.length, before.episodes.length)
        for camera in SPEC.cameras:
            assert after.encoded(np.arange(len(rows)), camera) == before.encoded(rows, camera)


def test_tensorflow_datasets_opens_it(store: DemoStore, folder: Path) -> None:
    pytest.importorskip("tensorflow")
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(folder))
    assert {k: v.num_examples for k, v in builder.info.splits.items()} == {"train": 5, "val": 2}
    source = store.source("val")
    for row, read in enumerate(tfds.as_numpy(builder.as_dataset("val", shuffle_files=False))):
        start, length = source.episodes.start[row], source.episodes.length[row]
        steps = list(read["steps"])
        assert len(steps) == length
        np.testing.assert_array_equal([s["action"] for s in steps], source.actions[start : start + length])
        np.testing.assert_array_equal(
            [s["observation"]["state"] for s in steps], source.proprio[start : start + length]
        )
        assert [s["is_first"] for s in steps] == [i == 0 for i in range(length)]
        assert [s["is_last"] for s in steps] == [i == length - 1 for i in range(length)]
        np.testing.assert_array_equal([s["is_terminal"] for s in steps], source.terminated[start : start + length])
        np.testing.assert_array_equal([s["discount"] for s in steps], ~source.terminated[start : start + length])
        assert steps[0]["language_instruction"].decode() == source.episodes.instruction[row]
        seen = np.stack([s["observation"]["image_wrist"] for s in steps])
        ours = source.images(np.arange(start, start + length), "wrist")
        assert np.abs(seen.astype(int) - ours).max() <= 20, "TensorFlow's fast inverse DCT"
        metadata = read["episode_metadata"]
        assert metadata["success"] == source.episodes.success[row]
        recorded = source.recorded(int(start))
        assert metadata["policy_version"].decode() == recorded["policy_version"] == f"v{recorded['metadata']['seed']}"
        assert metadata["file_path"].decode() == recorded["file_path"]
        assert json.loads(metadata["metadata"]) == recorded["metadata"]


def everything(steps: int, seed: int, **changes: object) -> Episode:
    """An episode with all that a recorder keeps per step."""
    rng = np.random.default_rng(seed)
    recorded = {
        "requested_actions": rng.normal(size=(steps, 7)).astype(np.float32),
        "joint_positions": rng.normal(size=(steps, 6)).astype(np.float32),
        "capture_time_ns": 1_700_000_000_000_000_000 + np.arange(steps, dtype=np.int64) * 200_000_001 + seed,
        "operator": ["policy"] * (steps - 1) + ["intervention"],
    }
    return episode(steps, seed, **{**recorded, **changes})


def test_what_else_was_recorded_per_step_is_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    import tensorflow_datasets as tfds

    made = DemoStore.create(tmp_path / "s", SPEC)
    recorded = [everything(4, 0), everything(6, 1, operator=["teleop"] * 6, dataset="second")]
    for one in recorded:
        made.append(one)
    done = export(made.source(), tmp_path / "x")
    read = list(tfds.as_numpy(tfds.builder_from_directory(str(done)).as_dataset("train", shuffle_files=False)))
    for one, found in zip(recorded, read, strict=True):
        steps = list(found["steps"])
        np.testing.assert_array_equal([s["requested_action"] for s in steps], one.requested_actions)
        np.testing.assert_array_equal([s["observation"]["joint_position"] for s in steps], one.joint_positions)
        np.testing.assert_array_equal([s["observation"]["capture_time_ns"] for s in steps], one.capture_time_ns)
        assert [s["operator"].decode() for s in steps] == one.operator
        np.testing.assert_array_equal([s["action"] for s in steps], one.actions)
    again = robot_pt_data.open(done)
    assert again.episodes.operator == ["mixed", "teleop"]
    assert again.episodes.dataset == ["toy", "second"]
    np.testing.assert_array_equal(again.actions, np.concatenate([one.actions for one in recorded]))


def test_a_column_that_only_some_episodes_have_is_left_out_and_said(tmp_path: Path) -> None:
    made = DemoStore.create(tmp_path / "s", SPEC)
    made.append(everything(4, 0))
    made.append(everything(4, 1, joint_positions=None, requested_actions=None))
    made.append(everything(4, 2, joint_positions=np.zeros((4, 7), np.float32)))
    with pytest.warns(UserWarning, match="is left out of the export") as said:
        done = export(made.source(), tmp_path / "x")
    sentences = sorted(str(w.message) for w in said)
    assert [s.split(" ")[0] for s in sentences] == ["joint_positions", "requested_actions"]
    assert "2 of 3 episodes have it, with the shapes [(6,), (7,)] per step" in sentences[0]
    features = (done / "features.json").read_text()
    assert "capture_time_ns" in features
    assert "joint_position" not in features
    assert "requested_action" not in features
    assert robot_pt_data.open(done).episodes.steps == 12


def test_frames_of_another_size_than_declared_are_brought_to_it(store: DemoStore, tmp_path: Path) -> None:
    """RLDS sources take the size of their first frame; a data set that mixes sizes may not be written as if it did not."""
    inner = store.source("val")
    small = encode_png(np.full((12, 16, 3), 90, np.uint8))

    class Mixed:
        def __init__(self) -> None:
            for name in ("spec", "episodes", "proprio", "actions", "rewards", "terminated", "truncated"):
                setattr(self, name, getattr(inner, name))

        def encoded(self, steps: np.ndarray, camera: str) -> list[bytes]:
            return [small, *inner.encoded(steps[1:], camera)] if camera == "primary" else inner.encoded(steps, camera)

        def images(self, steps: np.ndarray, camera: str, size: tuple[int, int] | None = None) -> np.ndarray:
            return decode(self.encoded(steps, camera), size or SPEC.cameras[camera])

    after = robot_pt_data.open(export(Mixed(), tmp_path / "x"), split="val")
    frames = after.encoded(np.arange(5), "primary")
    assert {image_size(frame)[:2] for frame in frames} == {(24, 32)}
    assert np.abs(after.images(np.array([0]), "primary").astype(int) - 90).max() <= 2
    assert frames[1:] == inner.encoded(np.arange(inner.episodes.start[0] + 1, inner.episodes.start[0] + 5), "primary")


def test_tfds_load_finds_it_by_name(folder: Path) -> None:
    pytest.importorskip("tensorflow")
    import tensorflow_datasets as tfds

    assert len(list(tfds.load("toy", data_dir=str(folder.parents[1]), split="train"))) == 5


def test_tensorflow_is_not_imported(store: DemoStore, tmp_path: Path) -> None:
    code = (
        "import sys; from robot_pt.store import DemoStore; from robot_pt_data.export import export\n"
        f"export(DemoStore({str(store.path)!r}).source(), {str(tmp_path / 'x')!r})\n"
        "assert 'tensorflow' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_split_name_for_all_and_shards_of_a_size(
    store: DemoStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_rlds, "SHARD_BYTES", 20_000)
    calls: list[tuple[int, int]] = []
    done = export(store.source(), tmp_path / "x", split="test", name="other", progress=lambda *a: calls.append(a))
    assert calls == [(i, 7) for i in range(1, 8)]
    info = json.loads((done / "dataset_info.json").read_text())
    (split,) = info["splits"]
    assert split["name"] == "test"
    assert sum(map(int, split["shardLengths"])) == 7
    shards = sorted(done.glob("other-test.tfrecord-*"))
    assert len(shards) == len(split["shardLengths"]) > 1
    assert sum(s.stat().st_size for s in shards) == int(split["numBytes"])
    assert len(robot_pt_data.open(done, split="test").episodes) == 7


def test_views_and_concatenations_keep_the_stored_bytes(store: DemoStore, tmp_path: Path) -> None:
    source = store.source()
    held = split_episodes(Concat([source, source]), 0.3)[1]
    below, step = leaf(held, int(held.episodes.start[-1]))
    assert below is source
    assert step == int(held.episodes.start[-1]) % len(source.actions)
    after = robot_pt_data.open(export(held, tmp_path / "x", split="train"))
    rows = np.concatenate([np.arange(s, s + n) for s, n in zip(held.episodes.start, held.episodes.length, strict=True)])
    assert after.encoded(np.arange(len(rows)), "wrist") == source.encoded(rows % len(source.actions), "wrist")
    np.testing.assert_array_equal(after.actions, held.actions[rows])


def test_a_source_that_keeps_no_bytes_is_encoded_at_quality_95(store: DemoStore, tmp_path: Path) -> None:
    class Bare:
        def __init__(self) -> None:
            inner = store.source("val")
            for name in ("spec", "episodes", "proprio", "actions", "rewards", "terminated", "truncated", "images"):
                setattr(self, name, getattr(inner, name))

    after = robot_pt_data.open(export(Bare(), tmp_path / "x"), split="val")
    before = store.source("val")
    rows = np.arange(before.episodes.start[0], before.episodes.start[0] + before.episodes.length[0])
    first, again = after.images(np.arange(len(rows)), "primary"), before.images(rows, "primary")
    assert np.abs(first.astype(int) - again).mean() < 12, "noise is the hardest thing to encode twice"


def test_lossless_frames_without_a_pose_and_with_other_action_names(tmp_path: Path) -> None:
    spec = Spec(cameras={"primary": (8, 8)}, embodiment="arm", proprio_names=("a", "b"), action_unit="normalized")
    made = DemoStore.create(tmp_path / "s", spec, codec="png")
    made.append(episode(4, 0, spec))
    after = robot_pt_data.open(export(made.source(), tmp_path / "x"))
    assert after.spec.action_unit == "normalized"
    np.testing.assert_array_equal(after.proprio, made.source().proprio)
    np.testing.assert_array_equal(after.images(np.arange(4), "primary"), episode(4, 0, spec).images["primary"])
    odd = Spec(cameras={}, embodiment="arm", proprio_names=(), action_names=("joint",))
    made = DemoStore.create(tmp_path / "t", odd)
    made.append(episode(4, 0, odd))
    done = export(made.source(), tmp_path / "y")
    assert not (done / "robot_pt_mapping.json").exists()
    assert Spec.from_json(json.loads((done / "robot_pt.json").read_text())["spec"]) == odd


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"format": "hdf5"}, "the format 'hdf5' is not one"),
        ({"name": "a-b"}, "'a-b' cannot be a name"),
        ({"split": "0"}, "'0' cannot be a split"),
    ],
)
def test_what_cannot_be_written_is_refused(store: DemoStore, tmp_path: Path, arguments: dict, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        export(store.source(), tmp_path / "x", **arguments)
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over_and_nothing_empty_is_written(store: DemoStore, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(DataError, match="exists; give a folder that does not"):
        export(store.source(), tmp_path / "x")
    with pytest.raises(DataError, match="no episode to export"):
        export(filter_episodes(store.source(), lambda *_: False), tmp_path / "y")


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_export_leaves_nothing(store: DemoStore, tmp_path: Path, fault: BaseException) -> None:
    def stop(done: int, _: int) -> None:
        if done == 3:
            raise fault

    with pytest.raises((KeyboardInterrupt, DataError), match=r"No space left on device; nothing is left of it|^$"):
        export(store.source(), tmp_path / "x", progress=stop)
    assert not list(tmp_path.iterdir())


def test_without_tensorflow_datasets_the_extra_is_named(
    store: DemoStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'robot-pt\[rlds\]'"):
        export(store.source(), tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    """Sixteen times the episodes, the same anonymous memory within 20 MB."""
    code = (
        "import sys, re; from robot_pt.store import DemoStore; from robot_pt_data.export import export\n"
        "import tensorflow_datasets.core.features\n"
        "peak = 0\n"
        "def look(done, total):\n"
        "    global peak; text = open('/proc/self/status').read()\n"
        "    peak = max(peak, int(re.search(r'RssAnon:\\s+(\\d+)', text)[1]))\n"
        "export(DemoStore(sys.argv[1]).source(), sys.argv[2], progress=look); print(peak)"
    )
    spec, peaks = Spec(cameras={"primary": (128, 128)}, embodiment="arm"), []
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (25, 128, 128, 3), np.uint8)
    for count in (4, 64):
        made = DemoStore.create(tmp_path / f"s{count}", spec)
        for seed in range(count):
            made.append(episode(25, seed, spec, images={"primary": frames}))
        command = [sys.executable, "-c", code, str(made.path), str(tmp_path / f"x{count}")]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert sum(p.stat().st_size for p in (tmp_path / "x64").rglob("*")) > 30e6
    assert peaks[1] - peaks[0] < 20_000, peaks


def test_real_bridge_episodes_survive_a_second_export(tmp_path: Path) -> None:
    real = Path(__file__).parents[3] / "shared/data/bridge_dataset/1.0.0"
    if not real.exists():
        pytest.skip(f"the real BridgeData cut is not at {real}")
    before = robot_pt_data.open(real)
    after = robot_pt_data.open(export(before, tmp_path / "x"))
    rows = np.concatenate(
        [np.arange(s, s + n) for s, n in zip(before.episodes.start, before.episodes.length, strict=True)]
    )
    np.testing.assert_array_equal(after.actions, before.actions[rows])
    np.testing.assert_array_equal(after.proprio, before.proprio[rows])
    np.testing.assert_array_equal(after.episodes.success, before.episodes.success)
    np.testing.assert_array_equal(after.images(np.arange(9), "primary"), before.images(rows[:9], "primary"))


def test_views_of_views_resolve(store: DemoStore) -> None:
    bottom = store.source()
    inner = EpisodeView(bottom, bottom.episodes.select([1, 2]))
    assert leaf(EpisodeView(inner, inner.episodes.select([1])), 3) == (bottom, 3)
