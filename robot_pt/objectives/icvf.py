"""ICVF: values of every outcome under every intent, learned from video (arXiv 2304.04782); the pretraining of V-PTR (arXiv 2309.13041).

V(s, s+, z) is minus the discounted steps until s+ is seen, by one who wants z. One update as dibyaghosh/icvf_release makes it
(src/icvf_learner.py, src/icvf_networks.py), V' a running average of V and its encoder, two heads each:

    A = r(s,z) + gamma(s,z) min V'(s',z,z) - mean V'(s,z,z)          did the video go towards z here?
    L = sum over heads of mean |tau - 1(A < 0)| (r(s,s+) + gamma(s,s+) V'(s',s+,z) - V(s,s+,z))^2

with r = 0 and gamma = 0 where the goal is s itself, r = -1 and gamma elsewhere. V(s, s+, z) = (A T(z) phi(s)) . (B T(z) psi(s+)), T(z)
diagonal and made from psi(z); phi reads what a policy will read, the encoder's feature.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Literal, NamedTuple, final

import numpy as np
import torch
from torch import Tensor, nn

from robot_pt import noise
from robot_pt.agents import GradSync, no_sync
from robot_pt.agents.state import averaged
from robot_pt.augment import AugmentConfig
from robot_pt.clips import ClipBatch, ClipPlan
from robot_pt.errors import UserError
from robot_pt.networks.encoders import EncoderConfig, ImageEncoder
from robot_pt.normalize import BRIDGE_BOUNDS, Bounds
from robot_pt.objectives import Needs
from robot_pt.objectives.across import everyone, gathered, masked_mean, shared
from robot_pt.objectives.negatives import other_rows
from robot_pt.objectives.stepper import StepConfig, Stepper
from robot_pt.objectives.views import frames_of, over_frames, view
from robot_pt.schema import Int, Spec

_VIEW, _KIND, _OTHERS = 0, 2, 3  # stream of the view; the goals', which the view leaves free
_NOW, _NEXT, _OUTCOME, _INTENT = range(4)


@dataclass(frozen=True, kw_only=True)
class ICVFConfig:
    """Defaults of the released image experiment (experiments/xmagical/train_icvf.py, src/gc_dataset.py)."""

    gamma: float = 0.99
    """Discount per step of the data."""
    expectile: float = 0.9
    """Weight of steps that went towards the intent; the others weigh 1 - expectile. 0.5 learns the values of the video's own way."""
    current_goals: float = 0.2
    """Share of outcomes and of intents that are the frame itself."""
    future_goals: float = 0.5
    """Share that are a later frame of the episode; the rest are frames of other clips, uniform over the data."""
    same_goal: float = 0.5
    """Share of clips whose outcome is their intent."""
    hidden: tuple[int, ...] = (256, 256)
    """Layers of phi, psi and T."""
    augment: AugmentConfig | None = field(default_factory=lambda: AugmentConfig(jitter_probability=0.0))
    """One random shift for all frames of a clip."""
    optim: StepConfig = field(
        default_factory=lambda: StepConfig(
            learning_rate=5e-5, eps=3.125e-4, weight_decay=0.0, clip_norm=0.0, warmup_share=0.0, final_share=1.0,
            momentum=(0.995, 0.995),
        )
    )  # fmt: skip
    """Adam at a constant rate; the average moves by 0.005."""

    def __post_init__(self) -> None:
        if not 0 < self.gamma < 1 or not 0 < self.expectile < 1:
            raise UserError(
                f"ICVF's gamma and expectile are {self.gamma} and {self.expectile}; give numbers between 0 and 1."
            )
        shares = (self.current_goals, self.future_goals, self.same_goal)
        if not all(0 <= s <= 1 for s in shares) or self.current_goals + self.future_goals > 1:
            raise UserError(
                f"ICVF's current_goals, future_goals and same_goal are {shares}; give shares in [0, 1], the first two not above 1 together."
            )
        if not self.hidden or min(self.hidden) < 1:
            raise UserError(f"ICVF's hidden layers are {self.hidden}; give at least one width, such as (256, 256).")


