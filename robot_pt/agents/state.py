"""Modules and optimisers <-> one flat mapping of tensors, which safetensors can hold without pickles."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from robot_pt.errors import MismatchError


def flat_state(modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]) -> dict[str, Tensor]:
    """Names: "critic.q.bias", "optimizer.critic.3.exp_avg" (number = place in the optimiser). Copies, not views."""
    out: dict[str, Tensor] = {}
    for prefix, module in modules.items():
        out |= {f"{prefix}.{name}": value for name, value in module.state_dict().items()}
    for prefix, optimizer in optimizers.items():
        for number, values in optimizer.state_dict()["state"].items():
            out |= {f"optimizer.{prefix}.{number}.{key}": value for key, value in values.items()}
    return {name: value.detach().clone().contiguous() for name, value in out.items()}


def load_flat_state(
    state: Mapping[str, Tensor], modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]
) -> None:
    """The inverse of `flat_state`. Raises MismatchError naming the first tensor that is missing, unknown or of another shape.

    A state without optimiser entries (weights only) leaves the optimisers fresh.
    """
    own = {f"{p}.{name}": value for p, module in modules.items() for name, value in module.state_dict().items()}
    weights = {name for name in state if not name.startswith("optimizer.")}
    for name in sorted(weights ^ set(own)):
        where = "misses" if name in own else "has an unknown"
        raise MismatchError(
            f"the checkpoint {where} tensor {name}; it is of another network: use the encoder and options it was trained with."
        )
    for name, value in own.items():
        if state[name].shape != value.shape:
            raise MismatchError(
                f"checkpoint tensor {name} has shape {tuple(state[name].shape)}, this network needs {tuple(value.shape)}: "
                "use the image size, task slots and encoder it was trained with."
            )
    for prefix, module in modules.items():
        module.load_state_dict({n.removeprefix(f"{prefix}."): state[n] for n in weights if n.startswith(f"{prefix}.")})
    for prefix, optimizer in optimizers.items():
        _load_optimizer(optimizer, {n: v for n, v in state.items() if n.startswith(f"optimizer.{prefix}.")})


def part_of(state: Mapping[str, Tensor], prefixes: Sequence[str]) -> dict[str, Tensor]:
    """The weights and optimiser moments of these modules alone."""
    starts = tuple(f"{way}{prefix}." for prefix in prefixes for way in ("", "optimizer."))
    return {name: value for name, value in state.items() if name.startswith(starts)}


def require_same_network(name: str, state: Mapping[str, Tensor], modules: Mapping[str, nn.Module]) -> None:
    """Raise MismatchError, naming the first tensor, unless `state` has exactly the weights of these modules."""
    own = {f"{part}.{n}": tuple(v.shape) for part, module in modules.items() for n, v in module.state_dict().items()}
    given = {n: tuple(v.shape) for n, v in part_of(state, list(modules)).items() if not n.startswith("optimizer.")}
    for tensor in sorted(own.keys() | given.keys()):
        if own.get(tensor) != given.get(tensor):
            there, here = given.get(tensor, "absent"), own.get(tensor, "absent")
            raise MismatchError(
                f"{name} cannot start from these weights: {tensor} is {there} there and {here} here; both need the same heads, layer_norm, "
                "hidden layers, encoder, cameras and task slots, so give it the pretrained agent's or pretrain again with its own."
            )


def _load_optimizer(optimizer: Optimizer, entries: Mapping[str, Tensor]) -> None:
    moments: dict[int, dict[str, Any]] = {}
    for name, value in entries.items():
        number, key = name.split(".")[-2:]
        moments.setdefault(int(number), {})[key] = value.detach().clone()
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})


@torch.no_grad()
def move_towards(target: nn.Module, source: nn.Module, share: float) -> None:
    """target += share * (source - target), for every parameter, in float32; buffers (BatchNorm's statistics) are copied."""
    torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), share)
    ours, theirs = list(target.buffers()), list(source.buffers())
    if ours:
        torch._foreach_copy_(ours, theirs)


Network = TypeVar("Network", bound=nn.Module)


def averaged(network: Network, share: float) -> Network:
    """A copy of `network` to average its weights in, without gradients; `network` itself where `share` is 0."""
    return copy.deepcopy(network).requires_grad_(False).eval() if share else network
