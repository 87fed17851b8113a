"""DemoStore: everything recorded comes back, and no crash, full disk or second writer costs an earlier episode."""

import asyncio
import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt import store_episode, zarr_files
from robot_pt.errors import DataError, MismatchError
from robot_pt.images import decode, encode_jpeg, encode_png
from robot_pt.schema import Episode, Spec
from robot_pt.sources import EpisodeSource
from robot_pt.store import DemoStore, is_demo_store

SPEC = Spec(cameras={"primary": (12, 16), "wrist": (8, 8)}, embodiment="panda")


def episode(steps: int = 5, seed: int = 0, **changes: object) -> Episode:
    rng = np.random.default_rng(seed)
    values = {
        "spec": SPEC,
        "images": {c: rng.integers(0, 256, (steps, *s, 3), np.uint8) for c, s in SPEC.cameras.items()},
        "proprio": rng.normal(size=(steps, 7)).astype(np.float32),
        "actions": rng.normal(size=(steps, 7)).astype(np.float32),
        "rewards": rng.normal(size=steps).astype(np.float32),
        "terminated": np.arange(steps) == steps - 1,
        "truncated": np.zeros(steps, bool),
        "instruction": "lift the cube",
        "success": True,
        "dataset": "toy",
    }
    return Episode(**{**values, **changes})


def equal(a: Episode, b: Episode) -> None:
    """Every field but raw frames, which become encoded ones."""
    for field in fields(Episode):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if field.name == "images":
            for camera in x:
                pixels = [decode(v[camera]) if isinstance(v[camera], list) else v[camera] for v in (a.images, b.images)]
                np.testing.assert_array_equal(*pixels)
        elif isinstance(x, np.ndarray):
            assert x.dtype == y.dtype, field.name
            np.testing.assert_array_equal(x, y, err_msg=field.name)
        else:
            assert x == y, field.name


floats = st.floats(-(2.0**100), 2.0**100, width=32)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def episodes(draw: st.DrawFn) -> Episode:
    steps, joints = draw(st.integers(1, 6)), draw(st.integers(0, 7))

    def array(shape: tuple[int, ...], dtype: str, values: st.SearchStrategy) -> np.ndarray:
        size = int(np.prod(shape))
        return np.array(draw(st.lists(values, min_size=size, max_size=size)), dtype).reshape(shape)

    def maybe(value: object) -> object:
        return value if draw(st.booleans()) else None

    operators = st.sampled_from(["policy", "teleop", "intervention", "scripted"])
    return episode(
        steps,
        seed=draw(st.integers(0, 99)),
        proprio=array((steps, 7), "float32", floats),
        rewards=array((steps,), "float32", floats),
        terminated=array((steps,), "bool", st.booleans()),
        truncated=array((steps,), "bool", st.booleans()),
        instruction=draw(st.text()),
        task=draw(st.text()),
        success=draw(st.sampled_from([None, True, False])),
        dataset=draw(st.text()),
        policy_version=draw(st.text()),
        requested_actions=maybe(array((steps, 7), "float32", floats)),
        operator=maybe(draw(st.lists(operators, min_size=steps, max_size=steps))),
        capture_time_ns=maybe(array((steps,), "int64", st.integers(-(2**63), 2**63 - 1))),
        joint_positions=maybe(array((steps, joints), "float32", floats)),
        metadata=draw(st.dictionaries(st.text(), json_values, max_size=3)),
    )


