"""ResNet v1 as PTR runs it: strides (2, 2, 2, 1, 1), GroupNorm with 4 groups, no biases, kaiming initialisation.

Asap7772/PTR jaxrl2/networks/encoders/resnet_encoderv1.py. Stages 3 and 4 keep their resolution, so a 128x128 image leaves
as a 16x16 map where the usual ResNet gives 4x4. Padding is symmetric (flax pads stride-2 layers on the far side only).
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]

STAGES = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}
_STRIDES = (2, 2, 2, 1, 1)  # stem, pool, then the first block of stages 2, 3, 4


class BasicBlock(nn.Module):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, inputs: int, filters: int, stride: int, norm: Norm):
        super().__init__()
        self.body = nn.Sequential(
            conv(inputs, filters, 3, stride),
            norm(filters),
            nn.ReLU(inplace=True),
            conv(filters, filters, 3, 1),
            norm(filters),
        )
        self.shortcut = _shortcut(inputs, filters, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x), inplace=True)


class BottleneckBlock(nn.Module):
    """1x1 down, 3x3, 1x1 up to four times the filters; the last norm starts at 0, so a block starts as its shortcut."""

    expansion = 4

    def __init__(self, inputs: int, filters: int, stride: int, norm: Norm):
        super().__init__()
        last = norm(4 * filters)
        last.get_parameter("weight").data.zero_()
        self.body = nn.Sequential(
            conv(inputs, filters, 1, 1),
            norm(filters),
            nn.ReLU(inplace=True),
            conv(filters, filters, 3, stride),
            norm(filters),
            nn.ReLU(inplace=True),
            conv(filters, 4 * filters, 1, 1),
            last,
        )
        self.shortcut = _shortcut(inputs, 4 * filters, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x), inplace=True)


def resnet(name: str, norm: Norm) -> tuple[nn.Sequential, int, int]:
    """(network from float (B, 3, H, W) to a map, its channels, how many pixels of the image one cell of the map spans)."""
    block = BottleneckBlock if name == "resnet50" else BasicBlock
    layers: list[nn.Module] = [
        conv(3, 64, 7, _STRIDES[0]),
        norm(64),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, _STRIDES[1], padding=1),
    ]
    channels = 64
    for stage, blocks in enumerate(STAGES[name]):
        for i in range(blocks):
            stride = _STRIDES[stage + 1] if stage and i == 0 else 1
            layers.append(block(channels, 64 * 2**stage, stride, norm))
            channels = 64 * 2**stage * block.expansion
    return nn.Sequential(*layers), channels, 8


def conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Conv2d:
    """Convolution without bias, kaiming normal over the inputs, padded to keep the resolution at stride 1."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
    return layer


def _shortcut(inputs: int, outputs: int, stride: int, norm: Norm) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return nn.Sequential(conv(inputs, outputs, 1, stride), norm(outputs))
