"""What the algorithms share that stay near the data by their actor: networks from a config, regression of the critic, judging actions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

import torch
from torch import Tensor, nn

from robot_pt.agents.inputs import Inputs
from robot_pt.agents.off_policy import Acceleration, OffPolicyAgent, require
from robot_pt.augment import AugmentConfig
from robot_pt.errors import UserError
from robot_pt.networks.categorical import CategoricalConfig, code_of
from robot_pt.networks.policies import ActorNetwork
from robot_pt.schema import Batch


class OfflineAgent(OffPolicyAgent):
    """A subclass holds its paper's losses; `others` are its further networks, trained at the rate its config gives for them."""

    def __init__(
        self, actor: ActorNetwork, critic: nn.Module, config: OfflineConfig, *, seed: int = 0, **others: nn.Module
    ):
        super().__init__(
            actor, critic, learning_rates=config.rates(), tau=config.tau, others=others, augment=config.augment,
            actor_average=config.actor_average, bf16=config.bf16, acceleration=config.acceleration, seed=seed,
            code=code_of(config.categories),
        )  # fmt: skip

    @classmethod
    def of(cls, inputs: Inputs, config: Any, device: torch.device, seed: int) -> Self:
        config = config or cls.defaults()
        actor = config.actor(inputs).to(device)
        critic = inputs.critic(
            config.critic, layer_norm=config.layer_norm, hidden=config.critic_hidden, heads=config.heads,
            outputs=code_of(config.categories).outputs,
        )  # fmt: skip
        others = {name: module.to(device) for name, module in cls.others(inputs, config).items()}
        return cls(actor, critic.to(device), config, seed=seed, **others)

    @classmethod
    @abstractmethod
    def defaults(cls) -> OfflineConfig:
        """The config that stands for None."""

    @classmethod
    def others(cls, inputs: Inputs, config: Any) -> dict[str, nn.Module]:
        """Further networks, by the names the constructor knows them by."""
        return {}

    # For the algorithms.

    def regress(self, batch: Batch, images: Mapping[str, Tensor], target_B: Tensor) -> dict[str, Tensor]:
        """One step of the critic: sum over heads of the mean (Q - y)^2, without a factor 1/2."""
        action_BA = self.actor.normalizer.encode(batch.action)
        state = self.state_of(self.critic, images, batch.proprio, batch)
        with self.autocast():
            output = self.critic(*state, action_BA[:, None])
        loss = self.td_loss(output[:, :, 0], target_B).mean(1).sum()
        self.descend("critic", loss)
        return {
            "critic/loss": loss.detach(),
            "critic/bellman": loss.detach(),
            "critic/q_data": self.q_values(output.detach()).mean(),
            "critic/target": target_B.mean(),
            "critic/return_to_go": batch.return_to_go.mean(),
        }

    @torch.no_grad()
    def judge(
        self, critic: nn.Module, images: Mapping[str, Tensor], proprio_BP: Tensor, batch: Batch, action_BKA: Tensor
    ) -> Tensor:
        """(B, K) least Q over heads, without gradient."""
        state = self.state_of(critic, images, proprio_BP, batch)
        with self.autocast():
            return self.q_values(critic(*state, action_BKA)).amin(0)

    def climbed(self, images: Mapping[str, Tensor], batch: Batch, action_BKA: Tensor) -> Tensor:
        """(E, B, K) Q(s, a) with gradient to the actions alone."""
        with torch.no_grad():
            state = self.state_of(self.critic, images, batch.proprio, batch)
        return self.q_values(self.through(self.critic, state, action_BKA))

    def actor_log(self, mode_BA: Tensor, action_BA: Tensor, loss: Tensor) -> dict[str, Tensor]:
        return {"actor/loss": loss.detach(), "actor/mse": (mode_BA.detach() - action_BA).square().mean()}


def bootstrapped(batch: Batch, next_value_B: Tensor) -> Tensor:
    """(B,) reward + discount * value of the next state."""
    target_B: Tensor = batch.reward + batch.discount * next_value_B
    return target_B


def advantage_weights(advantage_B: Tensor, temperature: float, largest: float) -> Tensor:
    """(B,) min(exp(A / temperature), largest), without gradient and without overflow."""
    return (advantage_B.detach() / temperature).clamp(max=math.log(largest)).exp()