@settings(max_examples=20, deadline=None)
@given(st.lists(episodes(), min_size=1, max_size=3))
def test_every_column_comes_back(recorded: list[Episode]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = DemoStore.create(Path(folder, "s"), SPEC, codec="png")
        names = [store.append(e) for e in recorded]
        again = DemoStore(store.path)
        for name, original in zip(names, recorded, strict=True):
            equal(original, again.read(name))
        for _ in range(2):  # read from the episodes, then from the manifest
            source = again.source()
            assert isinstance(source, EpisodeSource)
            for column in ("proprio", "actions", "rewards", "terminated", "truncated"):
                expected = np.concatenate([getattr(e, column) for e in recorded])
                np.testing.assert_array_equal(getattr(source, column), expected)
            assert source.episodes.length.tolist() == [len(e) for e in recorded]
            assert source.episodes.instruction == [e.instruction for e in recorded]
            assert source.episodes.task == [e.task or e.instruction for e in recorded]
            frames = np.concatenate([e.images["wrist"] for e in recorded])
            order = np.random.default_rng(0).permutation(len(frames))
            np.testing.assert_array_equal(source.images(order, "wrist"), frames[order])


def test_zarr_python_reads_a_store(tmp_path: Path) -> None:
    store, recorded = DemoStore.create(tmp_path / "s", SPEC), episode()
    name = store.append(recorded)
    group = zarr.open_group(store.path, mode="r", zarr_format=3)
    np.testing.assert_array_equal(group[name]["actions"][:], recorded.actions)
    np.testing.assert_array_equal(group[name]["terminated"][:], recorded.terminated)
    flat, at = group[name]["images_primary"][:], group[name]["offsets_primary"][:]
    assert flat[at[2] : at[3]].tobytes() == store.read(name).images["primary"][2]
    assert group[name].attrs["robot_pt"]["instruction"] == "lift the cube"
    assert group.attrs["robot_pt"]["schema_version"] == 1


def test_zarr_python_loads_when_something_is_written_and_not_before(tmp_path: Path) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC)
    store.append(episode())
    code = (
        "import sys; from robot_pt.store import DemoStore\n"
        f"store = DemoStore({str(store.path)!r}); store.recover(check_all=True); store.relabel('000000', success=False)\n"
        "assert store.source().images([0], 'wrist').any() and len(store.read('000000')) == 5\n"
        "assert 'zarr' not in sys.modules\n"
        "store.append(store.read('000000'))\n"
        "assert 'zarr' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    equal(replace(episode(), success=False, images=store.read("000000").images), store.read("000001"))


def test_documents_of_the_first_version_are_read(tmp_path: Path) -> None:
    """Schema 1 was first written without zarr-python, its documents as here: fewer keys, an endian on every codec."""
    store, original = DemoStore.create(tmp_path / "s", SPEC, codec="png"), episode()
    group = store.path / store.append(original) / "zarr.json"
    attributes, documents = json.loads(group.read_text())["attributes"], {}
    for name in attributes["robot_pt"]["crc32c"]:
        path = group.with_name(name) / "zarr.json"
        shape, dtype = (json.loads(path.read_text())[key] for key in ("shape", "data_type"))
        documents[name] = {
            "zarr_format": 3,
            "node_type": "array",
            "shape": shape,
            "data_type": dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": False if dtype == "bool" else 0,
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "attributes": {},
        }
        path.write_text(json.dumps(documents[name]))
    consolidated = {"kind": "inline", "must_understand": False, "metadata": documents}
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes, "consolidated_metadata": consolidated}
    group.write_text(json.dumps(document))
    assert store.recover(check_all=True) == ([], {})
    equal(original, store.read("000000"))
    np.testing.assert_array_equal(store.source().actions, original.actions)
    np.testing.assert_array_equal(zarr.open_group(group.parent, mode="r")["actions"][:], original.actions)


@pytest.mark.filterwarnings("error::UserWarning")
def test_appending_works_from_an_event_loop_a_thread_and_a_forked_child(tmp_path: Path) -> None:
    """zarr-python encodes in an event loop on a thread of its own, which none of these may trip over."""
    store = DemoStore.create(tmp_path / "s", SPEC)

    async def record() -> str:
        return store.append(episode(seed=0))

    assert asyncio.run(record()) == "000000"
    worker = threading.Thread(target=store.append, args=(episode(seed=1),))
    worker.start()
    worker.join()
    child = multiprocessing.get_context("fork").Process(target=store.append, args=(episode(seed=2),), daemon=True)
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert store.append(episode(seed=3)) == "000003"
    expected = np.concatenate([episode(seed=s).actions for s in range(4)])
    np.testing.assert_array_equal(store.source().actions, expected)


def test_the_chunks_are_raw_whatever_zarr_is_configured_to(tmp_path: Path) -> None:
    store, original = DemoStore.create(tmp_path / "s", SPEC), episode(rewards=np.zeros(5, np.float32))
    with zarr.config.set({"array.write_empty_chunks": False, "array.order": "F"}):
        name = store.append(original)
    for column in ("actions", "rewards", "terminated"):
        array = getattr(original, column)
        chunk = store.path / name / column / zarr_files.chunk_name(array.ndim)
        assert chunk.read_bytes() == array.tobytes()
    equal(replace(original, images=store.read(name).images), store.read(name))


