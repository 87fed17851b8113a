"""BRAC: behaviour-regularised actor-critic (arXiv 1911.11361), held near a model of the policy that made the data.

The model b is fitted by likelihood first, or beside; D is a divergence of pi(s) from b(s), alpha its weight:

    y       r + discount * (min over heads of Q'(s', a') [- alpha D(s'), form "value"]), a' ~ pi(s')
    critic  sum over heads of mean (Q - y)^2; then the target moves
    actor   mean [alpha D(s) - min over heads of Q(s, a)], a ~ pi(s), with the updated critic; alpha D alone while it warms up

D is KL(pi || b), or the squared MMD of K samples of each with the kernel exp(-|x - y|_1 / sigma) (google-research
behavior_regularized_offline_rl/brac/divergences.py). Both policies are squashed by the same tanh, which changes no KL: it is that of
the two Gaussians, in closed form, where the authors average 4 samples of log pi - log b.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from robot_pt.agents.inputs import Inputs
from robot_pt.agents.off_policy import Positive, require
from robot_pt.agents.offline import OfflineAgent, OfflineConfig, bootstrapped, require_choice, require_from_zero
from robot_pt.errors import UserError
from robot_pt.networks.distributions import ActionGaussian
from robot_pt.networks.policies import ActorNetwork
from robot_pt.schema import Batch

_NEXT, _ACTOR, _POLICY, _BEHAVIOUR = range(4)  # noise streams; the last two count one further for s'

LARGEST_PENALTY = 500.0


@final
class BRAC(OfflineAgent):
    """Implements `robot_pt.agents.Agent`."""

    def __init__(
        self, actor: ActorNetwork, critic: nn.Module, config: BRACConfig, *, behaviour: ActorNetwork, seed: int = 0
    ):
        self.config, self.behaviour = config, behaviour
        self.penalty = Positive(config.penalty, largest=LARGEST_PENALTY).to(next(actor.parameters()).device)
        super().__init__(actor, critic, config, seed=seed, behaviour=behaviour, penalty=self.penalty)

    @classmethod
    def defaults(cls) -> BRACConfig:
        return BRACConfig()

    @classmethod
    def others(cls, inputs: Inputs, config: Any) -> dict[str, nn.Module]:
        return {"behaviour": config.actor(inputs)}

    def phase(self, step: int) -> str:
        """behaviour: the model alone; follow: the actor nears it while the critic learns; joint: the actor climbs Q too."""
        config = self.config
        if step < config.behaviour_steps:
            return "behaviour"
        return "follow" if step < config.behaviour_steps + config.follow_steps else "joint"

    def update_in_phase(self, batch: Batch, step: int | Tensor, phase: str) -> dict[str, Tensor]:
        images, next_images = self.views(batch, step)
        metrics: dict[str, Tensor] = {}
        if phase == "behaviour" or self.config.behaviour_beside:
            metrics |= self._fit_behaviour(batch, images)
        if phase == "behaviour":
            return metrics
        metrics |= self.regress(batch, images, self._target(batch, next_images, step))
        self.move_target()
        return metrics | self._improve_actor(batch, images, step, phase)

    # Losses.

    def actor_loss(self, divergence_B: Tensor, q_EB: Tensor | None) -> Tensor:
        """alpha D - min over heads of Q, mean over the batch; alpha is a constant here."""
        penalty: Tensor = self.penalty().detach()
        climbed = 0.0 if q_EB is None else q_EB.amin(0)
        return (penalty * divergence_B - climbed).mean()

    # How they get their values.

    def _fit_behaviour(self, batch: Batch, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with self.autocast():
            behaviour = self.behaviour(images, batch.proprio, batch.task, batch.language)
        action_BA = self.actor.normalizer.encode(batch.action)
        loss = -behaviour.log_prob(action_BA).mean()
        self.descend("behaviour", loss)
        return {"behaviour/loss": loss.detach()}

    @torch.no_grad()
    def _target(self, batch: Batch, images: Mapping[str, Tensor], step: int | Tensor) -> Tensor:
        policy = self.policy(images, batch.next_proprio, batch)
        action_B1A, _ = policy.sample(self.normal(batch, step, _NEXT, 1))
        next_value_B = self.judge(self.target, images, batch.next_proprio, batch, action_B1A)[:, 0]
        if self.config.form == "value":
            apart_B = self._apart(policy, images, batch.next_proprio, batch, step, following=True)
            next_value_B = next_value_B - self.penalty() * apart_B
        return bootstrapped(batch, next_value_B)

    def _apart(
        self, policy: ActionGaussian, images: Mapping[str, Tensor], proprio_BP: Tensor, batch: Batch, step: int | Tensor,
        *, following: bool = False,
    ) -> Tensor:  # fmt: skip
        """(B,) D at these states, with gradient to `policy` alone."""
        with torch.no_grad(), self.autocast():
            behaviour = self.behaviour(images, proprio_BP, batch.task, batch.language)
        if self.config.divergence == "kl":
            return kl(policy, behaviour)
        count, further = self.config.actions, 2 * following
        ours_BKA, _ = policy.sample(self.normal(batch, step, _POLICY + further, count))
        theirs_BKA, _ = behaviour.sample(self.normal(batch, step, _BEHAVIOUR + further, count))
        return mmd(ours_BKA, theirs_BKA, self.config.kernel_width)

    def _improve_actor(
        self, batch: Batch, images: Mapping[str, Tensor], step: int | Tensor, phase: str
    ) -> dict[str, Tensor]:
        policy = self.policy(images, batch.proprio, batch)
        divergence_B = self._apart(policy, images, batch.proprio, batch, step)
        q_EB, apart = None, divergence_B.detach().mean()
        metrics = {"actor/divergence": apart, "actor/penalty": self.penalty().detach()}
        if phase == "joint":
            action_B1A, _ = policy.sample(self.normal(batch, step, _ACTOR, 1))
            q_EB = self.climbed(images, batch, action_B1A)[:, :, 0]
            metrics["critic/q_policy"] = q_EB.detach().mean()
        loss = self.actor_loss(divergence_B, q_EB)
        self.descend("actor", loss)
        if self.config.target_divergence is not None:  # by its logarithm, which has a gradient at the cap as well
            self.descend("penalty", -self.penalty.log * (apart - self.config.target_divergence))
        return metrics | self.actor_log(policy.mode(), self.actor.normalizer.encode(batch.action), loss)


def kl(policy: ActionGaussian, other: ActionGaussian) -> Tensor:
    """(B,) KL(policy || other) of two Gaussians, or of both squashed by tanh."""
    assert policy.squash == other.squash, "KL of a squashed and a plain Gaussian"
    ratio_BA = (2 * (policy.log_std_BA - other.log_std_BA)).exp()
    moved_BA = ((policy.mean_BA - other.mean_BA) * (-other.log_std_BA).exp()).square()
    return 0.5 * (ratio_BA + moved_BA - 1 - ratio_BA.log()).sum(1)


def mmd(x_BKA: Tensor, y_BKA: Tensor, width: float) -> Tensor:
    """(B,) squared maximum mean discrepancy of two sets of samples, each pair of a set counted, itself included."""

    def kernel(a_BKA: Tensor, b_BKA: Tensor) -> Tensor:
        return (-(a_BKA[:, :, None] - b_BKA[:, None]).abs().sum(-1) / width).exp().mean((1, 2))

    return kernel(x_BKA, x_BKA) + kernel(y_BKA, y_BKA) - 2 * kernel(x_BKA, y_BKA)


@final
@dataclass(frozen=True, kw_only=True)
class BRACConfig(OfflineConfig):
    """Defaults are those of the released script (run_primal.sh), the behaviour model of the same shape as the actor."""

    penalty: float = 0.1
    """alpha, in units of Q per unit of divergence; where it learns starts at it and stays below 500."""
    form: Literal["value", "policy"] = "value"
    """value = the backup pays for the divergence of the next state, and the actor for this one's (BRAC-v); policy = the actor alone."""
    divergence: Literal["kl", "mmd"] = "kl"
    actions: int = 4
    """K: samples of each policy for the MMD."""
    kernel_width: float = 20.0
    """sigma of the MMD's kernel, in units of the normalised action."""
    target_divergence: float | None = None
    """Divergence that a learned penalty aims at; None = fixed penalty."""
    penalty_learning_rate: float = 1e-3
    """Adam, on the penalty's logarithm."""
    behaviour_steps: int = 300_000
    """First updates, in which only the behaviour model learns."""
    behaviour_beside: bool = False
    """The behaviour model goes on learning afterwards, as new data needs online; False freezes it, as published."""
    behaviour_learning_rate: float = 5e-4
    """Adam."""
    follow_steps: int = 20_000
    """Updates after those in which the actor follows the model and the critic the actor."""
    log_std_range: tuple[float, float] = (-5.0, 2.0)
    critic_hidden: tuple[int, ...] = (300, 300)
    actor_hidden: tuple[int, ...] = (200, 200)
    critic_learning_rate: float = 1e-3

    def head(self) -> dict[str, Any]:
        return {"squash": True, "std": "state", "log_std_range": self.log_std_range}

    def rates(self) -> dict[str, float]:
        own = {"behaviour": self.behaviour_learning_rate}
        if self.target_divergence is not None:
            own["penalty"] = self.penalty_learning_rate
        return {**super().rates(), **own}

    def __post_init__(self) -> None:
        super().__post_init__()
        rates = ("behaviour_learning_rate", "penalty_learning_rate")
        require(self, positive=("penalty", "actions", "kernel_width", *rates))
        require_choice(self, "form", ("value", "policy"))
        require_choice(self, "divergence", ("kl", "mmd"))
        require_from_zero(self, "behaviour_steps", "follow_steps")
        if self.target_divergence is not None:
            require_from_zero(self, "target_divergence")
        if not self.behaviour_steps and not self.behaviour_beside:
            raise UserError(
                "BRAC's behaviour model never learns; give behaviour_steps above 0 or set behaviour_beside."
            )
        if self.penalty > LARGEST_PENALTY:
            raise UserError(f"BRAC's penalty is {self.penalty}; give at most {LARGEST_PENALTY:g}.")
        if self.form == "value" and self.categories is not None:
            raise UserError(
                "BRAC's categorical critic holds returns of rewards alone, and form value takes from them; choose form policy."
            )
