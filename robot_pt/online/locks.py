"""One process at a time: locks that the system drops when their holder dies, however it dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from robot_pt.errors import UserError
from robot_pt.safe_files import locked


class TakenError(UserError):
    """Another process holds the lock."""


@contextmanager
def held(path: Path, what: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock file `path`. Raises TakenError, naming `what` already runs, when another process keeps it for `wait_s`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as lock:
        try:
            lock.enter_context(locked(path, wait_s))
        except BlockingIOError:
            raise TakenError(f"{what} is running already ({path}); stop it first, or use another --out.") from None
        yield


def is_held(path: Path) -> bool:
    """Whether some process holds the lock file `path` now."""
    try:
        with held(path, "it"):
            return False
    except TakenError:
        return True
