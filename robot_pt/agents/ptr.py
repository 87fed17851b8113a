"""PTR: pretraining on diverse robot data with conservative Q-learning from images (arXiv 2210.05178).

Losses of the released code (Asap7772/PTR jaxrl2/agents/cql_encodersep_parallel), K = 4 sampled actions:

    critic  mean_i (Q_i(s, a) - y)^2 + alpha * mean_i [ logsumexp_{2K} - Q_i(s, a) ]
            logsumexp over Q_i(s, a_pi) - log pi(a_pi | s) and Q_i(s, a_u) - log 0.5^A, a_u uniform on [-1, 1]^A
    target  y = r + discount * max over K of min_i Q'_i(s', a' ~ pi(s'))
    actor   temperature * log pi(a | s) - min_i Q_i(s, a), with the updated critic   [- w * log pi(a_data | s), `imitation`]
    temperature * (entropy - target entropy)

Sampled actions and their densities carry no gradient into the critic loss. Every image is encoded once per network: with batch
64, 320 forward passes (target s', actor s', actor s, critic s, updated critic s) and 128 backward.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self, final

import torch
from torch import Tensor

from robot_pt.agents.inputs import Inputs
from robot_pt.agents.off_policy import VIEW, VIEW_NEXT, Acceleration, OffPolicyAgent, Positive, require_beta
from robot_pt.augment import AugmentConfig
from robot_pt.errors import UserError
from robot_pt.networks.categorical import CategoricalConfig, code_of
from robot_pt.networks.critics import CriticNetwork
from robot_pt.networks.distributions import ActionGaussian
from robot_pt.networks.ensembles import EnsembleCritic
from robot_pt.networks.policies import ActorNetwork
from robot_pt.schema import Batch

_PI, _PI_NEXT, _UNIFORM, _ACTOR = range(4)  # noise streams

STATE_HIDDEN, STATE_HEADS = (256, 256, 256), 2
"""Without a camera, which the released code has no case of, the critic reads state, task and action once, by layers as wide as with one; each
has a LayerNorm, as image features do before PTR's heads read them."""
Phase = Literal["warm_start", "joint", "extract"]


class Critique(NamedTuple):
    """Q-values of one critic call, without gradient: what advantage-weighted extraction and the log need."""

    data_EB: Tensor
    policy_EBK: Tensor
    uniform_EBK: Tensor


