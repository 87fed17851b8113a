"""What pretraining and finetuning share: resume, train, save, and the run's report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from torch import Tensor

from robot_pt import checkpoint
from robot_pt.agents import GradSync
from robot_pt.checkpoint import Record, Trained
from robot_pt.distributed import Ranks
from robot_pt.errors import DataError
from robot_pt.observers import GradientAlarm, JsonLines, Observer, ProgressBar, TensorBoard, read_metrics
from robot_pt.recipes import runs
from robot_pt.recipes.progress import say
from robot_pt.report import Report, Seen, Selection, write_report
from robot_pt.schema import ACTION_NAMES, SUCCESS, Float, Int
from robot_pt.session import step_lengths
from robot_pt.simulated import to_json, versions_of
from robot_pt.sources import EpisodeSource
from robot_pt.train import Batched, train

Drawn = TypeVar("Drawn", covariant=True)
Given = TypeVar("Given", contravariant=True)

MOST_LENGTHS = 1_000_000
"""Steps of one data set whose length is taken, evenly spread: enough for quantiles of 0.1 %, a fraction of a second."""


class Trainee(Trained, Protocol[Given]):
    """An agent of `robot_pt.agents`, or an objective of `robot_pt.objectives`."""

    grad_sync: GradSync

    def update(self, batch: Given, step: int) -> dict[str, Tensor]: ...


class Batches(Protocol[Drawn]):
    """Endless batches whose place can be read and set: `Replay`, `Clips`."""

    def __iter__(self) -> Iterator[Drawn]: ...

    def __next__(self) -> Drawn: ...

    def state(self) -> dict[str, Any]: ...

    def load_state(self, state: Mapping[str, Any]) -> None: ...


def run(
    agent: Trainee[Batched], batches: Batches[Batched], out: Path, record: Record, ranks: Ranks, *, steps: int,
    checkpoint_every: int, resume: bool, description: str, metric: str, start: int = 0, log_every: int = 50,
    after_save: Callable[[int], object] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Train to update `steps` (counted from `start` of a fresh run, or where a resumed one stopped); returns the last metrics, none
    where nothing was left to do.

    metric: which one the progress bar shows.
    """
    agent.grad_sync = ranks.mean_gradients
    loop_state: Mapping[str, Any] | None = None
    if resume and checkpoint.steps(out):
        start, state = checkpoint.resume(out, agent, relink=ranks.is_first)
        replay_state, loop_state = (position(state, name, start, out) for name in ("replay", "loop"))
        batches.load_state(replay_state)
        if after_save is not None:
            after_save(start)  # a kill may have come between the checkpoint and this
        if start >= steps:
            say(
                f"{out} is at update {start} and {steps} were asked for: nothing is left to do; give more --steps to go on."
            )
            return {}
    observers: list[Observer] = [GradientAlarm(phase=getattr(agent, "phase", None))]
    if ranks.is_first:
        observers += [
            ProgressBar(description, metric=metric),
            JsonLines(out / "metrics.jsonl"),
            TensorBoard(out / "tensorboard"),
        ]
    return train(
        agent, iter(batches), start=start, steps=steps, observers=observers, checkpoint_every=checkpoint_every,
        save=_saver(agent, batches, out, record, after_save), device=ranks.device, log_every=log_every, state=loop_state,
        processes=ranks,
    )  # fmt: skip


def metric_of(algorithm: str) -> str:
    """What the progress bar shows of an agent."""
    return "critic/bellman" if algorithm == "ptr" else "actor/mse"


def position(state: Mapping[str, Any], name: str, step: int, out: Path) -> Mapping[str, Any]:
    """Part `name` of a checkpoint's state. Raises DataError where it is missing."""
    found = state.get(name)
    if not isinstance(found, dict):
        raise DataError(
            f"trainer.json of checkpoint {step} of {out} is damaged: its state has no {name}; restore it, or remove the checkpoint's "
            "folder to resume from the one before."
        )
    return found


def _saver(
    agent: Trained, batches: Batches[Any], out: Path, record: Record, after_save: Callable[[int], object] | None
) -> Callable[[int, dict[str, Any]], None]:
    def save(step: int, loop_state: dict[str, Any]) -> None:
        checkpoint.save(out, step, agent, record, {"loop": loop_state, "replay": batches.state()})
        if after_save is not None:
            after_save(step)

    return save


def describe(source: EpisodeSource) -> list[dict[str, Any]]:
    """One row per data set of `source`: name, episodes, steps, successes."""
    table = source.episodes
    rows: dict[str, dict[str, Any]] = defaultdict(lambda: {"episodes": 0, "steps": 0, "successes": 0})
    for name, length, success in zip(table.dataset, table.length, table.success, strict=True):
        row = rows[name or source.spec.embodiment]
        row["episodes"] += 1
        row["steps"] += int(length)
        row["successes"] += int(success == SUCCESS)
    return [{"name": name, **row} for name, row in rows.items()]


def trained_on(source: EpisodeSource) -> list[dict[str, Any]]:
    """The rows of `describe` for a policy's record: with the versions of simulators the data is from, and where actions are metric with
    the lengths of the steps it was trained on.

    The gate's limits are held against them before the policy drives (`robot_pt.session.readiness.clipping`).
    """
    simulators = to_json(versions_of(source))
    rows = [{**row, **({"simulators": simulators} if simulators else {})} for row in describe(source)]
    if source.spec.action_unit != "metric" or source.spec.action_names != ACTION_NAMES:
        return rows
    table = source.episodes
    names = np.array([name or source.spec.embodiment for name in table.dataset], object)
    for row in rows:
        of = np.flatnonzero(names == row["name"])
        steps = spread_rows(table.start[of], table.length[of], MOST_LENGTHS)
        if len(steps):
            row["step_lengths"] = step_lengths(source.actions[steps])
    return rows


def spread_rows(start: Int, length: Int, most: int) -> Int:
    """Rows of these episodes in their order: all, or `most` of them evenly spread over their steps."""
    ends = np.cumsum(length)
    total = int(ends[-1]) if len(ends) else 0
    count = min(total, most)
    place = np.arange(count) * total // max(count, 1)
    episode = np.searchsorted(ends, place, side="right")
    rows: Int = start[episode] + place - (ends - length)[episode]
    return rows


def report(
    out: Path, *, title: str, phase: str, settings: runs.Settings, data: Sequence[Mapping[str, Any]],
    values: Sequence[Float] = (), selection: Selection | None = None, warnings: Sequence[str] = (), seen: Seen | None = None,
) -> Path:  # fmt: skip
    """Write out/report.html: curves, data, and what selection saw."""
    return write_report(
        out / "report.html",
        Report(
            title=title, command=runs.command_line(), curves={phase: read_metrics(out / "metrics.jsonl")}, data=data,
            values=values, selection=selection, seen=seen, config=settings.to_json(), versions=runs.versions(), warnings=warnings,
        ),
    )  # fmt: skip
