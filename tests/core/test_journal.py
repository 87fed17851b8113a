"""Journals: other readers read them, and whatever moment a process dies or a disk fills at, what was flushed is there."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from robot_pt import journal, journal_reading
from robot_pt.errors import DataError
from robot_pt.journal import PART, JournalWriter, recover
from robot_pt.journal_reading import BEGIN as BEGIN_RECORD
from robot_pt.journal_reading import END, MAGIC, read
from robot_pt.messages import Message, encode
from robot_pt.samples import Frame, Gripper, Joints
from tests.core.robot_run import BEGIN, JOINTS, events, jpeg


def write(
    path: Path, seconds: float = 1.0, end: dict[str, object] | None = None, namespace: str = "/wx250s"
) -> list[Message]:
    """A journal of a made-up run, and the messages in it."""
    writer = JournalWriter(path, {"episode_id": path.stem}, namespace)
    written = []
    for received_ns, sample in events(seconds):
        for message in encode(sample, JOINTS):
            writer.write(message, received_ns)
            written.append(message)
    if end is not None:
        writer.close(end)
    else:
        writer.flush()
        writer.drop()
    return written


def test_rosbags_and_mcap_read_what_was_written(tmp_path: Path) -> None:
    written = write(tmp_path / "a.mcap", end={"outcome": "success"})
    store = get_typestore(Stores.ROS2_JAZZY)
    with Reader(tmp_path / "a.mcap") as bag:
        found = [(c.topic, c.msgtype, bytes(raw)) for c, _, raw in bag.messages()]
        assert bag.message_count == len(written)
        stamps = [stamp for stamp, _ in events(1.0)]
        assert bag.duration == max(stamps) - min(stamps) + 1
        for connection, stamp, raw in bag.messages(bag.topics["/wx250s/joint_states"].connections):
            content = store.deserialize_cdr(raw, connection.msgtype)
            assert content.header.stamp.sec * 10**9 + content.header.stamp.nanosec == stamp
            np.testing.assert_allclose(content.position, (stamp - BEGIN) / 1e9)
            assert content.name == JOINTS
    assert sorted(found) == sorted(("/wx250s/" + m.topic, m.type, bytes(m.cdr)) for m in written)
    with open(tmp_path / "a.mcap", "rb") as file:
        reader = make_reader(file, validate_crcs=True)
        assert reader.get_header().profile == "ros2"
        summary = reader.get_summary()
        assert summary.statistics.message_count == len(written)
        assert summary.statistics.chunk_count == len(summary.chunk_indexes) >= 1
        assert {c.message_encoding for c in summary.channels.values()} == {"cdr"}
        assert {c.metadata["topic_type_hash"] for c in summary.channels.values()} == {
            store.hash_rihs01(m.type) for m in written
        }
        assert {s.encoding for s in summary.schemas.values()} == {"ros2msg"}
        records = {m.name: json.loads(m.metadata["json"]) for m in reader.iter_metadata()}
        assert records == {"robot_pt": {"episode_id": "a"}, "robot_pt_end": {"outcome": "success"}}
        assert len(list(reader.iter_messages())) == len(written)


def test_our_reader_gives_every_message_in_the_order_of_writing_without_copying(tmp_path: Path) -> None:
    written = write(tmp_path / "a.mcap", end={})
    found = read(tmp_path / "a.mcap")
    raw = (tmp_path / "a.mcap").read_bytes()
    entries = list(found.messages())
    assert [bytes(e.cdr) for e in entries] == [bytes(m.cdr) for m in written]
    assert all(raw[e.offset : e.offset + len(e.cdr)] == e.cdr for e in entries)
    assert [found.channels[e.channel][:2] for e in entries] == [("/wx250s/" + m.topic, m.type) for m in written]
    assert not found.torn
    assert list(found.records) == [BEGIN_RECORD, END]


def test_a_file_torn_at_any_byte_gives_a_prefix_and_recovers_to_a_whole_one(tmp_path: Path) -> None:
    written = write(tmp_path / "whole.mcap", end={"outcome": "success"})
    raw = (tmp_path / "whole.mcap").read_bytes()
    rng, before = np.random.default_rng(0), 0
    for size in sorted({8, 9, 20, len(raw) - 1, len(raw) - 9, *rng.integers(8, len(raw), 40).tolist()}):
        folder = tmp_path / str(size)
        folder.mkdir()
        (folder / f"x{PART}").write_bytes(raw[:size])
        prefix = [bytes(e.cdr) for e in read(folder / f"x{PART}").messages()]
        assert prefix == [bytes(m.cdr) for m in written[: len(prefix)]]
        assert len(prefix) >= before
        before = len(prefix)
        assert recover(folder) == {folder / "x.mcap": "recovered"}
        assert [p.name for p in folder.iterdir()] == ["x.mcap"]
        with Reader(folder / "x.mcap") as bag:
            assert bag.message_count == len(prefix)
        found = read(folder / "x.mcap")
        assert [bytes(e.cdr) for e in found.messages()] == prefix
        complete = size > raw.index(b"robot_pt_end") + 60
        assert found.records[END].get("truncated", False) is not complete
        assert found.records[END]["outcome"] == ("success" if complete else "unknown")
    assert before == len(written)


def test_zeros_that_a_power_cut_leaves_end_what_is_read(tmp_path: Path) -> None:
    written = write(tmp_path / "a.mcap", seconds=4.0)
    path = tmp_path / f"a{PART}"
    raw = bytearray(path.read_bytes())
    middle = len(raw) * 4 // 5
    raw[middle : middle + 4096] = bytes(4096)
    path.write_bytes(raw)
    prefix = [bytes(e.cdr) for e in read(path).messages()]
    assert 0 < len(prefix) < len(written)
    assert prefix == [bytes(m.cdr) for m in written[: len(prefix)]]


def test_what_is_finished_but_for_its_name_is_only_renamed(tmp_path: Path) -> None:
    write(tmp_path / "a.mcap", end={"outcome": "success"})
    os.rename(tmp_path / "a.mcap", tmp_path / f"a{PART}")
    recover(tmp_path)
    assert read(tmp_path / "a.mcap").records[END] == {"outcome": "success"}


def test_what_is_no_journal_is_set_aside_and_said(tmp_path: Path) -> None:
    (tmp_path / f"empty{PART}").touch()
    (tmp_path / f"other{PART}").write_bytes(b"something else" * 10)
    (tmp_path / "half.mcap.rewritten").write_bytes(MAGIC)
    report = {path.name: said for path, said in recover(tmp_path).items()}
    assert "is empty" in report[f"empty{PART}"]
    assert "no mcap file" in report[f"other{PART}"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"empty{PART}.unreadable", f"other{PART}.unreadable"]
    assert recover(tmp_path) == {}


def test_a_journal_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "a.mcap", {})
    assert recover(tmp_path) == {}
    writer.close({})
    assert (tmp_path / "a.mcap").exists()


def test_a_recovered_episode_never_replaces_another(tmp_path: Path) -> None:
    write(tmp_path / "a.mcap", end={})
    (tmp_path / f"b{PART}").write_bytes((tmp_path / "a.mcap").read_bytes()[:5000])
    (tmp_path / "b.mcap").write_bytes(b"kept")
    assert "exists beside" in recover(tmp_path)[tmp_path / f"b{PART}"]
    assert (tmp_path / "b.mcap").read_bytes() == b"kept"
    with pytest.raises(DataError, match="exists; give the episode another id"):
        JournalWriter(tmp_path / "a.mcap", {})
    (tmp_path / f"c{PART}").touch()
    with pytest.raises(DataError, match="recover it first"):
        JournalWriter(tmp_path / "c.mcap", {})


def test_a_type_that_no_one_knows_cannot_be_recorded(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path / "a.mcap", {})
    with pytest.raises(DataError, match="cannot be recorded"):
        writer.write(Message("joint_states", "interbotix_xs_msgs/msg/JointGroupCommand", b""), 1)
    writer.write(encode(Gripper(BEGIN, 0.5))[0], BEGIN)
    writer.close({})
    assert len(list(read(tmp_path / "a.mcap").messages())) == 1
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "absent.mcap")


CHILD = """
import sys, time
from pathlib import Path
from robot_pt.journal import JournalWriter
from robot_pt.messages import encode
from robot_pt.samples import Joints
import numpy as np
writer = JournalWriter(Path(sys.argv[1]), {"episode_id": "killed"})
while True:
    now = time.time_ns()
    writer.write(encode(Joints(now, np.zeros(6)))[0], now)
    writer.flush_when_due()
    print(now, flush=True)
    time.sleep(0.002)
