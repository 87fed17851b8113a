"""Agents on features that stay as they are: pretrained image encoders without gradient."""

from __future__ import annotations

from robot_pt.agents import Agent


def freeze_encoders(agent: Agent) -> None:
    """Let no update change the image encoders of actor and critic, statistics of BatchNorm included; load weights before or after."""
    critic = getattr(agent, "critic", None)
    for network in (agent.actor, *([] if critic is None else [critic])):
        network.encoder.requires_grad_(False).eval()