def test_encoded_frames_are_stored_as_they_are_and_raw_ones_as_asked(tmp_path: Path) -> None:
    raw = episode()
    given_bytes = {c: [encode_jpeg(f, 60) for f in raw.images[c]] for c in SPEC.cameras}
    store = DemoStore.create(tmp_path / "s", SPEC, quality=80)
    store.append(replace(raw, images=given_bytes))
    store.append(raw)
    assert store.read("000000").images == given_bytes
    assert store.read("000001").images["wrist"] == [encode_jpeg(f, 80) for f in raw.images["wrist"]]
    assert store.source().encoded([1, 6], "wrist") == [given_bytes["wrist"][1], encode_jpeg(raw.images["wrist"][1], 80)]
    assert store.source().images([0, 9], "primary", (6, 8)).shape == (2, 6, 8, 3)


def test_relabelling_touches_no_episode_file(tmp_path: Path) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC)
    names = [store.append(episode(seed=s), split=x) for s, x in enumerate(["train", "train", "val"])]
    store.source()
    before = {p: p.stat().st_mtime_ns for n in names for p in (store.path / n).rglob("*")}
    store.relabel(names[1], success=False, task="push")
    store.relabel(names[1], split="val")
    store.relabel(names[2], success=None)
    assert before == {p: p.stat().st_mtime_ns for n in names for p in (store.path / n).rglob("*")}
    source = DemoStore(store.path).source()
    assert source.episodes.success.tolist() == [1, 0, -1]
    assert source.episodes.task == ["lift the cube", "push", "lift the cube"]
    assert DemoStore(store.path).source("val").ids == names[1:]
    assert store.read(names[1]).success is False
    with pytest.raises(DataError, match="cannot be relabelled; allowed are success"):
        store.relabel(names[0], length=3)
    with pytest.raises(DataError, match="give True, False or None"):
        store.relabel(names[0], success="yes")
    with pytest.raises(DataError, match="give a string"):
        store.relabel(names[0], task=3)
    with pytest.raises(DataError, match="no episode '000009'"):
        store.relabel("000009", success=True)
    (store.path / "labels.json").write_text("{")
    with pytest.raises(DataError, match=r"labels.json is not JSON; restore it, or set it aside"):
        store.source()
    (store.path / "labels.json").write_text("[]")
    with pytest.raises(DataError, match="not an object of episodes"):
        store.source()


def test_operator_of_an_episode_is_the_one_that_drove_or_mixed(tmp_path: Path) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC)
    for who in (None, ["policy"] * 5, ["policy", "policy", "intervention", "teleop", "policy"]):
        store.append(episode(operator=who))
    source = store.source()
    assert source.episodes.operator == ["unknown", "policy", "mixed"]
    assert [store_episode.OPERATORS[c] for c in source.operator[10:]][2:4] == ["intervention", "teleop"]
    with pytest.raises(DataError, match=r"operator holds \['robot'\]; allowed are unknown, policy"):
        store.append(episode(operator=["robot"] * 5))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"actions": np.full((5, 7), np.nan, np.float32)}, "actions holds NaN or Inf at step 0"),
        ({"proprio": np.zeros((5, 3), np.float32)}, r"proprio has shape \(5, 3\), expected \(5, 7\)"),
        ({"joint_positions": np.zeros((4, 6), np.float32)}, r"joint_positions has shape \(4, 6\)"),
        ({"metadata": {"seed": np.float32(1)}}, "metadata holds values that JSON cannot keep"),
        ({"metadata": {"x": float("nan")}}, "metadata holds values that JSON cannot keep"),
        ({"metadata": {3: "x"}}, "metadata holds values that JSON cannot keep"),
        ({"images": {"primary": np.zeros((5, 12, 16, 3), np.uint8)}}, r"has cameras \['primary'\]"),
    ],
)
def test_an_episode_that_cannot_be_right_leaves_no_trace(tmp_path: Path, changes: dict, sentence: str) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC)
    with pytest.raises(DataError, match=sentence):
        store.append(episode(**changes))
    assert [p.name for p in store.path.iterdir()] == ["zarr.json"]


