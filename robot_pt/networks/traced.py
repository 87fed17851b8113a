"""The actor as one recorded graph: the same kernels in the same order, without Python between them.

A network for small images spends a third of its half millisecond in Python; the recorded graph does not, so a policy acts
as fast from camera frames as the bare module does from ready tensors (``benchmarks/policy.py``). `torch.jit` is marked as
deprecated, but its heirs need a C++ compiler on the machine beside the arm: where it is gone or cannot record
a network, the module itself acts.

What is recorded takes one observation: the whole way to the action, or, for a policy that looks at several, the way to the
feature of one, which is where the time goes; its transformer sees windows of growing length, which one graph cannot.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from robot_pt.networks.policy_network import PolicyNetwork, WindowedNetwork

Act = Callable[[Mapping[str, Tensor], Tensor, Tensor, Tensor], Tensor]
"""Arguments and result of `PolicyNetwork.mode`, or of `WindowedNetwork.encode`."""


def traced_mode(
    actor: PolicyNetwork, images: Mapping[str, Tensor], proprio_BP: Tensor, task_B: Tensor, language_BL: Tensor
) -> Act:
    """`actor.mode` for inputs of these shapes, recorded on them; `actor.mode` itself where that fails or differs at all.

    The weights are those of now: record again after they change.
    """
    return _traced(actor, "mode", images, (proprio_BP, task_B, language_BL))


def traced_encode(
    actor: WindowedNetwork, images: Mapping[str, Tensor], proprio_BP: Tensor, task_B: Tensor, language_BL: Tensor
) -> Act:
    """The same of `actor.encode`."""
    return _traced(actor, "encode", images, (proprio_BP, task_B, language_BL))


def _traced(
    actor: PolicyNetwork,
    method: Literal["mode", "encode"],
    images: Mapping[str, Tensor],
    others: tuple[Tensor, Tensor, Tensor],
) -> Act:
    plain: Act = getattr(actor, method)
    cameras = tuple(images)
    example = (*images.values(), *others)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shapes are constant here by design; the deprecation is answered above
        expected = plain(images, *others)
        try:
            graph = torch.jit.freeze(
                torch.jit.trace(  # type: ignore[no-untyped-call]
                    _Method(actor, method, cameras).eval(), example, check_trace=False
                )
            )
            same = all(torch.equal(graph(*example), expected) for _ in range(3))  # the first two runs also optimise it
        except (AttributeError, RuntimeError, TypeError, ValueError):
            return plain
    if not same:
        return plain

    def act(images: Mapping[str, Tensor], proprio_BP: Tensor, task_B: Tensor, language_BL: Tensor) -> Tensor:
        out: Tensor = graph(*(images[camera] for camera in cameras), proprio_BP, task_B, language_BL)
        return out

    return act


class _Method(nn.Module):
    """A method of the actor with positional tensors only, as recording wants them."""

    def __init__(self, actor: PolicyNetwork, method: Literal["mode", "encode"], cameras: tuple[str, ...]):
        super().__init__()
        self.actor, self.method, self.cameras = actor, method, cameras

    def forward(self, *tensors: Tensor) -> Tensor:
        count = len(self.cameras)
        out: Tensor = getattr(self.actor, self.method)(
            dict(zip(self.cameras, tensors[:count], strict=True)), *tensors[count:]
        )
        return out
