"""Autoregressive behaviour cloning: the likelihood of the data action's bins, one dimension after the other.

    loss = -mean sum_d log p(bin of a_d | s, centres of the bins of a_<d)

The strongest imitation baseline of arXiv 2210.05178's tables (Asap7772/PTR jaxrl2/networks/autoregressive_policy.py), with PTR's crop and
jitter. PTR's run has 100 bins and draws among 20 candidates; 256 bins are the usual choice on robots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, final

import torch
from torch import Tensor
from torch.optim import Adam

from robot_pt.agents.imitation import ImitationAgent, ImitationConfig
from robot_pt.agents.inputs import Inputs
from robot_pt.networks.autoregressive import AutoregressiveConfig, AutoregressiveNetwork
from robot_pt.schema import Batch


@final
@dataclass(frozen=True, kw_only=True)
class AutoregressiveBCConfig(ImitationConfig):
    """Adam at `learning_rate`; the other fields are those of `AutoregressiveConfig`."""

    bins: int = 256
    hidden: tuple[int, ...] = (256, 256, 256)
    beam: int = 20
    candidates: int = 1
    acts: Literal["mode", "sample"] = "mode"


@final
class AutoregressiveBC(ImitationAgent):
    """Implements `robot_pt.agents.Agent`."""

    actor: AutoregressiveNetwork
    acting: AutoregressiveNetwork

    def __init__(self, actor: AutoregressiveNetwork, config: AutoregressiveBCConfig, *, seed: int = 0):
        super().__init__(actor, config, Adam(actor.parameters(), lr=config.learning_rate, fused=True), seed=seed)

    @classmethod
    def defaults(cls) -> AutoregressiveBCConfig:
        return AutoregressiveBCConfig()

    @classmethod
    def of(cls, inputs: Inputs, config: Any, device: torch.device, seed: int) -> Self:
        config = config or cls.defaults()
        shape = {name: getattr(config, name) for name in ("bins", "hidden", "beam", "candidates", "acts")}
        actor = AutoregressiveNetwork(inputs.policy(AutoregressiveConfig, **shape))
        return cls(actor.to(device), config, seed=seed)

    def loss(self, images: Mapping[str, Tensor], batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over samples of the sum over dimensions of a cross-entropy [nats].

        "actor/outside": share of action values beyond the bounds, which are learned as if they lay in the outermost bin.
        """
        action_BA = self.actor.normalizer.scaled(batch.action)
        with self.autocast():
            policy = self.actor(images, batch.proprio, batch.task, batch.language)
            taught = policy.taught(action_BA)
        loss = -taught.log_mass_BA.sum(1).mean()
        return loss, {
            "actor/loss": loss.detach(),
            "actor/mse": (taught.guess_BA - action_BA).square().mean(),
            "actor/outside": self.actor.normalizer.outside(action_BA).float().mean(),
        }
