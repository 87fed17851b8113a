"""Behaviour cloning on PTR's parts: maximise the likelihood of the data action.

The first baseline of arXiv 2210.05178: a plain Gaussian of fixed deviation 1, i.e. a mean squared error on normalised
actions (Asap7772/PTR jaxrl2/agents/pixel_bc, networks/normal_policy.py), with PTR's crop and jitter. `head` = "tanh_gaussian" trains
PTR's own head by likelihood instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Adam

from robot_pt.agents import GradSync, no_sync
from robot_pt.agents.state import averaged, flat_state, load_flat_state, move_towards
from robot_pt.augment import AugmentConfig, augment
from robot_pt.errors import UserError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.networks.policies import ActorConfig, ActorNetwork
from robot_pt.normalize import BRIDGE_BOUNDS, Bounds
from robot_pt.schema import Batch, Spec

_VIEW_STREAM = 16  # one stream per camera from here


@dataclass(frozen=True, kw_only=True)
class BCConfig:
    learning_rate: float = 3e-4
    """Adam."""
    head: Literal["gaussian", "tanh_gaussian"] = "gaussian"
    """gaussian = the published baseline; tanh_gaussian = PTR's head."""
    std: Literal["fixed", "global", "state"] = "fixed"
    """Standard deviation: `fixed_std`, one learned number per action dimension, or learned from the state."""
    fixed_std: float = 1.0
    """In units of the normalised action."""
    log_std_range: tuple[float, float] = (-5.0, 2.0)
    """Clip of a learned log-std; (-2, 2) learns faster where an action dimension hardly moves."""
    actor_average: float = 0.0
    """Share by which a running average of the weights moves to them at each update; the average acts and is saved. 0 = none."""
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)
    """None switches augmentation off."""
    bf16: bool = False
    """Run the network under bfloat16 autocast; the likelihood stays float32."""

    def __post_init__(self) -> None:
        if not 0 <= self.actor_average <= 1:
            raise UserError(f"BC's actor_average is {self.actor_average}; give a share in [0, 1], 0 for none.")


class BC:
    """Implements `robot_pt.agents.Agent`."""

    def __init__(self, actor: ActorNetwork, config: BCConfig, *, seed: int = 0):
        self.actor, self.config, self.seed = actor, config, seed
        self.grad_sync: GradSync = no_sync
        self._device = next(actor.parameters()).device
        self._optimizer = Adam(actor.parameters(), lr=config.learning_rate, fused=True)
        self.acting = averaged(actor, config.actor_average)
        self._modules = {"actor": actor} | ({"average": self.acting} if self.acting is not actor else {})

    @classmethod
    def build(
        cls,
        spec: Spec,
        *,
        cameras: Sequence[str],
        image_size: tuple[int, int],
        task_slots: int,
        encoder: EncoderConfig,
        config: BCConfig | None = None,
        bounds: Bounds = BRIDGE_BOUNDS,
        proprio: tuple[Sequence[float], Sequence[float]] | None = None,
        language_size: int = 0,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> BC:
        """A fresh agent for data of `spec`; `task_slots` includes spare ones, `seed` fixes weights and noise.

        proprio: (mean, std) per dimension to standardise with; None feeds it as it is, as published.
        """
        config = config or BCConfig()
        actor_config = ActorConfig.of(
            spec, proprio, encoder=encoder, cameras=tuple(cameras), image_size=image_size, task_slots=task_slots, bounds=bounds,
            language_size=language_size, std=config.std, fixed_std=config.fixed_std, squash=config.head == "tanh_gaussian",
            log_std_range=config.log_std_range,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            actor = ActorNetwork(actor_config)
        return cls(actor.to(device), config, seed=seed)

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        loss, metrics = self.loss(self._view(batch, step), batch)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.grad_sync(self.actor.parameters())
        self._optimizer.step()
        if self.acting is not self.actor:
            move_towards(self.acting, self.actor, self.config.actor_average)
        return metrics

    def loss(self, images: Mapping[str, Tensor], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean negative log-likelihood of the data actions given these views, and what to log."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.config.bf16):
            policy = self.actor(images, batch.proprio, batch.task, batch.language)
        action_BA = self.actor.normalizer.encode(batch.action)
        loss = -policy.log_prob(action_BA).mean()
        error = (policy.mode().detach() - action_BA).square().mean()
        return loss, {"actor/loss": loss.detach(), "actor/mse": error}

    def values(self, batch: Batch) -> Tensor:
        """Raises UserError: imitation learns no value."""
        raise UserError(
            "behaviour cloning has no critic, so it gives no Q-values; select its checkpoints by step or loss."
        )

    def state_dict(self) -> dict[str, Tensor]:
        return flat_state(self._modules, {"actor": self._optimizer})

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        load_flat_state(state, self._modules, {"actor": self._optimizer})

    def _view(self, batch: Batch, step: int) -> dict[str, Tensor]:
        config = self.config.augment
        if config is None:
            return dict(batch.images)
        return {
            camera: augment(batch.images[camera], batch.sample_key, step, _VIEW_STREAM + i, config, seed=self.seed)
            for i, camera in enumerate(self.actor.encoder.cameras)
        }
