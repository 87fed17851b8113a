"""Looking at a network without changing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Networks in evaluation mode: normalisation uses, and leaves alone, its running statistics; dropout is off.

    Every layer has its own mode again afterwards, also after an error.
    """
    before = [(layer, layer.training) for network in networks for layer in network.modules()]
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for layer, training in before:
            layer.training = training