@final
class PTR(OffPolicyAgent):
    """Implements `robot_pt.agents.Agent`."""

    critic: CriticNetwork | EnsembleCritic

    def __init__(
        self, actor: ActorNetwork, critic: CriticNetwork | EnsembleCritic, config: PTRConfig, *, seed: int = 0
    ):
        self.config = config
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
        actions = len(actor.normalizer.low)
        self._target_entropy = -config.target_entropy_factor * actions
        self._uniform_log_density = actions * math.log(0.5)

    @classmethod
    def of(cls, inputs: Inputs, config: Any, device: torch.device, seed: int) -> Self:
        config = config or PTRConfig()
        actor = inputs.actor(log_std_range=config.log_std_range)
        outputs = code_of(config.categories).outputs
        if inputs.cameras:
            critic: Any = inputs.ptr_critic(
                outputs=outputs,
                normalize_features=config.normalize_features,
                refeed_actions=config.refeed_actions,
            )
        elif config.normalize_features or not config.refeed_actions:
            raise UserError(
                "normalize_features and refeed_actions are of PTR's critic of images; name a camera, or leave them out."
            )
        else:
            critic = inputs.ensemble(hidden=STATE_HIDDEN, heads=STATE_HEADS, layer_norm=True, outputs=outputs)
        return cls(actor.to(device), critic.to(device), config, seed=seed)

    def phase(self, step: int) -> Phase:
        """What is learned at this update; see `PTRConfig.bc_warm_start_steps` and `critic_steps`."""
        if self.config.critic_steps is not None and step >= self.config.critic_steps:
            return "extract"
        return "warm_start" if step < self.config.bc_warm_start_steps else "joint"

    def update_in_phase(self, batch: Batch, step: int | Tensor, phase: str) -> dict[str, Tensor]:
        action_BA = self.actor.normalizer.encode(batch.action)
        images = self._view(batch.images, batch, step, VIEW)
        policy = self.policy(images, batch.proprio, batch)
        metrics: dict[str, Tensor] = {}
        weighted = self.config.actor_loss == "advantage_weighted" and phase != "warm_start"
        if phase == "extract":
            critique = self._judge(batch, images, action_BA, policy.detach(), step) if weighted else None
        else:
            loss, critique, metrics = self._critic_loss(batch, images, action_BA, policy.detach(), step)
            self.descend("critic", loss)
            self.move_target()
        if phase == "warm_start":
            actor_loss = -self._likelihood(policy, action_BA).mean()
        elif weighted:
            assert critique is not None
            actor_loss, metrics["actor/weight"] = self.advantage_weighted_loss(policy, action_BA, critique)
        else:
            actor_loss, log_prob_B = self._max_q_loss(batch, images, policy, step)
            metrics["actor/entropy"] = -log_prob_B.mean()
            if self.config.imitation:
                actor_loss = actor_loss - self.config.imitation * self._likelihood(policy, action_BA).mean()
        self.descend("actor", actor_loss)
        if phase != "warm_start" and not weighted:
            self.descend("temperature", self.temperature() * (metrics["actor/entropy"] - self._target_entropy))
        metrics |= {"actor/loss": actor_loss.detach(), "actor/temperature": self.temperature().detach()}
        metrics["actor/mse"] = (policy.mode().detach() - action_BA).square().mean()
        return metrics

    # Losses, in the paper's order.

    def bellman_loss(self, output_EB: Tensor, target_B: Tensor) -> Tensor:
        """Mean over heads and batch of (Q - y)^2, without a factor 1/2, or of a categorical critic's cross-entropy."""
        return self.code.loss(output_EB, target_B).mean()

    def conservative_loss(self, q: Critique, log_prob_BK: Tensor) -> Tensor:
        """Importance-sampled logsumexp of Q over actions, less Q of the data action; mean over heads and batch."""
        weighed = torch.cat([q.policy_EBK - log_prob_BK, q.uniform_EBK - self._uniform_log_density], dim=-1)
        gap_EB = torch.logsumexp(weighed, dim=-1) - q.data_EB
        if self.config.conservative_floor is not None:
            gap_EB = gap_EB.clamp(min=self.config.conservative_floor)
        return gap_EB.mean()

    def backup(self, reward_B: Tensor, discount_B: Tensor, next_output_EBK: Tensor) -> Tensor:
        """(B,) y = r + discount * max over sampled actions of min over target heads; no entropy term. C51: its distribution."""
        no_penalty_BK = next_output_EBK.new_zeros(next_output_EBK.shape[1:3])
        return self.code.backup(next_output_EBK, no_penalty_BK, reward_B, discount_B)

    def max_q_loss(self, log_prob_B: Tensor, q_EB: Tensor) -> Tensor:
        """temperature * log pi - min over heads of Q, mean over the batch; the temperature is a constant here."""
        temperature: Tensor = self.temperature().detach()
        return (temperature * log_prob_B - q_EB.amin(0)).mean()

    def advantage_weighted_loss(self, policy: ActionGaussian, action_BA: Tensor, q: Critique) -> tuple[Tensor, Tensor]:
        """-mean(w log pi(a_data | s)), w = exp(min(A / T, 5)), A = Q(s, a_data) - mean over a ~ pi of Q(s, a); and mean w.

        Q is the minimum over heads. The talk's third table ("advantage-weighted BC"), agents/cql_encodersep_parallel_awbc.
        """
        advantage_B = (q.data_EB.amin(0) - q.policy_EBK.amin(0).mean(-1)).detach()
        weight_B = (advantage_B / self.config.advantage_temperature).clamp(max=self.config.advantage_clip).exp()
        loss: Tensor = -(weight_B * self._likelihood(policy, action_BA)).mean()
        return loss, weight_B.mean()

    def _likelihood(self, policy: ActionGaussian, action_BA: Tensor) -> Tensor:
        """(B,) what imitation maximises, see `PTRConfig.likelihood_beta`."""
        return policy.evened_log_prob(action_BA, self.config.likelihood_beta)

    # How the losses get their Q-values.

    def _critic_loss(
        self, batch: Batch, images: Mapping[str, Tensor], action_BA: Tensor, policy: ActionGaussian, step: int | Tensor
    ) -> tuple[Tensor, Critique, dict[str, Tensor]]:
        target_B = self._bellman_target(batch, step)
        q, log_prob_BK, output_EB = self._critique(batch, images, action_BA, policy, step)
        bellman = self.bellman_loss(output_EB, target_B)
        conservative = self.conservative_loss(q, log_prob_BK)
        loss = bellman + self.config.alpha * conservative
        q = Critique(*(value.detach() for value in q))
        metrics = {
            "critic/loss": loss.detach(),
            "critic/bellman": bellman.detach(),
            "critic/conservative": conservative.detach(),
            "critic/q_data": q.data_EB.mean(),
            "critic/q_policy": q.policy_EBK.mean(),
            "critic/q_uniform": q.uniform_EBK.mean(),
            "critic/target": self.code.mean(target_B).mean(),
        }
        return loss, q, metrics

    @torch.no_grad()
    def _bellman_target(self, batch: Batch, step: int | Tensor) -> Tensor:
        images = self._view(batch.next_images, batch, step, VIEW_NEXT)
        policy = self.policy(images, batch.next_proprio, batch)
        action_BKA, _ = policy.sample(self.normal(batch, step, _PI_NEXT, self.config.actions))
        state = self.state_of(self.target, images, batch.next_proprio, batch)
        with self.autocast():
            next_output_EBK = self.target(*state, action_BKA)
        return self.backup(batch.reward, batch.discount, next_output_EBK)

    def _critique(
        self, batch: Batch, images: Mapping[str, Tensor], action_BA: Tensor, policy: ActionGaussian, step: int | Tensor
    ) -> tuple[Critique, Tensor, Tensor]:
        """Q of the data action, K policy and K uniform actions in one call, log pi of the policy's, and the output at the data action."""
        count = self.config.actions
        policy_BKA, log_prob_BK = policy.sample(self.normal(batch, step, _PI, count))
        uniform_BKA = self.uniform_actions(batch, step, _UNIFORM, count)
        state = self.state_of(self.critic, images, batch.proprio, batch)
        with self.autocast():
            output = self.critic(*state, torch.cat([action_BA[:, None], policy_BKA, uniform_BKA], dim=1))
        q_EBK = self.q_values(output)
        q = Critique(q_EBK[:, :, 0], q_EBK[:, :, 1 : 1 + count], q_EBK[:, :, 1 + count :])
        return q, log_prob_BK, output[:, :, 0]

    @torch.no_grad()
    def _judge(
        self, batch: Batch, images: Mapping[str, Tensor], action_BA: Tensor, policy: ActionGaussian, step: int | Tensor
    ) -> Critique:
        return self._critique(batch, images, action_BA, policy, step)[0]

    def _max_q_loss(
        self, batch: Batch, images: Mapping[str, Tensor], policy: ActionGaussian, step: int | Tensor
    ) -> tuple[Tensor, Tensor]:
        action_BKA, log_prob_BK = policy.sample(self.normal(batch, step, _ACTOR, 1))
        with torch.no_grad():
            state = self.state_of(self.critic, images, batch.proprio, batch)
        q_EBK = self.q_values(self.through(self.critic, state, action_BKA))
        log_prob_B = log_prob_BK[:, 0]
        return self.max_q_loss(log_prob_B, q_EBK[:, :, 0]), log_prob_B.detach()