@final
class ICVFFrames:
    """Frames (s, s + 1, outcome, intent): s the anchor, the others later frames of its episode, s to the last.

    A later frame is round(s + u (last - s)) with u uniform (src/gc_dataset.py), so both ends have half the weight of the frames between.
    At the last frame there is no next one, which makes the clip invalid.
    """

    frames = 4

    def steps(self, rng: np.random.Generator, anchor_B: Int, length_B: Int) -> Int:
        left_B = length_B - 1 - anchor_B
        ahead_B2 = np.rint(rng.random((len(anchor_B), 2)) * left_B[:, None]).astype(np.int64)
        out: Int = np.concatenate([np.stack([anchor_B, anchor_B + 1], axis=1), anchor_B[:, None] + ahead_B2], axis=1)
        return out


class Goal(NamedTuple):
    """Where each clip's goal is: frame `frame` of clip `row`."""

    row: Tensor  # (B,) int64
    frame: Tensor  # (B,) int64
    reached: Tensor  # (B,) bool: it is the clip's own s


@final
class IntentValue(nn.Module):
    """(..., Z) features of s, s+ and z -> (...,) V, multilinear in phi(s), psi(s+) and T(z)."""

    def __init__(self, latent: int, hidden: tuple[int, ...]):
        super().__init__()
        width = hidden[-1]
        self.phi, self.psi, self.intent = _layers(latent, hidden), _layers(latent, hidden), _layers(width, hidden)
        self.left, self.right = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, state: Tensor, outcome: Tensor, intent: Tensor) -> Tensor:
        diagonal = self.intent(self.psi(intent))
        out: Tensor = (self.left(diagonal * self.phi(state)) * self.right(diagonal * self.psi(outcome))).sum(-1)
        return out


@final
class ValueHeads(nn.Module):
    """Two `IntentValue`s of their own weights: -> (2, ...)."""

    def __init__(self, latent: int, hidden: tuple[int, ...]):
        super().__init__()
        self.heads = nn.ModuleList(IntentValue(latent, hidden) for _ in range(2))

    def forward(self, state: Tensor, outcome: Tensor, intent: Tensor) -> Tensor:
        return torch.stack([head(state, outcome, intent).float() for head in self.heads])


def backup(next_value: Tensor, reached_B: Tensor, gamma: float) -> Tensor:
    """r + gamma V' of (..., B) values at s': 0 where s is the goal."""
    return torch.where(reached_B, torch.zeros_like(next_value), gamma * next_value - 1)


def advantage(next_EB: Tensor, now_EB: Tensor, reached_B: Tensor, gamma: float) -> Tensor:
    """(B,) of the step s -> s' for one who wants z; V'(s',z,z) and V'(s,z,z) by head."""
    return backup(next_EB.min(0).values, reached_B, gamma) - now_EB.mean(0)


def icvf_loss(value_EB: Tensor, target_EB: Tensor, advantage_B: Tensor, valid_B: Tensor, expectile: float) -> Tensor:
    """The squared errors of both heads, weighted by the *sign of the advantage* towards the intent, not by the error's own."""
    weight_B = torch.where(advantage_B >= 0, expectile, 1 - expectile)
    return masked_mean((weight_B * (target_EB - value_EB).square()).sum(0), valid_B)


def choose_goals(batch: ClipBatch, step: int, config: ICVFConfig, *, seed: int) -> tuple[Goal, Goal]:
    """(outcomes, intents). A goal from all of the data is another clip's s: anchors are uniform over the data, so it is too."""
    key_B = batch.sample_key
    kind_B3 = noise.uniform(key_B, step, _KIND, (3,), seed=seed)
    others_2B = other_rows(key_B, step, _OTHERS, 2, seed=seed)
    own_B = torch.arange(len(key_B), device=key_B.device)
    places = []
    for i, later in enumerate((_OUTCOME, _INTENT)):
        current = kind_B3[:, i] < config.current_goals
        future = kind_B3[:, i] < config.current_goals + config.future_goals
        row = torch.where(future, own_B, others_2B[i])
        places.append((row, torch.where(future & ~current, later, _NOW)))
    same = kind_B3[:, 2] < config.same_goal
    intent = places[1]
    outcome = (torch.where(same, intent[0], places[0][0]), torch.where(same, intent[1], places[0][1]))
    return _goal(batch, *outcome), _goal(batch, *intent)


