"""Recorder: what was fed is in the store and in the journal; crashes, full disks and slow ones cost what they must and say so."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import Reader

from robot_pt import disk, journal, journal_episode, messages, recording, robots
from robot_pt.disk import DiskLimits
from robot_pt.errors import DataError, MismatchError, MissingExtraError, UserError
from robot_pt.images import encode_jpeg
from robot_pt.journal_episode import Assembly, Header
from robot_pt.journal_reading import read
from robot_pt.messages import RAW, Message, encode, typestore
from robot_pt.recorder import Recorder, Report
from robot_pt.recording import Limits
from robot_pt.recovery import episode_of
from robot_pt.robots import BRIDGE_ACTION_FRAME
from robot_pt.samples import Frame, Joints, Mode, Request, Version
from robot_pt.schema import Episode, Spec
from robot_pt.simulated import told, versions_of
from robot_pt.store import DemoStore
from tests.core.robot_run import BEGIN, JOINTS, PERIOD, SPEC, events, jpeg, pose

SECOND = 1_000_000_000
ROOM = Limits(DiskLimits(1, 1))


@contextlib.contextmanager
def recorder(path: Path, **options: object) -> Iterator[Recorder]:
    made = Recorder(path, SPEC, **{"joint_names": JOINTS, "limits": ROOM, **options})
    try:
        yield made
    finally:
        made.close()


def record(
    to: Recorder, name: str | None = None, seconds: float = 2.0, outcome: str = "success", **options: object
) -> Report:
    found = events(seconds)
    to.start(name, task="lift", instruction="lift the cube", metadata={"seed": 3}, now_ns=BEGIN - 1)
    for received_ns, sample in found:
        to.feed(sample, received_ns)
    return to.stop(outcome, end_ns=found[-1][0] + 1, **options)


def same(a: Episode, b: Episode) -> None:
    for name in ("proprio", "actions", "requested_actions", "rewards", "terminated", "truncated", "capture_time_ns",
                 "joint_positions"):  # fmt: skip
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    for name in ("success", "task", "instruction", "operator", "policy_version", "metadata", "dataset", "spec"):
        assert getattr(a, name) == getattr(b, name), name
    assert {k: [bytes(f) for f in v] for k, v in a.images.items()} == {
        k: [bytes(f) for f in v] for k, v in b.images.items()
    }


def from_file(path: Path) -> Episode:
    """The episode made from a journal alone."""
    found = episode_of(path)
    assert found is not None
    return found[0]


def test_an_episode_is_in_the_store_and_in_the_journal(tmp_path: Path) -> None:
    with recorder(tmp_path / "s", namespace="wx250s") as to:
        report = record(to, "first")
        assert report.outcome == "success"
        assert report.faults == []
        assert report.dropped == {}
        episode = to.store.read(report.stored)
    assert len(episode) == report.steps == 10
    assert episode.success is True
    assert episode.terminated.tolist() == [False] * 9 + [True]
    assert not episode.truncated.any()
    assert (episode.task, episode.instruction, episode.policy_version) == ("lift", "lift the cube", "ab12")
    assert episode.operator == ["policy"] * 10
    assert np.diff(episode.capture_time_ns[1:]).tolist() == [PERIOD] * 8
    assert episode.joint_positions.shape == (10, 6)
    assert episode.metadata["seed"] == 3
    assert episode.metadata["episode_id"] == "first"
    assert episode.metadata["dropped"] == {}
    assert set(episode.metadata["age_us"]) == {"primary", "wrist", "joints", "gripper", "pose"}
    fed = Counter(m.topic for _, s in events(2.0) for m in encode(s, JOINTS))
    assert episode.metadata["messages"] == fed == report.written
    frames = {s.stamp_ns: s.image for _, s in events(2.0) if isinstance(s, Frame) and s.camera == "primary"}
    assert all(bytes(f) in frames.values() for f in episode.images["primary"])  # as they came
    with Reader(tmp_path / "s/journals/first.mcap") as bag:
        assert {t.removeprefix("/wx250s/"): i.msgcount for t, i in bag.topics.items()} == fed


@pytest.mark.parametrize("seed", range(4))
def test_live_and_from_the_file_are_the_same_in_any_order_of_arrival(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = sorted(
        ((received_ns + int(rng.integers(0, 3 * SECOND)), s) for received_ns, s in events(3.0)), key=lambda e: e[0]
    )
    with recorder(tmp_path / "s") as to:
        to.start("a", task="lift", now_ns=BEGIN - 1)
        for received_ns, sample in found:
            to.feed(sample, received_ns)
        report = to.stop("failure", end_ns=found[-1][0])
        live = to.store.read(report.stored)
    same(live, from_file(tmp_path / "s/journals/a.mcap"))
    counts = live.metadata["counts"]
    assert counts["reordered"]
    assert live.success is False
    assert live.truncated[-1]


def test_messages_off_the_wire_and_samples_are_recorded_alike(tmp_path: Path) -> None:
    found = events(2.0)
    with recorder(tmp_path / "a") as to:
        first = to.store.read(record(to, "x").stored)
    with recorder(tmp_path / "b") as to:
        to.start("x", task="lift", instruction="lift the cube", metadata={"seed": 3})
        for received_ns, sample in found:
            for message in encode(sample, JOINTS):
                to.feed_message(message._replace(cdr=bytes(message.cdr)), received_ns)
        same(first, to.store.read(to.stop("success", end_ns=found[-1][0] + 1).stored))


def test_raw_frames_become_jpeg_once_and_jpeg_stays_as_it_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    raw = {s.stamp_ns: rng.integers(0, 256, (12, 16, 3), np.uint8) for _, s in events(2.0) if isinstance(s, Frame)}
    store = typestore()
    with recorder(tmp_path / "s") as to:
        to.start("a")
        for received_ns, sample in events(2.0):
            if isinstance(sample, Frame) and sample.camera == "primary":
                [like] = encode(Frame(sample.stamp_ns, "primary", b""))
                header = store.deserialize_cdr(like.cdr, like.type).header
                image = store.types[RAW](header, 12, 16, "rgb8", 0, 48, raw[sample.stamp_ns].ravel())
                to.feed_message(Message("camera/primary/image_raw", RAW, store.serialize_cdr(image, RAW)), received_ns)
            elif isinstance(sample, Frame):
                to.feed(sample._replace(image=raw[sample.stamp_ns]), received_ns)
            else:
                to.feed(sample, received_ns)
        report = to.stop("unknown")
        episode = to.store.read(report.stored)
    for camera in ("primary", "wrist"):
        expected = {encode_jpeg(image) for image in raw.values()}
        assert {bytes(f) for f in episode.images[camera]} <= expected
    assert report.written["camera/primary/image_raw/compressed"] == 60
    assert "camera/primary/image_raw" not in report.written
    assert episode.success is None


def test_what_was_said_before_the_start_belongs_to_the_episode(tmp_path: Path) -> None:
    with recorder(tmp_path / "s") as to:
        to.feed(Version(BEGIN - 50 * SECOND, "cafe"))
        to.feed(Mode(BEGIN - 50 * SECOND, "teleop"))
        to.feed(Joints(BEGIN - 50 * SECOND, np.zeros(6)))
        for received_ns, sample in events(0.5, source="teleop"):
            if type(sample).__name__ == "JointCommand":
                to.feed(sample._replace(stamp_ns=sample.stamp_ns - SECOND // 2), received_ns - SECOND // 2)
        to.start("a", now_ns=BEGIN)
        header = Header.from_json(read(tmp_path / "s/journals/a.mcap.part").records["robot_pt"])
        assert header.policy_version == "cafe"
        for received_ns, sample in events(2.0, source="teleop"):
            if not isinstance(sample, Mode | Version | Request):
                to.feed(sample, received_ns)
        episode = to.store.read(to.stop("success", end_ns=BEGIN + 2 * SECOND).stored)
    assert episode.policy_version == "cafe"
    assert set(episode.operator) == {"teleop"}
    last = pose(0.5 - 0.015)  # of the 50 Hz commands of the half second before, 5 ms late each
    np.testing.assert_allclose(episode.actions[0, :3], (pose(0.185) - last)[:3, 3], atol=1e-6)


def test_stop_discard_redo_and_abort(tmp_path: Path) -> None:
    with recorder(tmp_path / "s") as to:
        for call in (lambda: to.stop("success"), to.discard, to.redo, lambda: to.abort("x")):
            with pytest.raises(UserError, match="first"):
                call()
        kept = record(to, "kept")
        again = to.redo(now_ns=BEGIN)  # after the fact: set aside, and another of the same task
        assert to.store.source("discarded").ids == [kept.stored]
        assert (tmp_path / "s/journals/discarded/kept.mcap").exists()
        assert to.status().episode_id == again
        with pytest.raises(UserError, match="stop or discard it first"):
            to.start("b")
        second = to.redo()  # while it runs: nothing of it stays
        assert second != again or not (tmp_path / f"s/journals/{again}.mcap").exists()
        report = to.discard()
        assert report.outcome == "discarded"
        assert sorted(p.name for p in (tmp_path / "s/journals").iterdir()) == [".recorder", "discarded"]
        with pytest.raises(UserError, match="no episode to discard"):
            to.discard()
        third = to.redo()
        for received_ns, sample in events(1.0):
            to.feed(sample, received_ns)
        aborted = to.abort("operator walked away")
        assert aborted.outcome == "aborted"
        assert aborted.stored == ""
        assert "operator walked away" in aborted.faults[0]
        assert aborted.written["joint_states"] == 100
        assert (tmp_path / f"s/journals/{third}.mcap").exists()
        fine = record(to, "fine")
        assert to.store.read(fine.stored).task == "lift"
        with pytest.raises(DataError, match="recorded and discarded"):
            to.start("kept")
        with pytest.raises(DataError, match="exists"):
            to.start("fine")
    with recorder(tmp_path / "s") as to:  # nothing is taken twice, nothing aborted or discarded comes back
        assert to.recovered == {}
        assert to.store.source("train").ids == [fine.stored]


def test_a_store_takes_one_version_of_a_simulator(tmp_path: Path) -> None:
    def play(to: Recorder, name: str, metadata: dict[str, object]) -> None:
        to.start(name, metadata=metadata, now_ns=BEGIN - 1)
        for received_ns, sample in events(1.0):
            to.feed(sample, received_ns)
        assert to.stop("success").stored

    kitchen = {version: {**told(("kitchen", version)), "seed": 1} for version in "23"}
    with recorder(tmp_path / "s") as to:
        play(to, "robot", {})
        play(to, "kitchen", kitchen["2"])
        play(to, "again", kitchen["2"])
        with pytest.raises(
            MismatchError, match=r"in version 2 of the kitchens and this is version 3.*; record to another store\."
        ):
            to.start("newer", metadata=kitchen["3"])
        play(to, "other", told(("robosuite", "1.5.2")))
        assert not (tmp_path / "s/journals/newer.mcap").exists()
        assert versions_of(to.store.source()) == {"kitchen": {"2"}, "robosuite": {"1.5.2"}}
    with recorder(tmp_path / "s") as to, pytest.raises(MismatchError, match="this is version 3"):
        to.start("newer", metadata=kitchen["3"])


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a/b", "x" * 200])
def test_an_id_that_cannot_name_a_file_is_refused(tmp_path: Path, name: str) -> None:
    with recorder(tmp_path / "s") as to:
        if name == "":
            assert to.start(name)  # the recorder's own
            return
        with pytest.raises(UserError, match="cannot name a file"):
            to.start(name)


def test_wrong_arguments_are_said(tmp_path: Path) -> None:
    with recorder(tmp_path / "s") as to:
        with pytest.raises(UserError, match="JSON cannot keep"):
            to.start("a", metadata={"x": {1, 2}})
        with pytest.raises(UserError, match="JSON cannot keep"):
            to.start("a", metadata={"x": float("nan")})
        assert to.start("a") == "a"
        with pytest.raises(UserError, match="give success, failure or unknown"):
            to.stop("great")
        with pytest.raises(UserError, match="another recorder"):
            Recorder(tmp_path / "s", SPEC, limits=ROOM)
    with pytest.raises(UserError, match="was closed"):
        to.start("b")
    with pytest.raises(UserError, match="'teleop' or 'scripted'"):
        Recorder(tmp_path / "t", SPEC, teleop="remote")
    with pytest.raises(MismatchError, match="control_hz"):
        Recorder(tmp_path / "s", Spec(**{**SPEC.to_json(), "control_hz": 10.0}), limits=ROOM)
    (tmp_path / "file").touch()
    with pytest.raises(DataError):
        Recorder(tmp_path / "file", SPEC)


def test_no_steps_is_said_and_not_tried_again(tmp_path: Path) -> None:
    with recorder(tmp_path / "s") as to:
        to.start("a")
        to.feed(Joints(BEGIN, np.zeros(6)))
        report = to.stop("success")
        assert report.stored == ""
        assert "nothing usable came from ['primary', 'wrist', 'gripper', 'pose']" in report.faults[0]
        assert report.written == {"joint_states": 1}
    with recorder(tmp_path / "s") as to:
        assert to.recovered == {}


def test_every_message_that_finds_no_room_is_counted_and_the_operator_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, told, gate = journal.JournalWriter.write, [], threading.Event()

    def blocked(self: journal.JournalWriter, message: Message, received_ns: int) -> None:
        gate.wait(20)
        slow(self, message, received_ns)

    monkeypatch.setattr(journal.JournalWriter, "write", blocked)
    limits = Limits(DiskLimits(1, 1), queue_bytes=100_000)
    found = events(2.0)
    fed = Counter(m.topic for _, s in found for m in encode(s, JOINTS))
    with recorder(tmp_path / "s", limits=limits, on_fault=told.append) as to:
        to.start("a", now_ns=BEGIN)
        begun = time.monotonic()
        for received_ns, sample in found:
            for message in encode(sample, JOINTS):
                to.feed_message(message, received_ns)
        assert time.monotonic() - begun < 10  # feeding never waits for the disk
        assert to.status().queued_bytes <= 100_000
        assert sum(to.status().dropped.values()) > 0
        gate.set()
        report = to.stop("success")
        assert {t: report.written.get(t, 0) + report.dropped.get(t, 0) for t in fed} == fed
        assert told == ["the recorder cannot keep up: messages were dropped; use a faster disk or fewer cameras."]
        assert told[0] in report.faults
        if report.stored:
            assert to.store.read(report.stored).metadata["dropped"] == report.dropped


def test_a_disk_below_its_limits_starts_nothing_and_ends_what_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, told = [10**9], threading.Event()
    monkeypatch.setattr(disk, "free_bytes", lambda folder: free[0])
    monkeypatch.setattr(recording, "free_bytes", lambda folder: free[0])
    with recorder(tmp_path / "s", limits=Limits(DiskLimits(10**8, 10**7)), on_fault=lambda _: told.set()) as to:
        to.start("a")
        for received_ns, sample in events(1.0):
            to.feed(sample, received_ns)
        free[0] = 10**6
        assert told.wait(10)
        to.feed(Joints(BEGIN, np.zeros(6)))
        report = to.stop("success")
        assert (report.outcome, report.stored) == ("aborted", "")
        assert report.dropped["joint_states"] >= 1
        assert report.faults[0] == "the recording of a ended: disk: 1 MB left."
        with pytest.raises(UserError, match=r"has 0\.00 GB left, recording starts with 0\.10 GB"):
            to.start("b")
        free[0] = 10**9
        assert record(to, "c").stored == "000000"


def test_a_disk_that_does_not_answer_holds_the_operator_up_for_a_known_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(journal.JournalWriter, "write", lambda *_: gate.wait(60))
    with recorder(tmp_path / "s", limits=Limits(DiskLimits(1, 1), answer_s=0.3)) as to:
        to.start("a")
        for received_ns, sample in events(0.5):
            to.feed(sample, received_ns)
        begun = time.monotonic()
        report = to.stop("success")
        assert 0.3 <= time.monotonic() - begun < 10
        assert (report.outcome, report.stored) == ("aborted", "")
        assert "no answer for 0.3 s" in report.faults[0]
        assert sum(report.dropped.values()) > 50
        gate.set()


def test_an_episode_that_never_ends_is_ended(tmp_path: Path) -> None:
    told = threading.Event()
    limits = Limits(DiskLimits(1, 1), longest_s=0.5)
    with recorder(tmp_path / "s", limits=limits, on_fault=lambda _: told.set()) as to:
        to.start("a")
        assert told.wait(20)
        assert to.stop("success").faults[0] == "the recording of a ended: longer than 0 s."


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_real_full_disk_aborts_the_episode_and_keeps_every_earlier_one(small_disk: Path) -> None:
    told = threading.Event()
    with recorder(small_disk / "s", on_fault=lambda _: told.set()) as to:
        first = record(to, "first", seconds=1.0)
        before = to.store.read(first.stored)
        to.start("second")
        number = 0
        while not told.wait(0.001):
            stamp = BEGIN + number * 33_000_000
            to.feed(Frame(stamp, "primary", jpeg(number % 30) * 20))
            number += 1
            assert number < 20_000, "the disk never filled"
        report = to.stop("success")
        assert (report.outcome, report.stored) == ("aborted", "")
        assert "No space left on device" in report.faults[0]
        assert sum(report.dropped.values()) >= 1
        same(before, to.store.read(first.stored))
    with pytest.raises(DataError, match="cannot be written"):  # no room to finish it: said, and nothing is lost
        Recorder(small_disk / "s", SPEC, joint_names=JOINTS, limits=ROOM)
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    with recorder(small_disk / "s") as to:
        assert "nothing usable came from" in to.recovered["second"]  # only frames of one camera were fed
        assert len(list(read(small_disk / "s/journals/second.mcap").messages())) > 50
        same(before, to.store.read(first.stored))
        assert record(to, "third").stored == "000001"


def test_a_write_error_of_any_kind_is_reported_and_what_was_flushed_is_recovered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, real, broken = threading.Event(), journal.JournalWriter.flush, [False]

    def failing(self: journal.JournalWriter) -> None:
        if broken[0]:
            raise OSError(5, "Input/output error")
        real(self)
        broken[0] = self.written.total() > 200  # a second and more

    monkeypatch.setattr(journal.JournalWriter, "flush", failing)
    monkeypatch.setattr(journal, "SYNC_EVERY_S", 0.0)
    with recorder(tmp_path / "s", on_fault=lambda _: told.set()) as to:
        to.start("a", now_ns=BEGIN)
        for received_ns, sample in events(4.0):
            to.feed(sample, received_ns)
        assert told.wait(20)
        report = to.stop("success")
        assert "Input/output error" in report.faults[0]
        assert (tmp_path / "s/journals/a.mcap.part").exists()
    monkeypatch.undo()
    with recorder(tmp_path / "s") as to:
        episode = to.store.read(to.recovered["a"])
        assert episode.truncated[-1]
        assert episode.success is None
        assert episode.metadata["cut_off"] is True


def test_a_disk_that_refuses_the_store_keeps_the_journal_for_the_next_recorder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: DemoStore, episode: Episode, **options: object) -> str:
        raise DataError("writing failed: No space left on device.")

    with recorder(tmp_path / "s") as to:
        monkeypatch.setattr(DemoStore, "append", full)
        report = record(to, "a")
        assert report.stored == ""
        assert "No space left on device. The journal a.mcap has everything." in report.faults[0]
    monkeypatch.undo()
    with recorder(tmp_path / "s") as to:
        assert to.recovered == {"a": "000000"}
        episode = to.store.read("000000")
        assert episode.success is True
        assert to.store.source("train").ids == ["000000"]
        same(episode, from_file(tmp_path / "s/journals/a.mcap"))


def test_a_journal_whose_messages_vanished_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = journal.JournalWriter.close

    def lossy(self: journal.JournalWriter, end: dict[str, object]) -> None:
        self.written["joint_states"] += 5
        real(self, end)

    monkeypatch.setattr(journal.JournalWriter, "close", lossy)
    with recorder(tmp_path / "s") as to:
        to.start("a")
        for received_ns, sample in events(1.0):
            to.feed(sample, received_ns)
        current = to._current
        current.drain()
        current.journal.written["joint_states"] += 5
        report = to.stop("success", end_ns=BEGIN + SECOND)
    assert "the disk lost some" in report.faults[0]
    assert report.written["joint_states"] == 100


CHILD = """
import sys, time
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.core.test_recorder import *
to = Recorder(Path(sys.argv[1]), SPEC, joint_names=JOINTS, limits=ROOM)
record(to, "whole", seconds=1.0)
to.start("killed", task="lift", now_ns=BEGIN - 1)
begun = time.monotonic()
for received_ns, sample in events(30.0):
    wait = (received_ns - BEGIN) / 1e9 - (time.monotonic() - begun)
    if wait > 0:
        time.sleep(wait)
    to.feed(sample, received_ns)
    print(received_ns, flush=True)
