"""One process at a time: locks that the system drops when their holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robot_pt.errors import UserError


class TakenError(UserError):
    """Another process holds the lock."""


@contextmanager
def held(path: Path, what: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock file `path`. Raises TakenError, naming `what` already runs, when another process keeps it for `wait_s`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TakenError(
                        f"{what} is running already ({path}); stop it first, or use another --out."
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(handle)  # drops the lock


def is_held(path: Path) -> bool:
    """Whether some process holds the lock file `path` now."""
    try:
        with held(path, "it"):
            return False
    except TakenError:
        return True
