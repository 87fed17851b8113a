"""Behaviour cloning on PTR's parts: maximise the likelihood of the data action.

The first baseline of arXiv 2210.05178: a plain Gaussian of fixed deviation 1, i.e. a mean squared error on normalised
actions (Asap7772/PTR jaxrl2/agents/pixel_bc, networks/normal_policy.py), with PTR's crop and jitter. `head` = "tanh_gaussian" trains
PTR's own head by likelihood instead.
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
from robot_pt.agents.off_policy import require_beta
from robot_pt.networks.policies import ActorNetwork
from robot_pt.schema import Batch


@final
@dataclass(frozen=True, kw_only=True)
class BCConfig(ImitationConfig):
    """Adam at `learning_rate`."""

    head: Literal["gaussian", "tanh_gaussian"] = "gaussian"
    """gaussian = the published baseline; tanh_gaussian = PTR's head."""
    std: Literal["fixed", "global", "state"] = "fixed"
    """Standard deviation: `fixed_std`, one learned number per action dimension, or learned from the state."""
    fixed_std: float = 1.0
    """In units of the normalised action."""
    log_std_range: tuple[float, float] = (-5.0, 2.0)
    """Clip of a learned log-std; (-2, 2) learns faster where an action dimension hardly moves."""
    likelihood_beta: float = 0.0
    """Each action dimension's log-density weighs std^(2 beta); 0 = the likelihood, see `ActionGaussian.evened_log_prob`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_beta(self)


@final
class BC(ImitationAgent):
    """Implements `robot_pt.agents.Agent`."""

    actor: ActorNetwork
    acting: ActorNetwork

    def __init__(self, actor: ActorNetwork, config: BCConfig, *, seed: int = 0):
        self._beta = config.likelihood_beta
        super().__init__(actor, config, Adam(actor.parameters(), lr=config.learning_rate, fused=True), seed=seed)

    @classmethod
    def of(cls, inputs: Inputs, config: Any, device: torch.device, seed: int) -> Self:
        config = config or BCConfig()
        actor = inputs.actor(
            std=config.std, fixed_std=config.fixed_std, squash=config.head == "tanh_gaussian",
            log_std_range=config.log_std_range,
        )  # fmt: skip
        return cls(actor.to(device), config, seed=seed)

    def loss(self, images: Mapping[str, Tensor], batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean negative log-likelihood of the data actions."""
        with self.autocast():
            policy = self.actor(images, batch.proprio, batch.task, batch.language)
        action_BA = self.actor.normalizer.encode(batch.action)
        loss = -policy.evened_log_prob(action_BA, self._beta).mean()
        error = (policy.mode().detach() - action_BA).square().mean()
        return loss, {"actor/loss": loss.detach(), "actor/mse": error}
