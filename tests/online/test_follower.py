"""Following stores: once, in order, across restarts; what is no episode is set aside with a reason."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.errors import DataError, UserError
from robot_pt.online.follower import StoreFollower, read_again
from robot_pt.schema import Spec
from robot_pt.store import DemoStore
from tests.online.toys import STATE, make_episode


def names(found) -> list[str]:
    return [f.name for f in found]


def test_each_episode_is_found_once_in_order(store, episode) -> None:
    follower = StoreFollower([store.path], store.spec)
    assert follower.poll() == []
    for i in range(3):
        store.append(episode(i))
    first = follower.poll()
    assert names(first) == ["000000", "000001", "000002"]
    assert [f.episode.proprio[0, 0] for f in first] == [0, 1, 2]
    assert follower.poll() == []
    store.append(episode(3))
    assert names(follower.poll()) == ["000003"]


def test_a_restarted_follower_goes_on_where_the_log_ends(store, episode) -> None:
    for i in range(4):
        store.append(episode(i))
    follower = StoreFollower([store.path], store.spec, seen=[(store.uid, "000000"), (store.uid, "000002")])
    assert names(follower.poll()) == ["000001", "000003"]


def test_several_stores_come_in_the_order_given(tmp_path, store, episode) -> None:
    other = DemoStore.create(tmp_path / "other", store.spec)
    other.append(episode(10))
    store.append(episode(1))
    store.append(episode(2))
    follower = StoreFollower([store.path, other.path, store.path], store.spec)
    assert [(f.store.path.name, f.name) for f in follower.poll()] == [
        ("store", "000000"), ("store", "000001"), ("other", "000000"),
    ]  # fmt: skip


def test_a_store_may_appear_later(tmp_path, store, episode) -> None:
    late = tmp_path / "late"
    follower = StoreFollower([late], store.spec)
    assert follower.poll() == []
    assert "does not exist yet" in follower.troubles[late]
    DemoStore.create(late, store.spec).append(episode(0))
    assert names(follower.poll()) == ["000000"]
    assert follower.troubles == {}


def test_what_is_being_written_is_not_seen(store, episode) -> None:
    store.append(episode(0))
    shutil.copytree(store.path / "000000", store.path / "000001.part")
    assert names(StoreFollower([store.path], store.spec).poll()) == ["000000"]


def broken(folder: Path, how: str) -> None:
    if how == "cut":
        chunk = folder / "actions" / "c.0.0"
        chunk.write_bytes(chunk.read_bytes()[:-1])
    elif how == "no document":
        (folder / "zarr.json").unlink()
    elif how == "flipped":
        chunk = folder / "proprio" / "c.0.0"
        raw = bytearray(chunk.read_bytes())
        raw[0] ^= 1
        chunk.write_bytes(raw)
    else:
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "notes.txt").write_text("foreign")


@pytest.mark.parametrize("how", ["cut", "no document", "flipped", "foreign"])
def test_a_damaged_episode_is_tried_again_and_then_set_aside_with_its_reason(store, episode, how: str) -> None:
    now = [0.0]
    store.append(episode(0))
    store.append(episode(1))
    broken(store.path / "000000", how)
    follower = StoreFollower([store.path], store.spec, clock=lambda: now[0])
    assert names(follower.poll()) == ["000001"]
    now[0] = 4.9
    assert follower.poll() == []
    now[0] = 5.1
    (aside,) = follower.poll()
    assert aside.episode is None
    assert str(store.path / "000000") in aside.reason
    assert follower.poll() == []


def test_an_episode_that_becomes_readable_within_the_grace_is_not_lost(store, episode) -> None:
    store.append(episode(0))
    chunk = store.path / "000000" / "actions" / "c.0.0"
    whole = chunk.read_bytes()
    chunk.write_bytes(b"")
    follower = StoreFollower([store.path], store.spec)
    assert follower.poll() == []
    chunk.write_bytes(whole)
    (found,) = follower.poll()
    assert found.episode is not None


def test_an_episode_of_another_width_is_set_aside(tmp_path, store, episode) -> None:
    wide = Spec(cameras={}, embodiment="point", action_names=("dx", "dy", "dz"), proprio_names=("x", "y"))
    one = episode(0)
    other = DemoStore.create(tmp_path / "wide", wide)
    fields = {**one.__dict__, "spec": wide, "actions": np.zeros((5, 3), np.float32)}
    other.append(type(one)(**fields))
    shutil.copytree(other.path / "000000", store.path / "000000")
    (aside,) = StoreFollower([store.path], store.spec, grace_s=0.0).poll()
    assert "actions has shape (5, 3), expected (5, 2)" in aside.reason


@pytest.mark.parametrize(
    ("name", "value"), [("action_names", ("a", "b")), ("embodiment", "panda"), ("action_unit", "normalized")]
)
def test_a_store_of_another_robot_is_a_trouble_and_its_episodes_are_left(
    tmp_path, store, episode, name: str, value
) -> None:
    spec = Spec(**{**store.spec.to_json(), name: value})
    DemoStore.create(tmp_path / "other", spec)
    follower = StoreFollower([tmp_path / "other"], store.spec)
    assert follower.poll() == []
    assert name in follower.troubles[tmp_path / "other"]
    assert f"{tmp_path / 'other'} is set aside: " in follower.troubles[tmp_path / "other"]


def test_what_the_learner_cannot_use_is_set_aside_at_once(store, episode) -> None:
    def usable(one) -> None:
        if one.task != "go":
            raise UserError(f"task {one.task!r} is not in the run's task table.")

    store.append(episode(0, task="fly"))
    store.append(episode(1))
    aside, good = StoreFollower([store.path], store.spec, usable=usable).poll()
    assert "task 'fly'" in aside.reason
    assert good.episode is not None


def test_labels_given_meanwhile_hold(store, episode) -> None:
    store.append(episode(0, success=None))
    store.relabel("000000", success=True)
    (found,) = StoreFollower([store.path], store.spec).poll()
    assert found.episode.success is True


def test_an_episode_is_found_within_two_seconds_of_its_rename(store, episode) -> None:
    follower = StoreFollower([store.path], store.spec)
    for i in range(20):
        store.append(episode(i))
    follower.poll()
    store.append(episode(20))
    began = time.monotonic()
    assert names(follower.poll()) == ["000020"]
    assert time.monotonic() - began < 1.0  # a poll; the learner polls every 0.2 s


def test_read_again_refuses_another_store(tmp_path, store, episode) -> None:
    store.append(episode(0))
    assert read_again(store.path, store.uid, "000000").episode.proprio[0, 0] == 0
    with pytest.raises(DataError, match="another store"):
        read_again(store.path, "x", "000000")
    with pytest.raises(DataError, match="no demo store any more"):
        read_again(tmp_path / "gone", store.uid, "000000")


@settings(max_examples=15)
@given(st.lists(st.sampled_from(["append", "poll", "restart"]), max_size=25))
def test_none_is_lost_and_none_comes_twice(tmp_path_factory, actions: list[str]) -> None:
    store = DemoStore.create(tmp_path_factory.mktemp("s") / "store", STATE)
    found, follower = [], StoreFollower([store.path], STATE)
    for action in [*actions, "poll"]:
        if action == "append":
            store.append(make_episode(len(store), steps=2))
        elif action == "poll":
            found += [f.name for f in follower.poll()]
        else:
            follower = StoreFollower([store.path], STATE, seen=[(store.uid, name) for name in found])
    assert found == store.episodes
