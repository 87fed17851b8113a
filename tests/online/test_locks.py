"""Locks end with their holder, however it ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

from robot_pt.online.locks import TakenError, held, is_held


def test_a_second_holder_is_refused_with_what_runs(tmp_path) -> None:
    path = tmp_path / "a" / "x.lock"
    assert not is_held(path)
    with held(path, "a learner of RUN"):
        assert is_held(path)
        with pytest.raises(TakenError, match="a learner of RUN is running already"), held(path, "a learner of RUN"):
            pass
    assert not is_held(path)


def test_a_killed_holder_leaves_no_lock(tmp_path) -> None:
    path = tmp_path / "x.lock"
    code = f"import time; from pathlib import Path; from robot_pt.online.locks import held\nwith held(Path({str(path)!r}), 'it'): time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 30
        while not is_held(path) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert is_held(path)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with held(path, "it", wait_s=5):
            pass
    finally:
        process.kill()


def test_what_its_holder_raises_is_its_own(tmp_path) -> None:
    """Also an error of the kind that a lock which is taken gives; and the lock is free after it."""
    for _ in range(2):
        with pytest.raises(BlockingIOError, match="a socket"), held(tmp_path / "lock", "it"):
            raise BlockingIOError("a socket")
    assert not is_held(tmp_path / "lock")
