"""One head of ReLU layers on a CPU, its gradient written out: the critic's work is most of an update of CQL and Cal-QL there.

Autograd would do the same sums and lay out a temporary per operation. Here some states go through all layers at a time, so that a
layer's input is still in the cache at the next, weights' gradients are added up in place, and an action whose Q has no gradient is left out
of the way back: in Cal-QL those are the policy's samples below the return-to-go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable

from robot_pt.networks.products import added, affine, product

ROWS = 1024
"""Rows of a layer's product: a megabyte at 256 units."""
_FEW = 0.9
"""Share of rows with a gradient below which the others are left out; above it, picking them costs more."""


def plain_head(
    action_BKA: Tensor, state_BW: Tensor, first_AW: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> Tensor:
    """(B, K, outputs) = layers(relu(action @ first + state)), a ReLU before each of `weights`; differentiable once in all of them.

    state_BW: what the first layer makes of the state, its bias included. biases: (1, width) each.
    """
    return cast(Tensor, _PlainHead.apply(action_BKA, state_BW, first_AW, *weights, *biases))  # type: ignore[no-untyped-call]


class _PlainHead(Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, action_BKA: Tensor, state_BW: Tensor, first_AW: Tensor, *layers: Tensor
    ) -> Tensor:  # fmt: skip
        depth, (batch, count, _) = len(layers) // 2, action_BKA.shape
        weights, biases = layers[:depth], layers[depth:]
        kept = any(ctx.needs_input_grad)  # type: ignore[attr-defined]
        hidden: list[Tensor] = []  # layer by layer, piece by piece
        out = action_BKA.new_empty(batch * count, weights[-1].shape[1])
        for states in _pieces(batch, count):
            rows = product(action_BKA[states].flatten(0, 1), first_AW)
            rows.view(-1, count, len(weights[0])).add_(state_BW[states, None])
            rows.relu_()
            for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True), start=1):
                if kept:
                    hidden.append(rows)
                rows = affine(rows, weight, bias, relu=layer < depth)
            out[states.start * count : states.stop * count] = rows
        ctx.save_for_backward(action_BKA, first_AW, *weights, *hidden)
        return out.view(batch, count, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BKO: Tensor) -> tuple[Tensor | None, ...]:
        action_BKA, first_AW, *rest = ctx.saved_tensors
        batch, count, _ = action_BKA.shape
        pieces = _pieces(batch, count)
        depth = len(rest) // (1 + len(pieces))
        weights, hidden = rest[:depth], rest[depth:]
        action, grad = action_BKA.flatten(0, 1), grad_BKO.flatten(0, 1)
        of_action, of_state, of_layers = ctx.needs_input_grad[0], ctx.needs_input_grad[1], any(ctx.needs_input_grad[2:])
        d_action = torch.zeros_like(action) if of_action else None
        d_state = grad.new_zeros(batch, first_AW.shape[1]) if of_state else None
        d_first = torch.zeros_like(first_AW)
        d_weights = [torch.zeros_like(weight) for weight in weights]
        d_biases = [grad.new_zeros(1, weight.shape[1]) for weight in weights]
        for piece, states in enumerate(pieces):
            at = slice(states.start * count, states.stop * count)
            which, way = _with_gradient(grad[at])
            for layer in reversed(range(depth)):
                seen = _picked(hidden[piece * depth + layer], which)
                if of_layers:
                    d_weights[layer] = added(d_weights[layer], seen.t(), way)
                    d_biases[layer] += way.sum(0)
                way = _through(way, weights[layer], seen)
            if of_layers:
                d_first = added(d_first, _picked(action[at], which).t(), way)
            if d_action is not None:
                _put(d_action[at], which, product(way, first_AW.t()))
            if d_state is not None:
                spread = way if which is None else way.new_zeros(at.stop - at.start, way.shape[1])
                _put(spread, which, way)
                torch.sum(spread.view(-1, count, way.shape[1]), 1, out=d_state[states])
        d_action = None if d_action is None else d_action.view_as(action_BKA)
        return (d_action, d_state, *((d_first, *d_weights, *d_biases) if of_layers else (None,) * (1 + 2 * depth)))


def _pieces(batch: int, count: int) -> list[slice]:
    """States whose actions are about `ROWS` rows together."""
    states = max(1, ROWS // max(count, 1))
    return [slice(start, min(start + states, batch)) for start in range(0, batch, states)]


def _with_gradient(grad: Tensor) -> tuple[Tensor | None, Tensor]:
    """(rows whose gradient is not all zero, their gradient); None and all of it where nearly all have one."""
    index = grad.ne(0).any(1).nonzero()[:, 0]
    if len(index) > _FEW * len(grad):
        return None, grad
    return index, grad.index_select(0, index)


def _picked(rows: Tensor, which: Tensor | None) -> Tensor:
    return rows if which is None else rows.index_select(0, which)


def _put(into: Tensor, which: Tensor | None, rows: Tensor) -> None:
    """The inverse of `_picked`; rows that were not picked stay as they are."""
    if which is not None:
        into.index_copy_(0, which, rows)
    elif into is not rows:
        into.copy_(rows)


def _through(grad: Tensor, weight: Tensor, seen: Tensor) -> Tensor:
    """Gradient of a layer's output -> of what comes before its ReLU, of which `seen` is the output."""
    into = torch.mul(grad, weight.t()) if weight.shape[1] == 1 else product(grad, weight.t())
    return torch.ops.aten.threshold_backward.grad_input(into, seen, 0, grad_input=into)  # type: ignore[no-any-return]
