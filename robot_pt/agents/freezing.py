"""Agents on features that stay as they are: pretrained image encoders without gradient."""

from __future__ import annotations

from typing import Literal

from torch import nn

from robot_pt.agents import Agent

Frozen = Literal["nothing", "backbone", "encoder"]
"""backbone: convolutions or transformer alone, where pooling and bottleneck were not trained with them; encoder: all of it."""


def freeze_encoders(agent: Agent, part: Frozen) -> None:
    """Let no update change that part of the image encoders of actor and critic, statistics of BatchNorm included.

    Weights may be loaded before or after.
    """
    if part == "nothing":
        return
    critic: nn.Module | None = getattr(agent, "critic", None)
    for network in (agent.actor, *([] if critic is None else [critic])):
        for encoder in network.encoder.encoders.values():  # type: ignore[operator,union-attr]
            frozen = encoder if part == "encoder" else encoder.backbone
            frozen.requires_grad_(False).eval()
