"""Metrics between two logs, means over a window of updates, and how fast they went."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from robot_pt.errors import DataError
from robot_pt.observers import DivergenceError


class Averaging(Protocol):
    """The mean over the processes of a run."""

    def mean(self, values: Tensor) -> Tensor: ...


class MetricWindow:
    """Metrics since the last log, on the device; few copies bring them all to the host.

    A name's mean is over the updates that reported it: an agent may learn different things at different updates.
    """

    def __init__(self, length: int, ranks: Averaging, state: Mapping[str, Any] | None):
        self._length, self._ranks = length, ranks
        self._early = _rows_of(state or {})  # updates already read, in their order
        self._pending: list[tuple[tuple[str, ...], Tensor]] = []
        self._end = 0
        self.last: dict[str, float] = {}

    def add(self, step: int, metrics: Mapping[str, Tensor]) -> None:
        names = tuple(sorted(metrics))
        self._pending.append((names, torch.stack([metrics[n].detach().float() for n in names])))
        self._end = step

    def full(self, step: int) -> bool:
        return step % self._length == 0

    def close(self) -> dict[str, float]:
        """Means over the window, which starts anew. Raises DivergenceError for NaN or Inf, naming metric and update."""
        self._read()
        rows, self._early = self._early, []
        seen: dict[str, list[float]] = {}
        for row in rows:
            for name, value in row.items():
                seen.setdefault(name, []).append(value)
        self.last = {name: math.fsum(seen[name]) / len(seen[name]) for name in sorted(seen)}
        return self.last

    def state(self) -> dict[str, Any]:
        """The window as JSON, so that a resumed run logs the same means; null where an update did not report a name."""
        self._read()
        names = sorted({name for row in self._early for name in row})
        return {"metric_names": names, "window": [[row.get(name) for name in names] for row in self._early]}

    def _read(self) -> None:
        pending, self._pending = self._pending, []
        rows: list[dict[str, float]] = [{} for _ in pending]
        for names in dict.fromkeys(
            names for names, _ in pending
        ):  # one copy for each set of names, however they alternate
            places = [i for i, (own, _) in enumerate(pending) if own == names]
            values = self._ranks.mean(torch.stack([pending[i][1] for i in places])).tolist()
            for i, value in zip(places, values, strict=True):
                rows[i] = dict(zip(names, value, strict=True))
        self._early += rows
        self._require_finite()

    def _require_finite(self) -> None:
        first = self._end - len(self._early) + 1
        for i, row in enumerate(self._early):
            for name, value in row.items():
                if not math.isfinite(value):
                    raise DivergenceError(
                        f"{name} became {value} at update {first + i}; the last checkpoint is from before: resume from it with a "
                        "lower learning rate, or inspect the data with robot-pt data inspect."
                    )


def _rows_of(state: Mapping[str, Any]) -> list[dict[str, float]]:
    """The updates as `MetricWindow.state` gave them. Raises DataError for anything else."""
    names, rows = state.get("metric_names", []), state.get("window", [])
    sound = isinstance(names, list) and isinstance(rows, list) and all(isinstance(name, str) for name in names)
    for row in rows if sound else ():
        sound = sound and isinstance(row, list) and len(row) == len(names)
        sound = sound and all(value is None or isinstance(value, int | float) for value in row)
    if not sound:
        raise DataError(
            "the loop's state in trainer.json is damaged: metric_names and window are no names with a row of numbers each; restore "
            "it, or remove the checkpoint's folder to resume from the one before."
        )
    return [{n: float(v) for n, v in zip(names, row, strict=True) if v is not None} for row in rows]


class UpdateClock:
    """Wall time of a window, and how much of it went into waiting for data."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._start, self._waited, self._updates, self._samples = time.perf_counter(), 0.0, 0, 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        before = time.perf_counter()
        yield
        self._waited += time.perf_counter() - before

    def done(self, samples: int) -> None:
        self._updates, self._samples = self._updates + 1, self._samples + samples

    def close(self) -> dict[str, float]:
        seconds = max(time.perf_counter() - self._start, 1e-9)
        out = {
            "speed/updates_per_s": self._updates / seconds,
            "speed/samples_per_s": self._samples / seconds,
            "speed/data_wait_percent": 100.0 * self._waited / seconds,
        }
        self._reset()
        return out
