"""PTR's image augmentation, batched on the device: random crop with edge padding, then colour jitter.

Distributions of Asap7772/PTR jaxrl2/agents/drq/augmentations.py: crop offsets uniform in 0..2*pad; with probability 0.8
per image, brightness, contrast, saturation and hue in an order drawn per image, each result clipped to [0, 1]; back to
uint8 by truncation. Images that are not jittered keep their bytes.

The order costs no branches: brightness and contrast are affine maps a*x + b, saturation and hue act on different
components of HSV and commute, so each of the 24 orders is a walk through affine, affine, HSV, affine, affine, HSV, affine
with the unused stations neutral.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from robot_pt import noise
from robot_pt.errors import UserError

_CROP, _PARAMETERS = 0, 1  # streams beside the caller's


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Published values; 0 switches a part off."""

    pad: int = 4
    """Crop: pixels of edge padding on every side."""
    brightness: float = 0.2
    """Largest shift added to every pixel in [0, 1]."""
    contrast: float = 0.1
    """Contrast factor in 1 +- this, about each channel's mean."""
    saturation: float = 0.1
    """HSV saturation factor in 1 +- this."""
    hue: float = 0.03
    """Largest hue shift, in turns."""
    jitter_probability: float = 0.8
    """Share of images whose colours are changed."""

    def __post_init__(self) -> None:
        if self.pad < 0 or not 0 <= self.jitter_probability <= 1:
            raise UserError(
                f"augmentation needs pad >= 0 and a jitter probability in [0, 1]; given {self.pad} and {self.jitter_probability}."
            )


def augment(
    image_BHWC: Tensor, key_B: Tensor, step: int | Tensor, stream: int, config: AugmentConfig, *, seed: int = 0
) -> Tensor:
    """uint8 (B, H, W, 3) -> uint8 of the same shape; noise keyed by (key, step, stream), so views of s and s' differ by stream."""
    if config.pad:
        offset_B2 = noise.uniform(key_B, step, 8 * stream + _CROP, (2,), seed=seed)
        image_BHWC = crop(image_BHWC, (offset_B2 * (2 * config.pad + 1)).long(), config.pad)
    if config.jitter_probability == 0:
        return image_BHWC
    draw_B9 = noise.uniform(key_B, step, 8 * stream + _PARAMETERS, (9,), seed=seed)
    order_B4 = draw_B9[:, 5:].argsort(dim=1)  # order[b, i] = operation at place i; ranks of 4 uniforms: all 24 equal
    signed_B4 = 2 * draw_B9[:, 1:5] - 1
    strength = (config.brightness, config.contrast, config.saturation, config.hue)
    amount_B4 = torch.stack([signed_B4[:, i] * s for i, s in enumerate(strength)], dim=1)
    jittered = jitter(image_BHWC, amount_B4, order_B4)
    keep_B = draw_B9[:, 0] > config.jitter_probability
    return torch.where(keep_B[:, None, None, None], image_BHWC, jittered)


def crop(image_BHWC: Tensor, offset_B2: Tensor, pad: int) -> Tensor:
    """Shift each image by (offset - pad) rows and columns, repeating its edge; offset (B, 2) int64 in 0..2*pad."""
    batch, height, width, _ = image_BHWC.shape
    rows = torch.arange(height, device=image_BHWC.device) - pad
    columns = torch.arange(width, device=image_BHWC.device) - pad
    row_BH = (rows + offset_B2[:, :1]).clamp(0, height - 1)
    column_BW = (columns + offset_B2[:, 1:]).clamp(0, width - 1)
    which_B = torch.arange(batch, device=image_BHWC.device)
    return image_BHWC[which_B[:, None, None], row_BH[:, :, None], column_BW[:, None, :]]


def jitter(image_BHWC: Tensor, amount_B4: Tensor, order_B4: Tensor) -> Tensor:
    """Brightness shift, contrast, saturation (both as factor - 1) and hue shift [turns] applied in `order` to uint8 images."""
    rgb = (image_BHWC.to(torch.float32) / 255).permute(0, 3, 1, 2).contiguous()  # (B, 3, H, W)
    for i, place_B4 in enumerate(_stations(order_B4)):
        amount = torch.where(place_B4, amount_B4, torch.zeros_like(amount_B4))[:, :, None, None]
        rgb = _shift_hsv(rgb, amount[:, 2], amount[:, 3]) if i in (2, 5) else _affine(rgb, amount)
    return (rgb * 255).to(torch.uint8).permute(0, 2, 3, 1)


def _stations(order_B4: Tensor) -> list[Tensor]:
    """For each of the 7 stations A A H A A H A, which of the 4 operations an image performs there: 7 x (B, 4) bool.

    Both HSV operations share a station when no affine one lies between them.
    """
    place_B4 = order_B4.argsort(dim=1)  # when each operation comes
    first_hsv = place_B4[:, 2:].min(1, keepdim=True).values
    last_hsv = place_B4[:, 2:].max(1, keepdim=True).values
    later_affine = place_B4[:, :2].max(1, keepdim=True).values
    between = ((place_B4[:, :2] > first_hsv) & (place_B4[:, :2] < last_hsv)).any(1, keepdim=True)
    is_later = place_B4 == later_affine
    before, after = place_B4 < first_hsv, place_B4 > last_hsv
    middle = ~before & ~after
    affine = torch.arange(4, device=order_B4.device) < 2
    late_pair = after & after[:, :2].all(1, keepdim=True) & affine  # H H A A: both at the middle stations
    inner = (middle & affine) | late_pair
    in_second = ~affine & between & (place_B4 == last_hsv)
    return [
        before & affine & ~is_later,
        before & affine & is_later,
        ~affine & ~in_second,
        inner & ~is_later,
        inner & is_later,
        in_second,
        after & affine & ~late_pair,
    ]


def _affine(rgb: Tensor, amount: Tensor) -> Tensor:
    """Brightness or contrast, clipped; exact identity where both amounts are 0. rgb (B, 3, H, W), amount (B, 4, 1, 1)."""
    shift, gain = amount[:, :1], amount[:, 1:2]
    mean = rgb.mean(dim=(2, 3), keepdim=True)
    return torch.addcmul(rgb, rgb - mean, gain).add_(shift).clamp_(0, 1)


def _shift_hsv(rgb: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """Scale HSV saturation by 1 + `saturation` (clipped to [0, 1]) and turn the hue; both (B, 1, 1), 0 leaves bytes alone."""
    red, green, blue = rgb.unbind(1)
    value, low = rgb.amax(1), rgb.amin(1)
    chroma = value - low
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    turn6 = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    new_chroma = torch.minimum(chroma * (1 + saturation), value)  # saturation = chroma / value, at most 1
    turn6 = turn6 + 6 * hue
    # each channel falls from `value` by chroma over a third of the colour circle, centred opposite to it
    phase = torch.stack([turn6 + 5, turn6 + 3, turn6 + 1], dim=1)
    phase = phase - (phase / 6).floor_().mul_(6)  # remainder, which torch does not vectorise
    fall = F.relu(torch.minimum(phase, 4 - phase).clamp_(max=1))
    out = value[:, None] - new_chroma[:, None] * fall
    untouched = ((saturation == 0) & (hue == 0))[:, None]
    return torch.where(untouched, rgb, out).clamp_(0, 1)