"""


def test_kill_9_loses_at_most_the_last_second_of_an_episode_and_nothing_before(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path / "s"), str(Path.cwd())]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert child.stdout is not None
    fed = BEGIN
    for line in child.stdout:
        fed = int(line)
        if fed > BEGIN + 3.4 * SECOND:
            break
    os.kill(child.pid, signal.SIGKILL)
    fed = int((child.stdout.read().split() or [str(fed)])[-1])
    child.wait()
    with recorder(tmp_path / "s") as to:
        assert to.recovered == {"killed": "000001"}
        assert len(to.store) == 2
        episode = to.store.read("000001")
        assert to.store.source("recovered").ids == ["000001"]
        assert to.store.source("train").ids == ["000000"]
    assert episode.success is None
    assert episode.truncated.tolist() == [False] * (len(episode) - 1) + [True]
    assert episode.task == "lift"
    last = int(episode.capture_time_ns[-1]) + PERIOD
    assert fed - last < 1.5 * SECOND + 2 * PERIOD  # a second, a period, and a busy machine's fsync
    expected = from_file(tmp_path / "s/journals/killed.mcap")
    same(episode, expected)
    with recorder(tmp_path / "s") as to:
        assert to.recovered == {}


def test_what_fits_no_message_is_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    told: list[str] = []
    with recorder(tmp_path / "s", on_fault=told.append) as to:
        to.start("a", now_ns=BEGIN)
        bad = [
            Joints(1 << 80, np.zeros(6)),
            Joints(-(1 << 80), np.zeros(6)),
            Joints(BEGIN, None),
            Frame(BEGIN, "primary", "no bytes"),
            Frame(BEGIN, "primary", np.zeros((12, 16, 4), np.float64)),
            Mode(BEGIN, None),
            Message("joint_states", "no/msg/Type", b""),
            Message("camera/primary/image_raw", RAW, b"\0\1\0\0"),
        ]
        for sample in bad:
            to.feed_message(sample, BEGIN) if isinstance(sample, Message) else to.feed(sample, 1 << 90)
        for received_ns, sample in events(1.0):
            to.feed(sample, received_ns)
        report = to.stop("success", end_ns=BEGIN + SECOND)
        assert report.steps == 5
        assert sum(report.dropped.values()) == len(bad)
        assert len(told) == len(set(told)) >= 4
        assert to.store.read(report.stored).metadata["dropped"] == report.dropped


def test_nothing_is_recorded_without_mcap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with recorder(tmp_path / "s") as to:
        monkeypatch.setitem(sys.modules, "mcap.writer", None)
        with pytest.raises(MissingExtraError, match="recording needs mcap"):
            to.start("a")
        monkeypatch.undo()
        assert record(to, "a").stored
    messages.typestore.cache_clear()
    monkeypatch.setitem(sys.modules, "rosbags.typesys", None)
    with pytest.raises(MissingExtraError, match="needs rosbags"), recorder(tmp_path / "s") as to:
        to.start("b")
    monkeypatch.undo()
    messages.typestore.cache_clear()


def test_an_unknown_arm_and_a_folder_that_refuses_start_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorder(tmp_path / "s", robot="no such arm") as to:
        with pytest.raises(UserError, match="no such arm"):
            to.start("a")
        assert [p.name for p in to.folder.iterdir()] == [".recorder"]

        def refuse(*_: object) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(journal.JournalWriter, "flush", refuse)
        with pytest.raises(DataError, match="Read-only file system"):
            to.start("b")
    with pytest.raises(UserError, match="mount it or record elsewhere"):
        disk.require_room(tmp_path / "absent", DiskLimits())
    assert disk.free_bytes(tmp_path) == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.01)


def test_the_zero_of_poses_is_kept_with_the_episode_and_used_where_no_pose_is_heard(tmp_path: Path) -> None:
    down = [float(v) for row in BRIDGE_ACTION_FRAME for v in row]
    with recorder(tmp_path / "s", action_frame_rotation=down) as to:
        name = record(to, "a").stored
        assert to.store.read(name).metadata["action_frame_rotation"] == down
    header = Header(spec=SPEC, episode_id="a", cameras={"primary": "primary", "wrist": "wrist"}, robot="wx250s")
    turned, q = replace(header, action_frame_rotation=down), robots.load("wx250s").home_rad
    assert Header.from_json(json.loads(json.dumps(turned.to_json()))) == turned
    own, found = Assembly(header).aligner._fk, Assembly(turned).aligner._fk
    assert own is not None
    assert found is not None
    np.testing.assert_allclose(own(q), robots.load("wx250s").fk(q), atol=1e-12)
    np.testing.assert_allclose(found(q), robots.load("wx250s", BRIDGE_ACTION_FRAME).fk(q), atol=1e-12)
    for wrong in ([1.0] * 9, down[:8], "down", [None] * 9, [float("nan")] * 9):
        with pytest.raises(DataError, match="nine numbers of a rotation, or none"):
            Header.from_json({**header.to_json(), "action_frame_rotation": wrong})


def test_samples_from_many_threads_are_all_there(tmp_path: Path) -> None:
    with recorder(tmp_path / "s") as to:
        to.start("a", now_ns=BEGIN)
        found = events(2.0)
        by_source = [[e for e in found if type(e[1]) is kind] for kind in {type(s) for _, s in found}]

        def feed(mine: list[tuple[int, object]]) -> None:
            for received_ns, sample in mine:
                to.feed(sample, received_ns)

        threads = [threading.Thread(target=feed, args=(mine,)) for mine in by_source]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        report = to.stop("success", end_ns=BEGIN + 2 * SECOND)
        assert report.written == Counter(m.topic for _, s in found for m in encode(s, JOINTS))
        assert report.steps == 10


def test_status_says_what_an_operator_needs(tmp_path: Path) -> None:
    with recorder(tmp_path / "s") as to:
        assert to.status()[:4] == ("", 0, 0, {})
        to.start("a", now_ns=BEGIN)
        for received_ns, sample in events(4.0):
            to.feed(sample, received_ns)
        deadline = time.monotonic() + 20
        while to.status().queued_bytes and time.monotonic() < deadline:
            time.sleep(0.01)
        status = to.status()
        assert status.episode_id == "a"
        assert status.steps >= 8  # of 20: the last two seconds may still be joined by late samples
        assert status.free_bytes > 0


def test_headers_of_other_versions_are_refused(tmp_path: Path) -> None:
    header = Header(spec=SPEC, episode_id="a", cameras={"primary": "primary", "wrist": "wrist"})
    assert Header.from_json(header.to_json()) == header
    with pytest.raises(DataError, match="this one gives"):
        Header.from_json({**header.to_json(), "colour": 1})
    with pytest.raises(DataError, match="this one gives"):
        Header.from_json({"spec": SPEC.to_json()})
    with pytest.raises(DataError, match="a table and a list"):
        Header.from_json({**header.to_json(), "cameras": ["primary"]})
    for end in ({"end_ns": "soon"}, {"written": [3]}, {"dropped": {"a": None}}):
        journal.JournalWriter(tmp_path / "a.mcap", {}).close(end)
        with pytest.raises(DataError, match="fields"):
            journal_episode.header_of(read(tmp_path / "a.mcap"))
        with pytest.raises(DataError, match="damaged record"):
            journal_episode.Ending.of(read(tmp_path / "a.mcap"))
        (tmp_path / "a.mcap").unlink()
