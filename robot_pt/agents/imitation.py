"""What the imitation agents share: one network, one optimiser, augmented views, a running average that acts.

An algorithm is a final subclass in a file of its own, which holds its loss. No critic: `values` says so.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim import Optimizer

from robot_pt.agents import GradSync, no_sync
from robot_pt.agents.inputs import Built
from robot_pt.agents.state import averaged, flat_state, load_flat_state, move_towards
from robot_pt.augment import AugmentConfig, augment
from robot_pt.errors import UserError
from robot_pt.networks.policy_network import PolicyNetwork
from robot_pt.schema import Batch

_VIEW_STREAM = 16  # one stream per camera from here; those below are the algorithms' own


@dataclass(frozen=True, kw_only=True)
class ImitationConfig:
    learning_rate: float = 3e-4
    actor_average: float = 0.0
    """Share by which a running average of the weights moves to them at each update; the average acts and is saved. 0 = none."""
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)
    """None switches augmentation off."""
    bf16: bool = False
    """Run the network under bfloat16 autocast; the likelihood stays float32."""

    def __post_init__(self) -> None:
        name = type(self).__name__.removesuffix("Config")
        if not 0 <= self.actor_average <= 1:
            raise UserError(f"{name}'s actor_average is {self.actor_average}; give a share in [0, 1], 0 for none.")
        if not self.learning_rate > 0:
            raise UserError(f"{name}'s learning_rate is {self.learning_rate}; give a value above 0.")


class ImitationAgent(Built, ABC):
    """Implements `robot_pt.agents.Agent` but for `of` and `loss`.

    Args:
        optimizer: of all parameters of `actor`.
        clip_norm: largest norm of the gradient; a longer one is shortened to it.
    """

    def __init__(
        self, actor: PolicyNetwork, config: ImitationConfig, optimizer: Optimizer, *, clip_norm: float = math.inf, seed: int = 0
    ):  # fmt: skip
        self.actor, self.config, self.seed = actor, config, seed
        self.grad_sync: GradSync = no_sync
        self.device = next(actor.parameters()).device
        self._optimizer, self._clip_norm = optimizer, clip_norm
        self.acting = averaged(actor, config.actor_average)
        self._modules = {"actor": actor} | ({"average": self.acting} if self.acting is not actor else {})

    @abstractmethod
    def loss(self, images: Mapping[str, Tensor], batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the batch given these views of it, a mean over samples, and what to log."""

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        loss, metrics = self.loss(self._view(batch, step), batch, step)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.grad_sync(self.actor.parameters())
        if self._clip_norm < math.inf:
            torch.nn.utils.clip_grad_norm_(self.actor.parameters(), self._clip_norm)
        self._optimizer.step()
        if self.acting is not self.actor:
            move_towards(self.acting, self.actor, self.config.actor_average)
        return metrics

    def values(self, batch: Batch) -> Tensor:
        """Raises UserError: imitation learns no value."""
        raise UserError(
            "behaviour cloning has no critic, so it gives no Q-values; select its checkpoints by step or loss."
        )

    def state_dict(self) -> dict[str, Tensor]:
        return flat_state(self._modules, {"actor": self._optimizer})

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        load_flat_state(state, self._modules, {"actor": self._optimizer})

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16)

    def _view(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Augmented images; all frames of a window alike."""
        config = self.config.augment
        if config is None:
            return dict(batch.images)
        views = {}
        for i, camera in enumerate(self.actor.encoder.cameras):
            image, key = batch.images[camera], batch.sample_key
            frames = image.flatten(0, -4)
            key_N = key.repeat_interleave(len(frames) // len(key))
            views[camera] = augment(frames, key_N, step, _VIEW_STREAM + i, config, seed=self.seed).reshape(image.shape)
        return views
