"""Behavior Transformer (arXiv 2206.11251): a causal transformer over observations, actions as one of a few clusters plus an offset.

As notmahi/bet models/latent_generators/mingpt.py: tokens are observations alone, no actions and no goal; the head gives a logit and
an offset per cluster; to act, a cluster is drawn by its probability and its offset added.

Shapes: S frames of a window, N = B * S frames, F numbers of a frame's feature, K clusters ("bins").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor, nn

from robot_pt.errors import UserError
from robot_pt.networks.causal import CausalTransformer
from robot_pt.networks.distributions import drawn
from robot_pt.networks.policy_network import PolicyConfig, WindowedNetwork

_LOG_2PI = math.log(2 * math.pi)


@final
@dataclass(frozen=True, kw_only=True)
class BehaviorTransformerConfig(PolicyConfig):
    """Sizes of the transformer and of its head."""

    window: int = 10
    """Observations it looks at, the newest included."""
    bins: int = 64
    layers: int = 6
    heads: int = 6
    """Attention heads; they divide `width`."""
    width: int = 120
    deviation: float = 1.0
    """Of each bin's Gaussian, in half ranges, where the density of an action is asked for."""
    acts: Literal["sample", "mode"] = "sample"
    """How it acts: by a drawn bin, or by the most probable one, which loses all ways of doing the task but one."""
    action_clip: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, most in (("window", 1024), ("bins", 65_536), ("layers", 128), ("heads", 128), ("width", 16_384)):
            if not 1 <= getattr(self, name) <= most:  # a description may not ask for more than anybody means
                raise UserError(f"the transformer's {name} is {getattr(self, name)}; give 1 to {most}.")
        if self.width % self.heads:
            raise UserError(f"the transformer's width {self.width} is no multiple of its {self.heads} heads; give one.")
        if not 0 < self.deviation < math.inf:
            raise UserError(f"the transformer's deviation is {self.deviation}; give a finite number above 0.")
        if self.acts not in ("mode", "sample"):
            raise UserError(f"the policy acts by {self.acts!r}; choose sample or mode.")


class OffsetBins(NamedTuple):
    """Distribution over normalised actions: bin k with probability softmax(logits)_k, and then centre_k + offset_k.

    For its density every bin is a Gaussian of `deviation` around that.
    """

    logits_BK: Tensor
    offset_BKA: Tensor
    centre_KA: Tensor
    deviation: float

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """(): one number draws the bin."""
        return ()

    def mode(self) -> Tensor:
        """(B, A) of the most probable bin."""
        return self.of_bin(self.logits_BK.argmax(1))

    def draw(self, noise_B: Tensor) -> Tensor:
        """(B, A) of a drawn bin."""
        return self.of_bin(drawn(self.logits_BK.log_softmax(1), noise_B))

    def log_prob(self, action_BA: Tensor) -> Tensor:
        """(B,) log-density of the mixture."""
        far_BK = (action_BA[:, None] - self.centre_KA - self.offset_BKA).square().sum(2) / self.deviation**2
        volume = action_BA.shape[1] * (0.5 * _LOG_2PI + math.log(self.deviation))
        return (self.logits_BK.log_softmax(1) - 0.5 * far_BK).logsumexp(1) - volume

    def of_bin(self, bin_B: Tensor) -> Tensor:
        """(B, A) centre and offset of these bins."""
        return self.centre_KA[bin_B] + self.offset_of(bin_B)

    def offset_of(self, bin_B: Tensor) -> Tensor:
        """(B, A) offset of one bin per state; no other gets a gradient."""
        index = bin_B[:, None, None].expand(-1, 1, self.offset_BKA.shape[2])
        return self.offset_BKA.gather(1, index)[:, 0]


@final
class BehaviorTransformer(WindowedNetwork):
    """Windows of images and proprio, and a task -> `OffsetBins` of every frame.

    Attributes:
        centres: (K, A) normalised; fitted to data once, then part of the weights.
        fitted: whether they are.
    """

    kind = "behavior_transformer"
    config_class = BehaviorTransformerConfig
    _config: BehaviorTransformerConfig
    centres: Tensor
    fitted: Tensor

    def __init__(self, config: BehaviorTransformerConfig):
        super().__init__(config)
        self.window, self.draws = config.window, config.acts == "sample"
        actions = len(config.bounds.low)
        self.transformer = CausalTransformer(
            self.seen_width, window=config.window, layers=config.layers, heads=config.heads, width=config.width
        )
        self.head = nn.Linear(config.width, config.bins * (1 + actions), bias=False)
        nn.init.normal_(self.head.weight, std=0.02)
        self.register_buffer("centres", torch.zeros(config.bins, actions))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    def forward(
        self, images: Mapping[str, Tensor], proprio_BP: Tensor, task_B: Tensor, language_BL: Tensor,
        kept: Sequence[Tensor] = (),
    ) -> OffsetBins:  # fmt: skip
        """Of frames without a past, (B, ...), or of every frame of windows: images (B, S, H, W, 3), proprio (B, S, P), N rows out.

        task (B,) and language (B, L) hold for a whole window. kept: see `CausalTransformer`.
        """
        if proprio_BP.ndim == 2:
            return self.every(self.encode(images, proprio_BP, task_B, language_BL)[:, None], kept)
        steps = proprio_BP.shape[1]
        frames = {camera: image.flatten(0, 1) for camera, image in images.items()}
        task_N, language_NL = task_B.repeat_interleave(steps), language_BL.repeat_interleave(steps, dim=0)
        feature_NF = self.encode(frames, proprio_BP.flatten(0, 1), task_N, language_NL)
        return self.every(feature_NF.view(-1, steps, feature_NF.shape[1]), kept)

    def encode(self, images: Mapping[str, Tensor], proprio_BP: Tensor, task_B: Tensor, language_BL: Tensor) -> Tensor:
        return self.seen(images, proprio_BP, task_B, language_BL)

    def every(self, feature_BSF: Tensor, kept: Sequence[Tensor] = ()) -> OffsetBins:
        """Of every frame, given those before it in its window: N rows, window by window."""
        return self._bins(self.transformer(feature_BSF, kept).flatten(0, 1))

    def newest(self, feature_BSF: Tensor) -> OffsetBins:
        return self._bins(self.transformer(feature_BSF)[:, -1])

    def along(
        self, images: Mapping[str, Tensor], proprio_TP: Tensor, task_T: Tensor, language_TL: Tensor
    ) -> OffsetBins:
        feature_TF = self.encode(images, proprio_TP, task_T, language_TL)
        step_T = torch.arange(len(feature_TF), device=feature_TF.device)
        first_T = (step_T - self.window + 1).clamp(min=0)
        row_TS = (first_T[:, None] + torch.arange(self.window, device=step_T.device)).clamp(max=len(step_T) - 1)
        out_TSD = self.transformer(feature_TF[row_TS])
        return self._bins(out_TSD[step_T, step_T - first_T])  # later frames of a window are not seen at that place

    def dropout_shapes(self, steps: int) -> list[tuple[int, ...]]:
        return self.transformer.dropout_shapes(steps)

    def _bins(self, hidden_ND: Tensor) -> OffsetBins:
        out = self.head(hidden_ND).float()
        bins, actions = self.centres.shape
        return OffsetBins(out[:, :bins], out[:, bins:].view(-1, bins, actions), self.centres, self._config.deviation)
