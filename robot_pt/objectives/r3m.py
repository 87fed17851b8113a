"""R3M: frames that are near in time are near in code, and a sentence scores how far its clip has come (arXiv 2203.12601).

One update as facebookresearch/r3m makes it (r3m/trainer.py, r3m/models/models_r3m.py), with S(x, y) = -|x - y|, frames 0 (first), g
(last) and s0 < s1 < s2 of a clip, and frames s0', s2' of three other clips:

    time       -log e^S(s2,s1) / (e^S(s2,s1) + e^S(s2,s0) + sum e^S(s2,s2'))  and
               -log e^S(s1,s0) / (e^S(s1,s0) + e^S(s2,s0) + sum e^S(s0,s0')),  their mean
    language   -log e^G(0,t,l) / (e^G(0,t,l) + e^G(0,n,l) + sum e^G(0',t',l))  for (t, n) = (g,0), (s1,s0), (s2,s1), their mean;
               0 for a clip without a sentence l
    sparsity   l1 mean |e|_1 + l2 mean |e|_2 over all frames

Differences, each against a mistake of the original: other clips are others (it draws permutations, in which a clip may stay in its place);
s2 comes after s1 (it may be s1, where the distance has no gradient); a clip of the same episode or, for the language term, with the same
sentence is no negative. Sentences are features of `robot_pt.language` or a table of any text encoder's, where it has DistilBERT inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor, nn

from robot_pt.agents import GradSync, no_sync
from robot_pt.clips import ClipBatch, ClipPlan
from robot_pt.errors import UserError
from robot_pt.language import LANGUAGE_DIM
from robot_pt.networks.encoders import EncoderConfig, ImageEncoder
from robot_pt.networks.linear import Linear
from robot_pt.normalize import BRIDGE_BOUNDS, Bounds
from robot_pt.objectives import Needs
from robot_pt.objectives.across import everyone, masked_mean, shared
from robot_pt.objectives.negatives import other_rows
from robot_pt.objectives.stepper import StepConfig, Stepper
from robot_pt.objectives.views import frames_of, over_frames, resized_crop
from robot_pt.schema import Int, Spec

EPSILON = 1e-8
"""Added inside the logarithms, as published: a probability below it counts as it."""

_VIEW, _TIME, _LANGUAGE = 0, 2, 3  # stream of the view; those of the negatives, which it leaves free


@dataclass(frozen=True, kw_only=True)
class R3MConfig:
    """Defaults of the README's command (facebookresearch/r3m) where it and cfgs/config_rep.yaml differ."""

    alpha: float = 0.2
    """Share of the clip at its ends that the first and the last frame come from."""
    time_weight: float = 1.0
    language_weight: float = 1.0
    """0 in the configuration file, 1 in the command that trained the released models."""
    l1_weight: float = 1e-5
    l2_weight: float = 1e-5
    negatives: int = 3
    """Other clips per loss."""
    hidden: int = 1024
    """Units of each hidden layer of G."""
    language: int = LANGUAGE_DIM
    """Length of a sentence's features: of `robot_pt.language`, or of the file."""
    captions: str = ""
    """File of sentence features (`robot_pt.captions`) instead of hashed words, and what it held; empty for none."""
    captions_version: str = ""
    crop_scale: tuple[float, float] | None = (0.2, 1.0)
    """Share of the frame in the resized crop, one for all frames of a clip; None takes frames as they are."""
    optim: StepConfig = field(
        default_factory=lambda: StepConfig(
            learning_rate=1e-4, weight_decay=0.0, clip_norm=0.0, warmup_share=0.0, final_share=1.0
        )
    )
    """Adam at a constant rate."""

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 0.5:
            raise UserError(f"R3M's alpha is {self.alpha}; give a share of the clip in [0, 0.5].")
        weights = (self.time_weight, self.language_weight, self.l1_weight, self.l2_weight)
        if min(weights) < 0 or self.time_weight + self.language_weight == 0:
            raise UserError(
                f"R3M's weights of time, language, L1 and L2 are {weights}; none below 0, time or language above it."
            )
        if min(self.negatives, self.hidden, self.language) < 1:
            raise UserError(
                f"R3M needs at least 1 negative, hidden unit and language feature; given {self.negatives}, {self.hidden} and {self.language}."
            )


