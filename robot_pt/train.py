"""The training loop: batches in, updates, numbers out. One loop for every algorithm, for pretraining and finetuning.

The device is never waited for inside a step: metrics stay there and are read back every `log_every` updates, in one copy.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from robot_pt.errors import DataError, TrainingInterrupted, UserError
from robot_pt.gradients import watched_gradients
from robot_pt.observers import DivergenceError, Observer
from robot_pt.replay import to_device
from robot_pt.schema import Batch

__all__ = ["Alone", "DivergenceError", "Processes", "Save", "TrainingInterrupted", "Updating", "train"]

Save = Callable[[int, dict[str, Any]], None]
"""(updates done, JSON state of the loop): write a checkpoint from which `train(start=..., state=...)` goes on exactly."""


class Updating(Protocol):
    """What the loop asks of an agent; `robot_pt.agents.Agent` is one."""

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]: ...

    def state_dict(self) -> dict[str, Tensor]: ...


class Processes(Protocol):
    """What the loop asks of the other processes of a run; `robot_pt.distributed.Ranks` is one."""

    @property
    def rank(self) -> int: ...

    @property
    def world_size(self) -> int: ...

    def mean(self, values: Tensor) -> Tensor: ...

    def any(self, flag: bool) -> bool: ...


class Alone(NamedTuple):
    """One process."""

    rank: int = 0
    world_size: int = 1

    def mean(self, values: Tensor) -> Tensor:
        return values

    def any(self, flag: bool) -> bool:
        return flag


def train(
    agent: Updating,
    batches: Iterator[Batch],
    *,
    start: int = 0,
    steps: int,
    observers: Sequence[Observer] = (),
    checkpoint_every: int = 0,
    save: Save | None = None,
    device: torch.device | str = "cpu",
    log_every: int = 50,
    state: Mapping[str, Any] | None = None,
    processes: Processes | None = None,
) -> dict[str, float]:
    """Do updates start .. steps - 1 and return the last metrics, each a mean over the last `log_every` updates.

    Gradient norms of the agent's networks are added to its metrics ("actor/grad_norm").

    Args:
        start, state: where a checkpoint left off, as given to `save`; `batches` must be set to the same place.
        steps: updates of the whole run; reaching `start` already, nothing is done.
        checkpoint_every: updates between calls of `save`, 0 for none; `save` is also called at the end and on Ctrl-C.
        device: where batches are put.
        processes: the other processes of the run; metrics are their mean, `save` runs on the first, observers are its.
    Raises:
        DivergenceError: naming metric and update; nothing bad was saved.
        TrainingInterrupted: after Ctrl-C or SIGTERM between two updates, once the checkpoint is written. A second Ctrl-C
            does not wait.
    """
    _require_counts(steps, log_every, checkpoint_every)
    ranks: Processes = processes or Alone()
    window = _Window(log_every, ranks, state)
    clock = _Clock()
    step = start
    try:
        for observer in observers:
            observer.start(start, steps)
        with _asked_to_stop() as stop, watched_gradients(agent) as norms:
            while step < steps:
                with clock.waiting():
                    batch = _next(batches, step, steps)
                metrics = agent.update(to_device(batch, device), step)
                metrics = {**metrics, **(norms.latest() if norms else {})}
                step += 1
                clock.done(len(batch.action) * ranks.world_size)
                window.add(step, metrics)
                for observer in observers:
                    observer.step(step)
                if window.full(step) or step == steps:
                    _report(observers, step, window.close(), clock.close())
                if ranks.any(stop.is_set()) and step < steps:  # torchrun kills who has not ended 30 s after Ctrl-C
                    _save(agent, save, step, window, ranks)
                    ranks.any(False)  # wait for the first: torchrun ends all as soon as one has ended
                    raise TrainingInterrupted(_stopped(step, steps, save))
                if step == steps or (checkpoint_every and step % checkpoint_every == 0):
                    _save(agent, save, step, window, ranks)
    finally:
        for observer in observers:
            observer.close()
    return window.last


def _require_counts(steps: int, log_every: int, checkpoint_every: int) -> None:
    if log_every < 1 or checkpoint_every < 0 or steps < 0:
        raise UserError(
            f"steps {steps}, log_every {log_every}, checkpoint_every {checkpoint_every}: give numbers from 0, log_every from 1."
        )


def _next(batches: Iterator[Batch], step: int, steps: int) -> Batch:
    batch = next(batches, None)
    if batch is None:
        raise UserError(f"the batches ended after {step} of {steps} updates; give an endless iterator, as Replay is.")
    return batch


def _report(observers: Sequence[Observer], step: int, learned: dict[str, float], speed: dict[str, float]) -> None:
    for observer in observers:
        observer.metrics(step, {**learned, **speed})


def _stopped(step: int, steps: int, save: Save | None) -> str:
    what = "a checkpoint was saved; continue with --resume" if save else "nothing was saved; start again"
    return f"stopped on request after {step} of {steps} updates: {what}."


def _save(agent: Updating, save: Save | None, step: int, window: _Window, ranks: Processes) -> None:
    if save is None:
        return
    state = window.state()  # raises where the metrics since the last log are not finite
    weights = agent.state_dict()
    for name, value in weights.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise DivergenceError(
                f"{name} holds NaN or Inf after update {step}; checkpoint {step} was not written, the last one is good: "
                "resume from it with a lower learning rate."
            )
    if ranks.rank == 0:
        save(step, state)


class _Window:
    """Metrics since the last log, on the device; one copy brings them all to the host."""

    def __init__(self, length: int, ranks: Processes, state: Mapping[str, Any] | None):
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
    """(names, rows) as `_Window.state` gave them. Raises DataError for anything else."""
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


class _Clock:
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


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """An event set by Ctrl-C or SIGTERM, so that neither can tear an update in two. Off the main thread it never sets."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
