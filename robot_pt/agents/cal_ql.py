"""Cal-QL (arXiv 2303.05479): CQL whose Q is not pressed below the return that the data is known to reach.

Offline pretraining then leaves Q-values on the scale of true returns, so that online finetuning does not first unlearn the
policy. `Batch.return_to_go` is the real discounted return of the step's episode, of offline and online episodes alike: without it
the online phase is plain CQL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from robot_pt.agents.conservative import Sampled, calibrated
from robot_pt.agents.conservative_agent import ConservativeAgent, ConservativeConfig


@final
class CalQL(ConservativeAgent):
    """Implements `robot_pt.agents.Agent`."""

    @classmethod
    def defaults(cls) -> CalQLConfig:
        return CalQLConfig()

    def calibrate(self, q: Sampled, return_B: Tensor) -> Sampled:
        """The bound comes before the importance correction, on policy samples only."""
        return calibrated(q, return_B)

    def worth(self, q_B: Tensor, return_B: Tensor) -> Tensor:
        """No less than what was reached from there: the bound's own reason, for the action that reached it."""
        return torch.maximum(q_B, return_B)


@final
@dataclass(frozen=True, kw_only=True)
class CalQLConfig(ConservativeConfig):
    """No field of its own."""
