"""Random numbers that belong to a sample, not to a process: the same sample sees the same noise however a batch is split.

Counter-based: every value is a hash of (sample key, update, stream, seed, position), so there is no generator state to
save, to share between processes or to register with a CUDA graph. The hash is the finaliser of SplitMix64 (Steele, Lea
and Flood, OOPSLA 2014) in int64 arithmetic, which wraps the same way on every device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLY_1 = 0xBF58476D1CE4E5B9
_MULTIPLY_2 = 0x94D049BB133111EB
_BITS = 23  # k + 0.5 with k < 2**23 is exact in float32, so a uniform value is never 0 or 1


def uniform(key_B: Tensor, step: int | Tensor, stream: int, shape: tuple[int, ...], *, seed: int = 0) -> Tensor:
    """(B, *shape) float32 in the open interval (0, 1).

    key_B: (B,) int64, one per sample. step: the update, an int or a 0-d int64 tensor (what a CUDA graph needs).
    stream: which of the draws of one update this is; different streams are independent.
    """
    bits = _hash(key_B, step, stream, math.prod(shape), seed)
    value = ((bits >> (64 - _BITS)) & ((1 << _BITS) - 1)).to(torch.float32)
    return ((value + 0.5) * 2.0**-_BITS).view(len(key_B), *shape)


def normal(key_B: Tensor, step: int | Tensor, stream: int, shape: tuple[int, ...], *, seed: int = 0) -> Tensor:
    """(B, *shape) float32 standard normal values, within +-5.3; arguments as `uniform`."""
    return torch.erfinv(2 * uniform(key_B, step, stream, shape, seed=seed) - 1) * math.sqrt(2)


def _hash(key_B: Tensor, step: int | Tensor, stream: int, count: int, seed: int) -> Tensor:
    origin = _signed(_mix_int(seed * _GOLDEN + 1) + stream * _GOLDEN)
    counter = step * _signed(_GOLDEN) if isinstance(step, Tensor) else _signed(step * _GOLDEN)
    state_B = _mix(_mix(key_B + origin) + counter)
    position = torch.arange(1, count + 1, device=key_B.device, dtype=torch.int64) * _signed(_GOLDEN)
    return _mix(state_B[:, None] + position)  # (B, count)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _signed(_MULTIPLY_1)
    x = (x ^ _shift(x, 27)) * _signed(_MULTIPLY_2)
    return x ^ _shift(x, 31)


def _shift(x: Tensor, n: int) -> Tensor:
    return (x >> n) & ((1 << (64 - n)) - 1)  # torch's >> keeps the sign of int64; the hash needs zeros


def _mix_int(x: int) -> int:
    mask = (1 << 64) - 1
    x &= mask
    x = ((x ^ (x >> 30)) * _MULTIPLY_1) & mask
    x = ((x ^ (x >> 27)) * _MULTIPLY_2) & mask
    return x ^ (x >> 31)


def _signed(x: int) -> int:
    x &= (1 << 64) - 1
    return x - (1 << 64) if x >> 63 else x