def test_encoded_frames_of_another_size_or_kind_are_refused(tmp_path: Path) -> None:
    store, raw = DemoStore.create(tmp_path / "s", SPEC), episode()
    wrong = [encode_png(np.zeros((8, 9, 3), np.uint8))] * 5
    with pytest.raises(DataError, match="camera 'wrist' frame 0 is 8x9, the spec says 8x8"):
        store.append(replace(raw, images={"primary": raw.images["primary"], "wrist": wrong}))
    with pytest.raises(DataError, match="camera 'wrist' frame 0 is neither a JPEG nor a PNG"):
        store.append(replace(raw, images={"primary": raw.images["primary"], "wrist": [b"x"] * 5}))


def test_wrong_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not a demo store: it has no zarr.json"):
        DemoStore(tmp_path / "absent")
    zarr.open_group(tmp_path / "other", mode="w", zarr_format=3)
    with pytest.raises(DataError, match="is a zarr group but not a demo store"):
        DemoStore(tmp_path / "other")
    zarr.open_array(tmp_path / "array", mode="w", shape=(3,), zarr_format=3)
    with pytest.raises(DataError, match="not the document of a zarr v3 group"):
        DemoStore(tmp_path / "array")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "zarr.json").write_text("{")
    with pytest.raises(DataError, match="is not JSON: the file is damaged"):
        DemoStore(tmp_path / "bad")
    assert not any(is_demo_store(tmp_path / n) for n in ("absent", "other", "array", "bad"))
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(DataError, match="exists and is not an empty folder"):
            DemoStore.create(path, SPEC)


def test_another_schema_version_is_refused_in_one_sentence(tmp_path: Path) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC)
    document = json.loads((store.path / "zarr.json").read_text())
    document["attributes"]["robot_pt"]["schema_version"] = 2
    (store.path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="written with store schema 2, this robot-pt reads schema 1"):
        DemoStore(store.path)
    assert is_demo_store(store.path)
    del document["attributes"]["robot_pt"]["uid"]
    document["attributes"]["robot_pt"]["schema_version"] = 1
    (store.path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="misses some of spec, uid"):
        DemoStore(store.path)


def test_create_checks_its_arguments_and_opens_what_matches(tmp_path: Path) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC)
    store.append(episode())
    assert len(DemoStore.create(tmp_path / "s", SPEC, exist_ok=True)) == 1
    other = replace(SPEC, control_hz=20.0)
    with pytest.raises(MismatchError, match=r"holds episodes with control_hz 5.0, this one has 20.0"):
        DemoStore.create(tmp_path / "s", other, exist_ok=True)
    with pytest.raises(MismatchError, match="record to a new store"):
        store.append(episode(spec=other))
    with pytest.raises(DataError, match="give jpeg or png"):
        DemoStore.create(tmp_path / "t", SPEC, codec="gif")
    with pytest.raises(DataError, match=r"camera name '../x' cannot name a file"):
        DemoStore.create(tmp_path / "t", replace(SPEC, cameras={"../x": (8, 8)}))


def test_reading_what_is_not_there_is_named(tmp_path: Path) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC)
    assert len(store.source().episodes) == len(store.source().actions) == 0
    store.append(episode())
    with pytest.raises(DataError, match="no split 'val'; it has"):
        store.source("val")
    with pytest.raises(DataError, match=r"no camera 'side'; it has \['primary', 'wrist'\]"):
        store.source().images([0], "side")
    with pytest.raises(DataError, match=r"steps 4\.\.5 were asked for; .* has 5"):
        store.source().images([4, 5], "wrist")
    with pytest.raises(DataError, match="no episode '7'"):
        store.read("7")
    source = store.source()
    source.images([0], "wrist")
    (store.path / "000000" / "images_wrist" / "c.0").unlink()
    assert source.images([0], "wrist").shape == (1, 8, 8, 3), "a mapped file outlives its name"
    with pytest.raises(DataError, match=r"images_wrist/c.0 cannot be read: No such file"):
        store.source().images([0], "wrist")


@pytest.mark.parametrize("mapped", [10_000, 3])
def test_frames_are_the_same_mapped_or_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapped: int) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC, codec="png")
    for s in range(6):
        store.append(episode(seed=s))
    source = store.source()
    monkeypatch.setattr(source._files, "_limit", mapped)
    steps = np.random.default_rng(0).integers(0, 30, 200)
    expected = np.concatenate([episode(seed=s).images["primary"] for s in range(6)])[steps]
    for _ in range(2):
        np.testing.assert_array_equal(source.images(steps, "primary"), expected)
        np.testing.assert_array_equal(decode(source.encoded(steps, "primary")), expected)


