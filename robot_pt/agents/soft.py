"""SAC with an ensemble of critics: what RLPD and WSRL share; one update as ikostrikov/rlpd runs it (rlpd/agents/sac/sac_learner.py).

    y       r + discount * [min over drawn heads of Q'(s', a') - temperature * log pi(a' | s')], a' ~ pi(s')   [the best of K a']
    critic  mean over heads and batch of (Q - y)^2, or the cross-entropy of a categorical critic; then the target moves
    actor   temperature * log pi(a | s) - mean (or min) over heads of Q(s, a), with the updated critic
    temperature * (entropy - target entropy)

The critic learns at every update, actor and temperature at every `critic_updates`-th, from the batch of that update. Which it is
follows from the step, so the loop has nothing to know and a run resumes anywhere.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from robot_pt.agents.inputs import Inputs
from robot_pt.agents.off_policy import Acceleration, OffPolicyAgent, Positive, require
from robot_pt.agents.plan import OnlinePlan
from robot_pt.augment import AugmentConfig
from robot_pt.errors import UserError
from robot_pt.networks.categorical import CategoricalConfig, code_of
from robot_pt.networks.policies import ActorNetwork
from robot_pt.schema import Batch

_NEXT, _ACTOR, _UNIFORM = range(3)  # noise streams


class SoftAgent(OffPolicyAgent):
    """A subclass is a name and a config."""

    def __init__(self, actor: ActorNetwork, critic: nn.Module, config: SoftConfig, *, seed: int = 0):
        self.config = config
        self.plan = config.plan()
        self.temperature = Positive(config.initial_temperature).to(next(actor.parameters()).device)
        rates = {
            "actor": config.actor_learning_rate,
            "critic": config.critic_learning_rate,
            "temperature": config.temperature_learning_rate,
        }
        super().__init__(
            actor, critic, learning_rates=rates, tau=config.tau, others={"temperature": self.temperature},
            augment=config.augment, actor_average=config.actor_average, bf16=config.bf16, acceleration=config.acceleration,
            seed=seed, code=code_of(config.categories),
        )  # fmt: skip
        self._target_entropy = -config.target_entropy_factor * len(actor.normalizer.low)

    @classmethod
    def of(cls, inputs: Inputs, config: Any, device: torch.device, seed: int) -> Self:
        config = config or cls.defaults()
        actor = inputs.actor(
            hidden=config.actor_hidden, log_std_range=config.log_std_range, scaled_log_std=config.scaled_log_std,
            action_clip=config.action_clip,
        )  # fmt: skip
        critic = inputs.critic(
            config.critic, layer_norm=config.layer_norm, hidden=config.critic_hidden, heads=config.heads,
            outputs=code_of(config.categories).outputs,
        )  # fmt: skip
        return cls(actor.to(device), critic.to(device), config, seed=seed)

    @classmethod
    @abstractmethod
    def defaults(cls) -> SoftConfig:
        """The config that stands for None."""

    def phase(self, step: int) -> str:
        """ "critic", or "both" at every `critic_updates`-th update."""
        return "both" if (step + 1) % self.config.critic_updates == 0 else "critic"

    def update_in_phase(self, batch: Batch, step: int | Tensor, phase: str) -> dict[str, Tensor]:
        images, next_images = self.views(batch, step)
        metrics = self._improve_critic(batch, images, self._target(batch, next_images, step))
        if phase == "both":
            metrics |= self._improve_actor(batch, images, step)
        return metrics

    # Losses.

    def actor_loss(self, log_prob_B: Tensor, q_EB: Tensor) -> Tensor:
        """temperature * log pi - mean or min over heads of Q, mean over the batch; the temperature is a constant here."""
        value_B = q_EB.mean(0) if self.config.actor_value == "mean" else q_EB.amin(0)
        loss: Tensor = (self.temperature().detach() * log_prob_B - value_B).mean()
        return loss

    def temperature_loss(self, entropy: Tensor) -> Tensor:
        """Falls where the entropy lies above its target."""
        loss: Tensor = self.temperature() * (entropy - self._target_entropy)
        return loss

    # How they get their Q-values.

    @torch.no_grad()
    def _target(self, batch: Batch, images: Mapping[str, Tensor], step: int | Tensor) -> Tensor:
        """What `td_loss` takes: (B,), or (B, O) of C51."""
        policy = self.policy(images, batch.next_proprio, batch)
        action_BKA, log_BK = policy.sample(self.normal(batch, step, _NEXT, self.config.backup_actions))
        state = self.state_of(self.target, images, batch.next_proprio, batch)
        with self.autocast():
            output = self.target(*state, action_BKA)
        bonus = self.temperature() if self.config.backup_entropy else 0.0
        drawn = self.drawn(output, self.config.subset, step)
        return self.code.backup(drawn, bonus * log_BK, batch.reward, batch.discount)

    def _improve_critic(self, batch: Batch, images: Mapping[str, Tensor], target: Tensor) -> dict[str, Tensor]:
        action_BA = self.actor.normalizer.encode(batch.action)
        state = self.state_of(self.critic, images, batch.proprio, batch)
        with self.autocast():
            output = self.critic(*state, action_BA[:, None])
        loss = self.td_loss(output[:, :, 0], target).mean()
        self.descend("critic", loss)
        self.move_target()
        return {
            "critic/bellman": loss.detach(),
            "critic/loss": loss.detach(),
            "critic/q_data": self.q_values(output.detach()).mean(),
            "critic/target": self.code.mean(target).mean(),
            "critic/return_to_go": batch.return_to_go.mean(),
        }

    def _improve_actor(self, batch: Batch, images: Mapping[str, Tensor], step: int | Tensor) -> dict[str, Tensor]:
        policy = self.policy(images, batch.proprio, batch)
        action_B1A, log_B1 = policy.sample(self.normal(batch, step, _ACTOR, 1))
        uniform_B1A = self.uniform_actions(batch, step, _UNIFORM, 1)  # only watched
        with torch.no_grad():
            state = self.state_of(self.critic, images, batch.proprio, batch)
        q_EB2 = self.q_values(self.through(self.critic, state, torch.cat([action_B1A, uniform_B1A], dim=1)))
        loss = self.actor_loss(log_B1[:, 0], q_EB2[:, :, 0])
        self.descend("actor", loss)
        entropy, q_EB2 = -log_B1.detach().mean(), q_EB2.detach()
        self.descend("temperature", self.temperature_loss(entropy))
        action_BA = self.actor.normalizer.encode(batch.action)
        return {
            "actor/loss": loss.detach(),
            "actor/entropy": entropy,
            "actor/temperature": self.temperature().detach(),
            "actor/mse": (policy.mode().detach() - action_BA).square().mean(),
            "critic/q_policy": q_EB2[:, :, 0].mean(),
            "critic/q_uniform": q_EB2[:, :, 1].mean(),
            "critic/bound_rate": (q_EB2[:, :, 0] < batch.return_to_go).to(torch.float32).mean(),
        }


@dataclass(frozen=True, kw_only=True)
class SoftConfig:
    """Discount and rewards belong to replay. The first three fields and `critic_updates` are asked of the loop (`plan`)."""

    warm_up_steps: int = 5_000
    """Environment steps before the first update."""
    offline_share: float = 0.5
    """Share of each batch from data of before."""
    batch_size: int = 256
    """Samples per update."""
    critic_updates: int = 20
    """Updates of the critic, each on a batch of its own, per environment step and per update of the actor."""
    heads: int = 10
    subset: int | None = 2
    """Heads whose minimum is backed up, drawn anew at each update; None = all."""
    layer_norm: bool = True
    """LayerNorm before each ReLU of the critic."""
    critic: Literal["ensemble", "ptr"] = "ensemble"
    """ensemble reads state and images; ptr is PTR's critic: images and task, the action fed to every layer, no LayerNorm."""
    critic_hidden: tuple[int, ...] = (256, 256)
    categories: CategoricalConfig | None = None
    """The critic learns a distribution over a fixed range by cross-entropy; None = a squared error."""
    backup_actions: int = 1
    """K: actions sampled at s'; the best is backed up."""
    backup_entropy: bool = True
    """The next action's value holds the entropy bonus, as SAC's does; off for sparse rewards."""
    actor_value: Literal["mean", "min"] = "mean"
    """What of the heads the actor climbs."""
    actor_hidden: tuple[int, ...] = (256, 256)
    log_std_range: tuple[float, float] = (-20.0, 2.0)
    scaled_log_std: bool = False
    """Learned factor and offset of the log-std, 1 and -1 at the start, as in JaxCQL."""
    action_clip: float = 0.99999
    """Normalised data actions stay within +- this."""
    actor_learning_rate: float = 3e-4
    """Adam."""
    critic_learning_rate: float = 3e-4
    """Adam."""
    temperature_learning_rate: float = 3e-4
    """Adam, on log temperature."""
    initial_temperature: float = 1.0
    target_entropy_factor: float = 0.5
    """Target entropy = -factor * action dimensions [nats]."""
    tau: float = 0.005
    """Share by which the target critic moves to the critic at each update."""
    actor_average: float = 0.0
    """Share by which a running average of the actor moves to it at each update; the average acts and is saved. 0 = none."""
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)
    """Of images; None switches it off."""
    bf16: bool = False
    """bfloat16 autocast of the networks; losses, densities, targets and temperature stay float32."""
    acceleration: Acceleration = "none"
    """compile = torch.compile of the networks; cuda_graph = the whole update as one graph per phase, fixed batch shape, CUDA only."""

    def plan(self) -> OnlinePlan:
        return OnlinePlan(
            updates_per_step=self.critic_updates, warm_up_steps=self.warm_up_steps, offline_share=self.offline_share,
            batch_size=self.batch_size,
        )  # fmt: skip

    def __post_init__(self) -> None:
        name = type(self).__name__.removesuffix("Config")
        require(
            self,
            positive=("critic_updates", "heads", "backup_actions", "initial_temperature", "actor_learning_rate",
                      "critic_learning_rate", "temperature_learning_rate"),
            share=("tau",),
        )  # fmt: skip
        self.plan()  # says what is wrong with its fields
        if self.subset is not None and not 1 <= self.subset <= self.heads:
            raise UserError(f"{name}'s subset is {self.subset} of {self.heads} heads; give 1 to {self.heads}, or None.")
        choices = {
            "critic": ("ensemble", "ptr"),
            "actor_value": ("mean", "min"),
            "acceleration": ("none", "compile", "cuda_graph"),
        }
        for field_name, allowed in choices.items():
            value = getattr(self, field_name)
            if value not in allowed:
                raise UserError(f"{name}'s {field_name} is {value!r}; choose {', '.join(allowed)}.")
        if self.critic == "ptr" and self.layer_norm:
            raise UserError(f"{name}'s critic ptr has no LayerNorm; choose critic ensemble or layer_norm False.")
        if self.categories is not None and self.backup_entropy:
            raise UserError(
                f"{name}'s categorical critic holds returns of rewards alone, and backup_entropy adds to them; set it False."
            )
        if not 0 <= self.actor_average <= 1 or not math.isfinite(self.target_entropy_factor):
            raise UserError(
                f"{name}'s actor_average is {self.actor_average} and target_entropy_factor {self.target_entropy_factor}; give a share "
                "in [0, 1], 0 for none, and a finite factor."
            )
