"""Views of clips: augmented copies of their frames, keyed by sample, so that a batch gives the same views however it is split.

Shapes: B clips, S frames of a clip. A stream is one view of one update: two views of a clip are two streams.
An objective's own draws take `noise.uniform(key_B, step, 8 * stream + 2, ...)` and on: 8 * stream and the next one are the view's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from robot_pt import noise
from robot_pt.augment import AugmentConfig, augment
from robot_pt.clips import ClipBatch
from robot_pt.errors import UserError


def frames_of(batch: ClipBatch) -> Tensor:
    """uint8 (B, S, H, W, 3) of the batch's one camera. Raises UserError for none or several."""
    if len(batch.images) != 1:
        raise UserError(
            f"an objective looks at one camera; the clips have {sorted(batch.images) or 'none'}: choose one with --camera."
        )
    frames: Tensor = next(iter(batch.images.values()))
    return frames


def view(
    frames_BSHWC: Tensor,
    key_B: Tensor,
    step: int,
    stream: int,
    config: AugmentConfig | None,
    *,
    seed: int,
    shared: bool = True,
) -> Tensor:
    """uint8 (B, S, H, W, 3) -> uint8 of the same shape: crop and colour jitter of `robot_pt.augment`.

    shared: one crop and jitter for all frames of a clip (R3M, SiamMAE: what moves is the scene); otherwise each frame its own.
    config: None gives the frames as they are.
    """
    if config is None:
        return frames_BSHWC
    out = augment(
        frames_BSHWC.flatten(0, 1), _frame_keys(key_B, frames_BSHWC.shape[1], shared), step, stream, config, seed=seed
    )
    return out.view(frames_BSHWC.shape)


def resized_crop(
    frames_BSHWC: Tensor, key_B: Tensor, step: int, stream: int, *, seed: int, scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3), flip: float = 0.0, shared: bool = True,
) -> Tensor:  # fmt: skip
    """uint8 (B, S, H, W, 3) -> uint8 of the same shape: a part of the frame, brought back to its size (bilinear).

    Args:
        scale: the part's share of the area, uniform.
        ratio: its width over height, uniform in the logarithm; a side that would leave the frame is cut at it.
        flip: probability to mirror left and right. A robot's left is not its right: 0 unless the data is video of anything.
        shared: one part for all frames of a clip.
    Raises:
        UserError: a scale outside (0, 1], or upside down.
    """
    if not 0 < scale[0] <= scale[1] <= 1:
        raise UserError(
            f"the scale of a resized crop is {scale}; give two shares of the area in (0, 1], the smaller first."
        )
    count, height, width = frames_BSHWC.shape[1:4]
    draw = noise.uniform(_frame_keys(key_B, count, shared), step, 8 * stream, (5,), seed=seed)
    area = scale[0] + (scale[1] - scale[0]) * draw[:, 0]
    aspect = ratio[0] * (ratio[1] / ratio[0]) ** draw[:, 1]
    tall, wide = (area / aspect).sqrt().clamp(max=1), (area * aspect).sqrt().clamp(max=1)  # shares of the sides
    top, left = (1 - tall) * draw[:, 2], (1 - wide) * draw[:, 3]
    mirrored = torch.where(draw[:, 4] < flip, -1.0, 1.0)
    y = 2 * (top[:, None] + tall[:, None] * _centres(height, frames_BSHWC.device)) - 1
    x = 2 * left[:, None] + wide[:, None] * (1 + mirrored[:, None] * (2 * _centres(width, frames_BSHWC.device) - 1)) - 1
    grid = torch.stack([x[:, None, :].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], dim=-1)
    pixels = frames_BSHWC.flatten(0, 1).permute(0, 3, 1, 2).float()
    out = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return out.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).reshape(frames_BSHWC.shape)


def over_frames(network: Callable[[Tensor], Tensor], frames_BSHWC: Tensor) -> Tensor:
    """`network` of (B * S, H, W, 3) in one pass, its result as (B, S, ...)."""
    out = network(frames_BSHWC.flatten(0, 1))
    return out.view(*frames_BSHWC.shape[:2], *out.shape[1:])


def _frame_keys(key_B: Tensor, count: int, shared: bool) -> Tensor:
    """(B * S,) keys of the frames' noise: the clip's own, or one per frame that no other clip's frame has."""
    if shared:
        return key_B.repeat_interleave(count)
    return (key_B[:, None] * count + torch.arange(count, device=key_B.device)).flatten()


def _centres(pixels: int, device: torch.device) -> Tensor:
    return (torch.arange(pixels, device=device) + 0.5) / pixels
