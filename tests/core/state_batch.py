"""Batches without images, or with small ones, for tests of actor-critics."""

from __future__ import annotations

import torch

from robot_pt.normalize import Bounds
from robot_pt.schema import Batch, Spec

OBSERVATION, ACTION, TASKS = 5, 3, 2
SPEC = Spec(
    cameras={}, embodiment="test", action_names=("a", "b", "c"), proprio_names=("p", "q", "r", "s", "t"),
)  # fmt: skip
BOUNDS = Bounds(low=(-2.0, -1.0, 0.0), high=(2.0, 1.0, 1.0), origin="test")


def state_batch(size: int = 16, seed: int = 0, cameras: tuple[str, ...] = (), pixels: int = 32) -> Batch:
    gen = torch.Generator().manual_seed(seed)
    number = lambda *shape: torch.randn(size, *shape, generator=gen)  # noqa: E731
    image = lambda: torch.randint(0, 256, (size, pixels, pixels, 3), generator=gen, dtype=torch.uint8)  # noqa: E731
    low, high = torch.tensor(BOUNDS.low), torch.tensor(BOUNDS.high)
    return Batch(
        images={camera: image() for camera in cameras},
        proprio=number(OBSERVATION),
        task=torch.randint(0, TASKS, (size,), generator=gen),
        language=torch.zeros(size, 0),
        action=low + (high - low) * torch.rand(size, ACTION, generator=gen),
        reward=number(),
        discount=torch.where(torch.rand(size, generator=gen) < 0.7, 0.9, 0.0),
        next_images={camera: image() for camera in cameras},
        next_proprio=number(OBSERVATION),
        return_to_go=number() * 2,
        sample_key=torch.arange(size) + 1000 * seed,
        source=torch.zeros(size, dtype=torch.int64),
        next_action=low + (high - low) * torch.rand(size, ACTION, generator=gen),
    )
