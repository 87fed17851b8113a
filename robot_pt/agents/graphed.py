"""A whole update as one CUDA graph: thousands of kernel launches become one.

The step function must have fixed shapes, take its noise from the step tensor it is given, and never wait for the device.
Optimisers must be `capturable`. Under several processes, gradients must be averaged by a backend that CUDA graphs can
record (NCCL).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from robot_pt.errors import UserError
from robot_pt.schema import Batch

StepFunction = Callable[[Batch, Tensor], dict[str, Tensor]]

_WARM_UP = 3
"""Updates run without a graph first, on a side stream, so that libraries choose algorithms and optimisers allocate."""


class GraphedStep:
    """Calls `step_function` a few times, records it, and replays the recording from then on. Every call is one update."""

    def __init__(self, step_function: StepFunction):
        self._step_function = step_function
        self._calls = 0
        self._batch: Batch | None = None
        self._step = torch.empty(0)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._names: list[str] = []
        self._metrics = torch.empty(0)

    def __call__(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Raises UserError where the batch's shapes are not those of the first call."""
        static = self._fill(batch, step)
        self._calls += 1
        if self._calls <= _WARM_UP:
            return self._warm_up(static)
        if self._graph is None:
            self._record(static)
        assert self._graph is not None
        self._graph.replay()
        return dict(zip(self._names, self._metrics.clone().unbind(), strict=True))

    def _fill(self, batch: Batch, step: int) -> Batch:
        """Copy into the tensors the graph reads; their addresses never change."""
        if self._batch is None:
            self._batch = Batch(*(_map(torch.clone, value) for value in batch))
            self._step = torch.zeros((), dtype=torch.int64, device=batch.action.device)
        else:
            for ours, theirs in zip(_tensors(self._batch), _tensors(batch), strict=True):
                if ours.shape != theirs.shape:
                    raise UserError(
                        f"a CUDA graph needs batches of one shape; it was recorded with {tuple(ours.shape)} and given "
                        f"{tuple(theirs.shape)}: drop the odd batch or use acceleration none."
                    )
                ours.copy_(theirs, non_blocking=True)
        self._step.fill_(step)
        return self._batch

    def _warm_up(self, batch: Batch) -> dict[str, Tensor]:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            metrics = self._step_function(batch, self._step)
        torch.cuda.current_stream().wait_stream(side)
        return metrics

    def _record(self, batch: Batch) -> None:
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            metrics = self._step_function(batch, self._step)
            self._names = list(metrics)
            self._metrics = torch.stack([value.float() for value in metrics.values()])


def _tensors(batch: Batch) -> list[Tensor]:
    out: list[Tensor] = []
    for value in batch:
        if value is not None:
            out += list(value.values()) if isinstance(value, dict) else [value]
    return out


def _map(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    if value is None:
        return None
    return {k: function(v) for k, v in value.items()} if isinstance(value, dict) else function(value)