def test_a_damaged_frame_is_named(tmp_path: Path) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC)
    for s in range(2):
        store.append(episode(seed=s))
    path = store.path / "000001" / "images_wrist" / "c.0"
    at = np.fromfile(store.path / "000001" / "offsets_wrist" / "c.0", np.int64)
    raw = bytearray(path.read_bytes())
    raw[at[2] : at[3]] = bytes(at[3] - at[2])
    path.write_bytes(raw)
    with pytest.raises(
        DataError, match=r"step 7 \(episode 000001 of .*, camera 'wrist'\): image 0 is neither a JPEG nor"
    ):
        store.source().images(np.arange(10), "wrist")


# --- crashes, full disks, several writers


def damage(path: Path, how: str) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] if how == "truncate" else raw[:-3] + bytes([raw[-3] ^ 8]) + raw[-2:])


@pytest.mark.parametrize(
    "array", ["actions/c.0.0", "rewards/c.0", "images_wrist/c.0", "offsets_primary/c.0", "zarr.json"]
)
@pytest.mark.parametrize("how", ["truncate", "flip"])
def test_damage_to_any_file_is_found_and_set_aside(tmp_path: Path, array: str, how: str) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC)
    names = [store.append(episode(seed=s)) for s in range(3)]
    damage(store.path / names[1] / array, how)
    report = store.recover(check_all=True)
    assert list(report.quarantined) == [names[1]]
    assert (store.path / "quarantine" / names[1] / "reason.txt").read_text().strip() == report.quarantined[names[1]]
    assert store.source().ids == [names[0], names[2]]
    assert store.append(episode()) == "000003", "an id is never used twice"


def test_a_damaged_column_stops_the_reader_unless_skipped(tmp_path: Path) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC)
    for s in range(3):
        store.append(episode(seed=s))
    damage(store.path / "000001" / "actions" / "c.0.0", "flip")
    with pytest.raises(DataError, match=r"000001.* is damaged: its checksum.*robot-pt data repair"):
        store.source()
    source = store.source(skip_corrupt=True)
    assert source.ids == ["000000", "000002"]
    assert "checksum" in source.skipped["000001"]
    np.testing.assert_array_equal(source.actions[5:], store.read("000002").actions)


def test_a_complete_part_is_recovered_and_a_torn_one_set_aside(tmp_path: Path) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC)
    for s in range(4):
        store.append(episode(seed=s))
    expected = store.read("000002")
    for name in ("000002", "000003"):
        os.rename(store.path / name, store.path / f"{name}.part")
    (store.path / "000003.part" / "zarr.json").unlink()
    (store.path / ".manifest.npz.123.part").write_bytes(b"half")
    assert store.episodes == ["000000", "000001"], "a part is no episode"
    assert store.append(episode(seed=9)) == "000004"
    report = DemoStore(store.path).recover()
    assert report.recovered == ["000002"]
    assert "its writing was cut off" in report.quarantined["000003.part"]
    assert store.episodes == ["000000", "000001", "000002", "000004"]
    equal(expected, store.read("000002"))
    assert DemoStore(store.path).recover() == ([], {})
    assert not list(store.path.glob(".*.part"))


WRITER = """
import sys, numpy as np
sys.path.insert(0, {here!r})
from test_store import SPEC, episode
from robot_pt.store import DemoStore
store = DemoStore(sys.argv[1])
print("ready", flush=True)
seed = 1000
while True:
    print(store.append(episode(200, seed=seed)), seed, flush=True)
    seed += 1
"""


