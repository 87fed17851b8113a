"""`torch.nn.Linear` whose products, there and back, go through `robot_pt.networks.products`: same weights, same names, faster on some CPUs."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable

from robot_pt.networks.products import affine, by_onednn, product


class Linear(nn.Linear):
    """(..., I) -> (..., O); a checkpoint of `torch.nn.Linear` fits. Differentiable once where oneDNN does the work."""

    def forward(self, input: Tensor) -> Tensor:
        rows_NI = input.flatten(0, -2) if input.dim() > 1 else input[None]
        if self.bias is None or not _ours(rows_NI, self.weight.t()):
            return F.linear(input, self.weight, self.bias)
        return layer(rows_NI, self.weight.t(), self.bias[None]).view(*input.shape[:-1], -1)


def layer(rows_NI: Tensor, weight_IO: Tensor, bias_1O: Tensor) -> Tensor:
    """(N, O) = rows @ weight + bias, by oneDNN where that is faster, and then differentiable only once."""
    if not _ours(rows_NI, weight_IO):
        return torch.addmm(bias_1O, rows_NI, weight_IO)
    return cast(Tensor, _Affine.apply(rows_NI, weight_IO, bias_1O))  # type: ignore[no-untyped-call]


def _ours(rows_NI: Tensor, weight_IO: Tensor) -> bool:
    """Not where a recorder, a compiler or autocast wants torch's own operation."""
    recorded: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    others = recorded or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu")
    return not others and by_onednn(rows_NI, weight_IO)


class _Affine(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, rows_NI: Tensor, weight_IO: Tensor, bias_1O: Tensor) -> Tensor:
        ctx.save_for_backward(rows_NI, weight_IO)
        return affine(rows_NI, weight_IO, bias_1O, relu=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NO: Tensor) -> tuple[Tensor | None, ...]:
        rows_NI, weight_IO = ctx.saved_tensors
        of_rows, of_weight, of_bias = ctx.needs_input_grad
        return (
            product(grad_NO, weight_IO.t()) if of_rows else None,
            product(grad_NO.t(), rows_NI).t() if of_weight else None,
            grad_NO.sum(0, keepdim=True) if of_bias else None,
        )
