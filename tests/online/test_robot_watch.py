"""A run's folder as a robot sees it, and what it says of it."""

from __future__ import annotations

import time

import pytest

from robot_pt.errors import UserError
from robot_pt.online.hearts import Heart, HeartMonitor
from robot_pt.online.publishing import Publisher
from robot_pt.online.robot import RobotRules, RobotVersions
from robot_pt.online.robot_report import rows, troubles
from robot_pt.online.robot_watch import RunSeen, RunWatch
from robot_pt.online.serving import read_serving

STALE_S = 5.0


@pytest.fixture
def watch(tmp_path) -> RunWatch:
    return RunWatch(tmp_path / "run", tmp_path / "store", "robot_a", stale_s=STALE_S, every_s=0.02)


def named(found) -> dict:
    return {row.name: row for row in found}


def test_before_anything_is_there_it_says_how_to_start_a_learner(watch, tmp_path) -> None:
    seen = watch.look()
    assert (seen.serving, seen.episodes, seen.newest_episode_s, seen.pulses) == (None, 0, None, ())
    (said,) = seen.problems
    assert f"--follow {tmp_path / 'store'} --out {tmp_path / 'run'}" in said


def test_versions_hearts_and_episodes_are_seen(watch, tmp_path, agent, record, store, episode) -> None:
    run = tmp_path / "run"
    run.mkdir()
    publisher = Publisher(run, record)
    assert publisher.publish(1, agent, None)
    first = read_serving(run)
    Heart(run, "learner", "learner").beat("learning", updates=7)
    Heart(run, "robot_a", "robot").beat("acting")
    watch = RunWatch(run, store.path, "robot_a", stale_s=STALE_S)
    store.append(episode(0))
    seen = watch.look()
    assert seen.serving == first
    assert seen.numbers == {first.version: 1}
    assert [pulse.name for pulse in seen.pulses] == ["learner"], "not its own"
    assert seen.problems == ()
    assert seen.episodes == 1
    assert 0 <= seen.newest_episode_s < 60


def test_a_damaged_pointer_is_said_and_nothing_is_offered(watch, tmp_path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/serving.json").write_text('{"number": "one"}')
    seen = watch.look()
    assert seen.serving is None
    assert any("serving.json is damaged" in said for said in seen.problems)


def test_it_beats_while_it_looks_and_says_goodbye(watch, tmp_path) -> None:
    watch.start()
    watch.tell("acting", version="abc", env_steps=3)
    run = tmp_path / "run"
    deadline = time.monotonic() + 10
    monitor = HeartMonitor(run)
    while not any(p.state == "acting" for p in monitor.look()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert monitor.steps("robot") == 3
    before = watch.seen.looked_s
    time.sleep(0.2)
    assert watch.seen.looked_s > before
    watch.stop()
    assert [p.state for p in monitor.look()] == ["stopped"]


@pytest.mark.parametrize("name", ["", "a/b", ".x"])
def test_a_name_that_is_no_file_is_refused(tmp_path, name: str) -> None:
    with pytest.raises(UserError, match="heartbeat cannot be named"):
        RunWatch(tmp_path, tmp_path, name, stale_s=1.0)


def acting() -> RobotVersions:
    versions = RobotVersions(RobotRules(confirm=False))
    versions.heard("start")
    return versions


def learner(run, state: str = "learning", **facts):
    Heart(run, "learner", "learner").beat(state, **facts)
    return tuple(HeartMonitor(run).look())


def test_all_well_is_one_line_each(tmp_path) -> None:
    seen = RunSeen(10.0, pulses=learner(tmp_path, updates=7, troubles=[]), episodes=3, newest_episode_s=1.25)
    found = named(rows(acting(), seen, 10.5, STALE_S))
    assert {name: row.level for name, row in found.items()} == {
        "online": "ok",
        "online/learner": "ok",
        "online/store": "ok",
    }
    assert found["online/learner"].values["updates"] == 7
    assert found["online/store"].said == "3 episodes, the last 1.2 s ago"


def test_a_disk_that_hangs_is_an_error_and_all_that_is_said(tmp_path) -> None:
    seen = RunSeen(10.0, problems=("old news.",), pulses=learner(tmp_path))
    found = named(rows(acting(), seen, 10.0 + STALE_S + 2, STALE_S))
    assert found["online"].level == "error"
    assert "has not answered for 7 s" in found["online"].said
    assert "old news" not in found["online"].said
    assert found["online/learner"].level == "stale", "its age grows with the silence"


def test_a_learner_that_stopped_or_is_in_trouble_is_said(tmp_path) -> None:
    said = troubles(
        acting(), RunSeen(0.0, pulses=learner(tmp_path, "stopped", troubles=["the disk is full."])), 0.0, STALE_S
    )
    assert said[0] == "learner: the disk is full."
    assert "has stopped; nothing is learned now" in said[1]
    row = named(rows(acting(), RunSeen(0.0, pulses=learner(tmp_path, "ended")), 0.0, STALE_S))["online/learner"]
    assert row.level == "warn"


def test_a_clock_that_differs_is_a_warning(tmp_path) -> None:
    wall = [1_000_000_000_000]
    monitor = HeartMonitor(tmp_path, wall_ns=lambda: wall[0])
    heart = Heart(tmp_path, "learner", "learner", every_s=0.0)
    heart.beat("learning")
    monitor.look()
    heart.beat("learning")
    from robot_pt.online.hearts import problems

    pulses = tuple(monitor.look())
    seen = RunSeen(0.0, pulses=pulses, problems=tuple(problems(pulses)))
    found = named(rows(acting(), seen, 0.0, STALE_S))
    assert "synchronise them" in found["online"].said
    assert found["online"].level == "warn"
    assert abs(found["online/learner"].values["clock_skew_s"]) > 1e6
