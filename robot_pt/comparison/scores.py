"""From cells to a table: normalised scores per distance, their interquartile mean with an interval, and who improves on random features.

A score is (rate - random actions' rate) / (reference rate - random actions' rate): 0 is a policy of random actions, 1 is imitation from
scratch, images and all, on the most demonstrations. Where that reference does not beat random actions by `LEAST_MARGIN` on a task,
the task separates nobody: its plain rates count, and the table says so.

Intervals draw seeds anew, and what each seed's rate leaves open after so few episodes (`aggregate.judged_again`): a method of one seed
has one too. The ends that scores are measured between count as exact.
Shapes: (tasks, runs) as in `robot_pt.aggregate`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robot_pt.aggregate import Scores, bootstrap_interval, improvement, improvement_interval, iqm, judged_again, mean
from robot_pt.comparison.protocol import Outcome, Protocol
from robot_pt.intervals import Interval

RANDOM_FROZEN, FROM_SCRATCH, RANDOM_ACTIONS = "random-frozen", "from-scratch", "random-actions"
PERMUTED = "permuted"
"""An encoder whose weights were shuffled within each channel: as bad as random, or the benchmark measures something else."""
CONTROLS: Mapping[str, str] = {
    RANDOM_FROZEN: "an encoder as it was initialised, frozen",
    FROM_SCRATCH: "imitation that trains its encoder too",
    RANDOM_ACTIONS: "uniform actions within the bounds",
    PERMUTED: "the first method's encoder with its weights shuffled within each channel",
}
LEAST_MARGIN = 0.1


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method at one distance with one number of demonstrations."""

    method: str
    distance: str
    demos: int
    online: bool
    """Whether the rates are those after RL."""
    tasks: tuple[str, ...]
    """Those of the distance that have begun."""
    runs: int
    """Seeds that each of them has; 0 where one has none: a gap."""
    rate: float | None = None
    """Mean success rate."""
    score: float | None = None
    """Interquartile mean of the normalised scores."""
    interval: Interval | None = None
    mean: float | None = None
    better: float | None = None
    """Probability of improvement on the random frozen encoder."""
    better_interval: Interval | None = None


def rows_of(protocol: Protocol, outcomes: Iterable[Outcome], methods: Sequence[str]) -> list[Row]:
    """One row per method, distance and number of demos, and again after RL where there was any; gaps are rows without numbers."""
    rates = rates_of(outcomes)
    spans = [(n, False) for n in sorted(protocol.demos)]
    spans += [(max(protocol.demos), True)] if any(key[3] for key in rates) else []
    out = []
    for distance in protocol.distances:
        for demos, online in spans:
            tasks = _begun(rates, distance.tasks, demos, online)
            base = _plain(rates, RANDOM_FROZEN, tasks, demos, online)
            for method in methods:
                out.append(_row(protocol, rates, method, distance.name, tasks, demos, online, base))
    return out


def _begun(
    rates: Mapping[Key, Mapping[int, float]], tasks: tuple[str, ...], demos: int, online: bool
) -> tuple[str, ...]:
    """The tasks that have a number for random features, with which every task begins; all where none has."""
    return tuple(task for task in tasks if rates.get((RANDOM_FROZEN, task, demos, online))) or tasks


Key = tuple[str, str, int, bool]
"""Method, task, demos, after RL."""


def rates_of(outcomes: Iterable[Outcome]) -> dict[Key, dict[int, float]]:
    """Success rates by seed."""
    found: dict[Key, dict[int, float]] = {}
    for o in outcomes:
        method, task, demos, seed = o.cell
        found.setdefault((method, task, demos, False), {})[seed] = o.successes / o.episodes
        if o.online_successes is not None:
            found.setdefault((method, task, demos, True), {})[seed] = o.online_successes / o.episodes
    return found


