"""The encoders that are compared, by where they come from: a run, the generator of random numbers, or a run spoilt on purpose."""

from __future__ import annotations

import torch
from torch import nn

from robot_pt.networks.encoders import EncoderConfig, ImageEncoder


def random_encoder(config: EncoderConfig, image_size: tuple[int, int], seed: int) -> ImageEncoder:
    """As it is before any training; the same on every machine. Weights files are ignored."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ImageEncoder(config, image_size)


@torch.no_grad()
def permuted(encoder: ImageEncoder, seed: int) -> ImageEncoder:
    """Shuffle the weights of every output channel among themselves, in place; each keeps its mean, size and distribution.

    What was learned is gone and what initialisation and scale bring is left: a benchmark that sees more in it than in a random
    encoder measures something else than what was learned.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in encoder.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.ndim > 1 and not isinstance(module, nn.Embedding):
                rows = parameter.flatten(1)
                order = torch.rand(rows.shape, generator=generator).argsort(1).to(rows.device)
                parameter.copy_(rows.gather(1, order).view_as(parameter))
    return encoder
