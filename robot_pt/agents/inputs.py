"""What an agent's networks are made for: observations, tasks and actions; from it every algorithm makes its own networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar

import torch
from torch import nn

from robot_pt.networks.critics import CriticNetwork
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.networks.ensembles import EnsembleCritic
from robot_pt.networks.policies import ActorConfig, ActorNetwork
from robot_pt.networks.policy_network import PolicyConfig
from robot_pt.normalize import BRIDGE_BOUNDS, Bounds
from robot_pt.schema import Spec

Config = TypeVar("Config", bound=PolicyConfig)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The arguments of `Built.build`. Every call makes fresh weights from torch's generator, on the CPU."""

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

    def policy(self, kind: type[Config], **head: Any) -> Config:
        """The config of a policy network; `head`: its fields beyond those said here."""
        return kind.of(
            self.spec, self.proprio, encoder=self.encoder, cameras=self.cameras, image_size=self.image_size,
            task_slots=self.task_slots, bounds=self.bounds, language_size=self.language_size, **head,
        )  # fmt: skip

    def actor(self, **head: Any) -> ActorNetwork:
        """`head`: fields of `ActorConfig` beyond those said here."""
        return ActorNetwork(self.policy(ActorConfig, **head))

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


class Built(ABC):
    """An agent that is built from what its data looks like."""

    @classmethod
    def build(
        cls, spec: Spec, *, cameras: Sequence[str], image_size: tuple[int, int], task_slots: int, encoder: EncoderConfig,
        config: Any = None, bounds: Bounds = BRIDGE_BOUNDS, proprio: tuple[Sequence[float], Sequence[float]] | None = None,
        language_size: int = 0, device: torch.device | str = "cpu", seed: int = 0,
    ) -> Self:  # fmt: skip
        """A fresh agent for data of `spec`.

        cameras: roles seen; none to learn from the state alone. task_slots: spare ones included. config: the algorithm's
        own, None for its defaults. proprio: (mean, std) per dimension to standardise with; None feeds it as it is.
        seed: fixes weights and noise.
        """
        inputs = Inputs(
            spec=spec, cameras=tuple(cameras), image_size=image_size, task_slots=task_slots, encoder=encoder, bounds=bounds,
            proprio=proprio, language_size=language_size,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls.of(inputs, config, torch.device(device), seed)

    @classmethod
    @abstractmethod
    def of(cls, inputs: Inputs, config: Any, device: torch.device, seed: int) -> Self:
        """The agent on fresh networks made by `inputs` in a fixed order, actor first; config None stands for the defaults."""
