"""Several runs of an algorithm as one number with an interval: the interquartile mean and its stratified bootstrap. numpy only.

After rliable (Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice", arXiv 2108.13264): scores
are (tasks, runs); runs are resampled with replacement within each task, and the interval is that of percentiles.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robot_pt.errors import UserError
from robot_pt.intervals import Interval

Scores = NDArray[np.float64]
Statistic = Callable[[Scores], Scores]
"""(..., tasks, runs) -> (...)."""
Redraw = Callable[[Scores, np.random.Generator], Scores]
"""Scores of any shape -> as they might have come out, had each run been judged again."""


def iqm(scores: ArrayLike) -> Scores:
    """Mean of the middle half of all scores (..., tasks, runs), a quarter cut off at each end, rounded down: 5 runs leave 3."""
    values = np.asarray(scores, np.float64)
    flat = np.sort(values.reshape(*values.shape[:-2], -1), axis=-1)
    count = flat.shape[-1]
    cut = count // 4
    middle: Scores = flat[..., cut : count - cut].mean(-1)
    return middle


def mean(scores: ArrayLike) -> Scores:
    """Mean of all scores (..., tasks, runs)."""
    average: Scores = np.asarray(scores, np.float64).mean((-2, -1))
    return average


def improvement(a: ArrayLike, b: ArrayLike) -> Scores:
    """Probability that a run of `a` scores above one of `b` on a task drawn at random, ties counted half: 0.5 for equals.

    Both (..., tasks, runs) on the same tasks; the numbers of runs may differ. Per task it is the Mann-Whitney U over the number of pairs.
    """
    difference = np.asarray(a, np.float64)[..., :, None] - np.asarray(b, np.float64)[..., None, :]
    share: Scores = ((difference > 0) + 0.5 * (difference == 0)).mean((-3, -2, -1))
    return share


def judged_again(episodes: int) -> Redraw:
    """For rates of success over so many episodes: each drawn from what its count leaves open, Beta(s + 1/2, n - s + 1/2) (Jeffreys).

    Unlike binomial draws it leaves a rate of 0 or 1 as open as the episodes do.
    """

    def draw(rates: Scores, rng: np.random.Generator) -> Scores:
        return rng.beta(episodes * rates + 0.5, episodes * (1 - rates) + 0.5)

    return draw


def bootstrap_interval(
    scores: ArrayLike, statistic: Statistic = iqm, *, redraw: Redraw | None = None, confidence: float = 0.95, resamples: int = 20_000,
    seed: int = 0,
) -> Interval:  # fmt: skip
    """Percentile interval of `statistic` over resampled runs, each task's runs among themselves; scores are (tasks, runs).

    Without `redraw`, as in rliable, a run's score counts as exact. Then few runs make it narrow rather than wide: 3 runs have 10
    different resamples, one run has no width at all. Raises UserError for scores that are not finite or not (tasks, runs), and for a
    confidence outside (0, 1) or no resample.
    """
    rng = np.random.default_rng(seed)
    found = statistic(_resampled(_checked(scores, confidence, resamples), resamples, rng, redraw))
    return _percentiles(found, confidence)


def improvement_interval(
    a: ArrayLike,
    b: ArrayLike,
    *,
    redraw: Redraw | None = None,
    confidence: float = 0.95,
    resamples: int = 5_000,
    seed: int = 0,
) -> Interval:
    """Percentile interval of `improvement`, the runs of both resampled within each task, and judged again with `redraw`.

    Raises UserError as `bootstrap_interval`, and where the two have not the same number of tasks.
    """
    one, other = _checked(a, confidence, resamples), _checked(b, confidence, resamples)
    if len(one) != len(other):
        raise UserError(f"two methods are compared on the same tasks; they have {len(one)} and {len(other)} of them.")
    rng = np.random.default_rng(seed)
    mine, theirs = (_resampled(scores, resamples, rng, redraw) for scores in (one, other))
    return _percentiles(improvement(mine, theirs), confidence)


def _checked(scores: ArrayLike, confidence: float, resamples: int) -> Scores:
    values = np.asarray(scores, np.float64)
    if values.ndim != 2 or values.size == 0 or not np.isfinite(values).all():
        raise UserError(f"a bootstrap needs finite scores of shape (tasks, runs); it was given {values.shape}.")
    if not 0 < confidence < 1 or resamples < 1:
        raise UserError(
            f"a bootstrap was asked for confidence {confidence} and {resamples} resamples; give a share in (0, 1) and at least 1."
        )
    return values


def _resampled(values: Scores, resamples: int, rng: np.random.Generator, redraw: Redraw | None) -> Scores:
    """(resamples, tasks, runs), drawn within each task."""
    tasks, runs = values.shape
    drawn = rng.integers(0, runs, (resamples, tasks, runs))
    chosen: Scores = values[np.arange(tasks)[:, None], drawn]
    return chosen if redraw is None else redraw(chosen, rng)


def _percentiles(found: Scores, confidence: float) -> Interval:
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))
