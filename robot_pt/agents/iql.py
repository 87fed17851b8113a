"""IQL: implicit Q-learning (arXiv 2110.06169), which never asks the critic about an action that is not in the data.

One update as ikostrikov/implicit_q_learning runs it (learner.py, critic.py, actor.py):

    value   mean |tau - 1(u < 0)| u^2, u = min over heads of Q'(s, a) - V(s)
    actor   -mean min(exp(beta A), 100) log pi(a | s), A = min over heads of Q'(s, a) - V(s), with the updated V
    critic  sum over heads of mean (Q - r - discount * V(s'))^2, with the updated V; then the target moves
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, final

import torch
from torch import Tensor, nn

from robot_pt import noise
from robot_pt.agents.inputs import Inputs
from robot_pt.agents.off_policy import require
from robot_pt.agents.offline import (
    OfflineAgent,
    OfflineConfig,
    advantage_weights,
    bootstrapped,
    gaussian_head,
    require_gaussian,
)
from robot_pt.errors import UserError
from robot_pt.networks.policies import ActorNetwork
from robot_pt.schema import Batch

_DROPOUT = 0  # noise stream of the first hidden layer; the others follow, one each


@final
class IQL(OfflineAgent):
    """Implements `robot_pt.agents.Agent`. Online it goes on with the same update on other batches."""

    def __init__(
        self, actor: ActorNetwork, critic: nn.Module, config: IQLConfig, *, value: nn.Module, seed: int = 0
    ) -> None:
        """value: an `EnsembleCritic` of one head and no actions."""
        self.config, self.value = config, value
        super().__init__(actor, critic, config, seed=seed, value=value)
        if config.actor_decay_steps is not None:  # a tensor, so that a CUDA graph reads what the schedule writes
            self._optimizers["actor"].param_groups[0]["lr"] = torch.tensor(
                config.actor_learning_rate, device=self._device
            )

    @classmethod
    def defaults(cls) -> IQLConfig:
        return IQLConfig()

    @classmethod
    def others(cls, inputs: Inputs, config: Any) -> dict[str, nn.Module]:
        return {"value": inputs.ensemble(actions=False, heads=1, hidden=config.critic_hidden)}

    def update_in_phase(self, batch: Batch, step: int | Tensor, phase: str) -> dict[str, Tensor]:
        action_BA = self.actor.normalizer.encode(batch.action)
        images, next_images = self.views(batch, step)
        q_B = self.judge(self.target, images, batch.proprio, batch, action_BA[:, None])[:, 0]
        value_loss = self.value_loss(q_B, self._value(images, batch.proprio, batch))
        self.descend("value", value_loss)
        with torch.no_grad():
            advantage_B = q_B - self._value(images, batch.proprio, batch)
            target_B = bootstrapped(batch, self._value(next_images, batch.next_proprio, batch))
        metrics = {"value/loss": value_loss.detach(), "value/advantage": advantage_B.mean()}
        metrics |= self._improve_actor(batch, images, action_BA, advantage_B, step)
        metrics |= self.regress(batch, images, target_B)
        self.move_target()
        return metrics

    # Losses.

    def value_loss(self, q_B: Tensor, value_B: Tensor) -> Tensor:
        """The expectile regression of V on Q: its least value is where V is that expectile of Q over the data's actions."""
        return expectile_loss(q_B - value_B, self.config.expectile).mean()

    def actor_loss(self, log_prob_B: Tensor, weight_B: Tensor) -> Tensor:
        return -(weight_B * log_prob_B).mean()

    # How they get their values.

    def _value(self, images: Mapping[str, Tensor], proprio_BP: Tensor, batch: Batch) -> Tensor:
        """(B,)"""
        state = self.state_of(self.value, images, proprio_BP, batch)
        with self.autocast():
            value_EBK: Tensor = self.value(*state, batch.action.new_zeros(len(batch.action), 1, 0))
        return value_EBK[0, :, 0]

    def _improve_actor(
        self, batch: Batch, images: Mapping[str, Tensor], action_BA: Tensor, advantage_B: Tensor, step: int | Tensor
    ) -> dict[str, Tensor]:
        config = self.config
        with self.autocast():
            policy = self.actor(images, batch.proprio, batch.task, batch.language, self.kept(batch, step))
        weight_B = advantage_weights(advantage_B, 1 / config.inverse_temperature, config.largest_weight)
        loss = self.actor_loss(policy.log_prob(action_BA), weight_B)
        if config.actor_decay_steps is not None:
            self._set_actor_rate(step, config.actor_decay_steps)
        self.descend("actor", loss)
        return self.actor_log(policy.mode(), action_BA, loss) | {"actor/weight": weight_B.mean()}

    def kept(self, batch: Batch, step: int | Tensor) -> list[Tensor]:
        """Dropout of the actor, of these samples at this update: one (B, width) factor per hidden layer; empty without dropout."""
        if not self.config.dropout:
            return []
        keep, key_B = 1 - self.config.dropout, batch.sample_key
        draws = [
            noise.uniform(key_B, step, _DROPOUT + layer, (width,), seed=self.seed)
            for layer, width in enumerate(self.config.actor_hidden)
        ]
        return [(draw < keep) / keep for draw in draws]

    @torch.no_grad()
    def _set_actor_rate(self, step: int | Tensor, decay_steps: int) -> None:
        rate = self._optimizers["actor"].param_groups[0]["lr"]
        share = torch.as_tensor(step, dtype=torch.float32, device=rate.device) / decay_steps
        rate.copy_(self.config.actor_learning_rate * 0.5 * (1 + torch.cos(math.pi * share.clamp(max=1))))


