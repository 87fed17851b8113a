"""One optimiser step as every objective makes it: schedule, clipping, AdamW, then the averaged copies; and all of it as flat state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW

from robot_pt.agents import GradSync
from robot_pt.agents.state import flat_state, load_flat_state, move_towards
from robot_pt.errors import UserError


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    """The schedule of Atari-PB (dojeon-ai/Atari-PB scripts/pretrain) where an objective's config says nothing else."""

    learning_rate: float = 3e-4
    """Peak, after warm-up."""
    weight_decay: float = 1e-5
    """AdamW's, on weights of two dimensions and more; biases, norms and tokens have none. 0 makes it Adam."""
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip_norm: float = 0.5
    """Largest norm of the gradient over all parameters; 0 for no clipping."""
    total_steps: int = 0
    """Updates that warm-up and cosine are spread over, and the averages' momentum; 0 keeps rate and momentum as they begin."""
    warmup_share: float = 0.1
    """Share of the updates in which the rate rises from 0."""
    final_share: float = 0.1
    """Share of the peak that the cosine ends at, and that later updates keep."""
    momentum: tuple[float, float] = (0.99, 0.999)
    """Share of itself that an averaged copy keeps per update, at the first and the last update, linear between."""
    bf16: bool = False
    """Run the networks under bfloat16 autocast; losses stay float32."""

    def __post_init__(self) -> None:
        shares = (self.warmup_share, self.final_share, *self.momentum)
        if not all(0 <= s <= 1 for s in shares):
            raise UserError(
                f"warmup_share, final_share and momentum are {shares}; give shares in [0, 1], such as 0.1, 0.1, 0.99 and 0.999."
            )
        if not self.learning_rate > 0 or self.weight_decay < 0 or self.clip_norm < 0 or self.total_steps < 0:
            raise UserError(
                f"learning rate {self.learning_rate}, weight decay {self.weight_decay}, clip norm {self.clip_norm} and total steps "
                f"{self.total_steps}: give a rate above 0 and no number below 0."
            )

    def rate(self, step: int) -> float:
        """Learning rate of update `step`, counted from 0."""
        if not self.total_steps:
            return self.learning_rate
        warmup = round(self.warmup_share * self.total_steps)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, self.total_steps - warmup))
        return self.learning_rate * (self.final_share + (1 - self.final_share) * (1 + math.cos(math.pi * done)) / 2)

    def kept(self, step: int) -> float:
        """Share of itself that an averaged copy keeps at update `step`."""
        first, last = self.momentum
        return first + (last - first) * min(1.0, step / self.total_steps) if self.total_steps else first


class Stepper:
    """Owns the optimiser of an objective; the objective owns its networks and keeps this as `stepper`.

    Args:
        learned: name -> network with gradients, the encoder first. One optimiser holds them all.
        averages: name -> (averaged copy, the network it follows); copies as `robot_pt.agents.state.averaged` makes them, before
            anything is compiled.
    """

    def __init__(
        self, learned: Mapping[str, nn.Module], config: StepConfig, *,
        averages: Mapping[str, tuple[nn.Module, nn.Module]] | None = None,
    ):  # fmt: skip
        self.config = config
        self._averages = dict(averages or {})
        self._modules = dict(learned) | {name: copy for name, (copy, _) in self._averages.items()}
        unique = {id(p): p for module in learned.values() for p in module.parameters() if p.requires_grad}
        self._parameters = list(unique.values())
        self._device = self._parameters[0].device
        groups = [
            {"params": [p for p in self._parameters if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in self._parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self._optimizer = AdamW(
            [g for g in groups if g["params"]], lr=config.learning_rate, betas=config.betas, eps=config.eps, fused=True
        )

    def precision(self) -> torch.autocast:
        """Around the networks' passes: bfloat16 where the config says so."""
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self.config.bf16)

    def step(self, loss: Tensor, step: int, sync: GradSync) -> None:
        """Backward, `sync` (the objective's grad_sync), clip, update number `step`, then the averages towards the new weights."""
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        sync(self._parameters)
        if self.config.clip_norm:
            clip_grad_norm_(self._parameters, self.config.clip_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = self.config.rate(step)
        self._optimizer.step()
        share = 1 - self.config.kept(step)
        for copy, source in self._averages.values():
            move_towards(copy, source, share)

    def restart_averages(self) -> None:
        """Make every averaged copy equal to what it follows: after other weights were loaded into the encoder."""
        for copy, source in self._averages.values():
            copy.load_state_dict(source.state_dict())

    def state_dict(self) -> dict[str, Tensor]:
        """Flat: all networks, averages and moments."""
        return flat_state(self._modules, {"objective": self._optimizer})

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Raises MismatchError where the state is of another network."""
        load_flat_state(state, self._modules, {"objective": self._optimizer})
