"""PTR: pretraining on diverse robot data with conservative Q-learning from images (arXiv 2210.05178).

Losses of the released code (Asap7772/PTR jaxrl2/agents/cql_encodersep_parallel), K = 4 sampled actions:

    critic  mean_i (Q_i(s, a) - y)^2 + alpha * mean_i [ logsumexp_{2K} - Q_i(s, a) ]
            logsumexp over Q_i(s, a_pi) - log pi(a_pi | s) and Q_i(s, a_u) - log 0.5^A, a_u uniform on [-1, 1]^A
    target  y = r + discount * max over K of min_i Q'_i(s', a' ~ pi(s'))
    actor   temperature * log pi(a | s) - min_i Q_i(s, a), with the updated critic
    temperature * (entropy - target entropy)

Sampled actions and their densities carry no gradient into the critic loss. Every image is encoded once per network: with batch
64, 320 forward passes (target s', actor s', actor s, critic s, updated critic s) and 128 backward.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Adam

from robot_pt import noise
from robot_pt.agents import GradSync, no_sync
from robot_pt.agents.graphed import GraphedStep
from robot_pt.agents.state import averaged, flat_state, load_flat_state, move_towards
from robot_pt.augment import AugmentConfig, augment
from robot_pt.errors import UserError
from robot_pt.networks.categorical import CategoricalConfig, code_of
from robot_pt.networks.critics import CriticNetwork
from robot_pt.networks.distributions import ActionGaussian
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.networks.modes import evaluating
from robot_pt.networks.policies import ActorConfig, ActorNetwork
from robot_pt.normalize import BRIDGE_BOUNDS, Bounds
from robot_pt.schema import Batch, Spec

_PI, _PI_NEXT, _UNIFORM, _ACTOR, _VIEW, _VIEW_NEXT = 0, 1, 2, 3, 16, 32  # noise streams; views: one per camera

Phase = Literal["warm_start", "joint", "extract"]


class Critique(NamedTuple):
    """Q-values of one critic call, without gradient: what advantage-weighted extraction and the log need."""

    data_EB: Tensor
    policy_EBK: Tensor
    uniform_EBK: Tensor


class PTR:
    """Implements `robot_pt.agents.Agent`."""

    def __init__(self, actor: ActorNetwork, critic: CriticNetwork, config: PTRConfig, *, seed: int = 0):
        self.actor, self.critic, self.config, self.seed = actor, critic, config, seed
        self.target = copy.deepcopy(critic).requires_grad_(False)
        self.temperature = _Temperature(config.initial_temperature).to(next(actor.parameters()).device)
        self.grad_sync: GradSync = no_sync
        self._code = code_of(config.categories)
        self._device = next(actor.parameters()).device
        self._optimizers = {
            "actor": _adam(actor, config.actor_learning_rate, config),
            "critic": _adam(critic, config.critic_learning_rate, config),
            "temperature": _adam(self.temperature, config.temperature_learning_rate, config),
        }
        self._modules = {"actor": actor, "critic": critic, "target": self.target, "temperature": self.temperature}
        self.acting = averaged(actor, config.actor_average)
        if self.acting is not actor:
            self._modules["average"] = self.acting
        self._graphs: dict[Phase, GraphedStep] = {}
        if config.acceleration == "cuda_graph" and self._device.type != "cuda":
            raise UserError(
                f"PTR's acceleration cuda_graph needs a CUDA device, this one is {self._device}; use none or compile."
            )
        if config.acceleration == "compile":
            for module in (self.actor, self.critic, self.target):
                module.compile()
        actions = len(actor.normalizer.low)
        self._target_entropy = -config.target_entropy_factor * actions
        self._uniform_log_density = actions * math.log(0.5)

    @classmethod
    def build(
        cls,
        spec: Spec,
        *,
        cameras: Sequence[str],
        image_size: tuple[int, int],
        task_slots: int,
        encoder: EncoderConfig,
        config: PTRConfig | None = None,
        bounds: Bounds = BRIDGE_BOUNDS,
        proprio: tuple[Sequence[float], Sequence[float]] | None = None,
        language_size: int = 0,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> PTR:
        """A fresh agent for data of `spec`; `task_slots` includes spare ones, `seed` fixes weights and noise.

        proprio: (mean, std) per dimension to standardise with; None feeds it as it is, as published.
        """
        config = config or PTRConfig()
        actor_config = ActorConfig.of(
            spec, proprio, encoder=encoder, cameras=tuple(cameras), image_size=image_size, task_slots=task_slots, bounds=bounds,
            language_size=language_size, log_std_range=config.log_std_range,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            actor = ActorNetwork(actor_config)
            critic = CriticNetwork(
                encoder=encoder, cameras=tuple(cameras), image_size=image_size, task_slots=task_slots, language_size=language_size,
                action_size=len(bounds.low), outputs=code_of(config.categories).outputs,
            )  # fmt: skip
        return cls(actor.to(device), critic.to(device), config, seed=seed)

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        phase = self.phase(step)
        if self.config.acceleration != "cuda_graph":
            return self.update_in_phase(batch, step, phase)
        if phase not in self._graphs:
            self._graphs[phase] = GraphedStep(lambda b, s: self.update_in_phase(b, s, phase))
        return self._graphs[phase](batch, step)

    def phase(self, step: int) -> Phase:
        """What is learned at this update; see `PTRConfig.bc_warm_start_steps` and `critic_steps`."""
        if self.config.critic_steps is not None and step >= self.config.critic_steps:
            return "extract"
        return "warm_start" if step < self.config.bc_warm_start_steps else "joint"

    def update_in_phase(self, batch: Batch, step: int | Tensor, phase: Phase) -> dict[str, Tensor]:
        """One update of fixed shapes and without host synchronisation, `step` possibly a tensor: what a CUDA graph can hold."""
        action_BA = self.actor.normalizer.encode(batch.action)
        images = self._view(batch.images, batch.sample_key, step, _VIEW)
        with self._autocast():
            policy = self.actor(images, batch.proprio, batch.task, batch.language)
        metrics: dict[str, Tensor] = {}
        weighted = self.config.actor_loss == "advantage_weighted" and phase != "warm_start"
        if phase == "extract":
            critique = self._judge(batch, images, action_BA, policy.detach(), step) if weighted else None
        else:
            loss, critique, metrics = self._critic_loss(batch, images, action_BA, policy.detach(), step)
            self._descend("critic", loss)
            move_towards(self.target, self.critic, self.config.tau)
        if phase == "warm_start":
            actor_loss = -policy.log_prob(action_BA).mean()
        elif weighted:
            assert critique is not None
            actor_loss, metrics["actor/weight"] = self.advantage_weighted_loss(policy, action_BA, critique)
        else:
            actor_loss, log_prob_B = self._max_q_loss(batch, images, policy, step)
            metrics["actor/entropy"] = -log_prob_B.mean()
        self._descend("actor", actor_loss)
        if self.acting is not self.actor:
            move_towards(self.acting, self.actor, self.config.actor_average)
        if phase != "warm_start" and not weighted:
            self._descend("temperature", self.temperature() * (metrics["actor/entropy"] - self._target_entropy))
        metrics |= {"actor/loss": actor_loss.detach(), "actor/temperature": self.temperature().detach()}
        metrics["actor/mse"] = (policy.mode().detach() - action_BA).square().mean()
        return metrics

    # Losses, in the paper's order.

    def bellman_loss(self, output_EB: Tensor, target_B: Tensor) -> Tensor:
        """Mean over heads and batch of (Q - y)^2, without a factor 1/2, or of a categorical critic's cross-entropy."""
        return self._code.loss(output_EB, target_B).mean()

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
        return self._code.backup(next_output_EBK, no_penalty_BK, reward_B, discount_B)

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
        loss: Tensor = -(weight_B * policy.log_prob(action_BA)).mean()
        return loss, weight_B.mean()

    @torch.no_grad()
    def values(self, batch: Batch) -> Tensor:
        """(B,) minimum over heads of Q(s, a_data), images as they are; nothing of the agent changes."""
        action_BA = self.actor.normalizer.encode(batch.action)
        with evaluating(self.critic):
            feature_BF, context_BC = self._state(self.critic, batch.images, batch)
            q_EBK = self._code.decode(self.critic(feature_BF, context_BC, action_BA[:, None]))
        return q_EBK[:, :, 0].amin(0)

    def state_dict(self) -> dict[str, Tensor]:
        return flat_state(self._modules, self._optimizers)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        load_flat_state(state, self._modules, self._optimizers)
        self._graphs.clear()  # they were recorded on the optimisers' old tensors

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
            "critic/target": self._code.mean(target_B).mean(),
        }
        return loss, q, metrics

    @torch.no_grad()
    def _bellman_target(self, batch: Batch, step: int | Tensor) -> Tensor:
        images = self._view(batch.next_images, batch.sample_key, step, _VIEW_NEXT)
        with self._autocast():
            policy = self.actor(images, batch.next_proprio, batch.task, batch.language)
            feature_BF, context_BC = self._state(self.target, images, batch)
            action_BKA, _ = policy.sample(self._normal(batch, step, _PI_NEXT, self.config.actions))
            next_output_EBK = self.target(feature_BF, context_BC, action_BKA)
        return self.backup(batch.reward, batch.discount, next_output_EBK)

    def _critique(
        self, batch: Batch, images: Mapping[str, Tensor], action_BA: Tensor, policy: ActionGaussian, step: int | Tensor
    ) -> tuple[Critique, Tensor, Tensor]:
        """Q of the data action, K policy and K uniform actions in one call, log pi of the policy's, and the output at the data action."""
        count, actions = self.config.actions, action_BA.shape[1]
        policy_BKA, log_prob_BK = policy.sample(self._normal(batch, step, _PI, count))
        uniform = noise.uniform(batch.sample_key, step, _UNIFORM, (count, actions), seed=self.seed)
        with self._autocast():
            feature_BF, context_BC = self._state(self.critic, images, batch)
            all_BKA = torch.cat([action_BA[:, None], policy_BKA, 2 * uniform - 1], dim=1)
            output = self.critic(feature_BF, context_BC, all_BKA)
        q_EBK = self._code.decode(output)
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
        action_BKA, log_prob_BK = policy.sample(self._normal(batch, step, _ACTOR, 1))
        with self._autocast():
            with torch.no_grad():
                feature_BF, context_BC = self._state(self.critic, images, batch)
            q_EBK = self._code.decode(self._without_gradient(feature_BF, context_BC, action_BKA))
        log_prob_B = log_prob_BK[:, 0]
        return self.max_q_loss(log_prob_B, q_EBK[:, :, 0]), log_prob_B.detach()

    def _without_gradient(self, feature_BF: Tensor, context_BC: Tensor, action_BKA: Tensor) -> Tensor:
        """Q whose gradient reaches the actions and no critic weight."""
        weights = {name: value.detach() for name, value in self.critic.q.named_parameters()}
        q: Tensor = torch.func.functional_call(self.critic.q, weights, (feature_BF, context_BC, action_BKA))
        return q

    def _state(self, critic: CriticNetwork, images: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        return critic.features(images), critic.context(batch.task, batch.language)

    def _normal(self, batch: Batch, step: int | Tensor, stream: int, count: int) -> Tensor:
        shape = (count, batch.action.shape[1])
        return noise.normal(batch.sample_key, step, stream, shape, seed=self.seed)

    def _view(self, images: Mapping[str, Tensor], key_B: Tensor, step: int | Tensor, stream: int) -> dict[str, Tensor]:
        config = self.config.augment
        if config is None:
            return dict(images)
        cameras = enumerate(self.actor.encoder.cameras)
        return {c: augment(images[c], key_B, step, stream + i, config, seed=self.seed) for i, c in cameras}

    def _descend(self, name: str, loss: Tensor) -> None:
        optimizer = self._optimizers[name]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.grad_sync(self._modules[name].parameters())
        optimizer.step()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self.config.bf16)


