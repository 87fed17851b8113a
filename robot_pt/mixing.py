"""How many samples of each batch come from each source, and which: pure functions of (seed, batch number).

A sample is named by its global index, batch number * batch size + place in the batch. Counts and draws of a whole global
batch follow from the batch number alone, so a run can continue anywhere and be split over any number of processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import DataError, UserError
from robot_pt.schema import Int

Rounding = Literal["floor", "long_run"]
"""floor = the same counts in every batch, rounded down, the last source takes the rest; long_run = exact over many batches."""


class Mixer:
    """Counts per source for each batch.

    floor: PTR's rule (jaxrl2/data/dataset.py), over the *global* batch whatever the number of processes: 0.9/0.1 of 64 is
    floor(57.6) + rest = 57 + 7, so the share of the first source is 0.891, not 0.9. long_run: after any number of batches
    the first source has had its exact share of all samples rounded down, and so on: each is within one sample of its share
    for every source listed up to it, however long the run.
    """

    def __init__(self, ratios: Sequence[float], batch_size: int, rounding: Rounding = "floor"):
        if batch_size < 1:
            raise UserError(f"the batch size is {batch_size}; give at least 1.")
        if not ratios or any(not math.isfinite(r) or r < 0 for r in ratios) or abs(sum(ratios) - 1) > 1e-6:
            raise UserError(f"mixing ratios must be numbers from 0 to 1 that add up to 1; they are {list(ratios)}.")
        self.batch_size, self.rounding = batch_size, rounding
        # Fractions, so that 0.29 of 100 is 29: in floating point its floor is 28.
        self._ratios = [Fraction(r).limit_denominator(1_000_000) for r in ratios]
        self._last = max(i for i, r in enumerate(self._ratios) if r > 0)

    def counts(self, batch: int) -> list[int]:
        """Samples from each source in batch number `batch`; they add up to the batch size."""
        if self.rounding == "long_run":
            before, after = self._upto(batch * self.batch_size), self._upto((batch + 1) * self.batch_size)
            return [b - a for a, b in zip(before, after, strict=True)]
        counts = [math.floor(r * self.batch_size) for r in self._ratios]
        counts[self._last] += self.batch_size - sum(counts)
        return counts

    def _upto(self, samples: int) -> list[int]:
        """Of the first `samples`, how many are from each source: source 0's share, then source 1's of what is left, ..."""
        counts, left, share_left = [], samples, sum(self._ratios, Fraction(0))
        for i, ratio in enumerate(self._ratios):
            mine = left if i == self._last else math.floor(left * ratio / share_left) if share_left else 0
            counts.append(mine)
            left, share_left = left - mine, share_left - ratio
        return counts


class Draw:
    """Sampling with replacement from `size` items, uniform or in proportion to `weights` (size,)."""

    def __init__(self, size: int, weights: NDArray[np.float64] | None = None):
        self.size = size
        self._cumulative: NDArray[np.float64] | None = None
        if weights is None:
            return
        weights = np.asarray(weights, np.float64)
        if weights.shape != (size,):
            raise UserError(
                f"sampling weights have shape {weights.shape}; give one number for each of the {size} steps."
            )
        if not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
            raise DataError("sampling weights must be finite, none below 0 and not all 0; repair them.")
        self._cumulative = np.cumsum(weights)

    def __call__(self, rng: np.random.Generator, count: int) -> Int:
        """(count,) item numbers."""
        if self._cumulative is None:
            return rng.integers(0, self.size, count, dtype=np.int64)
        at = np.searchsorted(self._cumulative, rng.random(count) * self._cumulative[-1], side="right")
        # Rounding can land on the total itself, and trailing items may weigh nothing.
        last = int(np.searchsorted(self._cumulative, self._cumulative[-1], side="left"))
        drawn: Int = np.minimum(at, last).astype(np.int64)
        return drawn


def batch_rng(seed: int, batch: int, stream: int = 0) -> np.random.Generator:
    """The random numbers of one batch: counter-based (Philox), so batch k needs none of those before it."""
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, 0, batch]))


def rank_slots(batch_size: int, rank: int, world_size: int) -> Int:
    """Places of the global batch that process `rank` decodes: every world_size-th, so each gets its part of every source.

    Raises UserError when the processes cannot have equal parts: the mean of their gradients would not be the batch's.
    """
    if not 0 <= rank < world_size:
        raise UserError(f"rank {rank} of {world_size} processes; ranks run from 0 to {world_size - 1}.")
    if batch_size % world_size:
        raise UserError(
            f"a batch of {batch_size} cannot be shared equally by {world_size} processes; choose a multiple of {world_size}."
        )
    return np.arange(rank, batch_size, world_size)
