"""Labels given later: beside the episodes, whole, with who said so; nothing that was recorded changes by a byte."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import robot_pt_data
from robot_pt import relabels
from robot_pt.errors import DataError
from robot_pt.online.follower import StoreFollower
from robot_pt.relabels import Provenance, Verdict
from robot_pt.schema import Episode, Spec
from robot_pt.store import DemoStore

SPEC = Spec(cameras={"primary": (8, 8)}, embodiment="panda")
HAND = Provenance(who="person", what="test")
MACHINE = Provenance(who="classifier", what="runs/r", version="abc", threshold=0.7, rule="2 of 3")


def fill(path: Path, lengths: tuple[int, ...] = (3, 4, 5), success: bool | None = None) -> DemoStore:
    store = DemoStore.create(path, SPEC)
    rng = np.random.default_rng(0)
    for steps in lengths:
        last = np.arange(steps) == steps - 1
        store.append(
            Episode(
                spec=SPEC, images={"primary": rng.integers(0, 256, (steps, 8, 8, 3), np.uint8)}, success=success, task="lift",
                proprio=rng.normal(size=(steps, 7)).astype(np.float32), actions=rng.normal(size=(steps, 7)).astype(np.float32),
                rewards=np.full(steps, 0.25, np.float32), terminated=last, truncated=~last & last,
            )
        )  # fmt: skip
    return store


@pytest.fixture
def store(tmp_path: Path) -> DemoStore:
    return fill(tmp_path / "demos")


def hashes(root: Path) -> dict[str, str]:
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file() and relabels.FOLDER not in p.parts
    }


def successes(store: DemoStore, choice: str = "newest") -> list[int]:
    return store.source(labels=choice).episodes.success.tolist()


def test_every_reader_sees_the_newest_pass_and_no_file_changes(store: DemoStore) -> None:
    store.source()
    before = hashes(store.path)
    follower = StoreFollower([store.path], SPEC)
    first = store.add_labels({"000000": Verdict(success=True)}, HAND)
    second = store.add_labels({"000001": Verdict(success=False), "000002": Verdict(success=True)}, MACHINE)
    assert hashes(store.path) == before
    assert (first.id, second.id, second.based_on) == ("000000", "000001", "000000")
    assert successes(store) == [1, 0, 1]
    assert successes(store, first.id) == [1, -1, -1]
    assert successes(store, "none") == [-1, -1, -1]
    assert [store.read(n).success for n in store.episodes] == [True, False, True]
    assert [f.episode.success for f in follower.poll() if f.episode] == [True, False, True]
    opened = robot_pt_data.open(store.path)
    assert opened.episodes.success.tolist() == [1, 0, 1]
    assert robot_pt_data.open(store.path, labels="none").episodes.success.tolist() == [-1, -1, -1]


def test_a_pass_keeps_who_what_version_threshold_and_time(store: DemoStore) -> None:
    made = store.add_labels({"000001": Verdict(success=True)}, MACHINE)
    read = relabels.read(store.path, store.uid)
    assert read == made
    assert read.by == MACHINE
    assert read.made_at.endswith("+00:00")
    shown = robot_pt_data.inspect(store.path)["labels"]
    assert shown["passes"] == ["000000"]
    assert {k: shown["applied"][k] for k in ("who", "version", "threshold", "success", "failure")} == {
        "who": "classifier", "version": "abc", "threshold": 0.7, "success": 1, "failure": 0,
    }  # fmt: skip
    assert robot_pt_data.inspect(store.path, labels="none")["labels"]["applied"] == "none"


def test_a_persons_word_outranks_a_later_machine_but_not_a_later_person(store: DemoStore) -> None:
    store.add_labels({"000000": Verdict(success=False)}, HAND)
    everything = {name: Verdict(success=True) for name in store.episodes}
    assert [v.success for _, v in sorted(store.add_labels(everything, MACHINE).verdicts.items())] == [False, True, True]
    assert successes(store) == [0, 1, 1]
    store.add_labels({"000000": Verdict(success=None)}, HAND)
    assert successes(store) == [-1, 1, 1]
    store.add_labels(everything, MACHINE, base="none")
    assert successes(store) == [1, 1, 1]


def test_rewards_take_the_place_of_the_recorded_ones(store: DemoStore) -> None:
    source = store.source()
    recorded = source.rewards.copy()
    store.add_labels({"000001": Verdict(success=True, rewards=(0.0, 0.0, 1.0, 1.0))}, MACHINE)
    expected = recorded.copy()
    expected[3:7] = [0, 0, 1, 1]
    np.testing.assert_array_equal(store.source().rewards, expected)
    np.testing.assert_array_equal(store.source(labels="none").rewards, recorded)
    np.testing.assert_array_equal(source.rewards, recorded)
    source.refresh()
    np.testing.assert_array_equal(source.rewards, expected)
    np.testing.assert_array_equal(store.read("000001").rewards, [0, 0, 1, 1])
    assert source.labels_applied.id == "000000"


def test_labels_lie_above_those_of_relabel(store: DemoStore) -> None:
    store.relabel("000000", success=False, task="push")
    store.add_labels({"000000": Verdict(success=True)}, HAND)
    assert successes(store)[0] == 1
    assert store.source().episodes.task[0] == "push"
    store.relabel("000001", success=True)
    assert json.loads((store.path / "labels.json").read_text())["000000"] == {"success": False, "task": "push"}
    assert successes(store, "none") == [0, 1, -1]


@pytest.mark.parametrize(
    ("break_it", "match"),
    [
        (lambda raw: raw[: len(raw) // 2], "it is no JSON"),
        (lambda raw: raw.replace(b'"success": true', b'"success": null'), "not what was written"),
        (lambda raw: raw.replace(b'"format_version": 1', b'"format_version": 7'), "format 7"),
        (lambda raw: b"{}", "no labels of this store"),
        (lambda raw: b"[]", "not an object"),
    ],
)
def test_a_torn_or_changed_pass_is_refused_until_another_is_named(store: DemoStore, break_it, match: str) -> None:
    store.add_labels({"000000": Verdict(success=True)}, HAND)
    store.add_labels({"000001": Verdict(success=True)}, HAND)
    path = relabels.path_of(store.path, "000001")
    path.write_bytes(break_it(path.read_bytes()))
    with pytest.raises(DataError, match=match):
        store.source()
    assert successes(store, "000000") == [1, -1, -1]
    assert successes(store, "none") == [-1, -1, -1]


def test_a_pass_of_another_store_is_refused(store: DemoStore, tmp_path: Path) -> None:
    other = fill(tmp_path / "other")
    other.add_labels({"000000": Verdict(success=True)}, HAND)
    (store.path / relabels.FOLDER).mkdir()
    path = relabels.path_of(store.path, "000000")
    path.write_bytes(relabels.path_of(other.path, "000000").read_bytes())
    with pytest.raises(DataError, match="made for store"):
        store.source()
    path.rename(relabels.path_of(store.path, "000009"))
    with pytest.raises(DataError, match="made for store"):
        store.source()


def test_a_pass_under_another_id_is_refused(store: DemoStore) -> None:
    store.add_labels({"000000": Verdict(success=True)}, HAND)
    relabels.path_of(store.path, "000000").rename(relabels.path_of(store.path, "000004"))
    with pytest.raises(DataError, match="written as 000000"):
        store.source()


def test_a_write_that_was_cut_off_leaves_no_pass(store: DemoStore) -> None:
    (store.path / relabels.FOLDER).mkdir()
    (store.path / relabels.FOLDER / ".000000.json.77.part").write_bytes(b"{")
    assert relabels.ids(store.path) == []
    assert successes(store) == [-1, -1, -1]
    assert store.add_labels({"000000": Verdict(success=True)}, HAND).id == "000000"


def test_what_cannot_be_labelled_is_refused_and_nothing_written(store: DemoStore) -> None:
    for verdicts, match in (
        ({"000007": Verdict(success=True)}, "no episode '000007'"),
        ({"000000": Verdict(success=True, rewards=(1.0, 0.0))}, r"shape \(2,\); give one finite number for each of 3"),
        ({"000000": Verdict(success=True, rewards=(1.0, 0.0, float("nan")))}, "finite number"),
    ):
        with pytest.raises(DataError, match=match):
            store.add_labels(verdicts, HAND)
    with pytest.raises(DataError, match="no labels '000003'; it has none given later"):
        store.source(labels="000003")
    assert relabels.ids(store.path) == []


def test_rewards_no_reader_would_take_are_refused(store: DemoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relabels, "MAX_JSON_BYTES", 300)
    with pytest.raises(DataError, match="leave --rewards out"):
        store.add_labels({"000000": Verdict(success=True, rewards=(1.0,) * 3)}, HAND)


def test_episodes_that_come_later_are_as_recorded(store: DemoStore) -> None:
    store.add_labels({"000000": Verdict(success=True)}, HAND)
    source = store.source()
    store.append(store.read("000002"))
    assert source.refresh() == 1
    assert source.episodes.success.tolist() == [1, -1, -1, -1]


def test_only_a_store_has_labels_given_later(tmp_path: Path) -> None:
    store = fill(tmp_path / "demos")
    robot_pt_data.cache(store.source(), tmp_path / "cache", size=(8, 8))
    assert len(robot_pt_data.open(tmp_path / "cache").episodes) == 3
    with pytest.raises(DataError, match="only a demo store has labels"):
        robot_pt_data.open(tmp_path / "cache", labels="000000")
