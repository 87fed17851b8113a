"""Behavior Transformer as a baseline (arXiv 2206.11251; notmahi/bet, its Kitchen settings; PTR's tables compare with it).

    loss = focal_gamma(logits, bin) + lambda * mean squared error of that bin's offset

Bins are the k-means clusters of the data's normalised actions, fitted once, before the first update, and from then on part of the weights.

lambda: the error is one of normalised actions, whose half range is 1 like that of Kitchen's, so Kitchen's 1000 holds for any robot. In
physical units with half range h it is lambda / h^2: 4e5 per m^2 for Bridge's 0.05 m, beside the authors' 1e5 for Block-push in metres.

Shapes: S frames of a window, N = B * S.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, final

import numpy as np
import torch
from torch import Tensor
from torch.optim import AdamW

from robot_pt import noise
from robot_pt.agents.clusters import kmeans
from robot_pt.agents.imitation import ImitationAgent, ImitationConfig
from robot_pt.agents.inputs import Inputs
from robot_pt.errors import DataError, UserError
from robot_pt.networks.behavior_transformer import BehaviorTransformer, BehaviorTransformerConfig
from robot_pt.schema import Batch, Float

_DROPOUT = 64  # one noise stream per shape from here


@final
@dataclass(frozen=True, kw_only=True)
class BeTConfig(ImitationConfig):
    """Defaults: Kitchen's. Block-push, which is smaller: 4 layers, 4 heads, width 72, window 5, batches of 256."""

    learning_rate: float = 1e-4
    """AdamW."""
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.1
    """Of the transformer's and the head's matrices; the image encoder has none."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    window: int = 10
    """Observations it looks at; 5 for small data."""
    bins: int = 64
    cluster_iterations: int = 50
    layers: int = 6
    heads: int = 6
    width: int = 120
    dropout: float = 0.1
    focal: float = 2.0
    """gamma: a bin of probability p weighs (1 - p)^gamma; 0 = cross-entropy."""
    offset_weight: float = 1000.0
    """lambda, of the offset's squared error in half ranges, see above."""
    acts: Literal["sample", "mode"] = "sample"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.dropout < 1:
            raise UserError(f"BeT's dropout is {self.dropout}; give a share in [0, 1).")
        for name in ("clip_norm", "offset_weight"):
            if not getattr(self, name) > 0:
                raise UserError(f"BeT's {name} is {getattr(self, name)}; give a value above 0.")
        for name in ("weight_decay", "focal", "cluster_iterations"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"BeT's {name} is {getattr(self, name)}; give a finite value from 0.")


@final
class BeT(ImitationAgent):
    """Implements `robot_pt.agents.Agent`. Batches are of windows (`robot_pt.replay.Replay` with `window`)."""

    config: BeTConfig
    actor: BehaviorTransformer
    acting: BehaviorTransformer

    def __init__(self, actor: BehaviorTransformer, config: BeTConfig, *, seed: int = 0):
        decayed, others = _by_decay(actor)
        optimizer = AdamW(
            [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=config.learning_rate, betas=config.betas, fused=True,
        )  # fmt: skip
        super().__init__(actor, config, optimizer, clip_norm=config.clip_norm, seed=seed)

    @classmethod
    def defaults(cls) -> BeTConfig:
        return BeTConfig()

    @classmethod
    def of(cls, inputs: Inputs, config: Any, device: torch.device, seed: int) -> Self:
        config = config or cls.defaults()
        shape = {name: getattr(config, name) for name in ("window", "bins", "layers", "heads", "width", "acts")}
        deviation = math.sqrt(
            len(inputs.bounds.low) / (2 * config.offset_weight)
        )  # whose likelihood has lambda's weight
        actor = BehaviorTransformer(inputs.policy(BehaviorTransformerConfig, deviation=deviation, **shape))
        return cls(actor.to(device), config, seed=seed)

    def fit(self, action_NA: Float) -> None:
        """Cluster these actions (physical units). Once: the weights mean nothing with other bins.

        Raises UserError where there are bins already, DataError without a finite action.
        """
        if self._fitted:
            raise UserError(
                "the bins were fitted already, and the weights mean nothing with others; build a fresh agent."
            )
        finite_NA = action_NA[np.isfinite(action_NA).all(1)]
        if not len(finite_NA):
            raise DataError("bins of actions need at least one finite action; the data has none.")
        encoded = self.actor.normalizer.encode(torch.from_numpy(finite_NA).to(self.device)).double().cpu().numpy()
        config = self.config
        centres = kmeans(encoded, config.bins, iterations=config.cluster_iterations, seed=self.seed)
        for network in {self.actor, self.acting}:
            network.centres.copy_(torch.from_numpy(centres))
            network.fitted.fill_(True)

    @property
    def _fitted(self) -> bool:
        return bool(self.actor.fitted)

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        if not self._ready:
            self._ready = self._fitted
        if not self._ready:
            raise UserError("BeT has no bins yet; fit them to the data's actions before the first update.")
        return super().update(batch, step)

    _ready = False  # so that a device is asked once, not at every update

    def loss(self, images: Mapping[str, Tensor], batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over windows of the mean over their steps."""
        assert batch.valid is not None, "batches of windows"
        with self.autocast():
            policy = self.actor(images, batch.proprio, batch.task, batch.language, self._kept(batch, step))
        action_NA = self.actor.normalizer.encode(batch.action).flatten(0, 1)
        bin_N = (action_NA[:, None] - self.actor.centres).square().sum(2).argmin(1)
        log_p_N = policy.logits_BK.log_softmax(1).gather(1, bin_N[:, None])[:, 0]
        focal_N = -((-log_p_N.expm1()).clamp(min=1e-8) ** self.config.focal) * log_p_N
        wrong_NA = policy.offset_of(bin_N) - (action_NA - self.actor.centres[bin_N])
        weight_N = (batch.valid / batch.valid.sum(1, keepdim=True)).flatten() / len(batch.valid)
        bins, offsets = (focal_N * weight_N).sum(), (wrong_NA.square().mean(1) * weight_N).sum()
        loss = bins + self.config.offset_weight * offsets
        error_N = (policy.mode().detach() - action_NA).square().mean(1)
        return loss, {
            "actor/loss": loss.detach(), "actor/bin_loss": bins.detach(), "actor/offset_error": offsets.detach(),
            "actor/mse": (error_N * weight_N).sum(),
            "actor/right_bin": ((policy.logits_BK.argmax(1) == bin_N) * weight_N).sum(),
        }  # fmt: skip

    def _kept(self, batch: Batch, step: int) -> list[Tensor]:
        """Dropout factors that belong to the samples."""
        rate = self.config.dropout
        if not rate:
            return []
        shapes = self.actor.dropout_shapes(batch.valid.shape[1])
        drawn = (noise.uniform(batch.sample_key, step, _DROPOUT + i, s, seed=self.seed) for i, s in enumerate(shapes))
        return [(number > rate).float() / (1 - rate) for number in drawn]


def _by_decay(actor: BehaviorTransformer) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """(matrices of transformer and head, everything else)."""
    decayed = {
        id(layer.weight)
        for part in (actor.transformer, actor.head)
        for layer in part.modules()
        if isinstance(layer, torch.nn.Linear)
    }
    parameters = list(actor.parameters())
    return [p for p in parameters if id(p) in decayed], [p for p in parameters if id(p) not in decayed]
