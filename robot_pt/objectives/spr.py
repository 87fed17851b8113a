"""SPR: predict the features of the next frames from one frame and the actions (arXiv 2007.05929; mila-iqia/spr src/models.py).

    z_0 = f(x_0),   z_k+1 = T(z_k, a_k),   y_k = f'(x_k) without gradient, f' and g' running averages of f and g

* ``cosine`` (original): L = mean over k = 1..K of |u(h(g(z_k))) - u(g'(y_k))|^2 = 2 - 2 cos, u = to length 1;
* ``contrastive`` (dojeon-ai/Atari-PB src/trainers/spr.py): cross-entropy of finding g'(y_k) by inner product among all clips and steps.

T gets the action that was taken at x_k, not the one that led to it. Latents are scaled to [0, 1] per sample, those of the rollout too:
otherwise they leave the range that h and g know from frames. Steps after the episode's end are neither predicted nor negatives, and a
frame that is in the batch twice is not its own negative. Atari-PB does neither.

Where the original rolls a convolutional map forward, here, as in Atari-PB, it is the encoder's feature vector, so that pooling and
bottleneck are trained too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Self, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robot_pt.agents import GradSync, no_sync
from robot_pt.agents.state import averaged
from robot_pt.augment import AugmentConfig
from robot_pt.clips import Around, ClipBatch
from robot_pt.errors import UserError
from robot_pt.networks.encoders import EncoderConfig, ImageEncoder
from robot_pt.normalize import BRIDGE_BOUNDS, ActionNormalizer, Bounds
from robot_pt.objectives import Needs
from robot_pt.objectives.across import contrast, gathered, masked_mean
from robot_pt.objectives.stepper import StepConfig, Stepper
from robot_pt.objectives.views import frames_of, over_frames, view
from robot_pt.schema import Spec

_ONLINE, _TARGET = 0, 1  # streams


@dataclass(frozen=True, kw_only=True)
class SPRConfig:
    steps: int = 5
    """K: how far the rollout goes (original 5; Atari-PB 4)."""
    loss: Literal["cosine", "contrastive"] = "contrastive"
    """contrastive as Atari-PB's SPR; cosine as SPR itself and SGI, whose BatchNorm in g and h it then has: without, and without
    reinforcement learning beside it, all features become one. It ties the samples of a process's batch, and learns more slowly."""
    width: int = 256
    """Of projections (SGI)."""
    hidden: int = 512
    """Units of the transition's and the projector's hidden layer (SGI: 512)."""
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)
    """Each frame its own crop and jitter."""
    optim: StepConfig = field(default_factory=StepConfig)
    """Atari-PB: 3e-5 for 2 million updates; SPR: Adam at 1e-4."""

    def __post_init__(self) -> None:
        if self.loss not in ("cosine", "contrastive"):
            raise UserError(f"SPR's loss is {self.loss!r}; choose cosine or contrastive.")
        for name in ("steps", "width", "hidden"):
            if getattr(self, name) < 1:
                raise UserError(f"SPR's {name} is {getattr(self, name)}; give at least 1.")


class Rolled(NamedTuple):
    """One clip's latents: predicted from its first frame, and seen in the others. D latent, Z projection."""

    predicted: Tensor  # (B, K + 1, D) z_0 .. z_K
    projected: Tensor  # (B, K + 1, Z) g(z_k)
    seen: Tensor  # (B, K + 1, D) f'(x_k), without gradient
    target: Tensor  # (B, K + 1, Z) g'(f'(x_k)), without gradient


