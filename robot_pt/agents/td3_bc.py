"""TD3+BC (arXiv 2106.06860) and ReBRAC (arXiv 2305.09836): a deterministic actor that climbs Q and is held near the data.

a'      clip(pi'(s') + clip(sigma * noise, +-c), +-1), pi' a slow copy of the actor
y       r + discount * (min over heads of Q'(s', a') [- beta2 * |a' - a'_data|^2, ReBRAC])
critic  sum over heads of mean (Q - y)^2
actor   every second update, and after it both targets move:
        TD3+BC  -(alpha / mean |Q_1|) mean Q_1(s, pi(s)) + mean over dimensions (pi(s) - a)^2     (sfujim/TD3_BC)
        ReBRAC  mean [beta1 |pi(s) - a|^2 - min Q(s, pi(s)) / mean |min Q|]                       (tinkoff-ai/ReBRAC)
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, final

import torch
from torch import Tensor, nn

from robot_pt.agents.off_policy import require
from robot_pt.agents.offline import OfflineAgent, OfflineConfig, bootstrapped, require_from_zero
from robot_pt.agents.state import move_towards
from robot_pt.errors import UserError
from robot_pt.networks.policies import ActorNetwork
from robot_pt.schema import Batch

_NEXT = 0  # noise stream
_LEAST_SCALE = 1e-6
"""Below it mean |Q| no longer divides; a critic that gives 0 everywhere would make the loss NaN."""


class DeterministicAgent(OfflineAgent):
    """TD3's part of both."""

    config: DeterministicConfig

    def __init__(self, actor: ActorNetwork, critic: nn.Module, config: DeterministicConfig, *, seed: int = 0):
        self.config = config
        self.target_actor = copy.deepcopy(actor).requires_grad_(False)
        super().__init__(actor, critic, config, seed=seed, target_actor=self.target_actor)

    def phase(self, step: int) -> str:
        """ "critic", or "both" at every `actor_every`-th update."""
        return "both" if (step + 1) % self.config.actor_every == 0 else "critic"

    def update_in_phase(self, batch: Batch, step: int | Tensor, phase: str) -> dict[str, Tensor]:
        images, next_images = self.views(batch, step)
        metrics = self.regress(batch, images, self._target(batch, next_images, step))
        if phase == "both":
            metrics |= self._improve_actor(batch, images)
            self.move_target()
            move_towards(self.target_actor, self.actor, self.config.tau)
        return metrics

    # Losses.

    def smoothed(self, mode_BA: Tensor, noise_BA: Tensor) -> Tensor:
        """(B, A) the target policy's action, moved by noise of at most `smoothing_clip` and clipped to the range."""
        limit = self.config.smoothing_clip
        return (mode_BA + (self.config.smoothing * noise_BA).clamp(-limit, limit)).clamp(-1, 1)

    def next_penalty(self, action_BA: Tensor, batch: Batch) -> Tensor | float:
        """(B,) taken off the value of the next state."""
        return 0.0

    @abstractmethod
    def actor_loss(self, q_EB: Tensor, policy_BA: Tensor, action_BA: Tensor) -> Tensor:
        """Of the actor's and the data's normalised actions."""

    # How they get their values.

    @torch.no_grad()
    def _target(self, batch: Batch, images: Mapping[str, Tensor], step: int | Tensor) -> Tensor:
        with self.autocast():
            slow = self.target_actor(images, batch.next_proprio, batch.task, batch.language)
        action_BA = self.smoothed(slow.mode(), self.normal(batch, step, _NEXT, 1)[:, 0])
        next_q_B = self.judge(self.target, images, batch.next_proprio, batch, action_BA[:, None])[:, 0]
        return bootstrapped(batch, next_q_B - self.next_penalty(action_BA, batch))

    def _improve_actor(self, batch: Batch, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        action_BA = self.actor.normalizer.encode(batch.action)
        policy_BA = self.policy(images, batch.proprio, batch).mode()
        q_EB = self.climbed(images, batch, policy_BA[:, None])[:, :, 0]
        loss = self.actor_loss(q_EB, policy_BA, action_BA)
        self.descend("actor", loss)
        return self.actor_log(policy_BA, action_BA, loss) | {"critic/q_policy": q_EB.detach().mean()}


@final
class TD3BC(DeterministicAgent):
    """Implements `robot_pt.agents.Agent`."""

    config: TD3BCConfig

    @classmethod
    def defaults(cls) -> TD3BCConfig:
        return TD3BCConfig()

    def actor_loss(self, q_EB: Tensor, policy_BA: Tensor, action_BA: Tensor) -> Tensor:
        q_B = q_EB[0]
        return (policy_BA - action_BA).square().mean() - self.config.alpha * q_B.mean() / scale_of(q_B)


@final
class ReBRAC(DeterministicAgent):
    """Implements `robot_pt.agents.Agent`."""

    config: ReBRACConfig

    @classmethod
    def defaults(cls) -> ReBRACConfig:
        return ReBRACConfig()

    def next_penalty(self, action_BA: Tensor, batch: Batch) -> Tensor | float:
        """beta2 * |a' - a'_data|^2. Raises UserError where batches do not tell what the data did next."""
        if not self.config.critic_penalty:
            return 0.0
        if batch.next_action is None:
            raise UserError(
                "ReBRAC's critic_penalty needs the data's next actions, and these batches have none; take them from Replay, or set "
                "critic_penalty to 0."
            )
        data_BA = self.actor.normalizer.encode(batch.next_action)
        return self.config.critic_penalty * (action_BA - data_BA).square().sum(1)

    def actor_loss(self, q_EB: Tensor, policy_BA: Tensor, action_BA: Tensor) -> Tensor:
        q_B = q_EB.amin(0)
        climbed_B = q_B / scale_of(q_B) if self.config.normalise_q else q_B
        return (self.config.actor_penalty * (policy_BA - action_BA).square().sum(1) - climbed_B).mean()


def scale_of(q_B: Tensor) -> Tensor:
    """() mean |Q|, without gradient."""
    return q_B.detach().abs().mean().clamp(min=_LEAST_SCALE)


@dataclass(frozen=True, kw_only=True)
class DeterministicConfig(OfflineConfig):
    """TD3's fields."""

    smoothing: float = 0.2
    """sigma of the noise on the target policy's action, in units of the normalised action."""
    smoothing_clip: float = 0.5
    """Largest noise on it."""
    actor_every: int = 2
    """Updates of the critic per update of the actor and the targets."""
    exploration: float = 0.1
    """Deviation of a sampled action before the tanh, for collecting; acting and learning use the mean."""

    def head(self) -> dict[str, Any]:
        return {"squash": True, "std": "fixed", "fixed_std": self.exploration}

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, positive=("actor_every", "exploration"))
        require_from_zero(self, "smoothing", "smoothing_clip")


