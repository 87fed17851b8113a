"""Real-time priority: every thread has it where it is allowed, one sentence where it is not, and never in a process of others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

import robot_pt_ros.processes
from robot_pt.errors import UserError
from robot_pt_ros import realtime
from robot_pt_ros.realtime import Wanted
from robot_pt_ros.ros import use_ros

use_ros()

RAISE = """
import json, os, sys, threading
from robot_pt_ros.ros import use_ros
use_ros()
from robot_pt_ros import realtime
if sys.argv[1] == "nobody" and os.getuid() == 0:
    os.setuid(65534)
gate = threading.Event()
waits = threading.Thread(target=gate.wait)
waits.start()
try:
    realtime.raise_all(20)
    said = "raised"
except PermissionError:
    said = "refused"
later = threading.Thread(target=gate.wait)
later.start()
tasks = [int(name) for name in os.listdir("/proc/self/task")]
print(json.dumps([said, [[os.sched_getscheduler(t), os.sched_getparam(t).sched_priority] for t in tasks]]))
gate.set()
"""


def raised(who: str) -> tuple[str, list[list[int]]]:
    done = subprocess.run([sys.executable, "-c", RAISE, who], capture_output=True, text=True, timeout=60, check=True)
    said, threads = json.loads(done.stdout)
    return said, threads


def test_every_thread_has_it_also_one_that_starts_later() -> None:
    said, threads = raised("self")
    if said == "refused":
        pytest.skip("this user may not use real-time priorities")
    assert len(threads) >= 3
    assert threads == [[os.SCHED_FIFO, 20]] * len(threads)


def test_who_may_not_goes_on_as_before() -> None:
    said, threads = raised("nobody")
    if said == "raised":
        pytest.skip("every user may use real-time priorities here")
    assert threads == [[os.SCHED_OTHER, 0]] * len(threads)


class Log:
    def __init__(self) -> None:
        self.said: list[str] = []

    def warning(self, words: str) -> None:
        self.said.append(words)

    info = warning


@dataclass
class Parameter:
    value: int


class Node:
    """What `realtime` asks of a node."""

    def __init__(self, priority: int = -1, latency_us: int = -1) -> None:
        self.values, self.log = {"realtime_priority": priority, "cpu_latency_us": latency_us}, Log()

    def get_parameter(self, name: str) -> Parameter:
        return Parameter(self.values[name])

    def get_logger(self) -> Log:
        return self.log


@pytest.mark.parametrize(("given", "hardware", "wanted"), [(-1, True, 50), (-1, False, 0), (0, True, 0), (7, False, 7)])
def test_what_is_wanted(given: int, hardware: bool, wanted: int) -> None:
    assert realtime.wanted_by(Node(given), hardware=hardware) == (wanted, -1)
    assert realtime.wanted_by(Node(given, 10), hardware=hardware) == (wanted, 10)


@pytest.mark.parametrize("given", [-2, 100])
def test_no_priority(given: int) -> None:
    with pytest.raises(UserError, match=f"{given}; give 1 to 99"):
        realtime.wanted_by(Node(given), hardware=True)


@pytest.mark.parametrize("given", [-2, 2_000_000])
def test_no_latency(given: int) -> None:
    with pytest.raises(UserError, match=f"{given}; give 0 to 1000000"):
        realtime.wanted_by(Node(0, given), hardware=True)


def test_a_process_of_others_keeps_its_own() -> None:
    node, before = Node(), [os.sched_getscheduler(thread.native_id or 0) for thread in threading.enumerate()]
    realtime.take(node, Wanted(50, 0))
    assert not node.log.said
    assert [os.sched_getscheduler(thread.native_id or 0) for thread in threading.enumerate()] == before


def test_refusals_are_a_sentence_each_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(wanted: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(robot_pt_ros.processes, "is_own", True)
    monkeypatch.setattr(realtime, "raise_all", refuse)
    monkeypatch.setattr(realtime, "stay_awake", refuse)
    node = Node()
    realtime.take(node, Wanted(50, 0))
    priority, latency = node.log.said
    assert all(words in priority for words in ("Operation not permitted", "ulimit -r", "realtime_priority to 0"))
    assert all(words in latency for words in ("Operation not permitted", "root", "cpu_latency_us to -1"))
    node.log.said.clear()
    realtime.take(node, Wanted(0, -1))
    assert not node.log.said


def test_the_latency_is_held_as_a_number_of_four_bytes(tmp_path: Path) -> None:
    """What the kernel reads: a 32-bit integer, in force while the file is open."""
    device = tmp_path / "cpu_dma_latency"
    device.touch()
    realtime.stay_awake(17, device)
    assert int.from_bytes(device.read_bytes(), sys.byteorder) == 17
    assert len(device.read_bytes()) == 4
    open_files = {os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")}
    assert os.path.realpath(device) in open_files
    with pytest.raises(FileNotFoundError):
        realtime.stay_awake(17, tmp_path / "absent")
