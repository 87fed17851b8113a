"""PTR's critic: an ensemble of Q heads on one image encoder, actions and image features re-fed to every layer.

Layer 1 of each head reads [task, action, features], layers 2-4 read [hidden, action, features] (Asap7772/PTR
jaxrl2/networks/mlp.py, MLPActionSep with use_pixel_sep). Proprio is not read. Written here as sums of products: what
belongs to the state is multiplied once per state, the 7-d action once per sampled action, so K sampled actions repeat
neither images nor features, and all heads share one batched product.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robot_pt.errors import UserError
from robot_pt.networks import linear
from robot_pt.networks.conditioning import task_context
from robot_pt.networks.encoders import CameraEncoder, EncoderConfig


class QHeads(nn.Module):
    """E heads of fully connected layers `hidden` + `outputs`. Columns of the shared weights: layer by layer, head by head.

    normalize: divide the last hidden layer by its length before the last layer reads it (Scaled Q-learning, arXiv 2211.15144): Q can then
    not grow by growing features. Action and image features, which PTR feeds to every layer, are bounded already.
    refeed_actions: False lets the first layer alone read the action (an ablation of PTR's); features are fed to every layer all the same.
    """

    def __init__(
        self, features: int, context: int, actions: int, hidden: tuple[int, ...], heads: int, outputs: int = 1, *,
        normalize: bool = False, refeed_actions: bool = True,
    ):  # fmt: skip
        super().__init__()
        self.heads, self.widths, self._normalize, self._refeed = heads, (*hidden, outputs), normalize, refeed_actions
        columns = heads * sum(self.widths)
        self.feature_weight = nn.Parameter(torch.empty(features, columns))
        self.action_weight = nn.Parameter(torch.empty(actions, columns if refeed_actions else heads * hidden[0]))
        self.context_weight = nn.Parameter(torch.empty(context, heads * hidden[0]))
        self.bias = nn.Parameter(torch.zeros(columns))
        pairs = zip(hidden, self.widths[1:], strict=True)
        self.hidden_weight = nn.ParameterList([nn.Parameter(torch.empty(heads, i, o)) for i, o in pairs])
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Orthogonal over each layer's whole input, gain sqrt(2), the last layer 1e-2 (jaxrl2 networks/constants.py)."""
        start = 0
        for layer, width in enumerate(self.widths):
            first = self.context_weight if layer == 0 else self.hidden_weight[layer - 1]
            gain = 1e-2 if layer == len(self.widths) - 1 else math.sqrt(2)
            for head in range(self.heads):
                ahead = first[:, head * width : (head + 1) * width] if layer == 0 else first[head]
                columns = slice(start + head * width, start + (head + 1) * width)
                acts = [self.action_weight[:, columns]] if self._refeed or layer == 0 else []
                blocks = [ahead, *acts, self.feature_weight[:, columns]]
                whole = torch.empty(sum(len(block) for block in blocks), width)
                nn.init.orthogonal_(whole, gain)
                for block, part in zip(blocks, torch.split(whole, [len(block) for block in blocks]), strict=True):
                    block.copy_(part)
            start += self.heads * width

    def forward(self, feature_BF: Tensor, context_BC: Tensor, action_BKA: Tensor) -> Tensor:
        """Q of K actions per state: (E, B, K), or (E, B, K, outputs) with several outputs; float32."""
        out = self._layers(feature_BF, context_BC, action_BKA, len(self.widths))
        return out[..., 0] if self.widths[-1] == 1 else out

    def penultimate(self, feature_BF: Tensor, context_BC: Tensor, action_BKA: Tensor) -> Tensor:
        """(E, B, K, H) what the last layer reads of the layer before, float32."""
        return self._layers(feature_BF, context_BC, action_BKA, len(self.widths) - 1)

    def _layers(self, feature_BF: Tensor, context_BC: Tensor, action_BKA: Tensor, layers: int) -> Tensor:
        """(E, B, K, width) after so many layers."""
        batch, count, _ = action_BKA.shape
        state_BS = linear.layer(feature_BF, self.feature_weight, self.bias[None])
        action_BKS = action_BKA @ self.action_weight
        context_BS = context_BC @ self.context_weight
        hidden: Tensor | None = None
        start = 0
        for layer, width in enumerate(self.widths[:layers]):
            columns = slice(start, start + self.heads * width)
            start += self.heads * width
            state = state_BS[:, columns] + context_BS if hidden is None else state_BS[:, columns]
            of_state = state[:, None].expand(-1, count, -1)
            both = action_BKS[..., columns] + of_state if self._refeed or layer == 0 else of_state
            fed = both.reshape(batch * count, self.heads, width).transpose(0, 1)
            hidden = fed if hidden is None else torch.baddbmm(fed, hidden, self.hidden_weight[layer - 1])
            if layer < len(self.widths) - 1:
                hidden = F.relu(hidden)
            if self._normalize and layer == len(self.widths) - 2:
                hidden = F.normalize(hidden, dim=-1)
        assert hidden is not None
        return hidden.reshape(self.heads, batch, count, -1).float()


class CriticNetwork(nn.Module):
    """Encoder + `QHeads`. Task slot (one-hot) and optional sentence features enter at the first layer."""

    def __init__(
        self,
        *,
        encoder: EncoderConfig,
        cameras: tuple[str, ...],
        image_size: tuple[int, int],
        task_slots: int,
        language_size: int,
        action_size: int,
        hidden: tuple[int, ...] = (256, 256, 256),
        heads: int = 2,
        outputs: int = 1,
        normalize_features: bool = False,
        refeed_actions: bool = True,
    ):
        """normalize_features, refeed_actions: see `QHeads`."""
        super().__init__()
        if not cameras:
            raise UserError("PTR's critic sees nothing but images and was given no camera; name at least one camera.")
        self.encoder = CameraEncoder(encoder, cameras, image_size)
        self.task_slots, self.language_size = task_slots, language_size
        context = task_slots + language_size
        self.q = QHeads(
            self.encoder.width, context, action_size, hidden, heads, outputs, normalize=normalize_features,
            refeed_actions=refeed_actions,
        )  # fmt: skip

    def features(self, images: Mapping[str, Tensor]) -> Tensor:
        """uint8 (B, H, W, 3) per camera -> (B, F)."""
        feature: Tensor = self.encoder(images)
        return feature

    def forward(self, feature_BF: Tensor, context_BC: Tensor, action_BKA: Tensor) -> Tensor:
        """(E, B, K) Q-values of normalised actions, float32; (E, B, K, outputs) with several outputs."""
        q: Tensor = self.q(feature_BF, context_BC, action_BKA)
        return q

    def penultimate(self, feature_BF: Tensor, context_BC: Tensor, action_BKA: Tensor) -> Tensor:
        """(E, B, K, H) features of (state, action) that the last layer reads, float32."""
        return self.q.penultimate(feature_BF, context_BC, action_BKA)

    def state(
        self, images: Mapping[str, Tensor], proprio_BP: Tensor, task_B: Tensor, language_BL: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(features, context): the first arguments of `forward`. Proprio is not read."""
        return self.features(images), self.context(task_B, language_BL)

    def context(self, task_B: Tensor, language_BL: Tensor) -> Tensor:
        """(B, task slots + L): one-hot task, then the sentence features."""
        return task_context(task_B, language_BL, self.task_slots, self.language_size)
