"""Masked autoencoding: reconstruct the patches of a frame that were taken away (He et al., CVPR 2022; facebookresearch/mae models_mae.py).

With a vision transformer, the published method: positions are added, three quarters of the patches dropped *before* the encoder, a
small decoder gets mask tokens in their places, and the loss is over dropped patches alone, each normalised by its own mean and
deviation. Decoder and mask token are thrown away.

With convolutions there is nothing to drop: the backbone sees the *whole* frame and cells of its map are masked after it, as
dojeon-ai/Atari-PB (src/trainers/mae.py, necks/mae_neck.py) does. Receptive fields overlap, so a cell that is kept knows about its
masked neighbours: part of what is to be predicted LEAKS. A small transformer between the map and the decoder belongs to this form;
its loss is over all patches, since none is unseen. Compare its numbers with other convolutional encoders, never with a transformer's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from robot_pt import noise
from robot_pt.agents import GradSync, no_sync
from robot_pt.clips import Around, ClipBatch, ClipPlan
from robot_pt.errors import UserError
from robot_pt.networks.encoders import EncoderConfig, ImageEncoder, floats
from robot_pt.networks.vit import Block, VisionTransformer, linear, sincos
from robot_pt.normalize import BRIDGE_BOUNDS, Bounds
from robot_pt.objectives import Needs
from robot_pt.objectives.across import masked_mean
from robot_pt.objectives.stepper import StepConfig, Stepper
from robot_pt.objectives.views import frames_of, resized_crop
from robot_pt.schema import Spec

_VIEW, _MASK = 0, 2  # stream of the view; the mask's, which the view leaves free


@dataclass(frozen=True, kw_only=True)
class MAEConfig:
    mask_share: float | None = None
    """Share of the patches taken away; None = 0.75 with a transformer, 0.9 of the map with convolutions, as published."""
    norm_pixels: bool = True
    """Normalise each patch that is to be predicted by its own mean and deviation."""
    decoder_width: int = 192
    """Published: 512 wide, 8 blocks, 16 heads for images of 224 pixels; robot frames are smaller."""
    decoder_blocks: int = 2
    decoder_heads: int = 6
    crop_scale: tuple[float, float] | None = (0.2, 1.0)
    """Share of the frame that is cut out and enlarged; None takes the frame as it is. No mirroring: a robot's left is not its right."""
    optim: StepConfig = field(
        default_factory=lambda: StepConfig(
            weight_decay=0.05, betas=(0.9, 0.95), clip_norm=0, warmup_share=0.05, final_share=0
        )
    )

    def __post_init__(self) -> None:
        if self.mask_share is not None and not 0 < self.mask_share < 1:
            raise UserError(f"MAE's mask_share is {self.mask_share}; give a share between 0 and 1, such as 0.75.")
        if self.decoder_width % (4 * self.decoder_heads) or self.decoder_blocks < 1:
            raise UserError(
                f"MAE's decoder has {self.decoder_blocks} blocks, {self.decoder_width} wide with {self.decoder_heads} heads; give at "
                "least 1 block and a width that is a multiple of 4 x heads."
            )


