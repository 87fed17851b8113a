"""A square on a 16x16 torus: where it is next follows from where it is and the action alone, in pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from robot_pt.clips import ClipBatch
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import Bounds
from robot_pt.objectives.stepper import StepConfig
from robot_pt.schema import Spec
from tests.objectives.clip_batch import clips

SIDE, BLOCK, STEP = 16, 5, 4
MOVES = torch.tensor([[STEP, 0], [-STEP, 0], [0, STEP], [0, -STEP]])
SPEC = Spec(
    cameras={"primary": (SIDE, SIDE)}, embodiment="toy", control_hz=5.0, action_names=("dx", "dy"), proprio_names=("p",)
)
BOUNDS = Bounds(low=(-2.0 * STEP,) * 2, high=(2.0 * STEP,) * 2, origin="toy")
ENCODER = EncoderConfig(name="small", latent=64)
FAST = StepConfig(learning_rate=1e-3, weight_decay=0.0, clip_norm=0.0, momentum=(0.95, 0.95))


def drawn(place_N2: Tensor) -> Tensor:
    """uint8 (N, 16, 16, 3): a bright square whose corner is at (x, y), around the edges."""
    axis = torch.arange(SIDE)
    inside_x = (axis - place_N2[:, :1]) % SIDE < BLOCK
    inside_y = (axis - place_N2[:, 1:]) % SIDE < BLOCK
    square = inside_y[:, :, None] & inside_x[:, None, :]
    return torch.where(square[..., None], torch.tensor([230, 120, 40]), torch.tensor([20, 30, 60])).to(torch.uint8)


def walks(count: int, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """(places (B, steps, 2), moves (B, steps) of the four): random starts and actions."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randint(0, SIDE // STEP, (count, 2), generator=generator) * STEP
    which = torch.randint(0, len(MOVES), (count, steps), generator=generator)
    moved = MOVES[which].cumsum(1) - MOVES[which]
    return (start[:, None] + moved) % SIDE, which


def batch_of(place_BS2: Tensor, which_BS: Tensor, key: int = 0, **columns: Tensor) -> ClipBatch:
    frames = drawn(place_BS2.flatten(0, 1)).unflatten(0, place_BS2.shape[:2])
    return clips(frames, key=key, action=MOVES[which_BS].float(), **columns)


def walking(count: int, steps: int, seed: int) -> ClipBatch:
    return batch_of(*walks(count, steps, seed), key=1000 * seed)


def nearest_move(normalized_NA: Tensor) -> Tensor:
    """(N,) which of the four moves an action is nearest to."""
    return torch.cdist(normalized_NA * BOUNDS.high[0], MOVES.float()).argmin(1)
