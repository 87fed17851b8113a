"""Numbers with intervals: every one is a ratio of sums over episodes, or a spectrum; intervals resample whole episodes.

Shapes: E episodes, n rows, D features, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_pt.intervals import Interval

Array = NDArray[np.float64]
RESAMPLES = 1000
SPECTRUM_RESAMPLES = 20
DORMANT = 0.025
"""Score below which a unit counts as dormant (Sokar et al., arXiv 2302.12902)."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number of one encoder."""

    name: str
    value: float
    interval: Interval
    resampled: Sequence[float] = field(repr=False, default=())
    """(R,) the value on resampled episodes, for intervals over several runs."""

    def to_json(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "interval": list(self.interval),
            "resampled": [float(f"{v:.5g}") for v in self.resampled],
        }


def ratio(name: str, above_E: Array, below_E: Array, value: Callable[[Array], Array], seed: int = 0) -> Measure:
    """value(sum of `above` / sum of `below`) over episodes, the interval by bootstrap over episodes (percentiles)."""
    count = len(above_E)
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES)  # (R, E)
    total = weights @ below_E
    found = value((weights @ above_E)[total > 0] / total[total > 0])
    low, high = np.quantile(found, [0.025, 0.975])
    whole = float(value(np.asarray(above_E.sum() / below_E.sum())))
    return Measure(name=name, value=whole, interval=Interval(float(low), float(high)), resampled=found[:200].tolist())


def rank_me(x_nD: NDArray[np.floating], weight_n: NDArray[np.floating] | None = None) -> float:
    """exp of the entropy of the features' normalised singular values (RankMe, arXiv 2210.02885): 1 for a line, D for a sphere.

    weight_n: how often each row counts.
    """
    x = np.asarray(x_nD, np.float64)
    if weight_n is not None:
        x = x * np.sqrt(weight_n)[:, None]
    gram = x.T @ x if x.shape[1] <= len(x) else x @ x.T
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0.0))
    share = values / max(float(values.sum()), 1e-300) + 1e-7
    return float(np.exp(-(share * np.log(share)).sum()))


def dormant(x_nD: NDArray[np.floating], units: int, weight_n: NDArray[np.floating] | None = None) -> float:
    """Share of units whose mean absolute activation is at most `DORMANT` of the average unit's.

    units: how many units the features are of; several neighbouring features are one unit at several places.
    """
    strength = np.average(np.abs(np.asarray(x_nD, np.float64)), axis=0, weights=weight_n).reshape(units, -1).mean(1)
    average = float(strength.mean())
    return float((strength <= DORMANT * average).mean()) if average > 0 else 1.0


def spectrum(name: str, statistic: Callable[[Array], float], episode_n: NDArray[np.int64], seed: int = 0) -> Measure:
    """statistic(weight of each row), the interval +-1.96 deviations of the statistic over resampled episodes.

    Percentiles would lie too low: a resample has fewer different frames.
    """
    names, place_n = np.unique(episode_n, return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), SPECTRUM_RESAMPLES)
    found = np.array([statistic(weight_E[place_n].astype(np.float64)) for weight_E in drawn])
    whole = statistic(np.ones(len(episode_n)))
    half = 1.96 * float(found.std(ddof=1))
    shifted = found - found.mean() + whole
    return Measure(name=name, value=whole, interval=Interval(whole - half, whole + half), resampled=shifted.tolist())


def recall_at_1(query_nD: Array, gallery_nD: Array) -> NDArray[np.bool_]:
    """(n,) whether row i of the gallery has the largest cosine with query i, ties lost."""
    unit = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (query_nD, gallery_nD)]
    likeness = unit[0] @ unit[1].T
    own = np.diagonal(likeness)[:, None]
    found: NDArray[np.bool_] = (likeness >= own).sum(1) == 1
    return found