class MAE:
    """Implements `robot_pt.objectives.Objective`."""

    needs: ClassVar[Needs] = Needs("image")
    trains: Literal["backbone"] = "backbone"
    caption: ClassVar[str] = (
        "Frame, the patches that were kept, and what the decoder makes of them in the places of the others."
    )

    def __init__(self, encoder: ImageEncoder, image_size: tuple[int, int], config: MAEConfig, *, seed: int = 0):
        self.encoder, self.config, self.seed = encoder, config, seed
        self.plan: ClipPlan = Around((0,))
        self.grad_sync: GradSync = no_sync
        self.patch = patch_of(encoder, image_size)
        backbone = encoder.backbone
        width = encoder.channels if isinstance(backbone, VisionTransformer) else config.decoder_width
        device = next(encoder.parameters()).device
        self.decoder = Decoder(width, config, encoder.grid, 3 * self.patch**2).to(device)
        self.neck = (
            None
            if isinstance(backbone, VisionTransformer)
            else MapTokens(encoder.channels, config, encoder.grid).to(device)
        )
        learned: dict[str, nn.Module] = {"encoder": encoder, "decoder": self.decoder}
        self.stepper = Stepper(learned | ({"neck": self.neck} if self.neck else {}), config.optim)
        count = encoder.grid[0] * encoder.grid[1]
        share = (0.9 if self.neck else 0.75) if config.mask_share is None else config.mask_share
        self.kept = min(count - 1, max(1, round(count * (1 - share))))

    @classmethod
    def build(
        cls, spec: Spec, *, image_size: tuple[int, int], task_slots: int, encoder: EncoderConfig, config: MAEConfig | None = None,
        bounds: Bounds = BRIDGE_BOUNDS, device: torch.device | str = "cpu", seed: int = 0,
    ) -> MAE:  # fmt: skip
        """Fresh weights, fixed by `seed`. Raises UserError for an image that the encoder's map does not tile."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(ImageEncoder(encoder, image_size).to(device), image_size, config or MAEConfig(), seed=seed)

    def update(self, batch: ClipBatch, step: int) -> dict[str, Tensor]:
        frames = self.view(batch, step)
        keep_BK, place_BN = self.mask(batch.sample_key, step)
        with self.stepper.precision():
            prediction_BND = self.predict(frames, keep_BK, place_BN)
        loss = self.loss(prediction_BND.float(), frames, place_BN >= self.kept)
        self.stepper.step(loss, step, self.grad_sync)
        return {"objective/loss": loss.detach()}

    def view(self, batch: ClipBatch, step: int) -> Tensor:
        """(B, H, W, 3) uint8: what is to be reconstructed."""
        frames, scale = frames_of(batch), self.config.crop_scale
        if scale is not None:
            frames = resized_crop(frames, batch.sample_key, step, _VIEW, seed=self.seed, scale=scale)
        return frames[:, 0]

    def mask(self, key_B: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """(patches that are kept (B, K), place of every patch in the drawn order (B, N): below K it is kept); each sample its own."""
        count = self.encoder.grid[0] * self.encoder.grid[1]
        order_BN = noise.uniform(key_B, step, _MASK, (count,), seed=self.seed).argsort(dim=1)
        return order_BN[:, : self.kept], order_BN.argsort(dim=1)

    def predict(self, frames_BHWC: Tensor, keep_BK: Tensor, place_BN: Tensor) -> Tensor:
        """(B, N, 3 * patch^2) for all patches, seen and unseen, from those in `keep`."""
        if self.neck is not None:
            tokens = self.neck.embed(self.encoder.feature_map(frames_BHWC))
            coder: MapTokens | VisionTransformer = self.neck
        else:
            assert isinstance(self.encoder.backbone, VisionTransformer)
            coder = self.encoder.backbone
            tokens = coder.embed(floats(frames_BHWC))
        out: Tensor = self.decoder(coder.encode(take(tokens, keep_BK)), place_BN)
        return out

    def loss(self, prediction_BND: Tensor, frames_BHWC: Tensor, removed_BN: Tensor) -> Tensor:
        """Mean squared error per pixel, over removed patches; over all with convolutions."""
        target_BND = patchify(floats(frames_BHWC), self.patch)
        if self.config.norm_pixels:
            mean, deviation = patch_statistics(target_BND)
            target_BND = (target_BND - mean) / deviation
        error_BN = (prediction_BND - target_BND).square().mean(dim=-1)
        return masked_mean(error_BN, removed_BN if self.neck is None else torch.ones_like(removed_BN))

    @torch.no_grad()
    def picture(self, batch: ClipBatch) -> Tensor:
        """uint8 (B, 3, H, W, 3): frame, what was kept of it, reconstruction."""
        frames = frames_of(batch)[:, 0]
        keep_BK, place_BN = self.mask(batch.sample_key, 0)
        removed = (place_BN >= self.kept)[..., None]
        patches = patchify(floats(frames), self.patch)
        found = self.predict(frames, keep_BK, place_BN).float()
        if self.config.norm_pixels:
            mean, deviation = patch_statistics(patches)
            found = found * deviation + mean
        kept, whole = patches.masked_fill(removed, 0.5), torch.where(removed, found, patches)
        rows = [unpatchify(x, self.encoder.grid, self.patch) for x in (patches, kept, whole)]
        return (torch.stack(rows, dim=1).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 1, 3, 4, 2)

    def state_dict(self) -> dict[str, Tensor]:
        return self.stepper.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.stepper.load_state_dict(state)


class MapTokens(nn.Module):
    """A convolutional map as tokens, and the small transformer that sees those that are kept."""

    positions: Tensor

    def __init__(self, channels: int, config: MAEConfig, grid: tuple[int, int]):
        super().__init__()
        width = config.decoder_width
        self.project = linear(channels, width)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.Sequential(*(Block(width, config.decoder_heads) for _ in range(config.decoder_blocks)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.register_buffer("positions", sincos(*grid, width), persistent=False)

    def embed(self, map_BCHW: Tensor) -> Tensor:
        """(B, N, width), row by row, each with its position."""
        out: Tensor = self.project(map_BCHW.flatten(2).transpose(1, 2)) + self.positions
        return out

    def encode(self, tokens_BKC: Tensor) -> Tensor:
        """(B, 1 + K, width), class token first."""
        out: Tensor = self.norm(
            self.blocks(torch.cat([self.class_token.expand(len(tokens_BKC), -1, -1), tokens_BKC], dim=1))
        )
        return out


class Decoder(nn.Module):
    """Encoded tokens (B, 1 + K, inputs), class token first, and the places of all patches -> pixels (B, N, outputs)."""

    positions: Tensor

    def __init__(self, inputs: int, config: MAEConfig, grid: tuple[int, int], outputs: int):
        super().__init__()
        width = config.decoder_width
        self.project = linear(inputs, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.blocks = nn.Sequential(*(Block(width, config.decoder_heads) for _ in range(config.decoder_blocks)))
        self.out = nn.Sequential(nn.LayerNorm(width, eps=1e-6), linear(width, outputs))
        self.register_buffer("positions", sincos(*grid, width), persistent=False)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, encoded_BKC: Tensor, place_BN: Tensor) -> Tensor:
        x = self.project(encoded_BKC)
        patches = in_place(x[:, 1:], place_BN, self.mask_token) + self.positions
        out: Tensor = self.out(self.blocks(torch.cat([x[:, :1], patches], dim=1))[:, 1:])
        return out


def in_place(kept_BKC: Tensor, place_BN: Tensor, fill_11C: Tensor) -> Tensor:
    """(B, N, C): every kept token back where it was taken from, `fill` elsewhere. place: as `MAE.mask` gives it."""
    batch, kept, _ = kept_BKC.shape
    rest = fill_11C.to(kept_BKC.dtype).expand(batch, place_BN.shape[1] - kept, -1)
    return take(torch.cat([kept_BKC, rest], dim=1), place_BN)


def take(tokens_BNC: Tensor, which_BK: Tensor) -> Tensor:
    """(B, K, C): each sample's own choice of its tokens."""
    return tokens_BNC.gather(1, which_BK[..., None].expand(-1, -1, tokens_BNC.shape[2]))


