"""uint8 images -> one feature vector: convolutions, learned spatial embeddings, a 256-d LayerNorm + tanh bottleneck.

After PTR (arXiv 2210.05178; Asap7772/PTR jaxrl2/networks/encoders). Images are uint8 HWC until the first line of
`ImageEncoder.forward`; the only scaling is x / 255.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn

from robot_pt.errors import DataError, UserError
from robot_pt.networks.resnet import STAGES, conv, resnet
from robot_pt.networks.timm_models import timm_map
from robot_pt.networks.vit import SIZES, VisionTransformer

ENCODER_NAMES = ("small", *STAGES, *SIZES)
Norm = Literal["group", "batch"]
Pooling = Literal["spatial_embeddings", "spatial_softmax", "average"]


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    name: str = "resnet34"
    """small, resnet18, resnet34, resnet50, vit_tiny, vit_small, vit_base, or timm:NAME."""
    norm: Norm = "group"
    """group = GroupNorm with 4 groups, as published; batch = BatchNorm, an ablation that ties samples of a batch. timm and the
    transformers have their own."""
    pooling: Pooling = "spatial_embeddings"
    embeddings: int | None = None
    """Learned spatial embeddings per channel; None = 8, or 4 for resnet50, as published."""
    latent: int = 256
    """Width of the bottleneck, the feature each camera contributes."""
    weights: str = ""
    """timm only: a local .safetensors file; empty starts from random weights. Nothing is downloaded."""

    def __post_init__(self) -> None:
        if self.name not in ENCODER_NAMES and not self.name.startswith("timm:"):
            raise UserError(f"encoder is {self.name!r}; choose one of {', '.join(ENCODER_NAMES)} or timm:NAME.")
        if self.norm not in ("group", "batch"):
            raise UserError(f"encoder norm is {self.norm!r}; choose group or batch.")
        if self.pooling not in ("spatial_embeddings", "spatial_softmax", "average"):
            raise UserError(
                f"encoder pooling is {self.pooling!r}; choose spatial_embeddings, spatial_softmax or average."
            )
        for name, value in (("latent", self.latent), ("embeddings", 1 if self.embeddings is None else self.embeddings)):
            if not isinstance(value, int) or value < 1:
                raise UserError(f"encoder {name} is {value!r}; give a whole number of at least 1.")
        if self.weights and not self.name.startswith("timm:"):
            raise UserError(
                f"encoder {self.name} takes no weights file ({self.weights}); start from a RUN, or choose timm:NAME."
            )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EncoderConfig:
        """Raises DataError on unknown fields."""
        known = {f.name for f in fields(cls)}
        if set(values) - known:
            raise DataError(f"an encoder config has the fields {sorted(known)}; the file gives {sorted(values)}.")
        return cls(**dict(values))


class ImageEncoder(nn.Module):
    """One camera. `forward` takes uint8 (B, H, W, 3) and gives (B, latent) in (-1, 1)."""

    def __init__(self, config: EncoderConfig, image_size: tuple[int, int]):
        super().__init__()
        self.backbone, channels, self.grid = _backbone(config, image_size)
        self.channels, (height, width) = channels, self.grid
        if height < 2 or width < 2:
            least = 2 * math.ceil(max(image_size) / max(height, width))
            raise UserError(
                f"encoder {config.name} shrinks a {image_size[0]}x{image_size[1]} image to {height}x{width}; use images of at least {least} pixels."
            )
        count = config.embeddings or (4 if config.name == "resnet50" else 8)
        self.pool, pooled = _pooling(config.pooling, height, width, channels, count)
        self.latent, squeeze = config.latent, nn.Linear(pooled, config.latent)
        nn.init.xavier_normal_(squeeze.weight)
        nn.init.zeros_(squeeze.bias)
        self.bottleneck = nn.Sequential(squeeze, nn.LayerNorm(config.latent), nn.Tanh())

    def forward(self, image_BHWC: Tensor) -> Tensor:
        feature: Tensor = self.bottleneck(self.pool(self.feature_map(image_BHWC)))
        return feature.float()

    def feature_map(self, image_BHWC: Tensor) -> Tensor:
        """(B, channels, *grid): what the backbone alone makes of uint8 (B, H, W, 3)."""
        out: Tensor = self.backbone(floats(image_BHWC))
        return out


def floats(image_BHWC: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) -> float (B, 3, H, W) in [0, 1], a backbone's input.

    Channels last in memory, as the bytes lie: 28 % less forward time on a CPU than a copy to NCHW.
    """
    return image_BHWC.permute(0, 3, 1, 2).to(torch.float32).div_(255)


