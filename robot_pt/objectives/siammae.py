"""Siamese masked autoencoding: reconstruct a later frame from an earlier one and almost none of its own patches (arXiv 2305.14344).

One encoder for both frames. The past one is seen whole, of the future one 5 % of the patches; the decoder's tokens stand for the future
frame, attend to one another and, by cross-attention, to the past frame. The loss is MAE's, over what was taken from the future frame
alone. Both frames have the same crop: what moved is the scene. With less taken away this is inpainting, and the past is ignored.

With convolutions, after dojeon-ai/Atari-PB (src/trainers/siammae.py, heads/siammae_head.py), cells of the map are the tokens. There
only the map is masked, so that a kept cell's receptive field shows its surroundings: on an 8x8 map three cells see most of the frame. Here
what is taken away is grey in the picture as well (`hide_pixels`).

No official code was found; the decoder's order is that of the paper's text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn

from robot_pt import noise
from robot_pt.agents import GradSync, no_sync
from robot_pt.clips import ClipBatch, Later
from robot_pt.errors import UserError
from robot_pt.networks.encoders import EncoderConfig, ImageEncoder, floats
from robot_pt.networks.vit import Attention, VisionTransformer, linear, sincos
from robot_pt.normalize import BRIDGE_BOUNDS, Bounds
from robot_pt.objectives import Needs
from robot_pt.objectives.across import masked_mean
from robot_pt.objectives.mae import (
    MAEConfig,
    MapTokens,
    in_place,
    patch_of,
    patch_statistics,
    patchify,
    take,
    unpatchify,
)
from robot_pt.objectives.stepper import StepConfig, Stepper
from robot_pt.objectives.views import frames_of, resized_crop
from robot_pt.schema import Spec

_VIEW, _MASK = 0, 2  # stream of the view; the mask's, which the view leaves free


@dataclass(frozen=True, kw_only=True)
class SiamMAEConfig:
    mask_share: float = 0.95
    """Share of the future frame's patches taken away."""
    gap_s: tuple[float, float] = (0.13, 1.6)
    """Seconds between the frames, uniform: 4 to 48 frames at 30 Hz in the paper, 1 to 8 steps at 5 Hz (Atari-PB: 1 to 3 steps)."""
    norm_pixels: bool = True
    """Normalise each patch that is to be predicted by its own mean and deviation."""
    hide_pixels: bool = True
    """With convolutions: what is taken away is grey before they see it. False masks their map alone, as Atari-PB."""
    decoder_width: int = 192
    """Published: 256 wide, 4 blocks, for images of 224 pixels; robot frames are smaller."""
    decoder_blocks: int = 2
    decoder_heads: int = 6
    crop_scale: tuple[float, float] | None = (0.5, 1.0)
    """Share of the frame that is cut out and enlarged, the same of both; None takes them as they are. The paper also mirrors."""
    optim: StepConfig = field(
        default_factory=lambda: StepConfig(
            weight_decay=0.05, betas=(0.9, 0.95), clip_norm=0, warmup_share=0.05, final_share=0
        )
    )
    """AdamW; published 1.5e-4 per 256 pairs of a batch, Atari-PB 3e-4."""

    def __post_init__(self) -> None:
        if not 0 < self.mask_share < 1:
            raise UserError(f"SiamMAE's mask_share is {self.mask_share}; give a share between 0 and 1, such as 0.95.")
        if not 0 < self.gap_s[0] <= self.gap_s[1]:
            raise UserError(f"SiamMAE's gap_s is {self.gap_s}; give two times above 0 s, the shorter first.")
        self.shape()

    def shape(self) -> MAEConfig:
        """The decoder's sizes, and of the tokens a convolutional map is made into. Raises UserError for impossible ones."""
        return MAEConfig(
            decoder_width=self.decoder_width, decoder_blocks=self.decoder_blocks, decoder_heads=self.decoder_heads
        )

    def plan(self, rate_hz: float) -> Later:
        """Pairs of these gaps in frames of that rate, at least one frame apart where the episode goes on."""
        least = max(1, round(self.gap_s[0] * rate_hz))
        return Later(least, max(least, round(self.gap_s[1] * rate_hz)))


