"""Heartbeats: ages on the reader's clock, skew as a sentence, nothing torn."""

import json
import os
import threading
import time

import pytest

from robot_pt.errors import UserError
from robot_pt.online.hearts import Heart, HeartMonitor, Pulse, problems


class Clocks:
    """A reader's monotonic and wall clock, moved by hand."""

    def __init__(self, wall_s: float = 1_000_000.0):
        self.now, self.wall_s = 0.0, wall_s

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.wall_s += seconds

    def monitor(self, run) -> HeartMonitor:
        return HeartMonitor(run, clock=lambda: self.now, wall_ns=lambda: int(self.wall_s * 1e9))

    def beat(self, run, name: str, count: int, *, ahead_s: float = 0.0) -> None:
        """A beat of a machine whose clock is `ahead_s` before the reader's."""
        path = run / "heartbeats" / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        values = {
            "name": name,
            "role": "actor",
            "pid": 1,
            "host": "h",
            "count": count,
            "state": "acting",
            "facts": {"n": count},
        }
        path.write_text(json.dumps({**values, "stamp_ns": int((self.wall_s + ahead_s) * 1e9)}))
        os.utime(path, ns=(int(self.wall_s * 1e9),) * 2)


def test_what_is_said_is_what_is_read(tmp_path) -> None:
    heart = Heart(tmp_path, "learner", "learner")
    heart.beat("learning", updates=3, settled={"a": 1})
    heart.beat("waiting", updates=4)
    (pulse,) = HeartMonitor(tmp_path).look()
    assert (pulse.name, pulse.role, pulse.state, pulse.pid) == ("learner", "learner", "waiting", os.getpid())
    assert pulse.facts == {"updates": 4, "settled": {"a": 1}}
    assert 0 <= pulse.age_s < 5


def test_beats_are_written_at_most_so_often_unless_the_state_changes(tmp_path) -> None:
    heart = Heart(tmp_path, "a", "actor", every_s=60)
    for i in range(100):
        heart.beat("acting", n=i)
    assert HeartMonitor(tmp_path).look()[0].facts == {"n": 0}
    heart.beat("ended")
    (pulse,) = HeartMonitor(tmp_path).look()
    assert pulse.ended
    assert pulse.facts == {"n": 99}


def test_age_grows_until_the_next_beat_whatever_the_writer_s_clock_says(tmp_path) -> None:
    clocks = Clocks()
    clocks.beat(tmp_path, "a", 1, ahead_s=-5000)
    monitor = clocks.monitor(tmp_path)
    assert monitor.look()[0].age_s == 0
    clocks.advance(12)
    assert monitor.look()[0].age_s == 12
    clocks.beat(tmp_path, "a", 2, ahead_s=-5000)
    assert monitor.look()[0].age_s == 0


def test_a_monitor_that_comes_late_takes_the_file_s_age(tmp_path) -> None:
    clocks = Clocks()
    clocks.beat(tmp_path, "a", 1)
    clocks.advance(100)
    assert clocks.monitor(tmp_path).look()[0].age_s == pytest.approx(100)


@pytest.mark.parametrize(("ahead", "said"), [(10.0, "ahead of"), (-10.0, "behind"), (0.5, ""), (-0.5, ""), (0.0, "")])
def test_a_clock_that_differs_is_said(tmp_path, ahead: float, said: str) -> None:
    clocks = Clocks()
    monitor = clocks.monitor(tmp_path)
    for count in range(4):
        clocks.beat(tmp_path, "a", count, ahead_s=ahead)
        clocks.advance(0.3)  # the reader looks 0.3 s later
        pulses = monitor.look()
    found = problems(pulses)
    assert bool(found) == bool(said)
    if said:
        assert f"s {said} this machine's; synchronise" in found[0]
        assert pulses[0].skew_s == pytest.approx(ahead, abs=0.7)


def test_looking_seldom_is_not_taken_for_a_wrong_clock(tmp_path) -> None:
    """Between two looks of 60 s a beat may be up to 60 s old: that is no skew."""
    clocks = Clocks()
    monitor = clocks.monitor(tmp_path)
    for count in range(3):
        clocks.beat(tmp_path, "a", count)
        clocks.advance(60)
        pulses = monitor.look()
    assert problems(pulses, stale_s=1000) == []


def test_who_is_stale_is_said_and_who_ended_is_not(tmp_path) -> None:
    alive = Pulse("actor_1", "actor", "acting", "h", 1, 31.0, None, {})
    (sentence,) = problems([alive, alive._replace(state="ended"), alive._replace(age_s=1.0)])
    assert sentence == "actor_1 on h has not been heard of for 31 s (it was acting)."


def test_files_that_are_no_heartbeats_are_left_out(tmp_path) -> None:
    folder = tmp_path / "heartbeats"
    folder.mkdir()
    (folder / "a.json").write_text("{")
    (folder / "b.json").write_text("[]")
    (folder / "c.json").write_text('{"name": 3}')
    (folder / ".d.json.part").write_text("{}")
    assert HeartMonitor(tmp_path).look() == []
    assert HeartMonitor(tmp_path / "none").look() == []


def test_readers_never_see_a_torn_beat(tmp_path) -> None:
    stop = threading.Event()

    def write() -> None:
        heart = Heart(tmp_path, "a", "actor", every_s=0)
        n = 0
        while not stop.is_set():
            n += 1
            heart.beat("acting", n=n, padding="x" * 5000)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        monitor, deadline, seen = HeartMonitor(tmp_path), time.monotonic() + 1.0, 0
        while time.monotonic() < deadline or not seen:
            path = tmp_path / "heartbeats" / "a.json"
            if path.exists():
                assert len(monitor.look()) == 1
                seen += 1
    finally:
        stop.set()
        writer.join()


def test_steps_are_summed_over_a_role(tmp_path) -> None:
    Heart(tmp_path, "actor_0", "actor").beat("acting", env_steps=30)
    Heart(tmp_path, "actor_1", "actor").beat("acting", env_steps=12)
    Heart(tmp_path, "learner", "learner").beat("learning", env_steps=99)
    assert HeartMonitor(tmp_path).steps("actor") == 42


def test_a_disk_that_refuses_stops_nobody(tmp_path) -> None:
    (tmp_path / "heartbeats").write_text("a file where the folder should be")
    Heart(tmp_path, "a", "actor").beat("acting")


@pytest.mark.parametrize("name", ["", "a/b", ".hidden"])
def test_names_must_be_file_names(tmp_path, name: str) -> None:
    with pytest.raises(UserError, match="cannot be named"):
        Heart(tmp_path, name, "actor")