@dataclass(frozen=True, kw_only=True)
class PTRConfig:
    """Defaults are those of the released pick-place and door scripts; discount and rewards belong to replay."""

    alpha: float = 10.0
    """Weight of the conservative term; fixed, no Lagrange multiplier."""
    conservative_floor: float | None = None
    """The conservative gap is pushed down no further than this, in units of Q (`cql_clip_diff_min` of nakamotoo/Cal-QL); None as
    published. Without it Q of policy samples sinks for ever unless the actor climbs Q, as max_q's does and imitation does not."""
    categories: CategoricalConfig | None = None
    """Learn Q as a distribution by cross-entropy; `CategoricalConfig.of_rewards(label, gamma)` is [-25, 10] for PTR's. None as published."""
    normalize_features: bool = False
    """Divide the last hidden layer of each head by its length (Scaled Q-learning); see `robot_pt.agents.scaled_ql`. Off as published."""
    refeed_actions: bool = True
    """Every layer of the critic reads the action; False = the first alone, an ablation (`use_action_sep` of the released code)."""
    actions: int = 4
    """K: actions sampled from the policy, and as many uniform ones; also for the backup."""
    actor_learning_rate: float = 1e-4
    """Adam, actor with its own encoder."""
    critic_learning_rate: float = 3e-4
    """Adam, critic encoder and heads."""
    temperature_learning_rate: float = 3e-4
    """Adam, on log temperature."""
    initial_temperature: float = 1.0
    target_entropy_factor: float = 1.0
    """Target entropy = -factor * action dimensions [nats]."""
    tau: float = 0.005
    """Share by which the target critic moves to the critic at each update."""
    actor_loss: Literal["max_q", "advantage_weighted"] = "max_q"
    """max_q as published; advantage_weighted = weighted imitation with weights from the critic, a faster route (no second critic pass)."""
    imitation: float = 0.0
    """Weight of -log pi(a_data | s), in units of Q, that is added to max_q's loss, as TD3+BC (arXiv 2106.06860) and ConRFT (arXiv 2502.05450)
    have it; 0 as published. With few updates Q alone does not teach the policy when to close its gripper."""
    likelihood_beta: float = 0.0
    """Whatever imitates weighs each action dimension's log-density by std^(2 beta) (beta-NLL, arXiv 2203.09168): 0 = the likelihood itself, as
    published; at 1 what is done seldom is learned as from a squared error and the deviation stays free, so that the policy's samples
    are as near to the data as it can tell, which keeps Q from sinking; see `ActionGaussian.evened_log_prob`."""
    advantage_temperature: float = 1.0
    """T in exp(min(A / T, clip)), in units of Q."""
    advantage_clip: float = 5.0
    """Largest exponent of the advantage weight."""
    log_std_range: tuple[float, float] = (-5.0, 2.0)
    """Clip of the policy's log-std. Likelihood routes on few data learn faster with (-2, 2): a nearly constant action dimension
    otherwise shrinks its std to e^-5 and its gradient drowns the others'."""
    bc_warm_start_steps: int = 0
    """First updates in which the actor imitates the data while the critic learns from it; the temperature waits. 0 as published."""
    critic_steps: int | None = None
    """Update from which the critic is frozen and only the actor is extracted; None = never, as published."""
    actor_average: float = 0.0
    """Share by which a running average of the actor's weights moves to them at each update; the average is what acts, is judged and
    saved. 0, as published, saves the actor itself, whose success can swing by tens of percents from one checkpoint to the next."""
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)
    """None switches augmentation off."""
    bf16: bool = False
    """bfloat16 autocast of the networks; losses, densities, targets and temperature stay float32."""
    acceleration: Acceleration = "none"
    """compile = torch.compile of the networks; cuda_graph = the whole update as one graph per phase, fixed batch shape, CUDA only."""

    def __post_init__(self) -> None:
        positive: dict[str, Any] = {"actions": self.actions, "advantage_temperature": self.advantage_temperature}
        for name, value in positive.items():
            if not value > 0:
                raise UserError(f"PTR's {name} is {value}; give a value above 0.")
        if not 0 <= self.imitation < math.inf:
            raise UserError(f"PTR's imitation is {self.imitation}; give a finite weight from 0, 0 for none.")
        require_beta(self)
        if self.imitation and self.actor_loss != "max_q":
            raise UserError(
                f"PTR's imitation goes with actor_loss max_q and {self.actor_loss} imitates already; choose one of the two."
            )
        if self.actor_loss not in ("max_q", "advantage_weighted"):
            raise UserError(f"PTR's actor_loss is {self.actor_loss!r}; choose max_q or advantage_weighted.")
        if self.acceleration not in ("none", "compile", "cuda_graph"):
            raise UserError(f"PTR's acceleration is {self.acceleration!r}; choose none, compile or cuda_graph.")
        if not 0 <= self.actor_average <= 1:
            raise UserError(f"PTR's actor_average is {self.actor_average}; give a share in [0, 1], 0 for none.")
        if not 0 < self.tau <= 1:
            raise UserError(f"PTR's tau is {self.tau}; give a share in (0, 1].")