def expectile_loss(difference_B: Tensor, expectile: float) -> Tensor:
    """(B,) |expectile - 1(u < 0)| u^2 of u = target - prediction."""
    weight_B = torch.where(difference_B < 0, 1 - expectile, expectile)
    return weight_B * difference_B.square()


@final
@dataclass(frozen=True, kw_only=True)
class IQLConfig(OfflineConfig):
    """Defaults are those of the released MuJoCo configuration; `antmaze`, `kitchen` and `adroit` give the others."""

    expectile: float = 0.7
    """tau of the value's expectile, in (0, 1); the nearer to 1 the closer V comes to the best action of the data."""
    inverse_temperature: float = 3.0
    """beta in exp(beta A), per unit of Q."""
    largest_weight: float = 100.0
    """Cap of the weight of a sample."""
    value_learning_rate: float = 3e-4
    """Adam."""
    dropout: float = 0.0
    """Share of the actor's hidden units dropped while it learns."""
    actor_decay_steps: int | None = 1_000_000
    """Updates over which the actor's rate falls to 0 as a cosine; None = constant, as published for online finetuning."""
    policy: Literal["gaussian", "tanh_gaussian"] = "gaussian"
    """gaussian as published: plain, its mean a tanh; tanh_gaussian = squashed, as PTR's."""
    std: Literal["global", "state"] = "global"
    """Standard deviation: one learned number per dimension, as published, or from the state."""
    log_std_range: tuple[float, float] = (-5.0, 2.0)

    @classmethod
    def antmaze(cls, *, online: bool = False, **changes: Any) -> Self:
        """configs/antmaze_config.py; `online`: antmaze_finetune_config.py. Rewards there: scale 1, shift -1; discount 0.99, batch 256."""
        own: dict[str, Any] = {"expectile": 0.9, "inverse_temperature": 10.0}
        return cls(**{**own, **({"actor_decay_steps": None} if online else {}), **changes})

    @classmethod
    def kitchen(cls, **changes: Any) -> Self:
        """configs/kitchen_config.py. Rewards as they are; discount 0.99, batch 256."""
        return cls(**{"inverse_temperature": 0.5, "dropout": 0.1, **changes})

    @classmethod
    def adroit(cls, **changes: Any) -> Self:
        """As for Kitchen, which the authors use for both."""
        return cls.kitchen(**changes)

    @classmethod
    def mujoco(cls, **changes: Any) -> Self:
        """configs/mujoco_config.py. Rewards are scaled so that the data's returns span 1000; discount 0.99, batch 256."""
        return cls(**changes)

    def head(self) -> dict[str, Any]:
        return gaussian_head(self)

    def rates(self) -> dict[str, float]:
        return {**super().rates(), "value": self.value_learning_rate}

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, positive=("inverse_temperature", "largest_weight", "value_learning_rate"))
        require_gaussian(self)
        if not 0 < self.expectile < 1:
            raise UserError(f"IQL's expectile is {self.expectile}; give a number above 0 and below 1, such as 0.9.")
        if not 0 <= self.dropout < 1:
            raise UserError(f"IQL's dropout is {self.dropout}; give a share from 0 to below 1.")
        if self.actor_decay_steps is not None and self.actor_decay_steps < 1:
            raise UserError(f"IQL's actor_decay_steps is {self.actor_decay_steps}; give at least 1, or None.")
