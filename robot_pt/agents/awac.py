"""AWAC: advantage-weighted actor-critic (arXiv 2006.09359), imitation of the data weighted by a critic of the policy.

    y       r + discount * min over heads of Q'(s', a'), a' ~ pi(s'); no entropy term
    critic  sum over heads of mean (Q - y)^2; then the target moves
    actor   -mean w log pi(a | s), w = min(exp(A / lambda), largest)    [or B * softmax over the batch of A / lambda]
            A = Q(s, a) - mean over K of Q(s, a_k), a_k ~ pi(s), Q the minimum over heads of the updated critic

The paper's weight is the exponential. The authors' code (rlkit) and ikostrikov/jaxrl divide by the batch's sum instead, the softmax,
which has less variance; it weighs a sample by the batch that it is in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from robot_pt.agents.off_policy import require
from robot_pt.agents.offline import (
    OfflineAgent,
    OfflineConfig,
    advantage_weights,
    bootstrapped,
    gaussian_head,
    require_choice,
    require_gaussian,
)
from robot_pt.networks.policies import ActorNetwork
from robot_pt.schema import Batch

_NEXT, _POLICY = range(2)  # noise streams


@final
class AWAC(OfflineAgent):
    """Implements `robot_pt.agents.Agent`. Online it goes on with the same update on other batches."""

    def __init__(self, actor: ActorNetwork, critic: nn.Module, config: AWACConfig, *, seed: int = 0):
        self.config = config
        super().__init__(actor, critic, config, seed=seed)

    @classmethod
    def defaults(cls) -> AWACConfig:
        return AWACConfig()

    def update_in_phase(self, batch: Batch, step: int | Tensor, phase: str) -> dict[str, Tensor]:
        images, next_images = self.views(batch, step)
        metrics = self.regress(batch, images, self._target(batch, next_images, step))
        self.move_target()
        return metrics | self._improve_actor(batch, images, step)

    # Losses.

    def weights(self, advantage_B: Tensor) -> Tensor:
        """(B,) without gradient."""
        config = self.config
        if config.weights == "softmax":
            return torch.softmax(advantage_B.detach() / config.temperature, dim=0) * len(advantage_B)
        return advantage_weights(advantage_B, config.temperature, config.largest_weight)

    def actor_loss(self, log_prob_B: Tensor, weight_B: Tensor) -> Tensor:
        return -(weight_B * log_prob_B).mean()

    # How they get their values.

    @torch.no_grad()
    def _target(self, batch: Batch, images: Mapping[str, Tensor], step: int | Tensor) -> Tensor:
        policy = self.policy(images, batch.next_proprio, batch)
        action_B1A = policy.sample(self.normal(batch, step, _NEXT, 1))[0].clamp(-1, 1)
        next_q_B = self.judge(self.target, images, batch.next_proprio, batch, action_B1A)[:, 0]
        return bootstrapped(batch, next_q_B)

    def _improve_actor(self, batch: Batch, images: Mapping[str, Tensor], step: int | Tensor) -> dict[str, Tensor]:
        action_BA = self.actor.normalizer.encode(batch.action)
        policy = self.policy(images, batch.proprio, batch)
        sampled_BKA = policy.detach().sample(self.normal(batch, step, _POLICY, self.config.actions))[0].clamp(-1, 1)
        both_BNA = torch.cat([action_BA[:, None], sampled_BKA], dim=1)
        q_BN = self.judge(self.critic, images, batch.proprio, batch, both_BNA)
        advantage_B = q_BN[:, 0] - q_BN[:, 1:].mean(1)
        weight_B = self.weights(advantage_B)
        loss = self.actor_loss(policy.log_prob(action_BA), weight_B)
        self.descend("actor", loss)
        return self.actor_log(policy.mode(), action_BA, loss) | {
            "actor/weight": weight_B.mean(),
            "actor/advantage": advantage_B.mean(),
            "critic/q_policy": q_BN[:, 1:].mean(),
        }


@final
@dataclass(frozen=True, kw_only=True)
class AWACConfig(OfflineConfig):
    """Defaults: networks, rates and temperature of the authors' MuJoCo runs; their weight decay of 1e-4 is left out."""

    temperature: float = 1.0
    """lambda of exp(A / lambda), in units of Q; the authors' Adroit runs take 0.5."""
    actions: int = 1
    """K: actions of the policy whose mean Q is the value of the state."""
    weights: Literal["exp", "softmax"] = "exp"
    """exp = of each sample alone, capped; softmax = over the batch, adding up to its size."""
    largest_weight: float = 100.0
    """Cap of exp(A / lambda)."""
    policy: Literal["gaussian", "tanh_gaussian"] = "gaussian"
    """gaussian as published: plain, its mean a tanh, samples clipped to the range; tanh_gaussian = squashed, as PTR's."""
    std: Literal["global", "state"] = "global"
    """Standard deviation: one learned number per dimension, as published, or from the state."""
    log_std_range: tuple[float, float] = (-6.0, 0.0)

    def head(self) -> dict[str, Any]:
        return gaussian_head(self)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, positive=("temperature", "actions", "largest_weight"))
        require_choice(self, "weights", ("exp", "softmax"))
        require_gaussian(self)
