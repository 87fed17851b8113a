"""Clips made by hand, for tests of objectives."""

from __future__ import annotations

import torch
from torch import Tensor

from robot_pt.clips import ClipBatch
from robot_pt.schema import Spec

SPEC = Spec(cameras={"primary": (32, 32)}, embodiment="toy", action_names=("a", "b"), proprio_names=("p",))


def clips(frames_BSHWC: Tensor, *, key: int = 0, **columns: Tensor) -> ClipBatch:
    """A batch of these frames; what is not given is empty, valid, and of an episode of its own."""
    batch, count = frames_BSHWC.shape[:2]
    zeros = torch.zeros(batch, count)
    standard = {
        "valid": torch.ones(batch, count, dtype=torch.bool), "proprio": torch.zeros(batch, count, 1),
        "action": torch.zeros(batch, count, 2), "reward": zeros, "return_to_go": zeros, "terminal": zeros.bool(),
        "step": torch.arange(count).repeat(batch, 1), "length": torch.full((batch,), count), "episode": torch.arange(batch),
        "task": torch.zeros(batch, dtype=torch.int64), "language": torch.zeros(batch, 0),
        "sample_key": key + torch.arange(batch), "source": torch.zeros(batch, dtype=torch.int64),
    }  # fmt: skip
    return ClipBatch(images={"primary": frames_BSHWC}, **{**standard, **columns})


def noise_frames(batch: int, count: int = 1, side: int = 32, seed: int = 0) -> Tensor:
    """uint8 (B, S, side, side, 3), every pixel its own."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, count, side, side, 3), generator=generator, dtype=torch.uint8)
