"""SAC with a conservative critic: what CQL and Cal-QL share; one update as nakamotoo/Cal-QL runs it (JaxCQL/conservative_sac.py).

    y       r + discount * max over K of min over heads of Q'(s', a'), a' ~ pi(s')      [or one a', "plain"]
    critic  sum over heads of mean (Q - y)^2 + w * gap                                   [or + alpha' * w * (gap - target gap)]
    actor   temperature * log pi(a | s) - min over heads of Q(s, a), with the critic of before this update
    temperature, by its logarithm: log temperature * (entropy - target entropy)

All losses are of the networks as the update finds them, so an image is encoded once by the critic, twice by the actor (s, s') and
once by the target, and all sampled actions go through the critic in one call.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from robot_pt.agents import conservative
from robot_pt.agents.conservative import Sampled
from robot_pt.agents.dr3 import critic_overlap
from robot_pt.agents.inputs import Inputs
from robot_pt.agents.off_policy import Acceleration, OffPolicyAgent, Positive, require, require_beta
from robot_pt.agents.offline import advantage_weights
from robot_pt.augment import AugmentConfig
from robot_pt.errors import UserError
from robot_pt.networks.categorical import CategoricalConfig, code_of
from robot_pt.networks.distributions import ActionGaussian
from robot_pt.networks.ensembles import State
from robot_pt.networks.policies import ActorNetwork
from robot_pt.schema import Batch

_ACTOR, _TARGET, _UNIFORM, _POLICY, _NEXT = range(5)  # noise streams

LARGEST_MULTIPLIER = 1e6


class ConservativeAgent(OffPolicyAgent):
    """A subclass says what it is calibrated by; everything else is its config."""

    def __init__(self, actor: ActorNetwork, critic: nn.Module, config: ConservativeConfig, *, seed: int = 0):
        device = next(actor.parameters()).device
        self.config = config
        self.temperature = Positive(config.initial_temperature).to(device)
        self.multiplier: Positive | None = None
        others: dict[str, nn.Module] = {"temperature": self.temperature}
        rates = {
            "actor": config.actor_learning_rate,
            "critic": config.critic_learning_rate,
            "temperature": config.temperature_learning_rate,
        }
        if config.target_gap is not None:
            self.multiplier = Positive(config.initial_multiplier, largest=LARGEST_MULTIPLIER).to(device)
            others["multiplier"], rates["multiplier"] = self.multiplier, config.critic_learning_rate
        super().__init__(
            actor, critic, learning_rates=rates, tau=config.tau, others=others, augment=config.augment,
            actor_average=config.actor_average, bf16=config.bf16, acceleration=config.acceleration, seed=seed,
            code=code_of(config.categories),
        )  # fmt: skip
        self._actions = len(actor.normalizer.low)

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
    def defaults(cls) -> ConservativeConfig:
        """The config that stands for None."""

    @abstractmethod
    def calibrate(self, q: Sampled, return_B: Tensor) -> Sampled:
        """Q of the samples as the conservative term sees it."""

    def worth(self, q_B: Tensor, return_B: Tensor) -> Tensor:
        """(B,) what stored actions count for in advantages."""
        return q_B

    def phase(self, step: int) -> str:
        """See `ConservativeConfig.bc_warm_start_steps`."""
        return "warm_start" if step < self.config.bc_warm_start_steps else "joint"

    def update_in_phase(self, batch: Batch, step: int | Tensor, phase: str) -> dict[str, Tensor]:
        action_BA = self.actor.normalizer.encode(batch.action)
        images, next_images = self.views(batch, step)
        policy = self.policy(images, batch.proprio, batch)
        with torch.no_grad():
            next_policy = self.policy(next_images, batch.next_proprio, batch)
            target = self._target(batch, next_images, next_policy, step)
        state = self.state_of(self.critic, images, batch.proprio, batch)
        pressed = self._pressed(batch, action_BA, policy.detach(), next_policy, step)
        metrics: dict[str, Tensor] = {}
        weighted = self.config.extraction == "advantage_weighted" and phase != "warm_start"
        if not weighted:
            actor_loss, metrics = self._actor_loss(batch, action_BA, state, policy, step, phase)
            self.descend("actor", actor_loss, largest=self.config.actor_gradient)
            self.descend("temperature", self.temperature.log * (metrics["actor/entropy"] - self._target_entropy()))
        overlap = self._overlap(batch, action_BA, state, next_images, next_policy, step) if self.config.dr3 else None
        q, critic = self._improve_critic(batch, state, pressed, target, overlap)
        metrics |= critic
        if weighted:
            actor_loss, weight_B = self.advantage_weighted_loss(
                policy.evened_log_prob(action_BA, self.config.likelihood_beta), q, batch.return_to_go
            )
            self.descend("actor", actor_loss, largest=self.config.actor_gradient)
            metrics |= {"actor/loss": actor_loss.detach(), "actor/weight": weight_B.mean()}
        self.move_target()
        metrics["actor/temperature"] = self.temperature().detach()
        metrics["actor/mse"] = (policy.mode().detach() - action_BA).square().mean()
        return metrics

    # Losses.

    def backup(
        self, reward_B: Tensor, discount_B: Tensor, next_output: Tensor, next_log_BK: Tensor, step: int | Tensor
    ) -> Tensor:
        """(B,) y, of the K sampled actions the best by the least head; or what the code of a categorical critic makes of it."""
        penalty_BK = self.temperature().detach() * next_log_BK if self.config.backup_entropy else 0 * next_log_BK
        heads = self.drawn(next_output, self.config.subset, step)
        return self.code.backup(heads, penalty_BK, reward_B, discount_B)

    def conservative_loss(self, gap_E: Tensor) -> Tensor:
        """Sum over heads of w * gap, or with the multiplier as a constant alpha' * w * (gap - target gap)."""
        if self.multiplier is None or self.config.target_gap is None:
            return self.config.weight * gap_E.sum()
        multiplier: Tensor = self.multiplier().detach()
        return multiplier * self.config.weight * (gap_E - self.config.target_gap).sum()

    def actor_loss(self, log_prob_B: Tensor, q_EB: Tensor) -> Tensor:
        """temperature * log pi - min over heads of Q, mean over the batch; the temperature is a constant here."""
        temperature: Tensor = self.temperature().detach()
        return (temperature * log_prob_B - q_EB.amin(0)).mean()

    def advantage_weighted_loss(self, log_prob_B: Tensor, q: Sampled, return_B: Tensor) -> tuple[Tensor, Tensor]:
        """-mean(w log pi(a_data | s)), w = exp(min(A / T, clip)), A = worth of a_data - mean over a ~ pi of Q(s, a), least over heads; and w.

        PTR's fast route (`robot_pt.agents.ptr`), with the Q-values that this update finds; w = 0 where no more than `least_return` was reached.
        """
        config = self.config
        advantage_B = self.worth(q.data_EB.amin(0), return_B) - q.policy_EBK.amin(0).mean(-1)
        weight_B = advantage_weights(advantage_B, config.advantage_temperature, math.exp(config.advantage_clip))
        if config.least_return is not None:
            weight_B = weight_B * (return_B > config.least_return)
        loss: Tensor = -(weight_B * log_prob_B).mean()
        return loss, weight_B

    # How they get their Q-values.

    def _target(self, batch: Batch, images: Mapping[str, Tensor], policy: ActionGaussian, step: int | Tensor) -> Tensor:
        count = self.config.actions if self.config.backup == "max" else 1
        action_BKA, log_BK = policy.sample(self.normal(batch, step, _TARGET, count))
        state = self.state_of(self.target, images, batch.next_proprio, batch)
        with self.autocast():
            next_output = self.target(*state, action_BKA)
        return self.backup(batch.reward, batch.discount, next_output, log_BK, step)

    @torch.no_grad()
    def _pressed(
        self, batch: Batch, action_BA: Tensor, policy: ActionGaussian, following: ActionGaussian, step: int | Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Actions (B, 1 + 3K, A) of the critic's call, data first, and log-densities of the policy's; the data action alone at weight 0."""
        count = self.config.actions if self.config.weight else 0
        policy_BKA, policy_log_BK = policy.sample(self.normal(batch, step, _POLICY, count))
        next_BKA, next_log_BK = following.sample(self.normal(batch, step, _NEXT, count))
        uniform_BKA = self.uniform_actions(batch, step, _UNIFORM, count)
        return torch.cat([action_BA[:, None], uniform_BKA, policy_BKA, next_BKA], dim=1), policy_log_BK, next_log_BK

    def _improve_critic(
        self, batch: Batch, state: State, pressed: tuple[Tensor, Tensor, Tensor], target: Tensor, overlap: Tensor | None
    ) -> tuple[Sampled, dict[str, Tensor]]:
        """One step of the critic and of the multiplier; the Q-values before it. `overlap`: DR3's term, where it is wanted."""
        action_BNA, *logs = pressed
        with self.autocast():
            output = self.critic(*state, action_BNA)
        q = Sampled.split(self.q_values(output), *logs)
        bellman = self.td_loss(output[:, :, 0], target).mean(1).sum()
        metrics = {"critic/bellman": bellman.detach(), "critic/target": self.code.mean(target).mean()}
        metrics |= {"critic/q_data": q.data_EB.detach().mean(), "critic/return_to_go": batch.return_to_go.mean()}
        loss = bellman
        if self.config.weight:
            gap_E = self._gap(self.calibrate(q, batch.return_to_go))
            loss = bellman + self.conservative_loss(gap_E)
            metrics |= self._conservative_metrics(q.detach(), gap_E.detach(), batch.return_to_go)
        if overlap is not None:
            loss = loss + self.config.dr3 * self.config.heads * overlap
            metrics["critic/feature_overlap"] = overlap.detach()
        self.descend("critic", loss)
        if self.multiplier is not None and self.config.target_gap is not None and self.config.weight:
            gap_loss = conservative.multiplier_loss(
                self.multiplier(), self.config.weight, gap_E, self.config.target_gap
            )
            self.descend("multiplier", gap_loss)
            metrics["critic/multiplier"] = self.multiplier().detach()
        return q.detach(), metrics | {"critic/loss": loss.detach()}

    def _overlap(
        self, batch: Batch, action_BA: Tensor, state: State, next_images: Mapping[str, Tensor], policy: ActionGaussian,
        step: int | Tensor,
    ) -> Tensor:  # fmt: skip
        """DR3's term of the data action and the first of the actions that the backup sampled at s'."""
        next_B1A, _ = policy.sample(self.normal(batch, step, _TARGET, 1))
        following = self.state_of(self.critic, next_images, batch.next_proprio, batch)
        with self.autocast():
            return critic_overlap(self.critic, state, action_BA, following, next_B1A[:, 0], batch.discount)  # type: ignore[arg-type]

    def _gap(self, q: Sampled) -> Tensor:
        config = self.config
        return conservative.gap(
            q, self._actions, importance=config.importance, floor=config.gap_floor, ceiling=config.gap_ceiling
        )

    def _conservative_metrics(self, q: Sampled, gap_E: Tensor, return_B: Tensor) -> dict[str, Tensor]:
        return {
            "critic/conservative": gap_E.mean(),
            "critic/q_policy": q.policy_EBK.mean(),
            "critic/q_next": q.next_EBK.mean(),
            "critic/q_uniform": q.uniform_EBK.mean(),
            "critic/bound_rate": conservative.bound_rate(q, return_B),
        }

    def _actor_loss(
        self, batch: Batch, action_BA: Tensor, state: State, policy: ActionGaussian, step: int | Tensor, phase: str
    ) -> tuple[Tensor, dict[str, Tensor]]:
        action_B1A, log_B1 = policy.sample(self.normal(batch, step, _ACTOR, 1))
        if phase == "warm_start":
            loss = (self.temperature().detach() * log_B1).mean() - policy.log_prob(action_BA).mean()
        else:
            q_EBK = self.q_values(self.through(self.critic, state, action_B1A))
            loss = self.actor_loss(log_B1[:, 0], q_EBK[:, :, 0])
        return loss, {"actor/loss": loss.detach(), "actor/entropy": -log_B1.detach().mean()}

    def _target_entropy(self) -> float:
        return -self.config.target_entropy_factor * self._actions


@dataclass(frozen=True, kw_only=True)
class ConservativeConfig:
    """Defaults are those of nakamotoo/Cal-QL's AntMaze script; discount and rewards belong to replay."""

    weight: float = 5.0
    """w of the conservative term; 0 leaves it out, which is SAC."""
    target_gap: float | None = 0.8
    """Gap that the Lagrange multiplier aims at, in units of Q; None = fixed weight."""
    initial_multiplier: float = math.e
    """alpha' at the start; learned at the critic's rate within (0, 1e6]."""
    importance: bool = True
    """Weigh samples by their density. False (Kitchen): plain logsumexp, the data action inside."""
    actions: int = 10
    """K: uniform actions, as many from pi(s) and from pi(s'), and those of the max backup."""
    gap_floor: float | None = None
    gap_ceiling: float | None = None
    """Limits of the gap of each state, in units of Q; None = none."""
    backup: Literal["max", "plain"] = "max"
    """max = best of K actions at s'; plain = one action, SAC's."""
    backup_entropy: bool = False
    """Subtract temperature * log pi of the next action from its value."""
    subset: int | None = None
    """Heads whose minimum is backed up, drawn anew at each update (REDQ: 2); None = all."""
    critic: Literal["ensemble", "ptr"] = "ensemble"
    """ensemble reads state and images; ptr is PTR's critic: images and task, the action fed to every layer."""
    critic_hidden: tuple[int, ...] = (256, 256, 256, 256)
    heads: int = 2
    layer_norm: bool = False
    """LayerNorm before each ReLU of the ensemble (RLPD, WSRL)."""
    categories: CategoricalConfig | None = None
    """Learn Q as a distribution over a fixed range by cross-entropy; None = a squared error."""
    dr3: float = 0.0
    """c0 of the feature term of DR3 (`robot_pt.agents.dr3`), per head; 0 leaves it out."""
    actor_hidden: tuple[int, ...] = (256, 256)
    log_std_range: tuple[float, float] = (-20.0, 2.0)
    scaled_log_std: bool = True
    """Learned factor and offset of the log-std, 1 and -1 at the start."""
    action_clip: float = 0.99999
    """Normalised data actions stay within +- this."""
    actor_learning_rate: float = 1e-4
    """Adam."""
    actor_gradient: float | None = None
    """Largest norm of the actor's gradient, a larger one is scaled down; the norm that metrics say is the one before. None = no limit, as
    published. A squashed policy that imitates has gradients in the hundreds where a gripper's step is not what it expects."""
    critic_learning_rate: float = 3e-4
    """Adam, critic and multiplier."""
    temperature_learning_rate: float = 1e-4
    """Adam, on log temperature."""
    initial_temperature: float = 1.0
    target_entropy_factor: float = 1.0
    """Target entropy = -factor * action dimensions [nats]."""
    extraction: Literal["max_q", "advantage_weighted"] = "max_q"
    """How the policy follows the critic: max_q as published; advantage_weighted = imitation of stored actions weighted by their advantage,
    PTR's fast route, which a critic of few updates cannot lead astray. The temperature waits then."""
    advantage_temperature: float = 1.0
    """T in exp(min(A / T, clip)), in units of Q."""
    advantage_clip: float = 5.0
    """Largest exponent of the advantage weight."""
    likelihood_beta: float = 0.0
    """Of `ActionGaussian.evened_log_prob`, which advantage_weighted imitates by: 0 = likelihood, 1 = seldom done steps, such as closing the
    gripper, are learned as well as the others."""
    least_return: float | None = None
    """Stored actions from which no more than this return was reached are not imitated, whatever the critic makes of them, which still learns
    from all: filtered behaviour cloning (%BC of arXiv 2106.01345). A little above shift / (1 - gamma), -25 by PTR's rewards, leaves out the
    episodes that failed, as most of a weak policy's own do. None imitates all."""
    tau: float = 0.005
    """Share by which the target critic moves to the critic at each update."""
    bc_warm_start_steps: int = 0
    """First updates in which the actor follows the data's likelihood instead of Q (young-geng/CQL), entropy bonus kept."""
    actor_average: float = 0.0
    """Share by which a running average of the actor moves to it at each update; the average acts and is saved. 0 = none."""
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)
    """Of images; None switches it off."""
    bf16: bool = False
    """bfloat16 autocast of the networks; losses, densities, targets and temperature stay float32."""
    acceleration: Acceleration = "none"
    """compile = torch.compile of the networks; cuda_graph = the whole update as one graph per phase, fixed batch shape, CUDA only."""

    def __post_init__(self) -> None:
        name = type(self).__name__.removesuffix("Config")
        require(
            self,
            positive=("actions", "heads", "initial_multiplier", "initial_temperature", "actor_learning_rate",
                      "critic_learning_rate", "temperature_learning_rate", "advantage_temperature"),
            share=("tau",),
        )  # fmt: skip
        for field_name in ("weight", "dr3"):
            value = getattr(self, field_name)
            if not 0 <= value < math.inf:
                raise UserError(f"{name}'s {field_name} is {value}; give a finite value from 0, 0 for none.")
        if self.subset is not None and not 1 <= self.subset <= self.heads:
            raise UserError(f"{name}'s subset is {self.subset} of {self.heads} heads; give 1 to {self.heads}, or None.")
        choices = {
            "backup": ("max", "plain"),
            "critic": ("ensemble", "ptr"),
            "acceleration": ("none", "compile", "cuda_graph"),
            "extraction": ("max_q", "advantage_weighted"),
        }
        for field_name, allowed in choices.items():
            value = getattr(self, field_name)
            if value not in allowed:
                raise UserError(f"{name}'s {field_name} is {value!r}; choose {', '.join(allowed)}.")
        if self.critic == "ptr" and self.layer_norm:
            raise UserError(f"{name}'s critic ptr has no LayerNorm; choose critic ensemble or layer_norm False.")
        if self.extraction == "advantage_weighted" and not self.weight:
            raise UserError(
                f"{name}'s weight is 0, and advantage_weighted asks for the policy samples that it presses; give a weight above 0."
            )
        require_beta(self)
        if self.likelihood_beta and self.extraction != "advantage_weighted":
            raise UserError(
                f"{name}'s likelihood_beta is {self.likelihood_beta} and its policy imitates nothing; give extraction=advantage_weighted too."
            )
        if self.least_return is not None and self.extraction != "advantage_weighted":
            raise UserError(
                f"{name}'s least_return is {self.least_return} and its policy imitates nothing; give extraction=advantage_weighted too."
            )
        if self.least_return is not None and not math.isfinite(self.least_return):
            raise UserError(f"{name}'s least_return is {self.least_return}; give a finite return, or none.")
        if self.actor_gradient is not None and not self.actor_gradient > 0:
            raise UserError(
                f"{name}'s actor_gradient is {self.actor_gradient}; give a norm above 0, or none for no limit."
            )
        if not 0 <= self.actor_average <= 1:
            raise UserError(f"{name}'s actor_average is {self.actor_average}; give a share in [0, 1], 0 for none.")