def test_kill_9_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC, codec="png")
    script = tmp_path / "writer.py"
    script.write_text(WRITER.format(here=str(Path(__file__).parent)))
    rng, acknowledged = random.Random(0), {}
    for turn in range(6):
        with subprocess.Popen([sys.executable, script, store.path], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout.readline() == "ready\n"
            said = writer.stdout.readline() if turn % 2 else ""  # something is acknowledged, however slow the machine
            time.sleep(rng.uniform(0.02, 0.4))
            writer.send_signal(signal.SIGKILL)
            for line in (said + writer.stdout.read()).split("\n")[:-1]:
                name, seed = line.split()
                acknowledged[name] = int(seed)
        report = store.recover(check_all=True)
        assert all(name.endswith(".part") for name in report.quarantined), "only parts may be torn"
    assert set(acknowledged) <= set(store.episodes)
    for name, seed in acknowledged.items():
        np.testing.assert_array_equal(store.read(name).actions, episode(200, seed=seed).actions)
    assert len(store.source().episodes) == len(store.episodes) >= len(acknowledged) > 0


@pytest.mark.parametrize("fails_at", [0, 1, 10, 19, 20])
def test_a_full_disk_loses_nothing_and_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC)
    first = store.append(episode(seed=1))
    calls, real = [], Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        calls.append(path)
        if len(calls) > fails_at:
            real(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    if fails_at < 20:  # a document and a chunk for each of ten arrays
        with pytest.raises(
            DataError, match=r"writing episode 000001 .*No space left on device; what was there before is intact"
        ):
            store.append(episode(seed=2))
    monkeypatch.setattr(
        zarr_files, "replace_file", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left"))
    )
    monkeypatch.setattr(Path, "write_bytes", real)
    with pytest.raises(DataError, match="No space left"):
        store.append(episode(seed=2))
    monkeypatch.undo()
    assert sorted(p.name for p in store.path.iterdir()) == [".lock", first, "zarr.json"]
    assert store.append(episode(seed=2)) == "000001"
    equal(store.read(first), DemoStore(store.path).read(first))


def test_a_real_size_limit_behaves_like_a_full_disk(tmp_path: Path) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC, codec="png")
    store.append(episode())
    code = (
        f"import sys, resource, signal; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_store import episode, DemoStore, DataError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        f"try: DemoStore({str(store.path)!r}).append(episode(400))\n"
        "except DataError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "File too large; what was there before is intact" in done.stdout
    assert [p.name for p in store.path.glob("*.part")] == []
    assert len(store.source().episodes) == 1


def test_ctrl_c_while_writing_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC)
    monkeypatch.setattr(zarr_files, "sync_tree", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        store.append(episode())
    assert sorted(p.name for p in store.path.iterdir()) == [".lock", "zarr.json"]


def test_a_reader_follows_a_writer_and_never_sees_half(tmp_path: Path) -> None:
    store, stop, faults = DemoStore.create(tmp_path / "s", SPEC), threading.Event(), []
    store.append(episode(3, seed=0))

    def follow() -> None:
        source = DemoStore(store.path).source()
        try:
            while not stop.is_set():
                source.refresh()
                last = len(source.ids) - 1
                steps = np.arange(source.episodes.start[last], len(source.actions))
                expected = episode(3 + last, seed=last)
                np.testing.assert_array_equal(source.actions[steps], expected.actions)
                assert source.images(steps, "primary").shape == (3 + last, 12, 16, 3)
        except BaseException as error:
            faults.append(error)
            raise

    reader = threading.Thread(target=follow)
    reader.start()
    for s in range(1, 25):
        store.append(episode(3 + s, seed=s))
    stop.set()
    reader.join()
    assert not faults


def test_refresh_takes_in_new_episodes_and_labels_and_refuses_removed_ones(tmp_path: Path) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC)
    store.append(episode(seed=0))
    source = store.source()
    assert source.refresh() == 0
    store.append(episode(seed=1))
    store.relabel("000000", success=False)
    assert source.refresh() == 1
    assert source.episodes.success.tolist() == [0, 1]
    np.testing.assert_array_equal(source.actions[5:], episode(seed=1).actions)
    os.rename(store.path / "000000", tmp_path / "gone")
    with pytest.raises(DataError, match="were removed or recovered since it was opened"):
        source.refresh()


def test_writers_take_turns_and_a_stuck_one_is_named(tmp_path: Path) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC)
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_store import episode, DemoStore\n"
        f"[DemoStore({str(store.path)!r}).append(episode(seed=int(sys.argv[1]) + k)) for k in range(10)]\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(100 * w)]) for w in range(3)]
    assert [w.wait() for w in writers] == [0, 0, 0]
    assert len(store.episodes) == 30
    found = sorted(tuple(store.read(n).actions.ravel()) for n in store.episodes)
    assert found == sorted(tuple(episode(seed=100 * w + k).actions.ravel()) for w in range(3) for k in range(10))
    with (
        store.writing(),
        pytest.raises(DataError, match="locked by another writer for 0 s; stop it, or record to a store"),
    ):
        DemoStore(store.path).append(episode(), timeout=0.05)


