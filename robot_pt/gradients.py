"""Gradient norms of any agent, read where gradients are complete: between `grad_sync` and the optimiser step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter


class GradientNorms:
    """Wraps an agent's `grad_sync`. After each update `latest` holds "actor/grad_norm", "critic/grad_norm", ...: 0-d tensors on
    the device, named after the agent's attribute that owns the parameters."""

    def __init__(self, agent: Any):
        self._sync = agent.grad_sync
        self._names = {
            id(next(module.parameters())): name
            for name, module in reversed(vars(agent).items())
            if isinstance(module, nn.Module) and next(module.parameters(), None) is not None
        }
        self._fresh: dict[str, Tensor] = {}
        self._last: dict[str, Tensor] = {}

    def __call__(self, parameters: Iterable[Parameter]) -> None:
        own = list(parameters)
        self._sync(own)
        gradients = [p.grad for p in own if p.grad is not None]
        if gradients:
            name = self._names.get(id(own[0]), f"group{len(self._fresh)}")
            self._fresh[f"{name}/grad_norm"] = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))

    def latest(self) -> dict[str, Tensor]:
        """Norms of the update just done. A captured graph does not call this object again: its tensors are read anew."""
        if self._fresh:
            self._last, self._fresh = self._fresh, {}
        return self._last


@contextmanager
def watched_gradients(agent: Any) -> Iterator[GradientNorms | None]:
    """Norms of `agent`'s gradients while inside; None for an agent without `grad_sync`."""
    if not hasattr(agent, "grad_sync"):
        yield None
        return
    before = agent.grad_sync
    norms = GradientNorms(agent)
    agent.grad_sync = norms
    try:
        yield norms
    finally:
        agent.grad_sync = before