"""


def test_a_killed_process_loses_at_most_the_last_second(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path / "killed.mcap")]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert child.stdout is not None
    begun, written = None, []
    for line in child.stdout:
        written.append(int(line))
        begun = begun or time.monotonic()
        if time.monotonic() - begun > 2.7:
            break
    os.kill(child.pid, signal.SIGKILL)
    written += [int(line) for line in child.stdout.read().split()]
    child.wait()
    assert recover(tmp_path) == {tmp_path / "killed.mcap": "recovered"}
    stamps = [e.log_ns for e in read(tmp_path / "killed.mcap").messages()]
    assert stamps == written[: len(stamps)]
    assert (written[-1] - stamps[-1]) / 1e9 < 1.0 + 0.5  # the second, and a busy machine's fsync


def test_every_write_error_is_raised_and_what_was_flushed_stays(tmp_path: Path) -> None:
    """The process may write 300 kB to a file: the next chunk fails as on a full disk."""
    script = f"""
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, {str(Path.cwd())!r})
from tests.core.test_journal import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
writer, written = JournalWriter(Path(sys.argv[1]), {{}}), 0
try:
    for number in range(10_000):
        writer.write(encode(Frame(BEGIN + number, "primary", jpeg(number % 50)))[0], BEGIN + number)
        if number % 50 == 49:
            writer.flush()
            written = number + 1
