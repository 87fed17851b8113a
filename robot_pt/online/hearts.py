"""Heartbeats: small files that say who lives, what it does and with which version; read anywhere, e.g. for /diagnostics.

Age is counted on the reader's own monotonic clock from the moment it sees a beat change, so a wrong clock elsewhere makes
nobody look dead or alive; how wrong it is shows as `skew_s`. Imports no torch.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from robot_pt.errors import UserError

FOLDER = "heartbeats"
STALE_S = 30.0
"""A heart that has not beaten for this long is reported."""
SKEW_S = 2.0
"""Clocks further apart than this are reported."""
ENDED = ("ended", "stopped")
"""States after which no further beat is expected."""


class Heart:
    """Beats for one process: at most every `every_s` seconds, or when its state changes. A disk that refuses is left to the age.

    Raises UserError for a name that cannot be a file's.
    """

    def __init__(self, run: Path, name: str, role: str, *, every_s: float = 0.5):
        if not name or "/" in name or name.startswith("."):
            raise UserError(f"a heartbeat cannot be named {name!r}; give letters, digits, '_' and '-'.")
        self._path = run / FOLDER / f"{name}.json"
        self._who = {"name": name, "role": role, "pid": os.getpid(), "host": socket.gethostname()}
        self._every_s, self._last = every_s, -float("inf")
        self._count, self.state = 0, ""
        self.facts: dict[str, Any] = {}

    def due(self, state: str) -> bool:
        """Whether `beat` would write."""
        return state != self.state or time.monotonic() - self._last >= self._every_s

    def beat(self, state: str, **facts: Any) -> None:
        """Say what is being done; `facts` are JSON values that stay until they are given anew."""
        self.facts |= facts
        if not self.due(state):
            return
        self.state, self._last = state, time.monotonic()
        self._count += 1
        document = {**self._who, "count": self._count, "stamp_ns": time.time_ns(), "state": state, "facts": self.facts}
        part = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(document, default=str))
            part.replace(self._path)  # no fsync: a beat is worth nothing after a crash
        except OSError:
            with suppress(OSError):
                part.unlink(missing_ok=True)


class Pulse(NamedTuple):
    """One heart as a reader sees it."""

    name: str
    role: str  # learner, actor or robot
    state: str
    host: str
    pid: int
    age_s: float  # since the last beat, on the reader's clock
    skew_s: float | None  # its clock minus the reader's; None before a beat was seen to change
    facts: dict[str, Any]

    @property
    def ended(self) -> bool:
        return self.state in ENDED


class HeartMonitor:
    """Reads the heartbeats of a run; keep one and call `look` every second or so."""

    def __init__(
        self, run: Path, *, clock: Callable[[], float] = time.monotonic, wall_ns: Callable[[], int] = time.time_ns
    ):
        self._folder, self._clock, self._wall_ns = run / FOLDER, clock, wall_ns
        self._seen: dict[str, tuple[tuple[int, int, int], float, float | None]] = {}  # identity, when it changed, skew
        self._looked: float | None = None
        self._counted: tuple[float, int] | None = None

    def look(self) -> list[Pulse]:
        """All hearts, by name. A file that is no heartbeat is left out."""
        now, out = self._clock(), []
        for path in sorted(self._folder.glob("[!.]*.json")) if self._folder.is_dir() else []:
            document = _read(path)
            if document is not None:
                out.append(self._pulse(path, document, now))
        self._looked = now
        return out

    def steps(self, role: str, every_s: float = 0.5) -> int:
        """Environment steps that all hearts of `role` tell, unfinished episodes included; read at most every `every_s` seconds."""
        if self._counted is None or self._clock() - self._counted[0] >= every_s:
            told = [p.facts.get("env_steps") for p in self.look() if p.role == role]
            self._counted = (self._clock(), sum(n for n in told if isinstance(n, int)))
        return self._counted[1]

    def _pulse(self, path: Path, document: dict[str, Any], now: float) -> Pulse:
        identity = (document["pid"], document["count"], document["stamp_ns"])
        known = self._seen.get(path.name)
        if known is None:  # never seen: as old as the file says, by the clock of its file system
            try:
                age = max(0.0, (self._wall_ns() - path.stat().st_mtime_ns) / 1e9)
            except OSError:
                age = 0.0
            known = (identity, now - age, None)
        elif known[0] != identity:
            known = (identity, now, self._skew(document["stamp_ns"], now))
        self._seen[path.name] = known
        facts = document["facts"] if isinstance(document["facts"], dict) else {}
        return Pulse(
            document["name"], document["role"], document["state"], document["host"], document["pid"], now - known[1],
            known[2], facts,
        )  # fmt: skip

    def _skew(self, stamp_ns: int, now: float) -> float:
        """Its stamp minus our wall clock; 0 as far as it may lie between this look and the one before."""
        ahead = (stamp_ns - self._wall_ns()) / 1e9
        between = now - self._looked if self._looked is not None else 0.0
        return ahead if ahead > 0 else min(0.0, ahead + between)


def problems(pulses: Sequence[Pulse], *, stale_s: float = STALE_S, skew_s: float = SKEW_S) -> list[str]:
    """One sentence per heart that should be looked at: stale, or on a machine whose clock differs."""
    out = []
    for pulse in pulses:
        if pulse.age_s > stale_s and not pulse.ended:
            out.append(
                f"{pulse.name} on {pulse.host} has not been heard of for {pulse.age_s:.0f} s (it was {pulse.state})."
            )
        if pulse.skew_s is not None and abs(pulse.skew_s) > skew_s:
            way = "ahead of" if pulse.skew_s > 0 else "behind"
            out.append(
                f"the clock of {pulse.host} ({pulse.name}) is {abs(pulse.skew_s):.1f} s {way} this machine's; synchronise them "
                "(chrony, ntpd)."
            )
    return out


def _read(path: Path) -> dict[str, Any] | None:
    kinds = {"name": str, "role": str, "state": str, "host": str, "pid": int, "count": int, "stamp_ns": int}
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(document, dict) or any(not isinstance(document.get(k), kind) for k, kind in kinds.items()):
        return None
    return {"facts": {}, **document}