class _Temperature(nn.Module):
    def __init__(self, initial: float):
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(initial)))

    def forward(self) -> Tensor:
        return self.log.exp()


def _adam(module: nn.Module, learning_rate: float, config: PTRConfig) -> Adam:
    return Adam(module.parameters(), lr=learning_rate, fused=True, capturable=config.acceleration == "cuda_graph")


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
    acceleration: Literal["none", "compile", "cuda_graph"] = "none"
    """compile = torch.compile of the networks; cuda_graph = the whole update as one graph per phase, fixed batch shape, CUDA only."""

    def __post_init__(self) -> None:
        positive: dict[str, Any] = {"actions": self.actions, "advantage_temperature": self.advantage_temperature}
        for name, value in positive.items():
            if not value > 0:
                raise UserError(f"PTR's {name} is {value}; give a value above 0.")
        if self.actor_loss not in ("max_q", "advantage_weighted"):
            raise UserError(f"PTR's actor_loss is {self.actor_loss!r}; choose max_q or advantage_weighted.")
        if self.acceleration not in ("none", "compile", "cuda_graph"):
            raise UserError(f"PTR's acceleration is {self.acceleration!r}; choose none, compile or cuda_graph.")
        if not 0 <= self.actor_average <= 1:
            raise UserError(f"PTR's actor_average is {self.actor_average}; give a share in [0, 1], 0 for none.")
        if not 0 < self.tau <= 1:
            raise UserError(f"PTR's tau is {self.tau}; give a share in (0, 1].")
