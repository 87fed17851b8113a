"""VIP: a code in which the distance to the goal is minus its value (arXiv 2210.00030). What it needs is order in time, nothing else.

One update as facebookresearch/vip makes it (vip/trainer.py), with V(x, g) = -|phi(x) - phi(g)|, a piece of video from frame 0 to its
goal g, a step k, k+1 of it and the same step of three other clips, marked ':

    L = (1 - gamma) mean -V(0,g) + log mean exp(1 + V(k,g) - gamma V(k+1,g)) + log mean exp(1 + V(k',g) - gamma V(k'+1,g))
        + l1 mean |phi|_1 + l2 mean |phi|_2

The reward is -1 at every step before the goal, so V goes to minus the discounted steps that are left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor, nn

from robot_pt.agents import GradSync, no_sync
from robot_pt.clips import ClipBatch, ClipPlan
from robot_pt.errors import UserError
from robot_pt.networks.encoders import EncoderConfig, ImageEncoder
from robot_pt.normalize import BRIDGE_BOUNDS, Bounds
from robot_pt.objectives import Needs
from robot_pt.objectives.across import everyone, masked_mean, shared
from robot_pt.objectives.negatives import other_rows
from robot_pt.objectives.stepper import StepConfig, Stepper
from robot_pt.objectives.views import frames_of, over_frames, resized_crop
from robot_pt.schema import Int, Spec

EPSILON = 1e-8
"""Added inside both logarithms, as published."""

_VIEW, _OTHERS = 0, 2  # stream of the view; the negatives', which the view leaves free


@dataclass(frozen=True, kw_only=True)
class VIPConfig:
    """Defaults of the released training run (facebookresearch/vip README, vip/cfgs)."""

    gamma: float = 0.98
    """Discount per step of the data."""
    width: int = 1024
    """Of phi, one linear layer on the encoder; 0 takes the encoder's own feature, which its tanh bounds."""
    negatives: int = 3
    """Steps of other clips per clip; 0 for none."""
    l1_weight: float = 1e-3
    l2_weight: float = 1e-3
    crop_scale: tuple[float, float] | None = (0.2, 1.0)
    """Share of the frame in the resized crop, one for all frames of a clip; None takes frames as they are."""
    optim: StepConfig = field(
        default_factory=lambda: StepConfig(
            learning_rate=1e-4, weight_decay=0.0, clip_norm=0.0, warmup_share=0.0, final_share=1.0
        )
    )
    """Adam at a constant rate."""

    def __post_init__(self) -> None:
        if not 0 < self.gamma < 1:
            raise UserError(f"VIP's gamma is {self.gamma}; give a discount between 0 and 1, such as 0.98.")
        if min(self.width, self.negatives, self.l1_weight, self.l2_weight) < 0:
            raise UserError(
                f"VIP's width, negatives, l1_weight and l2_weight are {self.width}, {self.negatives}, {self.l1_weight} and "
                f"{self.l2_weight}; give none below 0."
            )


@final
class VIPFrames:
    """Frames (0, g, k, k + 1) of an episode of L frames, counted from its first (vip/utils/data_loaders.py).

    0 uniform in 0..L - 3, g uniform after it, k uniform from 0 to before g. An episode of two frames gives its only step, one of a
    single frame nothing: g lies outside it. Episodes come in proportion to their length, where the original draws each clip alike.
    """

    frames = 4

    def steps(self, rng: np.random.Generator, anchor_B: Int, length_B: Int) -> Int:
        first = rng.integers(0, np.maximum(length_B - 2, 1))
        goal = rng.integers(first + 1, np.maximum(length_B, 2))
        now = rng.integers(first, goal)
        return np.stack([first, goal, now, now + 1], axis=1)


def value(code: Tensor, goal: Tensor) -> Tensor:
    """V: (..., Z) and (..., Z) -> (...,), never above 0."""
    distance: Tensor = torch.linalg.vector_norm(code - goal, dim=-1)
    return -distance


def vip_loss(first_B: Tensor, now_KB: Tensor, next_KB: Tensor, valid_KB: Tensor, gamma: float) -> Tensor:
    """The loss of values.

    Args:
        first_B: V(0,g).
        now_KB, next_KB: V(k,g) and V(k+1,g); row 0 of the clip itself, the others of steps of other clips.
        valid_KB: which of them count; row 0 is that of V(0,g) too.
    """
    surprise_KB = 1 + now_KB - gamma * next_KB  # -(r + gamma V' - V) with r = -1
    loss = (1 - gamma) * masked_mean(-first_B, valid_KB[0]) + log_mean_exp(surprise_KB[0], valid_KB[0])
    if len(surprise_KB) > 1:
        loss = loss + log_mean_exp(surprise_KB[1:], valid_KB[1:])
    return loss


