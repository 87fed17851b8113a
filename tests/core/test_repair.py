"""A damaged store made whole: every kind of damage is found and named, no sound episode is lost, nothing is deleted, at no moment."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robot_pt import repair, store_episode, zarr_files
from robot_pt.errors import DataError
from robot_pt.images import encode_jpeg
from robot_pt.relabels import Provenance, Verdict
from robot_pt.schema import Episode, Spec
from robot_pt.store import DemoStore
from robot_pt.store_source import MANIFEST

SPEC = Spec(cameras={"primary": (24, 32), "wrist": (16, 16)}, embodiment="panda")
STEPS = 4


def episode(seed: int, **changes: object) -> Episode:
    rng = np.random.default_rng(seed)
    values = {
        "spec": SPEC,
        "images": {c: rng.integers(0, 256, (STEPS, *s, 3), np.uint8) for c, s in SPEC.cameras.items()},
        "proprio": rng.normal(size=(STEPS, 7)).astype(np.float32),
        "actions": np.full((STEPS, 7), seed, np.float32),
        "rewards": np.zeros(STEPS, np.float32),
        "terminated": np.arange(STEPS) == STEPS - 1,
        "truncated": np.zeros(STEPS, bool),
    }
    return Episode(**{**values, **changes})


def truncate(root: Path) -> None:
    path = root / "000001" / "images_wrist" / "c.0"
    path.write_bytes(path.read_bytes()[:-7])


def flip(root: Path) -> None:
    path = root / "000001" / "images_primary" / "c.0"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    path.write_bytes(raw)


def delete(root: Path) -> None:
    (root / "000001" / "images_primary" / "c.0").unlink()


def without_document(root: Path) -> None:
    (root / "000001" / "zarr.json").unlink()


def without_a_folder(root: Path) -> None:
    shutil.rmtree(root / "000001" / "actions")


def a_file_in_its_place(root: Path) -> None:
    shutil.rmtree(root / "000001")
    (root / "000001").write_text("not an episode")


def lying_document(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        path = root / "000001" / "zarr.json"
        document = json.loads(path.read_text())
        change(document["attributes"]["robot_pt"])
        path.write_text(json.dumps(document))

    return damage


def half_a_frame(root: Path) -> None:
    """As a camera that was pulled out leaves it: stored whole, checksum and all."""
    name = root / "000001"
    attributes, documents = store_episode.header(name)
    at = store_episode.column(name, "offsets_primary", attributes, documents).copy()
    flat = store_episode.column(name, "images_primary", attributes, documents).tobytes()
    cut = (at[3] - at[2]) // 2
    arrays = {key: store_episode.column(name, key, attributes, documents) for key in documents}
    arrays["images_primary"] = np.frombuffer(flat[: at[3] - cut] + flat[at[3] :], np.uint8)
    at[3:] -= cut
    arrays["offsets_primary"] = at
    shutil.rmtree(name)
    attributes.pop("crc32c")
    store_episode.write(name, store_episode.Content(attributes, arrays))


KINDS = {
    "truncated": (truncate, "it is truncated"),
    "flipped": (flip, "checksum differs"),
    "deleted": (delete, "No such file"),
    "cut before its document": (without_document, "its writing was cut off"),
    "an array gone": (without_a_folder, "No such file"),
    "a file": (a_file_in_its_place, "Not a directory"),
    "fewer steps": (lying_document(lambda d: d.update(steps=3)), "expected float32 of 3 steps"),
    "no task": (lying_document(lambda d: d.pop("task")), "does not say the task"),
    "no checksums": (lying_document(lambda d: d.update(crc32c={})), "has no checksum of"),
    "success of another kind": (lying_document(lambda d: d.update(success="maybe")), "does not say the success"),
    "half a frame": (half_a_frame, r"camera 'primary' image 2 .* is truncated or damaged"),
}


@pytest.fixture
def store(tmp_path: Path) -> DemoStore:
    made = DemoStore.create(tmp_path / "demos", SPEC)
    for seed in range(4):
        made.append(episode(seed))
    return made


def contents(root: Path) -> dict[str, bytes]:
    hidden = (".lock", MANIFEST)
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.name not in hidden}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_is_damaged_is_set_aside_with_its_reason(store: DemoStore, kind: str) -> None:
    damage, why = KINDS[kind]
    damage(store.path)
    before = contents(store.path)
    found = repair.in_place(store)
    assert (found.sound, found.finished) == (["000000", "000002", "000003"], [])
    assert list(found.damaged) == ["000001"]
    with pytest.raises(DataError, match=why):
        raise DataError(found.damaged["000001"])
    corner = store.path / "quarantine"
    reason = next(p for p in (corner / "000001" / "reason.txt", corner / "000001.reason.txt") if p.is_file())
    assert reason.read_text().strip() == found.damaged["000001"]
    after = {k.removeprefix("quarantine/"): v for k, v in contents(store.path).items() if not k.endswith("reason.txt")}
    assert after == before, "every byte is still there"
    source = store.source()
    assert source.actions[:, 0].reshape(3, STEPS).tolist() == [[s] * STEPS for s in (0, 2, 3)]
    assert source.images(source.episodes.rows(), "primary").shape == (3 * STEPS, 24, 32, 3)
    assert repair.in_place(store) == (found.sound, [], {}), "the second time there is nothing to do"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_copy_has_what_is_sound_and_the_store_keeps_every_byte(store: DemoStore, tmp_path: Path, kind: str) -> None:
    KINDS[kind][0](store.path)
    before = contents(store.path)
    found = repair.copied(store, tmp_path / "new" / "copy")
    assert found.sound == ["000000", "000002", "000003"]
    assert list(found.damaged) == ["000001"]
    assert contents(store.path) == before
    wanted = {k: v for k, v in before.items() if not k.startswith("000001")}
    assert contents(tmp_path / "new" / "copy") == wanted
    assert DemoStore(tmp_path / "new" / "copy").source().ids == found.sound
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["copy"]


def test_readers_of_a_damaged_store_name_the_command(store: DemoStore) -> None:
    sentence = rf"`robot-pt data repair {store.path}` sets damaged episodes aside"
    flip(store.path)
    with pytest.raises(DataError, match=sentence):
        store.read("000001")
    without_a_folder(store.path)
    with pytest.raises(DataError, match=sentence + r"; --skip-corrupt \(skip_corrupt\) leaves them out\.$"):
        store.source()


def test_a_frame_that_does_not_decode_names_the_command(store: DemoStore) -> None:
    half_a_frame(store.path)
    with pytest.raises(DataError, match=r"step 6 \(episode 000001 .* `robot-pt data repair"):
        store.source().images(np.arange(16), "primary")


def test_the_last_episode_half_written_and_one_whole_but_for_its_name(store: DemoStore, tmp_path: Path) -> None:
    for name in ("000002", "000003"):
        os.rename(store.path / name, store.path / f"{name}.part")
    truncate_last = store.path / "000003.part" / "actions" / "c.0.0"
    truncate_last.write_bytes(truncate_last.read_bytes()[:5])
    (store.path / "000003.part" / "zarr.json").unlink()
    copy = repair.copied(store, tmp_path / "copy")
    assert copy.sound == ["000000", "000001", "000002"]
    assert list(copy.damaged) == ["000003.part"]
    found = repair.in_place(store)
    assert found == copy
    assert found.finished == ["000002"]
    assert (store.path / "quarantine" / "000003.part" / "reason.txt").is_file()
    assert store.append(episode(9)) == "000004"


def test_an_index_that_lies_is_built_anew(store: DemoStore) -> None:
    store.source()
    with np.load(store.path / MANIFEST) as file:
        arrays = dict(file)
    arrays["actions"] = arrays["actions"] + 100
    with open(store.path / MANIFEST, "wb") as handle:
        np.savez(handle, **arrays)
    assert store.source().actions[0, 0] == 100, "it is believed, being there to save time"
    assert repair.in_place(store).damaged == {}
    assert store.source().actions[0, 0] == 0


def test_labels_that_are_damaged_go_aside_and_those_below_hold(store: DemoStore, tmp_path: Path) -> None:
    store.relabel("000000", task="b")
    for success in (True, False):
        store.add_labels({"000000": Verdict(success=success)}, Provenance(who="classifier", what="x"))
    newest = store.path / "relabels" / "000001.json"
    newest.write_text(newest.read_text().replace("false", "true"))
    (store.path / "labels.json").write_text("{")
    with pytest.raises(DataError, match="robot-pt data repair"):
        store.source()
    copy = repair.copied(store, tmp_path / "copy")
    found = repair.in_place(store)
    assert set(found.damaged) == set(copy.damaged) == {"labels.json", "relabels/000001.json"}
    assert sorted(p.name for p in (store.path / "quarantine").iterdir()) == [
        "labels.json", "labels.json.reason.txt", "relabels-000001.json", "relabels-000001.json.reason.txt",
    ]  # fmt: skip
    for one in (store, DemoStore(tmp_path / "copy")):
        assert one.source().episodes.success.tolist() == [1, -1, -1, -1]  # as the pass before said


def test_labels_that_are_sound_are_copied(store: DemoStore, tmp_path: Path) -> None:
    store.relabel("000000", task="b")
    store.add_labels({"000002": Verdict(success=True)}, Provenance(who="person", what="x"))
    truncate(store.path)
    repair.copied(store, tmp_path / "copy")
    table = DemoStore(tmp_path / "copy").source().episodes
    assert (table.task, table.success.tolist()) == (["b", "", ""], [-1, 1, -1])


def test_what_cannot_be_copied_leaves_nothing(
    store: DemoStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(DataError, match="there exists; name a new folder"):
        repair.copied(store, tmp_path / "there")
    before = contents(store.path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zarr_files, "sync_tree", full)
    with pytest.raises(DataError, match=r"copy cannot be written \(No space left on device\)"):
        repair.copied(store, tmp_path / "copy")
    for name in store.episodes:
        shutil.rmtree(store.path / name / "actions")
    with pytest.raises(DataError, match=r"has no sound episode, so .* was not made: .*000000"):
        repair.copied(store, tmp_path / "copy")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["demos", "there"]
    assert contents(store.path).keys() == {name for name in before if "/actions/" not in name}


def test_where_nothing_is_sound_the_store_itself_may_lie_and_nothing_moves(store: DemoStore) -> None:
    root = json.loads((store.path / "zarr.json").read_text())
    root["attributes"]["robot_pt"]["spec"]["action_names"].pop()
    (store.path / "zarr.json").write_text(json.dumps(root))
    before = contents(store.path)
    with pytest.raises(
        DataError, match=r"none of the 4 episodes of .* is sound, .* its zarr.json .* The first: .*actions"
    ):
        repair.in_place(DemoStore(store.path))
    assert contents(store.path) == before


def test_one_who_records_meanwhile_is_not_held_up(store: DemoStore) -> None:
    names = []

    def record(done: int, total: int) -> None:
        names.append(store.append(episode(10 + done), timeout=0.0))

    found = repair.in_place(store, progress=record)
    assert found.sound == ["000000", "000001", "000002", "000003", *names]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_repair_cut_at_any_moment_loses_nothing_and_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    store = DemoStore.create(tmp_path / "demos", SPEC)
    frames = [encode_jpeg(np.full((24, 32, 3), 80, np.uint8))] * STEPS
    small = [encode_jpeg(np.full((16, 16, 3), 80, np.uint8))] * STEPS
    for seed in range(60):
        store.append(episode(seed, images={"primary": frames, "wrist": small}))
    damaged = [f"{n:06d}" for n in range(0, 60, 3)]
    for name in damaged:
        path = store.path / name / "actions" / "c.0.0"
        path.write_bytes(path.read_bytes()[:-1])
    whole = {n: contents(store.path / n) for n in store.episodes}
    code = "import sys; from robot_pt import cli; print('ready', flush=True); sys.exit(cli.main(sys.argv[1:]))"
    rng, corner = random.Random(1), store.path / "quarantine"
    for _ in range(4):
        left = 20 - len(list(corner.glob("0*"))) if corner.is_dir() else 20
        command = [sys.executable, "-c", code, "data", "repair", store.path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as work:
            assert work.stdout is not None
            assert work.stdout.readline() == "ready\n"
            deadline = time.monotonic() + 60
            while left and work.poll() is None and time.monotonic() < deadline:
                if corner.is_dir() and 20 - len(list(corner.glob("0*"))) < left - rng.randrange(4):
                    break
            work.send_signal(how)
            work.wait()
            if how == signal.SIGINT:
                assert work.returncode in (0, 130)
        aside = {p.name for p in corner.iterdir()}
        assert aside | set(store.episodes) == set(whole)
        assert not aside & set(store.episodes)
        assert aside <= set(damaged)
        for name, files in whole.items():
            where = corner / name if name in aside else store.path / name
            assert {k: v for k, v in contents(where).items() if k != "reason.txt"} == files
    found = repair.in_place(store)
    assert {p.name for p in corner.iterdir()} == set(damaged)
    assert found.sound == [n for n in whole if n not in damaged]
    assert len(store.source().episodes) == 40