@dataclass(frozen=True, kw_only=True)
class OfflineConfig(ABC):
    """Discount and rewards belong to replay."""

    actor_learning_rate: float = 3e-4
    """Adam."""
    critic_learning_rate: float = 3e-4
    """Adam."""
    tau: float = 0.005
    """Share by which the target critic moves to the critic at each update of it."""
    critic: Literal["ensemble", "ptr"] = "ensemble"
    """ensemble reads state and images; ptr is PTR's critic: images and task, the action fed to every layer, no LayerNorm."""
    critic_hidden: tuple[int, ...] = (256, 256)
    heads: int = 2
    layer_norm: bool = False
    """LayerNorm before each ReLU of the critic."""
    categories: CategoricalConfig | None = None
    """The critic learns a distribution over a fixed range by cross-entropy; None = a squared error."""
    actor_hidden: tuple[int, ...] = (256, 256)
    action_clip: float = 0.99999
    """Normalised data actions stay within +- this."""
    actor_average: float = 0.0
    """Share by which a running average of the actor moves to it at each update; the average acts and is saved. 0 = none."""
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)
    """Of images; None switches it off."""
    bf16: bool = False
    """bfloat16 autocast of the networks; losses, densities and targets stay float32."""
    acceleration: Acceleration = "none"
    """compile = torch.compile of the networks; cuda_graph = the whole update as one graph per phase, fixed batch shape, CUDA only."""

    @abstractmethod
    def head(self) -> dict[str, Any]:
        """Fields of `ActorConfig` that make the algorithm's kind of policy."""

    def actor(self, inputs: Inputs) -> ActorNetwork:
        return inputs.actor(hidden=self.actor_hidden, action_clip=self.action_clip, **self.head())

    def rates(self) -> dict[str, float]:
        """Learning rate by name of the module; what is not here does not learn."""
        return {"actor": self.actor_learning_rate, "critic": self.critic_learning_rate}

    def __post_init__(self) -> None:
        require(self, positive=("actor_learning_rate", "critic_learning_rate", "heads"), share=("tau", "action_clip"))
        require_choice(self, "critic", ("ensemble", "ptr"))
        require_choice(self, "acceleration", ("none", "compile", "cuda_graph"))
        if self.critic == "ptr" and (self.layer_norm or self.categories is not None):
            raise UserError(
                f"{_name(self)}'s critic ptr has neither LayerNorm nor categories; choose critic ensemble, or leave both out."
            )
        if not 0 <= self.actor_average <= 1:
            raise UserError(
                f"{_name(self)}'s actor_average is {self.actor_average}; give a share in [0, 1], 0 for none."
            )


class GaussianHead(Protocol):
    """The fields by which a config describes a Gaussian policy that is fitted to weighted data."""

    @property
    def policy(self) -> Literal["gaussian", "tanh_gaussian"]: ...
    @property
    def std(self) -> Literal["global", "state"]: ...
    @property
    def log_std_range(self) -> tuple[float, float]: ...


def gaussian_head(config: GaussianHead) -> dict[str, Any]:
    """`OfflineConfig.head` of it; the mean of a plain Gaussian is a tanh, as in the authors' code of AWAC and IQL."""
    squash = config.policy == "tanh_gaussian"
    return {
        "squash": squash, "bounded_mean": not squash, "std": config.std, "log_std_range": config.log_std_range
    }  # fmt: skip


def require_gaussian(config: GaussianHead) -> None:
    """Raise UserError unless these fields name a policy."""
    require_choice(config, "policy", ("gaussian", "tanh_gaussian"))
    require_choice(config, "std", ("global", "state"))
    low, high = config.log_std_range
    if not -math.inf < low < high < math.inf:
        raise UserError(f"{_name(config)}'s log_std_range is {low} to {high}; give two finite rising numbers.")


def require_choice(config: object, name: str, allowed: tuple[str, ...]) -> None:
    """Raise UserError unless that field of an algorithm's config is one of these."""
    value = getattr(config, name)
    if value not in allowed:
        raise UserError(f"{_name(config)}'s {name} is {value!r}; choose {', '.join(allowed)}.")


def require_from_zero(config: object, *names: str) -> None:
    """Raise UserError unless these fields of an algorithm's config are finite and not negative."""
    for name in names:
        value = getattr(config, name)
        if not 0 <= value < math.inf:
            raise UserError(f"{_name(config)}'s {name} is {value}; give a finite value from 0.")


def _name(config: object) -> str:
    return type(config).__name__.removesuffix("Config")
