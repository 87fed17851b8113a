"""What an algorithm asks of the loop that feeds it online."""

from __future__ import annotations

import math
from dataclasses import dataclass

from robot_pt.errors import UserError


@dataclass(frozen=True, kw_only=True)
class OnlinePlan:
    """The loop's own settings may say otherwise.

    Several critic updates per actor update need nothing of the loop: it calls `update` with a new batch and the next step each time,
    and the agent tells from the step what is learned (`phase`).
    """

    updates_per_step: float = 1.0
    """Update-to-data ratio: calls of `update` per environment step."""
    warm_up_steps: int = 0
    """Environment steps taken by the policy as it is before the first update."""
    offline_share: float = 0.5
    """Share of each batch that comes from data of before; 0 = none is kept."""
    batch_size: int = 256
    """Samples per call of `update`."""

    def __post_init__(self) -> None:
        if not 0 < self.updates_per_step < math.inf or self.batch_size < 1 or self.warm_up_steps < 0:
            raise UserError(
                f"online learning was given {self.updates_per_step} updates per step, batches of {self.batch_size} and "
                f"{self.warm_up_steps} warm-up steps; give a ratio above 0, batches of at least 1 and a warm-up from 0."
            )
        if not 0 <= self.offline_share <= 1:
            raise UserError(
                f"the offline share of a batch is {self.offline_share}; give a number from 0, no old data, to 1."
            )
