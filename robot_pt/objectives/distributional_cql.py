"""Distributional CQL of the Atari protocol, on continuous actions (dojeon-ai/Atari-PB src/trainers/cql.py; C51, arXiv 1707.06887).

    L = -sum_i m_i log p_i(s, a) + alpha (log mean_K exp(Q(s, a_k)) / rho(a_k) - Q(s, a)),   Q = sum_i z_i p_i
    m = projection of  r_t + .. + gamma^(n-1) r_t+n-1 + gamma^n z  under p'(s_t+n, a*),  a* = argmax_k Q'(s_t+n, a_k)

p' is a running average of encoder and head. In a game both the logsumexp and the argmax run over all actions. A robot's cannot be
listed: a bin per dimension would be 256^7 of them, and a head per dimension another method, whose Q adds up over dimensions. Here both
run over K sampled actions. Half are uniform on the action box, half near the actions of the data around that step, by a truncated
Gaussian; rho is the density of this mixture, so that the mean estimates the integral of exp Q over the box, whatever the width. The
greedy action is the best of K and the data's own. There is no actor: nothing but the critic shapes the encoder. (PTR is the form with one.)

Handled where the released code is known to go wrong: the target moves at every update; log p comes from logits; a place that falls on an
atom gets its whole mass; an end within the n steps ends the sum, and a recording that is cut there bootstraps from its last frame.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple, final

import torch
from torch import Tensor, nn

from robot_pt import noise
from robot_pt.agents import GradSync, no_sync
from robot_pt.agents.state import averaged
from robot_pt.augment import AugmentConfig
from robot_pt.clips import ClipBatch, Ends
from robot_pt.errors import UserError
from robot_pt.networks.categorical import C51, returns_of
from robot_pt.networks.conditioning import task_context
from robot_pt.networks.critics import QHeads
from robot_pt.networks.encoders import EncoderConfig, ImageEncoder
from robot_pt.normalize import BRIDGE_BOUNDS, ActionNormalizer, Bounds
from robot_pt.objectives import Needs
from robot_pt.objectives.across import masked_mean
from robot_pt.objectives.stepper import StepConfig, Stepper
from robot_pt.objectives.views import frames_of, view
from robot_pt.rewards import RewardLabel
from robot_pt.schema import Spec

_VIEW, _NOW, _NEXT = 0, 2, 3  # stream of the views; of the sampled actions, which the views leave free


@dataclass(frozen=True, kw_only=True)
class DistributionalCQLConfig:
    alpha: float = 0.1
    """Weight of the conservative term (Atari-PB)."""
    n_step: int = 3
    """Steps of reward before the bootstrap (Atari-PB)."""
    atoms: int = 51
    returns: tuple[float, float] | None = None
    """Ends of the distribution; None: the returns that `reward` can give at `gamma`, [-25, 10] for PTR's labels. Atari-PB, with rewards
    cut to their sign: [-10, 10]."""
    reward: RewardLabel = field(default_factory=RewardLabel)
    gamma: float = 0.96
    """PTR's; Atari-PB 0.99."""
    actions: int = 16
    """K: sampled actions, half uniform and half near the data's."""
    nearness: float = 0.2
    """Deviation of those near the data's, in half ranges of the action."""
    hidden: tuple[int, ...] = (256, 256)
    normalize_features: bool = False
    """Divide what the last layer reads by its length (Scaled Q-learning; Atari-PB's `feature_normalization`, off there)."""
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)
    """Each frame its own crop and jitter."""
    optim: StepConfig = field(
        default_factory=lambda: StepConfig(learning_rate=1e-4, eps=1.5e-4, weight_decay=0.0, momentum=(0.99, 0.99))
    )
    """Atari-PB: Adam at 1e-4, eps 1.5e-4; the target keeps 0.99 of itself."""

    def __post_init__(self) -> None:
        if self.n_step < 1 or self.atoms < 2 or self.actions < 2 or not self.hidden:
            raise UserError(
                f"distributional CQL has n_step {self.n_step}, {self.atoms} atoms, {self.actions} actions and layers {self.hidden}; give at "
                "least 1 step, 2 atoms, 2 actions and 1 layer."
            )
        if self.alpha < 0 or not self.nearness > 0 or not 0 <= self.gamma < 1:
            raise UserError(
                f"distributional CQL has alpha {self.alpha}, nearness {self.nearness} and gamma {self.gamma}; give an alpha from 0, a "
                "nearness above 0 and a gamma in [0, 1)."
            )

    def code(self) -> C51:
        """Raises UserError where the range is neither given nor told by the labels."""
        low, high = self.returns or returns_of(self.reward, self.gamma)
        if not low < high:
            raise UserError(f"the distribution of returns goes from {low} to {high}; give two rising numbers.")
        return C51(low, high, self.atoms)


