"""The actor as one recorded graph: the same kernels in the same order, without Python between them.

A network for small images spends a third of its half millisecond in Python; the recorded graph does not, so a policy acts
as fast from camera frames as the bare module does from ready tensors (``benchmarks/policy.py``). `torch.jit` is marked as
deprecated, but its heirs need a C++ compiler on the machine beside the arm: where it is gone or cannot record
a network, the module itself acts.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from robot_pt.networks.policies import ActorNetwork

Act = Callable[[Mapping[str, Tensor], Tensor, Tensor, Tensor], Tensor]
"""Arguments and result of `ActorNetwork.mode`."""


def traced_mode(
    actor: ActorNetwork, images: Mapping[str, Tensor], proprio_BP: Tensor, task_B: Tensor, language_BL: Tensor
) -> Act:
    """`actor.mode` for inputs of these shapes, recorded on them; `actor.mode` itself where that fails or differs at all.

    The weights are those of now: record again after they change.
    """
    cameras = tuple(images)
    example = (*images.values(), proprio_BP, task_B, language_BL)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shapes are constant here by design; the deprecation is answered above
        expected = actor.mode(images, proprio_BP, task_B, language_BL)
        try:
            graph = torch.jit.freeze(
                torch.jit.trace(  # type: ignore[no-untyped-call]
                    _Mode(actor, cameras).eval(), example, check_trace=False
                )
            )
            same = all(torch.equal(graph(*example), expected) for _ in range(3))  # the first two runs also optimise it
        except (AttributeError, RuntimeError, TypeError, ValueError):
            return actor.mode
    if not same:
        return actor.mode

    def act(images: Mapping[str, Tensor], proprio_BP: Tensor, task_B: Tensor, language_BL: Tensor) -> Tensor:
        action_BA: Tensor = graph(*(images[camera] for camera in cameras), proprio_BP, task_B, language_BL)
        return action_BA

    return act


class _Mode(nn.Module):
    """`ActorNetwork.mode` with positional tensors only, as recording wants them."""

    def __init__(self, actor: ActorNetwork, cameras: tuple[str, ...]):
        super().__init__()
        self.actor, self.cameras = actor, cameras

    def forward(self, *tensors: Tensor) -> Tensor:
        count = len(self.cameras)
        return self.actor.mode(dict(zip(self.cameras, tensors[:count], strict=True)), *tensors[count:])
