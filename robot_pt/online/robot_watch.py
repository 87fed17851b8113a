"""A run's folder as a robot sees it, read in a thread: a network disk that hangs is an age, never a node that hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from robot_pt.errors import DataError
from robot_pt.online.hearts import Heart, HeartMonitor, Pulse, problems
from robot_pt.online.serving import Serving, folder_of, read_serving, versions
from robot_pt.safe_files import read_json
from robot_pt.store_source import episode_ids


class RunSeen(NamedTuple):
    """What one look found."""

    looked_s: float  # time.monotonic()
    serving: Serving | None = None
    numbers: Mapping[str, int] = {}  # version -> number, of those on disk
    pulses: tuple[Pulse, ...] = ()  # of others
    problems: tuple[str, ...] = ()  # sentences
    episodes: int = 0  # in the store
    newest_episode_s: float | None = None  # age of the last one


class RunWatch:
    """Looks at RUN and the robot's store, and beats the robot's heart there, every `every_s` seconds until `stop`.

    Args:
        store: the robot's DemoStore; need not be there yet.
        name: of the robot's heart. Raises UserError for one that is no file's name.
        stale_s: silence after which a heart is reported.
    """

    def __init__(self, run: Path, store: Path, name: str, *, stale_s: float, every_s: float = 0.2):
        self._run, self._store, self._name, self._stale_s, self._every_s = run, store, name, stale_s, every_s
        self._heart, self._monitor = Heart(run, name, "robot"), HeartMonitor(run)
        self._known: dict[int, str] = {}
        self._told: tuple[str, dict[str, Any]] = ("starting", {})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="run watch", daemon=True)
        self.seen = RunSeen(time.monotonic())

    def start(self) -> None:
        self._thread.start()

    def tell(self, state: str, **facts: Any) -> None:
        """What the robot's heart says from now on."""
        self._told = (state, facts)

    def stop(self) -> None:
        """Say goodbye and end; gives a disk that hangs no more than a second."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def look(self) -> RunSeen:
        """Read everything once, in this thread."""
        found: list[str] = []
        serving: Serving | None = None
        pulses: list[Pulse] = []
        try:
            serving = read_serving(self._run)
            self._number()
            pulses = [pulse for pulse in self._monitor.look() if pulse.name != self._name]
        except (DataError, OSError) as error:
            found.append(str(error))
        found += problems(pulses, stale_s=self._stale_s)
        if not any(pulse.role == "learner" for pulse in pulses):
            found.append(
                f"no learner of {self._run} is heard of; start one: robot-pt online --from RUN --actors 0 --follow {self._store} "
                f"--out {self._run}."
            )
        episodes, age_s = self._stored(found)
        numbers = {version: number for number, version in self._known.items()}
        return RunSeen(time.monotonic(), serving, numbers, tuple(pulses), tuple(found), episodes, age_s)

    def _work(self) -> None:
        while not self._stop.is_set():
            self.seen = self.look()
            state, facts = self._told
            self._heart.beat(state, **facts)
            self._stop.wait(self._every_s)
        self._heart.beat("stopped", **self._told[1])

    def _number(self) -> None:
        there = versions(self._run)
        self._known = {number: version for number, version in self._known.items() if number in there}
        for number in there:
            if number not in self._known:
                try:
                    self._known[number] = str(read_json(folder_of(self._run, number) / "policy.json")["version"])
                except (DataError, KeyError):  # pruned in this moment
                    continue

    def _stored(self, found: list[str]) -> tuple[int, float | None]:
        try:
            names = episode_ids(self._store)
            last = (self._store / names[-1]).stat().st_mtime if names else None
        except FileNotFoundError:
            return 0, None
        except OSError as error:
            found.append(f"store {self._store} cannot be read: {error.strerror or error}.")
            return 0, None
        return len(names), None if last is None else max(0.0, time.time() - last)
