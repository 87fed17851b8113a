"""CURL: tell which two crops are of one frame (Laskin, Srinivas, Abbeel, ICML 2020; MishaLaskin/curl curl_sac.py).

Every frame gives two views with a crop of their own; the query of one must find the key of the other among those of the batch. Keys
come from an averaged copy of the encoder, without gradient. Two forms, which share all else:

* ``projection`` (dojeon-ai/Atari-PB src/trainers/curl.py): query h(g(f(x))), key of the averaged f and g, inner product over a
  temperature; g a two-layer projector, h linear. No normalisation to length 1.
* ``bilinear`` (original): q W k with W uniform in [0, 1) to begin with, straight on the encoder's feature.

Losses of different settings do not rank their features: judge by retrieval (`robot-pt probe`), never by the curve.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

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

_QUERY, _KEY = 0, 1  # streams of the two views


@dataclass(frozen=True, kw_only=True)
class CURLConfig:
    form: Literal["projection", "bilinear"] = "projection"
    temperature: float = 1.0
    """Atari-PB: 1."""
    width: int = 256
    """Of the projected features and the projector's hidden layer (Atari-PB: 512). The bilinear form has the encoder's."""
    other_episodes: bool = False
    """Leave frames of the same episode out of the negatives: wanted where few episodes fill a batch."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: StepConfig = field(default_factory=StepConfig)
    """Atari-PB's rate is 3e-6 for 2 million updates of 512 frames; 3e-4, as its other objectives have, suits short runs."""

    def __post_init__(self) -> None:
        if self.form not in ("projection", "bilinear"):
            raise UserError(f"CURL's form is {self.form!r}; choose projection or bilinear.")
        if not self.temperature > 0 or self.width < 1:
            raise UserError(
                f"CURL's temperature is {self.temperature} and its width {self.width}; give a number above 0 and at least 1."
            )
        if self.augment.pad < 1:
            raise UserError(
                "CURL without a random crop compares a frame with itself and learns nothing; give an augment.pad of at least 1 pixel."
            )


ORIGINAL = CURLConfig(
    form="bilinear", optim=StepConfig(learning_rate=1e-3, weight_decay=0, clip_norm=0, momentum=(0.95, 0.95))
)
"""As published: Adam at 1e-3, the averaged copy moves by 0.05 at each update."""


class CURL:
    """Implements `robot_pt.objectives.Objective`."""

    needs: ClassVar[Needs] = Needs("image")
    trains: Literal["encoder"] = "encoder"

    def __init__(self, encoder: ImageEncoder, latent: int, config: CURLConfig, *, seed: int = 0):
        self.encoder, self.config, self.seed = encoder, config, seed
        self.plan: ClipPlan = Around((0,))
        self.grad_sync: GradSync = no_sync
        if config.form == "projection":
            hidden = nn.Sequential(nn.Linear(latent, config.width), nn.ReLU(inplace=True))
            projector: nn.Module = nn.Sequential(*hidden, nn.Linear(config.width, config.width))
            self.predictor = nn.Linear(config.width, config.width)
        else:
            projector, self.predictor = nn.Identity(), nn.Linear(latent, latent, bias=False)
            nn.init.uniform_(self.predictor.weight)
        device = next(encoder.parameters()).device
        self.query = nn.Sequential(encoder, projector).to(device)
        self.predictor.to(device)
        self.key = averaged(self.query, 1.0)
        self.stepper = Stepper(
            {"encoder": encoder, "projector": projector, "predictor": self.predictor}, config.optim,
            averages={"key": (self.key, self.query)},
        )  # fmt: skip

    @classmethod
    def build(
        cls, spec: Spec, *, image_size: tuple[int, int], task_slots: int, encoder: EncoderConfig, config: CURLConfig | None = None,
        bounds: Bounds = BRIDGE_BOUNDS, device: torch.device | str = "cpu", seed: int = 0,
    ) -> CURL:  # fmt: skip
        """Fresh weights, fixed by `seed`; spec, task_slots and bounds are for objectives that learn from actions."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(ImageEncoder(encoder, image_size).to(device), encoder.latent, config or CURLConfig(), seed=seed)

    def update(self, batch: ClipBatch, step: int) -> dict[str, Tensor]:
        query_BHWC, key_BHWC = self.views(batch, step)
        loss, accuracy = self.loss(query_BHWC, key_BHWC, batch.episode)
        self.stepper.step(loss, step, self.grad_sync)
        return {"objective/loss": loss.detach(), "objective/accuracy": accuracy}

    def views(self, batch: ClipBatch, step: int) -> tuple[Tensor, Tensor]:
        """Two crops of each frame, (B, H, W, 3) uint8 each."""
        frames = frames_of(batch)
        query, key = (
            view(frames, batch.sample_key, step, stream, self.config.augment, seed=self.seed)[:, 0]
            for stream in (_QUERY, _KEY)
        )
        return query, key

    def loss(self, query_BHWC: Tensor, key_BHWC: Tensor, episode_B: Tensor) -> tuple[Tensor, Tensor]:
        """(loss, share of queries that find their key) of two views."""
        with self.stepper.precision():
            query_BZ = self.predictor(self.query(query_BHWC)).float() / self.config.temperature
            with torch.no_grad():
                key_BZ = self.key(key_BHWC).float()
        key_NZ, first = gathered(key_BZ)
        excluded_BN = episode_B[:, None] == gathered(episode_B)[0] if self.config.other_episodes else None
        target_B = first + torch.arange(len(query_BZ), device=query_BZ.device)
        return contrast(query_BZ @ key_NZ.T, target_B, excluded_BN=excluded_BN)

    def state_dict(self) -> dict[str, Tensor]:
        return self.stepper.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.stepper.load_state_dict(state)