@final
class ICVF:
    """Implements `robot_pt.objectives.Objective`."""

    needs: ClassVar[Needs] = Needs("video")
    trains: Literal["encoder"] = "encoder"

    def __init__(self, encoder: ImageEncoder, heads: ValueHeads, config: ICVFConfig, *, seed: int = 0):
        self.encoder, self.heads, self.config, self.seed = encoder, heads, config, seed
        self.plan: ClipPlan = ICVFFrames()
        self.grad_sync: GradSync = no_sync
        self.target_encoder, self.target_heads = averaged(encoder, 1.0), averaged(heads, 1.0)
        self.stepper = Stepper(
            {"encoder": encoder, "heads": heads}, config.optim,
            averages={"target_encoder": (self.target_encoder, encoder), "target_heads": (self.target_heads, heads)},
        )  # fmt: skip

    @classmethod
    def build(
        cls, spec: Spec, *, image_size: tuple[int, int], task_slots: int, encoder: EncoderConfig, config: ICVFConfig | None = None,
        bounds: Bounds = BRIDGE_BOUNDS, device: torch.device | str = "cpu", seed: int = 0,
    ) -> ICVF:  # fmt: skip
        """Fresh weights, fixed by `seed`; spec, task_slots and bounds are for objectives that learn from actions."""
        config = config or ICVFConfig()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network, heads = ImageEncoder(encoder, image_size), ValueHeads(encoder.latent, config.hidden)
        return cls(network.to(device), heads.to(device), config, seed=seed)

    def update(self, batch: ClipBatch, step: int) -> dict[str, Tensor]:
        frames = view(frames_of(batch), batch.sample_key, step, _VIEW, self.config.augment, seed=self.seed)
        whole = everyone(batch)
        loss, metrics = self.loss(frames, whole, *choose_goals(whole, step, self.config, seed=self.seed))
        self.stepper.step(loss, step, self.grad_sync)
        return {"objective/loss": loss.detach(), **metrics}

    def loss(
        self, frames_BSHWC: Tensor, batch: ClipBatch, outcome: Goal, intent: Goal
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of these views, and what to log. Clips without a next frame do not count; their s may be another's goal.

        frames_BSHWC: of this process; batch and goals: of all (`across.everyone`).
        """
        gamma, valid_B = self.config.gamma, batch.valid.all(1)
        with self.stepper.precision():
            code_BSZ = shared(over_frames(self.encoder, frames_BSHWC))
            value_EB = self.heads(
                code_BSZ[:, _NOW], code_BSZ[outcome.row, outcome.frame], code_BSZ[intent.row, intent.frame]
            )
        with torch.no_grad(), self.stepper.precision():
            kept_BSZ, _ = gathered(over_frames(self.target_encoder, frames_BSHWC))
            now, then = kept_BSZ[:, _NOW], kept_BSZ[:, _NEXT]
            s, z = kept_BSZ[outcome.row, outcome.frame], kept_BSZ[intent.row, intent.frame]
            next_EB, next_wanted_EB, wanted_EB = self.target_heads(
                torch.stack([then, then, now]), torch.stack([s, z, z]), torch.stack([z, z, z])
            ).unbind(1)
        target_EB = backup(next_EB, outcome.reached, gamma)
        advantage_B = advantage(next_wanted_EB, wanted_EB, intent.reached, gamma)
        loss = icvf_loss(value_EB, target_EB, advantage_B, valid_B, self.config.expectile)
        return loss, {
            "objective/value": masked_mean(value_EB.detach().mean(0), valid_B),
            "objective/advantage": masked_mean(advantage_B, valid_B),
            "objective/towards": masked_mean((advantage_B >= 0).float(), valid_B),
        }

    def state_dict(self) -> dict[str, Tensor]:
        return self.stepper.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.stepper.load_state_dict(state)


def _goal(batch: ClipBatch, row_B: Tensor, frame_B: Tensor) -> Goal:
    same_episode = batch.episode[row_B] == batch.episode
    return Goal(row_B, frame_B, same_episode & (batch.step[row_B, frame_B] == batch.step[:, _NOW]))


def _layers(inputs: int, hidden: tuple[int, ...]) -> nn.Sequential:
    return nn.Sequential(
        *(m for i, o in pairwise((inputs, *hidden)) for m in (nn.Linear(i, o), nn.GELU(), nn.LayerNorm(o)))
    )
