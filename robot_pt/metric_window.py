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
    """Metrics since the last log, on the device; one copy brings them all to the host."""

    def __init__(self, length: int, ranks: Averaging, state: Mapping[str, Any] | None):
        self._length, self._ranks = length, ranks
        self._names, self._early = _window_of(state or {})
        self._rows: list[Tensor] = []
        self._end = 0
        self.last: dict[str, float] = {}

    def add(self, step: int, metrics: Mapping[str, Tensor]) -> None:
        names = sorted(metrics)
        if names != self._names:  # an agent's phase changed: means never mix two sets of names
            self._read()
            self._early, self._names = [], names
        self._rows.append(torch.stack([metrics[n].detach().float() for n in names]))
        self._end = step

    def full(self, step: int) -> bool:
        return step % self._length == 0

    def close(self) -> dict[str, float]:
        """Means over the window, which starts anew. Raises DivergenceError for NaN or Inf, naming metric and update."""
        self._read()
        rows, self._early = self._early, []
        self.last = {n: math.fsum(r[i] for r in rows) / len(rows) for i, n in enumerate(self._names)}
        return self.last

    def state(self) -> dict[str, Any]:
        """The window as JSON, so that a resumed run logs the same means."""
        self._read()
        return {"metric_names": list(self._names), "window": list(self._early)}

    def _read(self) -> None:
        if self._rows:
            values = self._ranks.mean(torch.stack(self._rows)).tolist()
            self._rows = []
            self._early += values
            self._require_finite()

    def _require_finite(self) -> None:
        first = self._end - len(self._early) + 1
        for i, row in enumerate(self._early):
            for name, value in zip(self._names, row, strict=True):
                if not math.isfinite(value):
                    raise DivergenceError(
                        f"{name} became {value} at update {first + i}; the last checkpoint is from before: resume from it with a "
                        "lower learning rate, or inspect the data with robot-pt data inspect."
                    )


def _window_of(state: Mapping[str, Any]) -> tuple[list[str], list[list[float]]]:
    """(names, rows) as `MetricWindow.state` gave them. Raises DataError for anything else."""
    names, rows = state.get("metric_names", []), state.get("window", [])
    sound = isinstance(names, list) and isinstance(rows, list) and all(isinstance(name, str) for name in names)
    for row in rows if sound else ():
        sound = sound and isinstance(row, list) and len(row) == len(names)
        sound = sound and all(isinstance(value, int | float) for value in row)
    if not sound:
        raise DataError(
            "the loop's state in trainer.json is damaged: metric_names and window are no names with a row of numbers each; restore "
            "it, or remove the checkpoint's folder to resume from the one before."
        )
    return list(names), [list(map(float, row)) for row in rows]


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
