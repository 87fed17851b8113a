"""Intervals and tests for success counts: what a handful of rollouts does and does not show. Plain Python, no dependency.

Sources: Wilson, J. Am. Stat. Assoc. 22 (1927); McNemar, Psychometrika 12 (1947), in its exact binomial form; Newcombe,
Statistics in Medicine 17 (1998) 2635-2650, method 10, for the difference of two proportions on the same episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

from robot_pt.errors import UserError


class Interval(NamedTuple):
    """A two-sided confidence interval, `low` <= `high`, both inside what the quantity can be."""

    low: float
    high: float


class PairedCounts(NamedTuple):
    """Outcomes of two policies, a and b, on the same episodes."""

    both: int
    only_a: int
    only_b: int
    neither: int

    @property
    def n(self) -> int:
        return sum(self)


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a success rate. Raises UserError unless 0 <= successes <= n, n >= 1."""
    if n < 1 or not 0 <= successes <= n:
        raise UserError(
            f"a success rate needs at least one episode and 0 to n successes; it was given {successes} of {n}."
        )
    z = _z(confidence)
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    # The ends are exact where the algebra is: rounding must not turn a 0 of n into a lower end of 1e-17.
    return Interval(
        0.0 if successes == 0 else max(0.0, centre - half), 1.0 if successes == n else min(1.0, centre + half)
    )


def count_pairs(a: Sequence[bool], b: Sequence[bool]) -> PairedCounts:
    """Count the four outcomes; a[i] and b[i] come from the same episode. Raises UserError on unequal or no episodes."""
    if len(a) != len(b) or not len(a):
        raise UserError(
            f"a paired comparison needs the same episodes for both policies; it was given {len(a)} and {len(b)}."
        )
    pairs = [(bool(x), bool(y)) for x, y in zip(a, b, strict=True)]
    return PairedCounts(*(pairs.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))))


def mcnemar(counts: PairedCounts) -> float:
    """Exact two-sided p-value of "a and b succeed equally often": a fair coin over the episodes on which they differ."""
    differ = counts.only_a + counts.only_b
    return min(1.0, 2 * _fair_tail(differ, min(counts.only_a, counts.only_b)))


def probability_of_improvement(counts: PairedCounts) -> float:
    """Posterior probability that a wins more than half of the episodes on which a and b differ, from a uniform prior.

    Closed form of 1 - I(1/2; only_a + 1, only_b + 1), the regularised incomplete beta function at integers: 0.5 when the
    two never differ.
    """
    trials = counts.only_a + counts.only_b + 1
    return _fair_tail(trials, counts.only_a)


def paired_difference(counts: PairedCounts, confidence: float = 0.95) -> Interval:
    """Interval of rate(a) - rate(b) over the same episodes: Newcombe (1998), method 10."""
    both, only_a, only_b, _ = counts
    n = counts.n
    rate_a, rate_b = (both + only_a) / n, (both + only_b) / n
    a, b = wilson(both + only_a, n, confidence), wilson(both + only_b, n, confidence)
    phi = _correlation(counts)
    difference = rate_a - rate_b

    def reach(x: float, y: float) -> float:
        return sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))

    low = difference - reach(rate_a - a.low, b.high - rate_b)
    high = difference + reach(rate_b - b.low, a.high - rate_a)
    return Interval(max(-1.0, low), min(1.0, high))


def _fair_tail(n: int, most: int) -> float:
    """Probability of at most `most` heads in `n` tosses of a fair coin, in exact integers."""
    ways = total = 1
    for k in range(most):
        ways = ways * (n - k) // (k + 1)
        total += ways
    return total / (1 << n)


def _correlation(counts: PairedCounts) -> float:
    """Newcombe's phi: the correlation of the two outcomes, continuity-corrected when positive."""
    both, only_a, only_b, neither = counts
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    if margins == 0:
        return 0.0
    excess = float(both * neither - only_a * only_b)
    if excess > 0:
        excess = max(excess - counts.n / 2, 0.0)
    return excess / sqrt(margins)


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise UserError(f"the confidence level is {confidence}; give a number between 0 and 1, such as 0.95.")
    return NormalDist().inv_cdf(0.5 + confidence / 2)
