"""The order of learning: which episode joined the replay after how many updates, one line each, on the disk before it is used.

With the log, a learner that was killed does the same updates on the same samples again from its last checkpoint on, and knows
every episode it has seen: none is lost, none joins twice.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from robot_pt.errors import DataError


class Arrival(NamedTuple):
    """An episode that was found."""

    store: str  # uid of the DemoStore
    path: str  # of the store when it was found
    episode: str  # its id there
    steps: int
    update: int  # online updates done when it joined
    success: bool | None = None
    version: str = ""  # of the policy that acted
    reason: str = ""  # why it was set aside; empty where it joined
    interventions: int = 0  # steps a person drove

    @property
    def by_policy(self) -> bool | None:
        """Whether the policy succeeded, and alone; None where nobody knows."""
        return None if self.success is None else self.success and not self.interventions

    @property
    def key(self) -> tuple[str, str]:
        return self.store, self.episode


class ArrivalLog:
    """The log in `path`, opened for one learner. A line torn by a crash is cut off: what it named is found again.

    Raises DataError when the file is damaged elsewhere or cannot be written.
    """

    def __init__(self, path: Path):
        self._path = path
        self.entries: list[Arrival] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            raw = path.read_bytes() if path.exists() else b""
            whole = raw.rfind(b"\n") + 1
            self.entries = [_parse(line, path, number) for number, line in enumerate(raw[:whole].splitlines(), 1)]
            if whole < len(raw):
                os.truncate(path, whole)
        except OSError as error:
            raise DataError(
                f"{path} cannot be read: {error.strerror or error}; restore it or start a new run."
            ) from None

    def append(self, arrival: Arrival) -> None:
        """Note an episode; on disk when this returns. Raises DataError on a full disk, after which the log is as before."""
        line = json.dumps(arrival._asdict(), allow_nan=False).encode() + b"\n"
        size = self._path.stat().st_size if self._path.exists() else 0
        try:
            with self._path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if self._path.exists() and self._path.stat().st_size > size:
                os.truncate(self._path, size)
            raise DataError(
                f"{self._path} could not be written: {error.strerror or error}; free disk space, the learner goes on by itself."
            ) from None
        self.entries.append(arrival)


def _parse(line: bytes, path: Path, number: int) -> Arrival:
    try:
        found = Arrival(**json.loads(line))
    except (ValueError, TypeError):
        found = None
    if found is None or not isinstance(found.steps, int) or not isinstance(found.update, int):
        raise DataError(
            f"{path} line {number} names no episode; restore the file, or remove it with the run's checkpoints to learn again "
            "from the stored episodes."
        )
    return found


def read_arrivals(path: Path) -> list[Arrival]:
    """The entries of a log that another process may be writing; none where there is no file. Raises DataError as `ArrivalLog`."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; check its rights.") from None
    return [_parse(line, path, n) for n, line in enumerate(raw[: raw.rfind(b"\n") + 1].splitlines(), 1)]
