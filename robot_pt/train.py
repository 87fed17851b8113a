"""The training loop: batches in, updates, numbers out. One loop for every algorithm, for pretraining and finetuning.

The device is never waited for inside a step: metrics stay there and are read back every `log_every` updates, in one copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from robot_pt.clips import ClipBatch
from robot_pt.errors import TrainingInterrupted, UserError
from robot_pt.gradients import watched_gradients
from robot_pt.metric_window import MetricWindow, UpdateClock
from robot_pt.observers import DivergenceError, Observer
from robot_pt.replay import to_device
from robot_pt.schema import Batch
from robot_pt.stopping import asked_to_stop

__all__ = [
    "Alone",
    "DivergenceError",
    "Processes",
    "Save",
    "TrainingInterrupted",
    "Updating",
    "require_finite",
    "train",
]

Save = Callable[[int, dict[str, Any]], None]
"""(updates done, JSON state of the loop): write a checkpoint from which `train(start=..., state=...)` goes on exactly."""


class Saved(Protocol):
    """What is looked at before a checkpoint is written."""

    def state_dict(self) -> dict[str, Tensor]: ...


Batched = TypeVar("Batched", Batch, ClipBatch)
Given = TypeVar("Given", contravariant=True)


class Updating(Saved, Protocol[Given]):
    """What the loop asks of what it trains: `robot_pt.agents.Agent` of a `Batch`, `robot_pt.objectives.Objective` of a `ClipBatch`."""

    def update(self, batch: Given, step: int) -> dict[str, Tensor]: ...


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
    agent: Updating[Batched],
    batches: Iterator[Batched],
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
    window = MetricWindow(log_every, ranks, state)
    clock = UpdateClock()
    step = start
    try:
        for observer in observers:
            observer.start(start, steps)
        with asked_to_stop() as stop, watched_gradients(agent) as norms:
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


def _next(batches: Iterator[Batched], step: int, steps: int) -> Batched:
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


def _save(agent: Saved, save: Save | None, step: int, window: MetricWindow, ranks: Processes) -> None:
    if save is None:
        return
    state = window.state()  # raises where the metrics since the last log are not finite
    require_finite(agent, step)
    if ranks.rank == 0:
        save(step, state)


def require_finite(agent: Saved, step: int) -> None:
    """Raise DivergenceError naming the first tensor of the agent that holds NaN or Inf after update `step`."""
    for name, value in agent.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise DivergenceError(
                f"{name} holds NaN or Inf after update {step}; checkpoint {step} was not written, the last one is good: "
                "resume from it with a lower learning rate."
            )