class Proposal(NamedTuple):
    """K actions per state and the density they were drawn with."""

    action_BKA: Tensor
    log_density_BK: Tensor


@final
class DistributionalCQL:
    """Implements `robot_pt.objectives.Objective`. Clips are n + 1 steps, of which the first and last are seen."""

    needs: ClassVar[Needs] = Needs("trajectory", actions=True, returns=True)
    trains: Literal["backbone", "encoder"] = "encoder"

    def __init__(
        self, encoder: ImageEncoder, head: DistributionHead, config: DistributionalCQLConfig, *, seed: int = 0
    ):
        self.encoder, self.head, self.config, self.seed = encoder, head, config, seed
        self.code = config.code()
        self.target_encoder, self.target_head = averaged(encoder, 1.0), averaged(head, 1.0)
        self.plan = Ends(config.n_step)
        self.grad_sync: GradSync = no_sync
        self.stepper = Stepper(
            {"encoder": encoder, "head": head}, config.optim,
            averages={"target_encoder": (self.target_encoder, encoder), "target_head": (self.target_head, head)},
        )  # fmt: skip

    @classmethod
    def build(
        cls, spec: Spec, *, image_size: tuple[int, int], task_slots: int, encoder: EncoderConfig,
        config: DistributionalCQLConfig | None = None, bounds: Bounds = BRIDGE_BOUNDS, device: torch.device | str = "cpu", seed: int = 0,
    ) -> DistributionalCQL:  # fmt: skip
        """Fresh weights, fixed by `seed`. Raises UserError where the range of returns is not known."""
        config = config or DistributionalCQLConfig()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = ImageEncoder(encoder, image_size)
            head = DistributionHead(encoder.latent, task_slots, bounds, config)
        return cls(network.to(device), head.to(device), config, seed=seed)

    def update(self, batch: ClipBatch, step: int) -> dict[str, Tensor]:
        frames = view(
            frames_of(batch), batch.sample_key, step, _VIEW, self.config.augment, seed=self.seed, shared=False
        )
        action_BSA = self.head.normalizer.encode(batch.action)
        told = n_step(batch.reward, batch.terminal, batch.valid, self.config.gamma)
        target_BO = self.backup(frames[:, 1], action_BSA[:, -1], told, batch, step)
        near = self.propose(action_BSA[:, :-1], batch, step, _NOW)
        with self.stepper.precision():
            tried_BKA = torch.cat([action_BSA[:, :1], near.action_BKA], dim=1)
            output = self.head(self.encoder(frames[:, 0]), batch.task, tried_BKA)
        q_BK = self.code.decode(output)[0]
        bellman = masked_mean(self.code.loss(output[:, :, 0], target_BO)[0], told.usable_B)
        conservative = masked_mean(conservative_gap(q_BK[:, 1:], near.log_density_BK, q_BK[:, 0]), told.usable_B)
        loss = bellman + self.config.alpha * conservative
        self.stepper.step(loss, step, self.grad_sync)
        return {
            "objective/loss": loss.detach(), "objective/bellman": bellman.detach(), "objective/conservative": conservative.detach(),
            "objective/q_data": q_BK[:, 0].detach().mean(),
        }  # fmt: skip

    @torch.no_grad()
    def backup(self, frame_BHWC: Tensor, action_BA: Tensor, told: NStep, batch: ClipBatch, step: int) -> Tensor:
        """(B, atoms) what p(s, a) should be: rewards and, where the episode goes on, the best action's returns at this frame."""
        near = self.propose(action_BA[:, None], batch, step, _NEXT)
        choice_BKA = torch.cat([action_BA[:, None], near.action_BKA], dim=1)
        with self.stepper.precision():
            output = self.target_head(self.target_encoder(frame_BHWC), batch.task, choice_BKA)
        free_BK = output.new_zeros(choice_BKA.shape[:2])
        return self.code.backup(output, free_BK, told.reward_B, told.discount_B)

    def propose(self, centre_BMA: Tensor, batch: ClipBatch, step: int, stream: int) -> Proposal:
        """K actions per state around M of the data's, normalised."""
        shape = (self.config.actions, centre_BMA.shape[2] + 1)
        uniform = noise.uniform(batch.sample_key, step, stream, shape, seed=self.seed)
        return proposal(centre_BMA, uniform, self.config.nearness)

    def state_dict(self) -> dict[str, Tensor]:
        return self.stepper.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.stepper.load_state_dict(state)


