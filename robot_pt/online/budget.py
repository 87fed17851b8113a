"""How many updates a learner may do: a ratio to the steps that came in, a warm-up, and ends. No clock, no disk."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from robot_pt.errors import UserError

Alternation = Literal["trajectory", "step"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    utd: float = 1.0
    """Updates per environment step."""
    warm_up_steps: int = 0
    """Environment steps that earn no updates: the critic first sees what its policy does (WSRL: 5,000)."""
    alternation: Alternation = "trajectory"
    """trajectory: an episode earns its updates when it is whole; step: as its steps are reported by the actors' heartbeats."""
    most_updates: int | None = None
    """Online updates after which the run ends; None for no such end."""
    most_seconds: float | None = None
    """Wall-clock time of learning, over all its resumptions, after which the run ends; None for no such end."""

    def __post_init__(self) -> None:
        if not 0 < self.utd <= 1000:
            raise UserError(f"--utd is {self.utd}; give updates per environment step above 0 and up to 1000.")
        if self.warm_up_steps < 0:
            raise UserError(f"--warm-up is {self.warm_up_steps}; give environment steps from 0.")
        if self.alternation not in ("trajectory", "step"):
            raise UserError(f"--alternation is {self.alternation!r}; give trajectory or step.")
        if self.most_updates is not None and self.most_updates < 1:
            raise UserError(f"--updates is {self.most_updates}; give at least 1.")
        if self.most_seconds is not None and not self.most_seconds > 0:
            raise UserError(f"--hours gives {self.most_seconds} s; give a time above 0.")

    def earned(self, arrived_steps: int, reported_steps: int = 0) -> int:
        """Updates that these steps are worth in all; `reported_steps` counts those of unfinished episodes too."""
        steps = max(arrived_steps, reported_steps) if self.alternation == "step" else arrived_steps
        worth = Fraction(self.utd).limit_denominator(1_000_000) * max(0, steps - self.warm_up_steps)
        return int(worth) if self.most_updates is None else min(int(worth), self.most_updates)

    def spent(self, updates: int, seconds: float) -> bool:
        """Whether the run has reached an end of its own."""
        done = self.most_updates is not None and updates >= self.most_updates
        return done or (self.most_seconds is not None and seconds >= self.most_seconds)
