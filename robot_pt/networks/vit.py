"""Vision transformers (arXiv 2010.11929) as masked autoencoders train them: fixed sin-cos positions, pre-norm blocks, one class token.

Sizes of facebookresearch/mae models_mae.py; the patch follows the image, since robot images are 64 to 256 pixels: see `patch_size`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robot_pt.errors import UserError
from robot_pt.networks.linear import Linear

SIZES = {"vit_tiny": (192, 4, 3), "vit_small": (384, 12, 6), "vit_base": (768, 12, 12)}
"""Width, blocks, heads. vit_tiny is for CPUs: a third of the blocks of what others call so."""
_LARGEST_PATCH, _LEAST_SIDE = 16, 8


def patch_size(image_size: tuple[int, int]) -> int:
    """Pixels: the largest patch up to 16 that divides both sides and leaves at least 8 a side (64 -> 8, 128 and 224 -> 16).

    Raises UserError where there is none.
    """
    height, width = image_size
    for patch in range(_LARGEST_PATCH, 1, -1):
        if height % patch == 0 and width % patch == 0 and min(height, width) // patch >= _LEAST_SIDE:
            return patch
    raise UserError(
        f"a vision transformer cannot cut a {height}x{width} image into square patches of 2 to 16 pixels, at least 8 a side; choose an "
        "--image-size such as 64, 96, 128 or 224."
    )


class VisionTransformer(nn.Module):
    """Float (B, 3, H, W) in [0, 1] -> map (B, width, H / patch, W / patch)."""

    positions: Tensor

    def __init__(self, name: str, image_size: tuple[int, int]):
        super().__init__()
        self.width, depth, heads = SIZES[name]
        self.patch = patch_size(image_size)
        self.grid = image_size[0] // self.patch, image_size[1] // self.patch
        self.patches = nn.Conv2d(3, self.width, self.patch, self.patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, self.width))
        self.blocks = nn.ModuleList([Block(self.width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(self.width, eps=1e-6)
        self.register_buffer("positions", sincos(*self.grid, self.width), persistent=False)
        nn.init.xavier_uniform_(self.patches.weight.view(self.width, -1))
        nn.init.zeros_(self.get_parameter("patches.bias"))
        nn.init.normal_(self.class_token, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.encode(self.embed(x))[:, 1:]
        return tokens.transpose(1, 2).reshape(len(x), self.width, *self.grid)

    def embed(self, x: Tensor) -> Tensor:
        """(B, N, width): patches row by row, each with its position, which it keeps when others are dropped."""
        tokens: Tensor = self.patches(2 * x - 1).flatten(2).transpose(1, 2)
        return tokens + self.positions

    def encode(self, tokens_BNC: Tensor) -> Tensor:
        """(B, 1 + N, width) of any N of the embedded patches; the class token comes first."""
        x = torch.cat([self.class_token.expand(len(tokens_BNC), -1, -1), tokens_BNC], dim=1)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out


class Block(nn.Module):
    """Pre-norm self-attention and a four times wider GELU layer: (B, N, width) -> the same. causal: nothing looks at what comes later."""

    def __init__(self, width: int, heads: int, *, causal: bool = False):
        super().__init__()
        self.causal = causal
        self.norm_1, self.norm_2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(linear(width, 4 * width), nn.GELU(), linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm_1(x)
        x = x + self.attention(normed, normed, causal=self.causal)
        out: Tensor = x + self.mlp(self.norm_2(x))
        return out


class Attention(nn.Module):
    """Queries (B, N, width) look at keys (B, M, width): itself for self-attention, another frame for cross-attention."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % heads:
            raise UserError(f"{heads} attention heads do not share a width of {width}; choose a divisor of it.")
        self.heads = heads
        self.query, self.keys_values, self.out = linear(width, width), linear(width, 2 * width), linear(width, width)

    def forward(self, query_BNC: Tensor, key_BMC: Tensor, *, causal: bool = False) -> Tensor:
        query = self._split(self.query(query_BNC))
        key, value = (self._split(part) for part in self.keys_values(key_BMC).chunk(2, dim=-1))
        found = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
        out: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)  # (B, heads, N, width / heads)


def linear(inputs: int, outputs: int) -> Linear:
    """Xavier uniform weights, no bias to begin with."""
    layer = Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def sincos(height: int, width: int, channels: int) -> Tensor:
    """(height * width, channels) fixed positions, row by row: a quarter each of sin and cos of x, sin and cos of y.

    Frequencies fall geometrically from 1 to 1/10000. Raises UserError unless channels is a multiple of 4.
    """
    if channels % 4:
        raise UserError(f"sin-cos positions need a width that is a multiple of 4; it is {channels}.")
    frequency = 10_000.0 ** -(torch.arange(channels // 4, dtype=torch.float64) / (channels // 4))
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    parts = [f(axis.reshape(-1, 1) * frequency) for axis in (x, y) for f in (torch.sin, torch.cos)]
    return torch.cat(parts, dim=1).float()
