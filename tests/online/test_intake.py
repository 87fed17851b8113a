"""Episodes into the replay: each once, at the same updates after a restart, and what can no longer be read is said."""

import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.errors import DataError
from robot_pt.online.arrivals import ArrivalLog, read_arrivals
from robot_pt.online.budget import Budget
from tests.online.toys import make_episode, make_intake


def filled(run, joined_at: list[int]) -> None:
    """A log of episodes that joined after so many updates."""
    intake, replay, store = make_intake(run)
    with replay:
        for number, updates in enumerate(joined_at):
            store.append(make_episode(number))
            intake.look(updates)


def test_what_is_found_joins_and_is_counted(tmp_path) -> None:
    told = []
    intake, replay, store = make_intake(tmp_path)
    intake.on_join.append(lambda arrival, updates: told.append((arrival.episode, updates)))
    with replay:
        store.append(make_episode(0, steps=4))
        store.append(make_episode(1, steps=6, operator=["policy"] * 4 + ["intervention"] * 2))
        intake.look(7)
        store.append(make_episode(2, steps=3))
        intake.look(9)
        intake.look(11)
        assert told == [("000000", 7), ("000001", 7), ("000002", 9)]
        assert (intake.steps, intake.count, replay.episodes) == (13, 3, 3)
        assert [a.interventions for a in intake.joined] == [0, 2, 0]
        assert intake.next_at is None
        assert intake.troubles == []


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.data())
@settings(max_examples=25, deadline=None)
def test_after_a_restart_each_joins_again_when_it_did(tmp_path_factory, gaps: list[int], data) -> None:
    run = tmp_path_factory.mktemp("intake")
    at = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    filled(run, at)
    known = data.draw(st.integers(0, len(at)))
    intake, replay, _ = make_intake(run)
    seen = []
    intake.on_join.append(lambda arrival, updates: seen.append((arrival.episode, updates)))
    with replay:
        intake.resume(known)
        assert intake.count == known == len(intake.joined)
        first = at[known - 1] if known else 0
        for updates in range(first, at[-1] + 1):
            intake.rejoin(updates)
            assert len(intake.joined) == max(known, sum(t <= updates for t in at))
        assert intake.next_at is None
        assert seen == [(f"{n:06d}", t) for n, t in enumerate(at)]
        intake.look(at[-1] + 1)
        assert len(intake.joined) == len(at)  # none twice


def test_nothing_new_is_taken_while_earlier_ones_are_due(tmp_path) -> None:
    filled(tmp_path, [0, 10])
    intake, replay, store = make_intake(tmp_path)
    with replay:
        intake.resume(1)
        store.append(make_episode(2))
        intake.look(3)
        assert (len(intake.joined), intake.next_at) == (1, 10)
        intake.rejoin(10)
        intake.look(10)
        assert [a.update for a in intake.joined] == [0, 10, 10]


@pytest.mark.parametrize("known", [-1, 3])
def test_a_checkpoint_that_knows_more_than_the_log_is_refused(tmp_path, known: int) -> None:
    filled(tmp_path, [0, 1])
    intake, replay, _ = make_intake(tmp_path)
    with replay, pytest.raises(DataError, match=rf"knows {known} arrivals, arrivals.jsonl holds 2"):
        intake.resume(known)


def test_one_that_is_gone_by_now_is_set_aside_with_what_happened(tmp_path) -> None:
    filled(tmp_path, [0, 1, 2])
    _, replay, store = make_intake(tmp_path)
    replay.close()
    shutil.rmtree(store.path / "000001")
    intake, replay, _ = make_intake(tmp_path)
    with replay:
        intake.rejoin(2)
        assert [a.episode for a in intake.joined] == ["000000", "000002"]
        ((name, reason),) = intake.set_aside.items()
        assert name == f"{store.path}/000001"
        assert reason.startswith("it joined before and cannot be read any more: ")
        assert intake.settled(Budget(), 10**6) == {store.uid: 3}  # nobody waits for it


def test_settled_are_those_whose_updates_are_done(tmp_path) -> None:
    intake, replay, store = make_intake(tmp_path)
    with replay:
        for number, steps in enumerate((4, 2, 5)):
            store.append(make_episode(number, steps=steps))
        intake.look(0)
        done = [intake.settled(Budget(utd=0.5), updates).get(store.uid, 0) for updates in range(7)]
    assert done == [0, 0, 1, 2, 2, 3, 3]  # owed in all after each: 2, 3, 5


def test_a_store_that_cannot_be_followed_is_a_trouble(tmp_path) -> None:
    intake, replay, store = make_intake(tmp_path)
    with replay:
        store.append(make_episode(0))
        (store.path / "labels.json").write_text("[")
        intake.look(0)
        assert intake.joined == []
        (trouble,) = intake.troubles
        assert "labels.json is not JSON" in trouble
        (store.path / "labels.json").unlink()
        intake.look(0)
        assert len(intake.joined) == 1
        assert intake.troubles == []


def test_what_was_set_aside_stays_aside_after_a_restart(tmp_path) -> None:
    intake, replay, store = make_intake(tmp_path)
    with replay:
        store.append(make_episode(0, task="fly"))
        store.append(make_episode(1))
        intake.look(0)
        first = dict(intake.set_aside)
    assert [bool(a.reason) for a in read_arrivals(tmp_path / "arrivals.jsonl")] == [True, False]
    again, replay, _ = make_intake(tmp_path)
    with replay:
        again.resume(2)
        assert again.set_aside == first
        assert [a.episode for a in again.joined] == ["000001"]


def test_a_log_that_cannot_be_read_is_said(tmp_path) -> None:
    (tmp_path / "arrivals.jsonl").mkdir()
    with pytest.raises(DataError, match=r"arrivals.jsonl cannot be read: .*; restore it or start a new run"):
        ArrivalLog(tmp_path / "arrivals.jsonl")
    with pytest.raises(DataError, match=r"arrivals.jsonl cannot be read: .*; check its rights"):
        read_arrivals(tmp_path / "arrivals.jsonl")
