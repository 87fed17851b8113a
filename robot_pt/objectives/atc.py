"""ATC: augmented temporal contrast (arXiv 2009.08319). A frame says which frame of the batch is the one `delta` steps after it.

One update as astooke/rlpyt makes it (rlpyt/ul/algos/ul_for_rl/augmented_temporal_contrast.py, rlpyt/ul/models/ul/atc_models.py), f the
encoder down to its bottleneck, f' its running average, two crops of their own:

    c_i = f(crop(x_i)),  p_i = c_i + MLP(c_i),  k_j = f'(crop'(x_j+delta)) without gradient
    L = cross-entropy of i among (W p_i) . k_j; rows whose episode ended before x_i+delta do not count
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn

from robot_pt.agents import GradSync, no_sync
from robot_pt.agents.state import averaged
from robot_pt.augment import AugmentConfig
from robot_pt.clips import Around, ClipBatch, ClipPlan
from robot_pt.errors import UserError
from robot_pt.networks.encoders import EncoderConfig, ImageEncoder
from robot_pt.normalize import BRIDGE_BOUNDS, Bounds
from robot_pt.objectives import Needs
from robot_pt.objectives.across import contrast, gathered
from robot_pt.objectives.stepper import StepConfig, Stepper
from robot_pt.objectives.views import frames_of, view
from robot_pt.schema import Spec

_ANCHOR, _POSITIVE = 0, 1  # streams of the views


@dataclass(frozen=True, kw_only=True)
class ATCConfig:
    """Defaults of the Atari and DMControl configurations where they agree (rlpyt/ul/experiments/ul_for_rl/configs)."""

    delta: int = 3
    """Steps from a frame to the one it predicts: 3 for Atari and in Atari-PB, 1 for DMControl."""
    spacing: int = 1
    """Positives of one episode that are fewer steps apart are not each other's negatives: 1 leaves out a frame that was drawn twice;
    more for video at 30 Hz, where neighbours look alike; 0 contrasts with all, as published."""
    hidden: int = 512
    """Units of the anchor's MLP."""
    augment: AugmentConfig | None = field(default_factory=lambda: AugmentConfig(jitter_probability=0.0))
    """Random shift by up to 4 pixels, of each frame its own."""
    optim: StepConfig = field(
        default_factory=lambda: StepConfig(
            learning_rate=1e-3, weight_decay=0.0, clip_norm=10.0, final_share=0.0, momentum=(0.99, 0.99)
        )
    )
    """Adam at 1e-3, a tenth of the run warm-up, cosine to 0; the average moves by 0.01."""

    def __post_init__(self) -> None:
        if self.delta < 1 or self.spacing < 0 or self.hidden < 1:
            raise UserError(
                f"ATC needs delta >= 1, spacing >= 0 and hidden >= 1; given {self.delta}, {self.spacing} and {self.hidden}."
            )


@final
class AnchorPredictor(nn.Module):
    """(B, Z) codes of anchors -> (B, Z) W (c + MLP(c)). Keys do not pass through it: with it on both sides nothing is predicted."""

    def __init__(self, latent: int, hidden: int):
        super().__init__()
        self.residual = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, latent))
        self.bilinear = nn.Linear(latent, latent, bias=False)

    def forward(self, code_BZ: Tensor) -> Tensor:
        out: Tensor = self.bilinear(code_BZ + self.residual(code_BZ))
        return out


def temporal_contrast(
    query_BZ: Tensor, key_BZ: Tensor, valid_B: Tensor, near_BN: Tensor, first: int
) -> tuple[Tensor, Tensor]:
    """(loss, share of anchors that find their frame). Keys of all N rows of the batch; row b's own is first + b.

    valid_B: its frame exists. near_BN: rows that are too like a row's own to be its negatives.
    """
    logits_BN = query_BZ.float() @ key_BZ.float().T
    own_B = first + torch.arange(len(query_BZ), device=query_BZ.device)
    return contrast(logits_BN, own_B, valid_B=valid_B, excluded_BN=near_BN)


def near_positives(episode_B: Tensor, step_B: Tensor, episode_N: Tensor, step_N: Tensor, spacing: int) -> Tensor:
    """(B, N) bool: of the same episode and fewer than `spacing` steps apart."""
    return (episode_B[:, None] == episode_N) & ((step_B[:, None] - step_N).abs() < spacing)


@final
class ATC:
    """Implements `robot_pt.objectives.Objective`."""

    needs: ClassVar[Needs] = Needs("video")
    trains: Literal["encoder"] = "encoder"

    def __init__(self, encoder: ImageEncoder, predictor: AnchorPredictor, config: ATCConfig, *, seed: int = 0):
        self.encoder, self.predictor, self.config, self.seed = encoder, predictor, config, seed
        self.target = averaged(encoder, 1.0)
        self.plan: ClipPlan = Around((0, config.delta))
        self.grad_sync: GradSync = no_sync
        self.stepper = Stepper(
            {"encoder": encoder, "predictor": predictor}, config.optim, averages={"target": (self.target, encoder)}
        )

    @classmethod
    def build(
        cls, spec: Spec, *, image_size: tuple[int, int], task_slots: int, encoder: EncoderConfig, config: ATCConfig | None = None,
        bounds: Bounds = BRIDGE_BOUNDS, device: torch.device | str = "cpu", seed: int = 0,
    ) -> ATC:  # fmt: skip
        """Fresh weights, fixed by `seed`; spec, task_slots and bounds are for objectives that learn from actions."""
        config = config or ATCConfig()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = ImageEncoder(encoder, image_size)
            predictor = AnchorPredictor(encoder.latent, config.hidden)
        return cls(network.to(device), predictor.to(device), config, seed=seed)

    def update(self, batch: ClipBatch, step: int) -> dict[str, Tensor]:
        anchor_BHWC, positive_BHWC = self.views(batch, step)
        loss, accuracy = self.loss(anchor_BHWC, positive_BHWC, batch)
        self.stepper.step(loss, step, self.grad_sync)
        return {"objective/loss": loss.detach(), "objective/accuracy": accuracy}

    def views(self, batch: ClipBatch, step: int) -> tuple[Tensor, Tensor]:
        """The anchors and the frames they predict, (B, H, W, 3) uint8 each, under crops of their own."""
        frames_BSHWC, crop = frames_of(batch), self.config.augment
        anchor = view(frames_BSHWC[:, :1], batch.sample_key, step, _ANCHOR, crop, seed=self.seed)
        positive = view(frames_BSHWC[:, 1:], batch.sample_key, step, _POSITIVE, crop, seed=self.seed)
        return anchor[:, 0], positive[:, 0]

    def loss(self, anchor_BHWC: Tensor, positive_BHWC: Tensor, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """(loss, accuracy) of these views."""
        with self.stepper.precision():
            query_BZ = self.predictor(self.encoder(anchor_BHWC))
            with torch.no_grad():
                key_BZ = self.target(positive_BHWC)
        key_NZ, first = gathered(key_BZ)
        episode_N, _ = gathered(batch.episode)
        step_N, _ = gathered(batch.step[:, 1])
        near_BN = near_positives(batch.episode, batch.step[:, 1], episode_N, step_N, self.config.spacing)
        return temporal_contrast(query_BZ, key_NZ, batch.valid.all(1), near_BN, first)

    def state_dict(self) -> dict[str, Tensor]:
        return self.stepper.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.stepper.load_state_dict(state)
