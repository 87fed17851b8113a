"""Counting what a classifier gets right: confusion counts with Wilson intervals, the precision-recall curve, thresholds, calibration.

Shapes: N judged items; `label` (N,) bool, `probability` (N,) in [0, 1]. An item is called positive where probability >= threshold.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import UserError
from robot_pt.intervals import Interval, wilson
from robot_pt.schema import Bool

Probability = NDArray[Any]


class Counts(NamedTuple):
    """The confusion table."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def called(self) -> int:
        """Items called positive."""
        return self.true_positive + self.false_positive

    @property
    def positives(self) -> int:
        return self.true_positive + self.false_negative

    @property
    def precision(self) -> float | None:
        """Share of those called positive that are; None where none is called so."""
        return self.true_positive / self.called if self.called else None

    @property
    def recall(self) -> float | None:
        """Share of the positives that are called so; None where there is none."""
        return self.true_positive / self.positives if self.positives else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None where there is nothing positive, neither called nor true."""
        wrong = self.false_positive + self.false_negative
        total = 2 * self.true_positive + wrong
        return 2 * self.true_positive / total if total else None

    @property
    def precision_interval(self) -> Interval | None:
        """Wilson's 95 % interval."""
        return wilson(self.true_positive, self.called) if self.called else None

    @property
    def recall_interval(self) -> Interval | None:
        """Wilson's 95 % interval."""
        return wilson(self.true_positive, self.positives) if self.positives else None

    def to_json(self) -> dict[str, Any]:
        shares = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        bounds = {"precision_95": self.precision_interval, "recall_95": self.recall_interval}
        return {
            **self._asdict(),
            **{k: None if v is None else round(v, 4) for k, v in shares.items()},
            **{k: None if v is None else [round(x, 4) for x in v] for k, v in bounds.items()},
        }


class Point(NamedTuple):
    """One threshold of the curve."""

    threshold: float
    counts: Counts


def count(probability_N: Probability, label_N: Bool, threshold: float) -> Counts:
    """Raises UserError unless the threshold is a number from 0 to 1."""
    require_share(threshold, "the threshold")
    called, true = np.asarray(probability_N) >= threshold, np.asarray(label_N, bool)
    return Counts(
        int((called & true).sum()), int((called & ~true).sum()), int((~called & true).sum()), int((~called & ~true).sum())
    )  # fmt: skip


def curve(probability_N: Probability, label_N: Bool) -> list[Point]:
    """A point per distinct probability, thresholds descending: every confusion table that some threshold can give."""
    probability, label = np.asarray(probability_N, np.float64), np.asarray(label_N, bool)
    order = np.argsort(-probability, kind="stable")
    ranked, hits = probability[order], np.cumsum(label[order])
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.zeros(0, np.int64)
    positives, total = int(label.sum()), len(label)
    points = []
    for i in last.tolist():
        true_positive, called = int(hits[i]), i + 1
        false_negative = positives - true_positive
        counts = Counts(true_positive, called - true_positive, false_negative, total - called - false_negative)
        points.append(Point(float(ranked[i]), counts))
    return points


def least_threshold(probability_N: Probability, label_N: Bool, precision: float) -> float:
    """The least threshold whose precision on these items reaches `precision`: of all that do, the one that misses fewest.

    It lies midway between the lowest probability it calls and the next below, where it gives the same counts: on other items the
    lowest is not the lowest any more.

    Raises UserError where none does, or `precision` is no share.
    """
    require_share(precision, "--precision")
    points = curve(probability_N, label_N)
    reached = [p for p in points if (p.counts.precision or 0.0) >= precision - 1e-12]
    if not reached:
        best = max((p.counts.precision or 0.0 for p in points), default=0.0)
        raise UserError(
            f"no threshold reaches a precision of {precision:g} on these {len(label_N)} frames, the best is {best:.3f}; ask for less, "
            "or train on more labelled episodes."
        )
    return _inside(points, reached[-1])


def best_f1(probability_N: Probability, label_N: Bool) -> float:
    """The threshold of the highest F1, the greatest of several, midway to the next probability below. Raises UserError without a positive item."""
    points = curve(probability_N, label_N)
    if not any(p.counts.true_positive for p in points):
        raise UserError("there is no positive frame among these; a threshold needs frames of both kinds.")
    return _inside(points, max(points, key=lambda p: (p.counts.f1 or 0.0, p.threshold)))


def _inside(points: list[Point], chosen: Point) -> float:
    """Midway between the threshold of a point and the next lower one (0 below the lowest): the same counts, away from both edges."""
    lower = [p.threshold for p in points if p.threshold < chosen.threshold]
    middle = (chosen.threshold + max(lower, default=0.0)) / 2
    return middle if all(t < middle for t in lower) else chosen.threshold


def brier(probability_N: Probability, label_N: Bool) -> float:
    """Mean squared difference of probability and outcome: 0 is perfect, 0.25 is saying one half."""
    return float(np.mean((np.asarray(probability_N, np.float64) - np.asarray(label_N, float)) ** 2))


def calibration_error(probability_N: Probability, label_N: Bool, bins: int = 10) -> float:
    """Expected calibration error: how far the mean probability is from the share of positives, over equal bins of [0, 1]."""
    probability, label = np.asarray(probability_N, np.float64), np.asarray(label_N, float)
    of = np.minimum((probability * bins).astype(int), bins - 1)
    sums = [np.bincount(of, weights=values, minlength=bins) for values in (probability, label)]
    return float(np.abs(sums[0] - sums[1]).sum() / max(len(label), 1))


def soundness(probability_N: Probability, label_N: Bool) -> dict[str, float]:
    """How much the probabilities can be taken at their word: `brier` and `calibration_error`, rounded for people."""
    found = {"brier": brier(probability_N, label_N), "calibration_error": calibration_error(probability_N, label_N)}
    return {name: round(value, 4) for name, value in found.items()}


def require_share(value: float, what: str) -> None:
    """Raise UserError unless `value` is a number from 0 to 1."""
    if not 0 <= value <= 1:  # NaN is neither
        raise UserError(f"{what} is {value}; give a number from 0 to 1.")
