"""Learning algorithms, one file each. `Agent` is what the training loop, checkpoints and selection see of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from torch import Tensor
from torch.nn import Parameter

from robot_pt.networks.policy_network import PolicyNetwork
from robot_pt.schema import Batch

GradSync = Callable[[Iterable[Parameter]], None]
"""Averages `.grad` over processes, in place; called between each backward and its optimiser step."""


class Agent(Protocol):
    """Batches hold tensors on the agent's device. Nothing here waits for the device."""

    grad_sync: GradSync

    @property
    def actor(self) -> PolicyNetwork:
        """What is being learned."""
        ...

    @property
    def acting(self) -> PolicyNetwork:
        """What acts, is judged and saved as the policy: `actor`, or a running average of it."""
        ...

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """One update; detached 0-d tensors to log. `step` keys the noise: the same batch and step give the same update."""
        ...

    def values(self, batch: Batch) -> Tensor:
        """(B,) Q of the data actions. Raises UserError where the agent has no critic."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Flat: weights, optimiser moments, temperature; enough to continue bit for bit."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Raises MismatchError where the state is of another network."""
        ...


def no_sync(parameters: Iterable[Parameter]) -> None:
    """One process: gradients are already complete."""