@final
class DistributionHead(nn.Module):
    """Features, task and K actions -> logits of the return (1, B, K, atoms). Holds the action bounds, so they are saved."""

    def __init__(self, latent: int, task_slots: int, bounds: Bounds, config: DistributionalCQLConfig):
        super().__init__()
        self.normalizer, self._task_slots = ActionNormalizer(bounds), task_slots
        self.q = QHeads(
            latent, task_slots, len(bounds.low), config.hidden, 1, config.atoms, normalize=config.normalize_features
        )

    def forward(self, feature_BL: Tensor, task_B: Tensor, action_BKA: Tensor) -> Tensor:
        context_BC = task_context(task_B, feature_BL[:, :0], self._task_slots, 0)
        out: Tensor = self.q(feature_BL, context_BC, action_BKA)
        return out


# Losses and targets.


class NStep(NamedTuple):
    """Of each clip's first step: rewards summed and discounted, the discount of what follows (0 at an end), whether it can be learned."""

    reward_B: Tensor
    discount_B: Tensor
    usable_B: Tensor


def n_step(reward_BS: Tensor, terminal_BS: Tensor, valid_BS: Tensor, gamma: float) -> NStep:
    """Up to S - 1 steps of reward; the frame to bootstrap from is the last of the clip, or of the episode where that is earlier.

    As `robot_pt.transitions`: the sum takes the first terminal step and stops; the reward of an episode's last frame counts only where it
    is terminal; a step with neither an end nor a next frame is not usable.
    """
    alive_B = torch.ones_like(valid_BS[:, 0])
    reward_B, discount_B = torch.zeros_like(reward_BS[:, 0]), torch.ones_like(reward_BS[:, 0])
    for k in range(reward_BS.shape[1] - 1):
        taken_B = alive_B & valid_BS[:, k] & (valid_BS[:, k + 1] | terminal_BS[:, k])
        reward_B = reward_B + torch.where(taken_B, gamma**k * reward_BS[:, k], 0.0)
        discount_B = torch.where(taken_B, gamma ** (k + 1) * torch.ones_like(discount_B), discount_B)
        alive_B = alive_B & ~(taken_B & terminal_BS[:, k])
    return NStep(reward_B, torch.where(alive_B, discount_B, 0.0), valid_BS[:, 1] | terminal_BS[:, 0])


def proposal(centre_BMA: Tensor, uniform_BKD: Tensor, deviation: float) -> Proposal:
    """K actions on [-1, 1]^A, the first half uniform, the others about one of M centres each; uniform: (B, K, A + 1) in (0, 1)."""
    actions = centre_BMA.shape[2]
    which_BK = (uniform_BKD[..., 0] * centre_BMA.shape[1]).long().clamp(max=centre_BMA.shape[1] - 1)
    mean_BKA = centre_BMA.gather(1, which_BK[..., None].expand(-1, -1, actions))
    low, high = (torch.special.ndtr((end - mean_BKA) / deviation) for end in (-1.0, 1.0))
    near_BKA = mean_BKA + deviation * torch.special.ndtri(low + uniform_BKD[..., 1:] * (high - low))
    everywhere_BKA = 2 * uniform_BKD[..., 1:] - 1
    first_K = torch.arange(uniform_BKD.shape[1], device=centre_BMA.device) < uniform_BKD.shape[1] // 2
    action_BKA = torch.where(first_K[:, None], everywhere_BKA, near_BKA.clamp(-1, 1))
    return Proposal(action_BKA, log_density(action_BKA, centre_BMA, deviation, int(first_K.sum()) / len(first_K)))


def log_density(action_BKA: Tensor, centre_BMA: Tensor, deviation: float, uniform_share: float) -> Tensor:
    """(B, K) of the mixture that `proposal` draws from: uniform on the box, and Gaussians about the centres cut at its faces."""
    actions, centres = action_BKA.shape[2], centre_BMA.shape[1]
    low, high = (torch.special.ndtr((end - centre_BMA) / deviation) for end in (-1.0, 1.0))
    log_norm_BM = (high - low).log().sum(-1) + actions * (math.log(deviation) + 0.5 * math.log(2 * math.pi))
    far_BKM = ((action_BKA[:, :, None] - centre_BMA[:, None]) / deviation).square().sum(-1)
    near_BK = (
        torch.logsumexp(-0.5 * far_BKM - log_norm_BM[:, None], dim=-1) - math.log(centres) + math.log1p(-uniform_share)
    )
    return torch.logaddexp(near_BK, torch.full_like(near_BK, math.log(uniform_share) - actions * math.log(2)))


def conservative_gap(q_BK: Tensor, log_density_BK: Tensor, q_data_B: Tensor) -> Tensor:
    """(B,) estimate of log of the integral of exp Q over the action box, less Q of the data's action."""
    return torch.logsumexp(q_BK - log_density_BK, dim=-1) - math.log(q_BK.shape[1]) - q_data_B