def test_a_lock_dies_with_its_holder(tmp_path: Path) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC)
    code = f"import time\nfrom robot_pt.store import DemoStore\nwith DemoStore({str(store.path)!r}).writing(): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DataError, match="locked by another writer"):
            store.append(episode(), timeout=0.05)
        holder.kill()
    assert store.append(episode(), timeout=5) == "000000"


# --- the manifest


def test_a_manifest_that_lies_is_never_believed(tmp_path: Path) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC)
    for s in range(3):
        store.append(episode(seed=s))
    store.source()
    manifest = store.path / ".manifest.npz"
    genuine = manifest.read_bytes()
    for content in (b"", b"PK\x03\x04 not a zip", genuine[:-40], genuine[: len(genuine) // 2]):
        manifest.write_bytes(content)
        np.testing.assert_array_equal(store.source().actions[10:], episode(seed=2).actions)
    other = DemoStore.create(tmp_path / "t", SPEC)
    other.append(episode(seed=7))
    (other.path / ".manifest.npz").write_bytes(genuine)
    np.testing.assert_array_equal(other.source().actions, episode(seed=7).actions)


def test_an_episode_replaced_under_its_name_is_read_again(tmp_path: Path) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC)
    for s in range(3):
        store.append(episode(seed=s))
    store.source()
    shutil.rmtree(store.path / "000002")
    assert store.append(episode(4, seed=8)) == "000002"
    np.testing.assert_array_equal(store.source().actions[10:], episode(4, seed=8).actions)
    shutil.rmtree(store.path / "000000")
    np.testing.assert_array_equal(store.source().actions[5:], episode(4, seed=8).actions)


def test_a_read_only_store_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC)
    store.append(episode())

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "replace", refuse)
    assert len(store.source().episodes) == 1
    assert not list(store.path.glob(".manifest*"))


def test_a_document_that_is_no_array_or_episode_is_named(tmp_path: Path) -> None:
    store = DemoStore.create(tmp_path / "s", SPEC)
    store.append(episode())
    path = store.path / "000000" / "zarr.json"
    genuine = json.loads(path.read_text())

    def rewritten(change) -> str:
        document = json.loads(json.dumps(genuine))
        change(document)
        path.write_text(json.dumps(document))
        with pytest.raises(DataError) as caught:
            store.source()
        return str(caught.value)

    metadata = "consolidated_metadata"
    assert "does not say the steps of an episode" in rewritten(lambda d: d["attributes"]["robot_pt"].pop("steps"))
    assert "misses the arrays ['actions']" in rewritten(lambda d: d[metadata]["metadata"].pop("actions"))
    assert "is not the document of an array" in rewritten(lambda d: d[metadata]["metadata"]["actions"].pop("shape"))
    assert "does not read" in rewritten(lambda d: d[metadata]["metadata"]["actions"].update(data_type="int16"))
    assert "expected bool" in rewritten(lambda d: d[metadata]["metadata"]["terminated"].update(data_type="uint8"))
    assert "it is truncated" in rewritten(lambda d: d[metadata]["metadata"]["actions"].update(shape=[10**9, 10**9]))
    assert "has no array 'offsets_wrist'" in rewritten(lambda d: d[metadata]["metadata"].pop("offsets_wrist"))
    path.write_text(json.dumps(genuine))
    root = json.loads((store.path / "zarr.json").read_text())
    root["attributes"]["robot_pt"]["spec"]["action_names"].pop()
    (store.path / "zarr.json").write_text(json.dumps(root))
    with pytest.raises(DataError, match=r"is \(7,\) wide, the store's spec says 6"):
        DemoStore(store.path).source()


def test_opening_thousands_of_episodes_is_fast(tmp_path: Path) -> None:
    """A manifest makes opening 2,000 episodes take milliseconds; links stand in for recorded ones."""
    store = DemoStore.create(tmp_path / "s", SPEC)
    store.append(episode())
    for n in range(1, 2000):
        os.symlink(store.path / "000000", store.path / f"{n:06d}")
    store.source()
    begin = time.perf_counter()
    assert len(store.source().actions) == 10_000
    assert time.perf_counter() - begin < 0.5