@final
@dataclass(frozen=True, kw_only=True)
class TD3BCConfig(DeterministicConfig):
    """Defaults are the published ones for MuJoCo: discount 0.99, batch 256, states standardised (`proprio` of `build`)."""

    alpha: float = 2.5
    """Weight of Q over its mean size, against the mean squared distance to the data's action."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, positive=("alpha",))


@final
@dataclass(frozen=True, kw_only=True)
class ReBRACConfig(DeterministicConfig):
    """Defaults are the released ones for MuJoCo: discount 0.99, batch 1024. The penalties are tuned per data set there."""

    actor_penalty: float = 1.0
    """beta1, of the squared distance between the actor's and the data's action."""
    critic_penalty: float = 1.0
    """beta2, of the squared distance between the next action backed up and the data's."""
    normalise_q: bool = True
    """Divide Q by its mean size in the actor's loss, as all released configurations do."""
    layer_norm: bool = True
    critic_hidden: tuple[int, ...] = (256, 256, 256)
    actor_hidden: tuple[int, ...] = (256, 256, 256)
    actor_learning_rate: float = 1e-3
    critic_learning_rate: float = 1e-3

    @classmethod
    def antmaze(cls, **changes: Any) -> Self:
        """configs/rebrac/antmaze/antmaze_large_diverse.yaml: discount 0.999, batch 256. They normalise features where we normalise layers."""
        own = {
            "actor_penalty": 0.002,
            "critic_penalty": 0.002,
            "actor_learning_rate": 3e-4,
            "critic_learning_rate": 5e-5,
        }
        return cls(**{**own, **changes})

    def __post_init__(self) -> None:
        super().__post_init__()
        require_from_zero(self, "actor_penalty", "critic_penalty")
        if self.critic_penalty and self.categories is not None:
            raise UserError(
                "ReBRAC's categorical critic holds returns of rewards alone, and critic_penalty takes from them; set it to 0."
            )