class LatentRollout(ABC):
    """What SPR and SGI share: implements `robot_pt.objectives.Objective` but for further terms."""

    needs: ClassVar[Needs] = Needs("demonstration", actions=True)
    trains: Literal["backbone", "encoder"] = "encoder"

    def __init__(
        self, encoder: ImageEncoder, model: LatentModel, config: SPRConfig, *, seed: int = 0, **others: nn.Module
    ):
        self.encoder, self.model, self.config, self.seed = encoder, model, config, seed
        self.plan = Around(range(config.steps + 1))
        self.grad_sync: GradSync = no_sync
        self.target_encoder, self.target_projector = averaged(encoder, 1.0), averaged(model.projector, 1.0)
        averages: dict[str, tuple[nn.Module, nn.Module]] = {
            "target_encoder": (self.target_encoder, encoder), "target_projector": (self.target_projector, model.projector)
        }  # fmt: skip
        for name, module in others.items():
            averages[f"target_{name}"] = (averaged(module, 1.0), module)
        self.others = others
        self.averages = {name: copy for name, (copy, _) in averages.items()}
        self.stepper = Stepper({"encoder": encoder, "model": model, **others}, config.optim, averages=averages)

    @classmethod
    def build(
        cls, spec: Spec, *, image_size: tuple[int, int], task_slots: int, encoder: EncoderConfig, config: Any = None,
        bounds: Bounds = BRIDGE_BOUNDS, device: torch.device | str = "cpu", seed: int = 0,
    ) -> Self:  # fmt: skip
        """Fresh weights, fixed by `seed`; `config` of the class's own kind."""
        config = config or cls.defaults()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = ImageEncoder(encoder, image_size)
            model = LatentModel(encoder.latent, bounds, config)
            others = {
                name: module.to(device) for name, module in cls.parts(encoder.latent, len(bounds.low), config).items()
            }
        return cls(network.to(device), model.to(device), config, seed=seed, **others)

    @classmethod
    @abstractmethod
    def defaults(cls) -> SPRConfig:
        """The config that stands for None."""

    @classmethod
    def parts(cls, latent: int, actions: int, config: Any) -> dict[str, nn.Module]:
        """Further networks, by name; each gets a running average as well."""
        return {}

    def further(self, rolled: Rolled, action_BKA: Tensor, batch: ClipBatch, step: int) -> dict[str, Tensor]:
        """Further terms of the loss by name, weighed."""
        return {}

    def update(self, batch: ClipBatch, step: int) -> dict[str, Tensor]:
        action_BKA = self.model.normalizer.encode(batch.action[:, :-1])
        rolled = self.roll(self.views(batch, step), action_BKA)
        loss, accuracy = self.prediction_loss(rolled, batch)
        terms = {"objective/prediction_loss": loss} | self.further(rolled, action_BKA, batch, step)
        total = torch.stack(list(terms.values())).sum()
        self.stepper.step(total, step, self.grad_sync)
        told = {name: value.detach() for name, value in terms.items()}
        return {"objective/loss": total.detach(), "objective/accuracy": accuracy} | told

    def views(self, batch: ClipBatch, step: int) -> Tensor:
        """(B, 1 + K + 1, H, W, 3): the first frame as it is rolled forward from, then all frames as targets."""
        frames, crop = frames_of(batch), self.config.augment
        start = view(frames[:, :1], batch.sample_key, step, _ONLINE, crop, seed=self.seed)
        targets = view(frames, batch.sample_key, step, _TARGET, crop, seed=self.seed, shared=False)
        return torch.cat([start, targets], dim=1)

    def roll(self, views_BSHWC: Tensor, action_BKA: Tensor) -> Rolled:
        """Latents of `views` under normalised actions a_0 .. a_K-1."""
        with self.stepper.precision():
            start_BD = renormalized(self.encoder(views_BSHWC[:, 0]))
            predicted = torch.stack(self.model.rollout(start_BD, action_BKA), dim=1)
            projected = self.model.projector(predicted)
            with torch.no_grad():
                seen = renormalized(over_frames(self.target_encoder, views_BSHWC[:, 1:]))
                target = self.target_projector(seen)
        return Rolled(predicted.float(), projected.float(), seen.float(), target.float())

    def prediction_loss(self, rolled: Rolled, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        """(loss, share of predictions whose own frame is the nearest of all frames of the batch) of steps 1 .. K."""
        with self.stepper.precision():
            guess_BKZ = self.model.predictor(rolled.projected[:, 1:]).float()
        target_BKZ, valid_BK = rolled.target[:, 1:], batch.valid[:, 1:]
        frame_BK = batch.episode[:, None] * _LONGEST + batch.step[:, 1:]
        if self.config.loss == "contrastive":
            return contrastive_loss(guess_BKZ, target_BKZ, valid_BK, frame_BK)
        with torch.no_grad():
            near = contrastive_loss(
                F.normalize(guess_BKZ, dim=-1), F.normalize(target_BKZ, dim=-1), valid_BK, frame_BK
            )[1]
        return cosine_loss(guess_BKZ, target_BKZ, valid_BK), near

    def state_dict(self) -> dict[str, Tensor]:
        return self.stepper.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.stepper.load_state_dict(state)


@final
class SPR(LatentRollout):
    """Implements `robot_pt.objectives.Objective`."""

    config: SPRConfig

    @classmethod
    def defaults(cls) -> SPRConfig:
        return SPRConfig()


@final
class LatentModel(nn.Module):
    """Transition, projector g and predictor h. Holds the action bounds, so they are saved."""

    def __init__(self, latent: int, bounds: Bounds, config: SPRConfig):
        super().__init__()
        self.normalizer = ActionNormalizer(bounds)
        self.enter, self.leave = nn.Linear(latent + len(bounds.low), config.hidden), nn.Linear(config.hidden, latent)
        cosine = config.loss == "cosine"
        norm: nn.Module = RowNorm(config.hidden) if cosine else nn.LayerNorm(config.hidden)
        self.projector = nn.Sequential(
            nn.Linear(latent, config.hidden), norm, nn.ReLU(), nn.Linear(config.hidden, config.width)
        )
        self.predictor: nn.Module = nn.Linear(config.width, config.width)
        if cosine:
            wide = 2 * config.width
            self.predictor = nn.Sequential(
                nn.Linear(config.width, wide), RowNorm(wide), nn.ReLU(), nn.Linear(wide, config.width)
            )

    def rollout(self, start_BD: Tensor, action_BKA: Tensor) -> list[Tensor]:
        """z_0 .. z_K, (B, D) each; `start` is z_0."""
        latents = [start_BD]
        for action_BA in action_BKA.unbind(1):
            change = self.leave(F.relu(self.enter(torch.cat([latents[-1], action_BA], dim=1))))
            latents.append(renormalized(latents[-1] + change))
        return latents


@final
class RowNorm(nn.BatchNorm1d):
    """BatchNorm of (..., C) over all but the last dimension."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(0, -2)).view_as(x)


_LONGEST = 1 << 32  # more steps than an episode has: (episode, step) as one number

# Losses.


def renormalized(latent: Tensor) -> Tensor:
    """(..., D) shifted and scaled per sample to least 0 and largest 1."""
    low, high = latent.amin(-1, keepdim=True), latent.amax(-1, keepdim=True)
    return (latent - low) / (high - low + 1e-5)


def cosine_loss(guess_BKZ: Tensor, target_BKZ: Tensor, valid_BK: Tensor) -> Tensor:
    """Mean over steps that exist of 2 - 2 cos, the squared distance of both at length 1."""
    return masked_mean(2 - 2 * F.cosine_similarity(guess_BKZ, target_BKZ, dim=-1), valid_BK)


def contrastive_loss(
    guess_BKZ: Tensor, target_BKZ: Tensor, valid_BK: Tensor, frame_BK: Tensor
) -> tuple[Tensor, Tensor]:
    """(cross-entropy of finding one's own frame among all clips and steps by inner product, share found), over steps that exist.

    frame_BK: equal numbers are the same frame, which is then no negative of itself.
    """
    target_NZ, first = gathered(target_BKZ.flatten(0, 1))
    frame_N, _ = gathered(frame_BK.flatten())
    exists_N, _ = gathered(valid_BK.flatten())
    guess_MZ = guess_BKZ.flatten(0, 1)
    own_M = first + torch.arange(len(guess_MZ), device=guess_MZ.device)
    excluded_MN = (frame_BK.flatten()[:, None] == frame_N) | ~exists_N
    return contrast(guess_MZ @ target_NZ.T, own_M, valid_B=valid_BK.flatten(), excluded_BN=excluded_MN)
