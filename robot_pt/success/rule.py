"""From probabilities of single frames to a decision: at least k of the last n frames at or above the threshold.

One frame alone decides nothing: a hand in the picture or a flicker must not end an episode.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import UserError
from robot_pt.schema import Bool


@dataclass(frozen=True, kw_only=True)
class Rule:
    """At least `needed` of the last `window` frames are at or above `threshold`."""

    threshold: float
    needed: int = 2
    window: int = 3

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise UserError(f"the threshold is {self.threshold}; give a number from 0 to 1.")
        if not 1 <= self.needed <= self.window:
            raise UserError(
                f"success would need {self.needed} of {self.window} frames; give whole numbers with 1 <= needed <= window."
            )

    def over(self, probability_T: Iterable[float] | NDArray[Any]) -> Bool:
        """(T,) whether it holds at each frame of an episode, looking back only."""
        memory = RuleMemory(self)
        return np.array([memory.see(float(p)) for p in probability_T], bool)

    def at_end(self, probability_T: Iterable[float] | NDArray[Any]) -> bool:
        """Whether it holds at the last frame: what an episode's label says."""
        held = self.over(probability_T)
        return bool(len(held) and held[-1])

    def __str__(self) -> str:
        return f"{self.needed} of {self.window} frames at or above {self.threshold:.4g}"


class RuleMemory:
    """The last frames of a running episode."""

    def __init__(self, rule: Rule):
        self.rule = rule
        self._above: list[bool] = []

    def reset(self) -> None:
        """Forget the frames so far: a new episode begins."""
        self._above.clear()

    def see(self, probability: float) -> bool:
        """Take in one frame; whether the rule holds now. A probability that is no number counts as below."""
        self._above = [*self._above[-self.rule.window + 1 :], probability >= self.rule.threshold][-self.rule.window :]
        return sum(self._above) >= self.rule.needed
