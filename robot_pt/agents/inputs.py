"""What an agent's networks are made for: observations, tasks and actions; from it every algorithm makes its own networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from robot_pt.networks.critics import CriticNetwork
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.networks.ensembles import EnsembleCritic
from robot_pt.networks.policies import ActorConfig, ActorNetwork
from robot_pt.normalize import Bounds
from robot_pt.schema import Spec


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The arguments of `OffPolicyAgent.build`. Every call makes fresh weights from torch's generator, on the CPU."""

    spec: Spec
    cameras: tuple[str, ...]
    """Roles the networks see; none for learning from the state alone."""
    image_size: tuple[int, int]
    task_slots: int
    encoder: EncoderConfig
    bounds: Bounds
    proprio: tuple[Sequence[float], Sequence[float]] | None
    """(mean, std) per dimension to standardise with; None feeds it as it is."""
    language_size: int

    def actor(self, **head: Any) -> ActorNetwork:
        """`head`: fields of `ActorConfig` beyond those said here."""
        return ActorNetwork(
            ActorConfig.of(
                self.spec, self.proprio, encoder=self.encoder, cameras=self.cameras, image_size=self.image_size,
                task_slots=self.task_slots, bounds=self.bounds, language_size=self.language_size, **head,
            )
        )  # fmt: skip

    def ensemble(self, *, actions: bool = True, **shape: Any) -> EnsembleCritic:
        """`shape`: hidden, heads, layer_norm, outputs of `EnsembleCritic`. Without `actions` a function of the state."""
        size = len(self.spec.proprio_names)
        mean, std = self.proprio or ((0.0,) * size, (1.0,) * size)
        return EnsembleCritic(
            task_slots=self.task_slots, language_size=self.language_size, proprio_mean=tuple(mean), proprio_std=tuple(std),
            action_size=len(self.bounds.low) if actions else 0, encoder=self.encoder, cameras=self.cameras,
            image_size=self.image_size, **shape,
        )  # fmt: skip

    def ptr_critic(self, **shape: Any) -> CriticNetwork:
        """PTR's critic: from images and task, without proprio. Raises UserError where there is no camera."""
        return CriticNetwork(
            task_slots=self.task_slots, language_size=self.language_size, action_size=len(self.bounds.low),
            encoder=self.encoder, cameras=self.cameras, image_size=self.image_size, **shape,
        )  # fmt: skip

    def critic(self, kind: Literal["ensemble", "ptr"], *, layer_norm: bool, **shape: Any) -> nn.Module:
        """`ensemble` or `ptr_critic`; `shape`: hidden, heads, outputs. PTR's has no LayerNorm, which configs refuse for it."""
        if kind == "ptr":
            return self.ptr_critic(**shape)
        return self.ensemble(layer_norm=layer_norm, **shape)