def bounds_of(protocol: Protocol, rates: Mapping[Key, Mapping[int, float]], task: str) -> tuple[float, float] | None:
    """(rate of random actions, reference rate); None where the two do not tell policies apart, or the reference is missing."""
    low = float(np.mean(list(rates.get((RANDOM_ACTIONS, task, 0, False), {0: 0.0}).values())))
    high = rates.get((FROM_SCRATCH, task, max(protocol.demos), False), {})
    if not high or float(np.mean(list(high.values()))) - low < LEAST_MARGIN:
        return None
    return low, float(np.mean(list(high.values())))


def _plain(
    rates: Mapping[Key, Mapping[int, float]], method: str, tasks: Sequence[str], demos: int, online: bool
) -> Scores | None:
    """(tasks, runs) rates over the seeds that all tasks have; None for a gap."""
    of = [rates.get((method, task, demos, online), {}) for task in tasks]
    seeds = sorted(set.intersection(*(set(r) for r in of)))
    return np.array([[r[s] for s in seeds] for r in of]) if seeds else None


def _row(
    protocol: Protocol, rates: Mapping[Key, Mapping[int, float]], method: str, distance: str, tasks: tuple[str, ...], demos: int,
    online: bool, base: Scores | None,
) -> Row:  # fmt: skip
    plain = _plain(rates, method, tasks, demos, online)
    if plain is None:
        return Row(method=method, distance=distance, demos=demos, online=online, tasks=tasks, runs=0)
    low, high = np.array([bounds_of(protocol, rates, task) or (0.0, 1.0) for task in tasks]).T[:, :, None]
    again = judged_again(protocol.evaluation_episodes)

    def score(rates: Scores) -> Scores:
        return iqm((rates - low) / (high - low))

    value, interval = float(score(plain)), bootstrap_interval(plain, score, redraw=again)
    compared = None if method == RANDOM_FROZEN else base  # by rates: no end of a task's scale changes who is above whom
    return Row(
        method=method, distance=distance, demos=demos, online=online, tasks=tasks, runs=plain.shape[1], rate=float(plain.mean()),
        score=value, interval=Interval(min(value, interval.low), max(value, interval.high)), mean=float(mean((plain - low) / (high - low))),
        better=None if compared is None else float(improvement(plain, compared)),
        better_interval=None if compared is None else improvement_interval(plain, compared, redraw=again),
    )  # fmt: skip


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table per distance, for a README: rate, score with interval, probability of improvement; gaps as such."""
    lines: list[str] = []
    for distance in dict.fromkeys(r.distance for r in rows):
        mine = [r for r in rows if r.distance == distance]
        lines += [f"**{distance}** ({_tasks_said(mine)})", ""]
        lines += [
            "| | demos | seeds | success | score (95 %) | mean | better than random-frozen (95 %) |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [_line(r) for r in mine] + [""]
    return "\n".join(lines).rstrip()


def _tasks_said(rows: Sequence[Row]) -> str:
    """The tasks of rows; by number of demonstrations where some have begun with more of them than others."""
    of = {f"{r.demos} demos{', then RL' if r.online else ''}": ", ".join(r.tasks) for r in rows}
    if len(set(of.values())) == 1:
        return ", ".join(rows[0].tasks)
    return "; ".join(f"{span}: {said}" for span, said in of.items())


def _line(row: Row) -> str:
    who = f"| {row.method} | {row.demos}{', then RL' if row.online else ''} "
    if row.rate is None or row.interval is None:
        return who + "| – | not run | | | |"
    better = (
        "" if row.better is None or row.better_interval is None else f"{row.better:.2f} ({_span(row.better_interval)})"
    )
    return (
        who
        + f"| {row.runs} | {100 * row.rate:.0f} % | {row.score:.2f} ({_span(row.interval)}) | {row.mean:.2f} | {better} |"
    )


def _span(interval: Interval) -> str:
    return f"{interval.low:.2f} to {interval.high:.2f}"