@final
class R3MFrames:
    """Frames (0, g, s0, s1, s2) of a clip of L frames, counted from 0 (the original counts from 1: r3m/utils/data_loaders.py).

    0 in 0..int(alpha L); g in int((1 - alpha) L) - 2..L - 2; s1 in 1..L - 2; s0 in 0..s1 - 1; s2 in s1 + 1..L - 1, each uniform. Below 3
    frames there is no such clip: s2 lies outside the episode, which makes it invalid. Episodes come in proportion to their length, where
    the original draws each clip alike.
    """

    frames = 5

    def __init__(self, alpha: float):
        self._alpha = alpha

    def steps(self, rng: np.random.Generator, anchor_B: Int, length_B: Int) -> Int:
        first = rng.integers(0, (self._alpha * length_B).astype(np.int64), endpoint=True)
        low = np.maximum(((1 - self._alpha) * length_B).astype(np.int64) - 2, 0)
        goal = rng.integers(low, np.maximum(length_B - 2, low), endpoint=True)
        middle = rng.integers(1, np.maximum(length_B - 2, 1), endpoint=True)
        before = rng.integers(0, middle)
        after = rng.integers(middle + 1, np.maximum(length_B - 1, middle + 1), endpoint=True)
        return np.stack([first, goal, before, middle, after], axis=1)


@final
class LanguageReward(nn.Module):
    """G: (..., Z) first frame, (..., Z) later frame, (..., L) sentence -> (...,) how much of it was done. Five layers."""

    def __init__(self, latent: int, language: int, hidden: int):
        super().__init__()
        widths = (2 * latent + language, hidden, hidden, hidden, hidden)
        layers = [m for i, o in pairwise(widths) for m in (Linear(i, o), nn.ReLU())]
        self.layers = nn.Sequential(*layers, Linear(hidden, 1))

    def forward(self, first: Tensor, later: Tensor, sentence: Tensor) -> Tensor:
        out: Tensor = self.layers(torch.cat([first, later, sentence], dim=-1))
        return out.squeeze(-1)


def similarity(x: Tensor, y: Tensor) -> Tensor:
    distance: Tensor = torch.linalg.vector_norm(x - y, dim=-1)
    return -distance


def info_nce(positive_B: Tensor, negative_NB: Tensor, usable_NB: Tensor) -> Tensor:
    """(B,) -log(EPSILON + e^positive / (e^positive + sum of the usable e^negative))."""
    scores = torch.cat([positive_B[None], negative_NB.masked_fill(~usable_NB, -torch.inf)])
    return -(EPSILON + scores.softmax(0)[0]).log()