def patchify(image_B3HW: Tensor, patch: int) -> Tensor:
    """(B, N, 3 * patch^2): patches row by row, within a patch its rows, pixels, colours."""
    batch, _, height, width = image_B3HW.shape
    tiles = image_B3HW.reshape(batch, 3, height // patch, patch, width // patch, patch)
    return tiles.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, 3 * patch * patch)


def unpatchify(patches_BND: Tensor, grid: tuple[int, int], patch: int) -> Tensor:
    """The inverse of `patchify`: (B, 3, H, W)."""
    rows, columns = grid
    tiles = patches_BND.reshape(-1, rows, columns, patch, patch, 3)
    return tiles.permute(0, 5, 1, 3, 2, 4).reshape(-1, 3, rows * patch, columns * patch)


def patch_statistics(patches_BND: Tensor) -> tuple[Tensor, Tensor]:
    """(mean, deviation) over the numbers of each patch, (B, N, 1) each; variance unbiased, plus 1e-6."""
    return patches_BND.mean(-1, keepdim=True), (patches_BND.var(-1, keepdim=True) + 1e-6).sqrt()


def patch_of(encoder: ImageEncoder, image_size: tuple[int, int]) -> int:
    """Pixels of one cell of the encoder's map. Raises UserError where cells do not tile the image."""
    (height, width), (rows, columns) = image_size, encoder.grid
    if height % rows or width % columns or height // rows != width // columns:
        raise UserError(
            f"masked autoencoding needs images that the encoder's {rows}x{columns} map tiles with squares, {height}x{width} is none; "
            "choose an --image-size that is a multiple of 32, such as 64 or 128."
        )
    return height // rows