def log_mean_exp(x: Tensor, valid: Tensor) -> Tensor:
    """log(EPSILON + mean of e^x over the valid), log EPSILON without one. A mean inside a logarithm does not split over processes: x is of
    the clips of all of them."""
    lowest = x.masked_fill(~valid, -1e30)  # finite: no NaN in the gradient where nothing is valid
    mean = lowest.flatten().logsumexp(0) - valid.sum().clamp(min=1).to(x.dtype).log()
    return torch.logaddexp(mean, mean.new_tensor(math.log(EPSILON)))


@final
class VIP:
    """Implements `robot_pt.objectives.Objective`."""

    needs: ClassVar[Needs] = Needs("video")
    trains: Literal["encoder"] = "encoder"

    def __init__(self, encoder: ImageEncoder, latent: int, config: VIPConfig, *, seed: int = 0):
        self.encoder, self.config, self.seed = encoder, config, seed
        self.plan: ClipPlan = VIPFrames()
        self.grad_sync: GradSync = no_sync
        head: nn.Module = nn.Linear(latent, config.width) if config.width else nn.Identity()
        self.head = head.to(next(encoder.parameters()).device)
        self.stepper = Stepper({"encoder": encoder, "head": self.head}, config.optim)

    @classmethod
    def build(
        cls, spec: Spec, *, image_size: tuple[int, int], task_slots: int, encoder: EncoderConfig, config: VIPConfig | None = None,
        bounds: Bounds = BRIDGE_BOUNDS, device: torch.device | str = "cpu", seed: int = 0,
    ) -> VIP:  # fmt: skip
        """Fresh weights, fixed by `seed`; spec, task_slots and bounds are for objectives that learn from actions."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(ImageEncoder(encoder, image_size).to(device), encoder.latent, config or VIPConfig(), seed=seed)

    def update(self, batch: ClipBatch, step: int) -> dict[str, Tensor]:
        frames = frames_of(batch)
        if self.config.crop_scale is not None:
            frames = resized_crop(frames, batch.sample_key, step, _VIEW, seed=self.seed, scale=self.config.crop_scale)
        loss, metrics = self.loss(shared(self.phi(frames)), everyone(batch), step)
        self.stepper.step(loss, step, self.grad_sync)
        return {"objective/loss": loss.detach(), **metrics}

    def phi(self, frames_BSHWC: Tensor) -> Tensor:
        """uint8 (B, S, H, W, 3) -> (B, S, width), in which distances are minus values."""
        with self.stepper.precision():
            return over_frames(lambda x: self.head(self.encoder(x)), frames_BSHWC).float()

    def loss(self, phi_BSZ: Tensor, batch: ClipBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """All terms of these codes; clips with a frame that is not there count in none."""
        config, valid_B = self.config, batch.valid.all(1)
        first, goal, now, then = phi_BSZ.unbind(1)
        rows_KB = torch.arange(len(now), device=now.device)[None]
        if config.negatives:
            others_NB = other_rows(batch.sample_key, step, _OTHERS, config.negatives, seed=self.seed)
            rows_KB = torch.cat([rows_KB, others_NB])
        first_B, now_KB, next_KB = value(first, goal), value(now[rows_KB], goal), value(then[rows_KB], goal)
        time = vip_loss(first_B, now_KB, next_KB, valid_B & valid_B[rows_KB], config.gamma)
        l1 = masked_mean(torch.linalg.vector_norm(phi_BSZ, ord=1, dim=-1).mean(1), valid_B)
        l2 = masked_mean(torch.linalg.vector_norm(phi_BSZ, dim=-1).mean(1), valid_B)
        nearer = masked_mean((next_KB[0] > now_KB[0]).float(), valid_B)
        metrics = {"time": time, "value": masked_mean(first_B, valid_B), "nearer": nearer, "l1": l1, "l2": l2}
        total = time + config.l1_weight * l1 + config.l2_weight * l2
        return total, {f"objective/{name}": x.detach() for name, x in metrics.items()}

    def state_dict(self) -> dict[str, Tensor]:
        return self.stepper.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.stepper.load_state_dict(state)