except OSError as error:
    writer.drop()
    print(written, error.errno)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.mcap")], capture_output=True, text=True, check=True
    )
    written, code = map(int, done.stdout.split())
    assert code == 27  # EFBIG, what RLIMIT_FSIZE gives where a disk gives ENOSPC
    assert 0 < written < 1000
    recover(tmp_path)
    assert len(list(read(tmp_path / "a.mcap").messages())) >= written


def test_a_disk_that_refuses_at_once_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def full(handle: int) -> None:
        real(handle)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        JournalWriter(tmp_path / "a.mcap", {})
    assert list(tmp_path.iterdir()) == []


def test_a_chunk_is_on_the_disk_every_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(journal.time, "monotonic", lambda: now[0])
    writer = JournalWriter(tmp_path / "a.mcap", {})
    counts = []
    for i in range(30):
        now[0] += 0.1
        writer.write(encode(Joints(BEGIN + i, np.zeros(6)))[0], BEGIN + i)
        writer.flush_when_due()
        counts.append(len(list(read(tmp_path / f"a{PART}").messages())))
    assert all(i + 1 - seen <= 10 for i, seen in enumerate(counts))
    assert counts[-1] >= 20
    writer.delete()
    assert list(tmp_path.iterdir()) == []


def test_reading_needs_no_lock_and_bad_records_end_it(tmp_path: Path) -> None:
    write(tmp_path / "a.mcap", seconds=0.2, end={})
    with open(tmp_path / "a.mcap", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert list(read(tmp_path / "a.mcap").messages())
    raw = bytearray((tmp_path / "a.mcap").read_bytes())
    rng = np.random.default_rng(1)
    for _ in range(200):  # any damage gives messages or a DataError, nothing else
        broken = raw.copy()
        for at in rng.integers(0, len(raw), 20):
            broken[at] = rng.integers(256)
        (tmp_path / "b.mcap").write_bytes(broken)
        with contextlib.suppress(DataError):
            list(journal_reading.read(tmp_path / "b.mcap").messages())


def test_frames_go_in_as_they_came(tmp_path: Path) -> None:
    writer, frame = JournalWriter(tmp_path / "a.mcap", {}), jpeg(5)
    writer.write(encode(Frame(BEGIN, "primary", frame))[0], BEGIN)
    writer.close({})
    with Reader(tmp_path / "a.mcap") as bag:
        [(connection, _, raw)] = list(bag.messages())
    content = get_typestore(Stores.ROS2_JAZZY).deserialize_cdr(raw, connection.msgtype)
    assert content.data.tobytes() == frame
    assert content.format == "jpeg"
