"""The log of arrivals: whole lines or none, and what is damaged is said."""

import errno
import os

import pytest

from robot_pt.errors import DataError
from robot_pt.online.arrivals import Arrival, ArrivalLog, read_arrivals

ONE = Arrival("uid", "/stores/a", "000000", 5, 0, True, "v1")


def test_entries_come_back_in_order(tmp_path) -> None:
    log = ArrivalLog(tmp_path / "run" / "arrivals.jsonl")
    entries = [ONE._replace(episode=f"{i:06d}", update=10 * i, success=[True, False, None][i % 3]) for i in range(7)]
    for entry in entries:
        log.append(entry)
    assert log.entries == ArrivalLog(tmp_path / "run" / "arrivals.jsonl").entries == entries
    assert read_arrivals(tmp_path / "run" / "arrivals.jsonl") == entries
    assert entries[3].key == ("uid", "000003")


@pytest.mark.parametrize(
    ("success", "interventions", "alone"),
    [(True, 0, True), (True, 3, False), (False, 0, False), (False, 3, False), (None, 3, None)],
)
def test_what_somebody_helped_with_is_no_success_of_the_policy(success, interventions, alone) -> None:
    assert ONE._replace(success=success, interventions=interventions).by_policy is alone


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_torn_last_line_is_cut_off_and_the_log_goes_on(tmp_path, cut: int) -> None:
    path = tmp_path / "arrivals.jsonl"
    log = ArrivalLog(path)
    log.append(ONE)
    log.append(ONE._replace(episode="000001"))
    os.truncate(path, path.stat().st_size - cut)
    assert read_arrivals(path) == [ONE]  # another process reads while this one writes
    again = ArrivalLog(path)
    assert again.entries == [ONE]
    again.append(ONE._replace(episode="000002"))
    assert [e.episode for e in ArrivalLog(path).entries] == ["000000", "000002"]


@pytest.mark.parametrize(
    "line", ["{}", "[1]", "nonsense", '{"store": "u", "path": "p", "episode": "0", "steps": "x", "update": 0}']
)
def test_a_line_that_names_no_episode_is_refused(tmp_path, line: str) -> None:
    path = tmp_path / "arrivals.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match="line 1 names no episode"):
        ArrivalLog(path)
    with pytest.raises(DataError, match="line 1"):
        read_arrivals(path)


def test_no_log_yet_is_empty(tmp_path) -> None:
    assert read_arrivals(tmp_path / "none.jsonl") == []


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path, monkeypatch) -> None:
    log = ArrivalLog(tmp_path / "arrivals.jsonl")
    log.append(ONE)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("robot_pt.online.arrivals.os.fsync", full)
        with pytest.raises(DataError, match="No space left"):
            log.append(ONE._replace(episode="000001"))
    assert log.entries == ArrivalLog(tmp_path / "arrivals.jsonl").entries == [ONE]