def time_contrast(
    code_BSZ: Tensor, late_NB: Tensor, early_NB: Tensor, usable: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """((B,) loss, (B,) whether s1 is nearer than s0 to s2 and nearer than s2 to s0).

    late_NB, early_NB: rows whose s2, and whose s0, are negatives. usable: (N, B) bool for each.
    """
    _, _, s0, s1, s2 = code_BSZ.unbind(1)
    near_21, far_20, near_10 = similarity(s2, s1), similarity(s2, s0), similarity(s1, s0)
    within = torch.ones_like(usable[0][:1])
    late = info_nce(near_21, torch.cat([far_20[None], similarity(s2, s2[late_NB])]), torch.cat([within, usable[0]]))
    early = info_nce(near_10, torch.cat([far_20[None], similarity(s0, s0[early_NB])]), torch.cat([within, usable[1]]))
    return (late + early) / 2, (near_21 > far_20) & (near_10 > far_20)


def language_contrast(
    reward: LanguageReward, code_BSZ: Tensor, sentence_BL: Tensor, other_3NB: Tensor, usable_3NB: Tensor
) -> tuple[Tensor, Tensor]:
    """((B,) loss, 0 without a sentence; (B,) share of the three in which the right frame scores highest of all).

    other_3NB: rows of the negatives of (0,g), (0,s1) and (0,s2); usable_3NB: which of them count.
    """
    first, goal, s0, s1, s2 = code_BSZ.unbind(1)
    losses, won = [], []
    for later, wrong, rows_NB, usable_NB in zip((goal, s1, s2), (first, s0, s1), other_3NB, usable_3NB, strict=True):
        starts = torch.cat([first[None], first[None], first[rows_NB]])  # (2 + N, B, Z)
        ends = torch.cat([later[None], wrong[None], later[rows_NB]])
        score = reward(starts, ends, sentence_BL.expand(len(starts), -1, -1)).float()
        usable = torch.cat([torch.ones_like(usable_NB[:1]), usable_NB])
        losses.append(info_nce(score[0], score[1:], usable))
        won.append((score[0] > score[1:].masked_fill(~usable, -torch.inf).max(0).values).float())
    said_B = sentence_BL.any(1)
    return torch.where(said_B, torch.stack(losses).mean(0), 0), torch.stack(won).mean(0)


@final
class R3M:
    """Implements `robot_pt.objectives.Objective`. Codes are the encoder's own: there is no projector to throw away."""

    needs: Needs = Needs("video", language=LANGUAGE_DIM)
    trains: Literal["encoder"] = "encoder"

    def __init__(self, encoder: ImageEncoder, reward: LanguageReward, config: R3MConfig, *, seed: int = 0):
        self.encoder, self.reward, self.config, self.seed = encoder, reward, config, seed
        self.plan: ClipPlan = R3MFrames(config.alpha)
        self.needs = Needs("video", language=config.language)
        self.grad_sync: GradSync = no_sync
        self.stepper = Stepper({"encoder": encoder, "reward": reward}, config.optim)

    @classmethod
    def build(
        cls, spec: Spec, *, image_size: tuple[int, int], task_slots: int, encoder: EncoderConfig, config: R3MConfig | None = None,
        bounds: Bounds = BRIDGE_BOUNDS, device: torch.device | str = "cpu", seed: int = 0,
    ) -> R3M:  # fmt: skip
        """Fresh weights, fixed by `seed`; spec, task_slots and bounds are for objectives that learn from actions."""
        config = config or R3MConfig()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = ImageEncoder(encoder, image_size)
            reward = LanguageReward(encoder.latent, config.language, config.hidden)
        return cls(network.to(device), reward.to(device), config, seed=seed)

    def update(self, batch: ClipBatch, step: int) -> dict[str, Tensor]:
        frames = frames_of(batch)
        if self.config.crop_scale is not None:
            frames = resized_crop(frames, batch.sample_key, step, _VIEW, seed=self.seed, scale=self.config.crop_scale)
        with self.stepper.precision():
            code_BSZ = over_frames(self.encoder, frames)
        loss, metrics = self.loss(shared(code_BSZ.float()), everyone(batch), step)
        self.stepper.step(loss, step, self.grad_sync)
        return {"objective/loss": loss.detach(), **metrics}

    def loss(self, code_BSZ: Tensor, batch: ClipBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """All terms of these codes; clips with a frame that is not there count in none."""
        config, valid_B = self.config, batch.valid.all(1)
        l1 = masked_mean(torch.linalg.vector_norm(code_BSZ, ord=1, dim=-1).mean(1), valid_B)
        l2 = masked_mean(torch.linalg.vector_norm(code_BSZ, dim=-1).mean(1), valid_B)
        loss = config.l1_weight * l1 + config.l2_weight * l2
        metrics = {"objective/l1": l1, "objective/l2": l2}
        if config.time_weight:
            time, aligned = (masked_mean(v.float(), valid_B) for v in self._time(code_BSZ, batch, step))
            loss = loss + config.time_weight * time
            metrics |= {"objective/time": time, "objective/aligned": aligned}
        if config.language_weight:
            language_B, won_B = self._language(code_BSZ, batch, step)
            language, won = masked_mean(language_B, valid_B), masked_mean(won_B, valid_B & batch.language.any(1))
            loss = loss + config.language_weight * language
            metrics |= {"objective/language": language, "objective/language_accuracy": won}
        return loss, {name: value.detach() for name, value in metrics.items()}

    def _time(self, code_BSZ: Tensor, batch: ClipBatch, step: int) -> tuple[Tensor, Tensor]:
        count = self.config.negatives
        late, early = other_rows(batch.sample_key, step, _TIME, 2 * count, seed=self.seed).view(2, count, -1)
        usable = (batch.episode[late] != batch.episode, batch.episode[early] != batch.episode)
        return time_contrast(code_BSZ, late, early, usable)

    def _language(self, code_BSZ: Tensor, batch: ClipBatch, step: int) -> tuple[Tensor, Tensor]:
        count, said_BL = self.config.negatives, batch.language
        rows_3NB = other_rows(batch.sample_key, step, _LANGUAGE, 3 * count, seed=self.seed).view(3, count, -1)
        usable_3NB = (batch.episode[rows_3NB] != batch.episode) & (said_BL[rows_3NB] != said_BL).any(-1)
        with self.stepper.precision():
            return language_contrast(self.reward, code_BSZ, said_BL, rows_3NB, usable_3NB)

    def state_dict(self) -> dict[str, Tensor]:
        return self.stepper.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.stepper.load_state_dict(state)