@final
class SiamMAE:
    """Implements `robot_pt.objectives.Objective`."""

    needs: ClassVar[Needs] = Needs("video")
    trains: Literal["backbone", "encoder"] = "backbone"
    caption: ClassVar[str] = (
        "Past frame, what was kept of the future one, what the decoder makes of both, and the future frame."
    )

    def __init__(
        self, encoder: ImageEncoder, image_size: tuple[int, int], plan: Later, config: SiamMAEConfig, *, seed: int = 0
    ):
        self.encoder, self.plan, self.config, self.seed = encoder, plan, config, seed
        self.grad_sync: GradSync = no_sync
        self.patch = patch_of(encoder, image_size)
        device = next(encoder.parameters()).device
        is_transformer = isinstance(encoder.backbone, VisionTransformer)
        width = encoder.channels if is_transformer else config.decoder_width
        self.decoder = CrossDecoder(width, config, encoder.grid, 3 * self.patch**2).to(device)
        self.neck = None if is_transformer else MapTokens(encoder.channels, config.shape(), encoder.grid).to(device)
        learned: dict[str, nn.Module] = {"encoder": encoder, "decoder": self.decoder}
        self.stepper = Stepper(learned | ({"neck": self.neck} if self.neck else {}), config.optim)
        count = encoder.grid[0] * encoder.grid[1]
        self.kept = min(count - 1, max(1, round(count * (1 - config.mask_share))))

    @classmethod
    def build(
        cls, spec: Spec, *, image_size: tuple[int, int], task_slots: int, encoder: EncoderConfig, config: SiamMAEConfig | None = None,
        bounds: Bounds = BRIDGE_BOUNDS, device: torch.device | str = "cpu", seed: int = 0,
    ) -> SiamMAE:  # fmt: skip
        """Fresh weights, fixed by `seed`. Raises UserError for an image that the encoder's map does not tile."""
        config = config or SiamMAEConfig()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = ImageEncoder(encoder, image_size).to(device)
            return cls(network, image_size, config.plan(spec.control_hz), config, seed=seed)

    def update(self, batch: ClipBatch, step: int) -> dict[str, Tensor]:
        past, future = self.view(batch, step)
        keep_BK, place_BN = self.mask(batch.sample_key, step)
        with self.stepper.precision():
            prediction_BND = self.predict(past, future, keep_BK, place_BN)
        moved_B = batch.step[:, 1] > batch.step[:, 0]  # an episode's last frame has none after it
        loss = self.loss(prediction_BND.float(), future, (place_BN >= self.kept) & moved_B[:, None])
        self.stepper.step(loss, step, self.grad_sync)
        return {"objective/loss": loss.detach()}

    def view(self, batch: ClipBatch, step: int) -> tuple[Tensor, Tensor]:
        """Past and future frame, (B, H, W, 3) uint8 each, under one crop."""
        frames, scale = frames_of(batch), self.config.crop_scale
        if scale is not None:
            frames = resized_crop(frames, batch.sample_key, step, _VIEW, seed=self.seed, scale=scale, shared=True)
        return frames[:, 0], frames[:, 1]

    def mask(self, key_B: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Of the future frame: as `robot_pt.objectives.mae.MAE.mask`."""
        count = self.encoder.grid[0] * self.encoder.grid[1]
        order_BN = noise.uniform(key_B, step, _MASK, (count,), seed=self.seed).argsort(dim=1)
        return order_BN[:, : self.kept], order_BN.argsort(dim=1)

    def predict(self, past_BHWC: Tensor, future_BHWC: Tensor, keep_BK: Tensor, place_BN: Tensor) -> Tensor:
        """(B, N, 3 * patch^2) for all patches of the future frame, from the past one and those in `keep`."""
        if self.neck is not None:
            if self.config.hide_pixels:
                future_BHWC = self.hidden(future_BHWC, place_BN)
            coder: MapTokens | VisionTransformer = self.neck
            past, future = (self.neck.embed(self.encoder.feature_map(frame)) for frame in (past_BHWC, future_BHWC))
        else:
            assert isinstance(self.encoder.backbone, VisionTransformer)
            coder = self.encoder.backbone
            past, future = (coder.embed(floats(frame)) for frame in (past_BHWC, future_BHWC))
        out: Tensor = self.decoder(coder.encode(take(future, keep_BK)), place_BN, coder.encode(past))
        return out

    def hidden(self, frame_BHWC: Tensor, place_BN: Tensor) -> Tensor:
        """The frame with what is taken away in middle grey."""
        removed = (place_BN >= self.kept).view(-1, *self.encoder.grid)
        pixels = removed.repeat_interleave(self.patch, 1).repeat_interleave(self.patch, 2)
        return torch.where(pixels[..., None], torch.full_like(frame_BHWC, 127), frame_BHWC)

    def loss(self, prediction_BND: Tensor, future_BHWC: Tensor, removed_BN: Tensor) -> Tensor:
        """Mean squared error per pixel of the future frame's removed patches."""
        target_BND = patchify(floats(future_BHWC), self.patch)
        if self.config.norm_pixels:
            mean, deviation = patch_statistics(target_BND)
            target_BND = (target_BND - mean) / deviation
        return masked_mean((prediction_BND - target_BND).square().mean(dim=-1), removed_BN)

    @torch.no_grad()
    def picture(self, batch: ClipBatch) -> Tensor:
        """uint8 (B, 4, H, W, 3): past, what was kept of the future, reconstruction, future."""
        past, future = frames_of(batch)[:, 0], frames_of(batch)[:, 1]
        keep_BK, place_BN = self.mask(batch.sample_key, 0)
        removed = (place_BN >= self.kept)[..., None]
        patches, found = patchify(floats(future), self.patch), self.predict(past, future, keep_BK, place_BN).float()
        if self.config.norm_pixels:
            mean, deviation = patch_statistics(patches)
            found = found * deviation + mean
        rows = (
            patchify(floats(past), self.patch),
            patches.masked_fill(removed, 0.5),
            torch.where(removed, found, patches),
            patches,
        )
        whole = torch.stack([unpatchify(row, self.encoder.grid, self.patch) for row in rows], dim=1)
        return (whole.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 1, 3, 4, 2)

    def state_dict(self) -> dict[str, Tensor]:
        return self.stepper.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.stepper.load_state_dict(state)


@final
class CrossDecoder(nn.Module):
    """Encoded future tokens (B, 1 + K, inputs) and their places, encoded past (B, 1 + N, inputs) -> pixels (B, N, outputs)."""

    positions: Tensor

    def __init__(self, inputs: int, config: SiamMAEConfig, grid: tuple[int, int], outputs: int):
        super().__init__()
        width = config.decoder_width
        self.project = linear(inputs, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.blocks = nn.ModuleList([CrossBlock(width, config.decoder_heads) for _ in range(config.decoder_blocks)])
        self.out = nn.Sequential(nn.LayerNorm(width, eps=1e-6), linear(width, outputs))
        self.register_buffer("positions", sincos(*grid, width), persistent=False)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, future_BKC: Tensor, place_BN: Tensor, past_BNC: Tensor) -> Tensor:
        future, past = self.project(future_BKC), self.project(past_BNC)
        x = torch.cat([future[:, :1], in_place(future[:, 1:], place_BN, self.mask_token) + self.positions], dim=1)
        past = torch.cat([past[:, :1], past[:, 1:] + self.positions], dim=1)
        for block in self.blocks:
            x = block(x, past)
        out: Tensor = self.out(x[:, 1:])
        return out


@final
class CrossBlock(nn.Module):
    """Pre-norm self-attention, cross-attention to another frame's tokens, and a four times wider GELU layer."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm_1, self.norm_2, self.norm_3 = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.itself, self.across = Attention(width, heads), Attention(width, heads)
        self.mlp = nn.Sequential(linear(width, 4 * width), nn.GELU(), linear(4 * width, width))

    def forward(self, x: Tensor, past_BNC: Tensor) -> Tensor:
        normed = self.norm_1(x)
        x = x + self.itself(normed, normed)
        x = x + self.across(self.norm_2(x), past_BNC)
        out: Tensor = x + self.mlp(self.norm_3(x))
        return out
