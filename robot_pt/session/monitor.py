"""What a session says about itself: one record per decision, and running figures for /diagnostics."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from robot_pt.schema import Float
from robot_pt.session.anchor import Origin

WINDOW = 256
"""Ticks that the running figures look back on: 51 s at 5 Hz."""
NO_ACTIONS: Float = np.zeros((0, 7), np.float32)


class StepInfo(NamedTuple):
    """One decision; its stamp is that of the target that came out, so the two can be joined."""

    stamp_ns: int
    observation_ns: int
    """Oldest sample that was looked at on this tick."""
    decided_ns: int
    """Oldest observation behind the chunk that the action is from; older than `observation_ns` while a chunk plays on."""
    stamps_ns: Mapping[str, int]
    """Source -> capture time of the sample that was used."""
    ages_s: Mapping[str, float]
    """Source -> its age at the tick."""
    action: Float  # (7,) as the policy gave it
    inference_ms: float
    """Of the chunk that the action is from; its latency where inference is asynchronous."""
    chunk_index: int
    tick_interval_ms: float
    """Since the tick before; 0 on the first."""
    anchor: Origin
    """What the action was added to."""
    policy_version: str
    rest: Float = NO_ACTIONS
    """Actions (n, 7) that its chunk holds after this one; not in `to_json`, for that is said once a step."""

    def to_json(self) -> dict[str, Any]:
        """Every value but `rest`, as JSON has it."""
        said = {name: value for name, value in self._asdict().items() if name != "rest"}
        return {
            **said,
            "stamps_ns": dict(self.stamps_ns),
            "ages_s": {source: round(age, 6) for source, age in self.ages_s.items()},
            "action": [float(value) for value in self.action],
            "inference_ms": round(self.inference_ms, 3),
            "tick_interval_ms": round(self.tick_interval_ms, 3),
        }


class TickMonitor:
    """Intervals, inference times and ages over the last `WINDOW` ticks, and counts since the start.

    `values` and `jitter` may be called from another thread than the rest: they look at copies, which are made in one piece
    (a list of items is not: making it may collect garbage, and that run another thread).
    """

    def __init__(self, period_ns: int):
        self._period_ms = period_ns / 1e6
        self.counts: Counter[str] = Counter()
        self._series: dict[str, deque[float]] = {}

    def interval(self, milliseconds: float) -> None:
        """Note the time between two ticks; one and a half periods and more are a missed deadline."""
        self._note("tick_interval_ms", milliseconds)
        self.counts["deadline_missed"] += milliseconds >= 1.5 * self._period_ms

    def inference(self, milliseconds: float) -> None:
        """Note how long the policy took."""
        self._note("inference_ms", milliseconds)

    def ages(self, ages_s: Mapping[str, float]) -> None:
        """Note the age of every source at a decision."""
        for source, age in ages_s.items():
            self._note(f"age_ms/{source}", 1e3 * age)

    def jitter(self) -> float:
        """Largest deviation of a recent interval from the period, as a share of it; 0 before two ticks."""
        intervals = self._series.get("tick_interval_ms")
        return max((abs(i / self._period_ms - 1) for i in list(intervals)), default=0.0) if intervals else 0.0

    def values(self) -> dict[str, float | int]:
        """Flat figures: p50, p99 and max of every series, the jitter, and every count."""
        out: dict[str, float | int] = {}
        for name, series in dict(self._series).items():
            p50, p99, most = np.quantile(list(series), (0.5, 0.99, 1.0))
            out |= {f"{name}/p50": float(p50), f"{name}/p99": float(p99), f"{name}/max": float(most)}
        return {**out, "jitter": self.jitter(), **{name: n for name, n in dict(self.counts).items() if n}}

    def _note(self, name: str, value: float) -> None:
        if name in self._series:
            self._series[name].append(value)
        else:
            self._series[name] = deque([value], maxlen=WINDOW)  # never seen empty
