"""A causal transformer over the frames of a window, as minGPT (karpathy/minGPT): each place sees itself and those before it.

Dropout is given from outside, as factors, so that it can belong to samples: the same numbers however a batch is split.

Shapes: B windows, S frames, F numbers of a frame's feature, D width of the transformer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from robot_pt.networks.linear import Linear

_DEVIATION = 0.02


class CausalTransformer(nn.Module):
    """(B, S, F) features of S <= window frames -> (B, S, D)."""

    def __init__(self, inputs: int, *, window: int, layers: int, heads: int, width: int):
        super().__init__()
        self.token = Linear(inputs, width)
        self.place = nn.Parameter(torch.zeros(window, width))
        self.blocks = nn.ModuleList(_Block(heads, width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=_DEVIATION)
                nn.init.zeros_(layer.bias)
        self._heads, self._width = heads, width

    def forward(self, feature_BSF: Tensor, kept: Sequence[Tensor] = ()) -> Tensor:
        """kept: dropout, as one factor (B, *shape) for every shape of `dropout_shapes`: 0, or 1 / (1 - rate). None is the whole network."""
        factors: Iterator[Tensor] = iter(kept)
        x_BSD: Tensor = _times(self.token(feature_BSF) + self.place[: feature_BSF.shape[1]], factors)
        for block in self.blocks:
            x_BSD = block(x_BSD, factors)
        out: Tensor = self.norm(x_BSD)
        return out

    def dropout_shapes(self, steps: int) -> list[tuple[int, ...]]:
        """Of one window of `steps` frames: after the embedding, then attention, its output and the MLP's of every layer."""
        per_layer = [(self._heads, steps, steps), (steps, self._width), (steps, self._width)]
        return [(steps, self._width), *(per_layer * len(self.blocks))]


class _Block(nn.Module):
    def __init__(self, heads: int, width: int):
        super().__init__()
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.output = Linear(width, 3 * width), Linear(width, width)
        self.mlp = nn.Sequential(Linear(width, 4 * width), nn.GELU(), Linear(4 * width, width))
        self._heads = heads

    def forward(self, x_BSD: Tensor, factors: Iterator[Tensor]) -> Tensor:
        x_BSD = x_BSD + self._attend(self.before_attention(x_BSD), factors)
        return x_BSD + _times(self.mlp(self.before_mlp(x_BSD)), factors)

    def _attend(self, x_BSD: Tensor, factors: Iterator[Tensor]) -> Tensor:
        windows, steps, width = x_BSD.shape
        parts = self.query_key_value(x_BSD).view(windows, steps, 3, self._heads, width // self._heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each (B, heads, S, D / heads)
        score = query @ key.transpose(2, 3) / math.sqrt(width // self._heads)
        later = torch.ones(steps, steps, dtype=torch.bool, device=x_BSD.device).triu(1)
        weight = _times(score.masked_fill(later, -math.inf).softmax(-1), factors)
        mixed = (weight @ value).transpose(1, 2).reshape(windows, steps, width)
        return _times(self.output(mixed), factors)


def _times(x: Tensor, factors: Iterator[Tensor]) -> Tensor:
    factor = next(factors, None)
    return x if factor is None else x * factor