class CameraEncoder(nn.Module):
    """An `ImageEncoder` per camera; features side by side in the order of `cameras`: (B, cameras * latent).

    With no camera its width is 0 and it is not to be called: a network of the state alone.
    """

    def __init__(self, config: EncoderConfig, cameras: tuple[str, ...], image_size: tuple[int, int]):
        super().__init__()
        self.cameras = tuple(cameras)
        self.width = config.latent * len(self.cameras)
        self.encoders = nn.ModuleDict({camera: ImageEncoder(config, image_size) for camera in self.cameras})
        self.encoded: slice | None = None
        """Where its features stand in what comes in place of frames, already encoded; None for frames. See `robot_pt.agents.encoded`."""

    def forward(self, images: Mapping[str, Tensor]) -> Tensor:
        """images: camera -> uint8 (B, H, W, 3), or float32 (B, N) features where `encoded` says which of them are its own."""
        if self.encoded is not None:
            features = [images[camera][:, self.encoded] for camera in self.cameras]
        else:
            features = [self.encoders[camera](images[camera]) for camera in self.cameras]
        return features[0] if len(features) == 1 else torch.cat(features, dim=1)


class SpatialEmbeddings(nn.Module):
    """F learned maps per channel; each output is the map's inner product with the channel: (B, C, H, W) -> (B, C * F)."""

    def __init__(self, height: int, width: int, channels: int, count: int):
        super().__init__()
        deviation = 1 / math.sqrt(height * width * channels) / 0.87962566  # lecun normal: of a normal cut at 2 sigma
        self.kernel = nn.Parameter(torch.empty(channels, height * width, count))
        nn.init.trunc_normal_(self.kernel, std=deviation, a=-2 * deviation, b=2 * deviation)

    def forward(self, x: Tensor) -> Tensor:
        if len(x) == 1 and not torch.is_grad_enabled():  # acting: 7 times as fast on a CPU as a batch of tiny products
            return (x.flatten(2)[..., None] * self.kernel).sum(2).flatten(1)
        map_CBP = x.flatten(2).transpose(0, 1)
        return torch.bmm(map_CBP, self.kernel).transpose(0, 1).flatten(1)


class SpatialSoftmax(nn.Module):
    """Expected image position of each channel's softmax, x then y in [-1, 1]: (B, C, H, W) -> (B, 2C)."""

    grid: Tensor

    def __init__(self, height: int, width: int):
        super().__init__()
        y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        self.register_buffer("grid", torch.stack([x.flatten(), y.flatten()], dim=1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        where_BC2 = x.flatten(2).softmax(dim=-1) @ self.grid
        return where_BC2.transpose(1, 2).flatten(1)


def _backbone(config: EncoderConfig, image_size: tuple[int, int]) -> tuple[nn.Module, int, tuple[int, int]]:
    """(network, channels of its map, (height, width) of its map)."""
    if config.name.startswith("timm:"):
        return timm_map(config.name.removeprefix("timm:"), config.weights, image_size)
    if config.name in SIZES:
        transformer = VisionTransformer(config.name, image_size)
        return transformer, transformer.width, transformer.grid
    made = _small(config) if config.name == "small" else resnet(config.name, lambda channels: _norm(config, channels))
    network, channels, span = made
    return network, channels, (math.ceil(image_size[0] / span), math.ceil(image_size[1] / span))


def _small(config: EncoderConfig) -> tuple[nn.Module, int, int]:
    """(network, channels, pixels per cell of its map). Four GroupNorm convolutions for two CPU cores at 64x64: most of the work happens on an 8x8 map."""
    layers: list[nn.Module] = []
    inputs = 3
    for filters, kernel, stride in ((32, 5, 2), (48, 3, 2), (64, 3, 2), (64, 3, 1)):
        layers += [conv(inputs, filters, kernel, stride), _norm(config, filters), nn.ReLU(inplace=True)]
        inputs = filters
    return nn.Sequential(*layers), inputs, 8


def _norm(config: EncoderConfig, channels: int) -> nn.Module:
    return nn.GroupNorm(4, channels, eps=1e-5) if config.norm == "group" else nn.BatchNorm2d(channels, eps=1e-5)


def _pooling(kind: str, height: int, width: int, channels: int, count: int) -> tuple[nn.Module, int]:
    if kind == "spatial_embeddings":
        return SpatialEmbeddings(height, width, channels, count), channels * count
    if kind == "spatial_softmax":
        return SpatialSoftmax(height, width), 2 * channels
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), channels
