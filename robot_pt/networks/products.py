"""Products of float32 matrices on a CPU, by oneDNN where that is the faster of the two libraries inside torch.

torch multiplies matrices by MKL, which takes vectors of half the width on processors that are not Intel's: on an AMD EPYC with AVX-512 one core
reaches 100 GFLOP/s by MKL and 220 by oneDNN, which torch uses for convolutions (`python benchmarks/products.py`). The operator called here is
the one that torch.compile puts in place of a linear layer. Where torch does not have it, it fails its trial, or
`torch.backends.mkldnn.flags(enabled=False)` is set, torch's own product stands in. Sums are taken in another order, so the two differ
by rounding. Nothing here is differentiable: callers write their gradients out.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import torch
from torch import Tensor

WORTHWHILE = 2**20
"""Multiplications from which oneDNN is faster: below, its some 10 us per call are more than it saves."""


def product(rows_NI: Tensor, weight_IO: Tensor) -> Tensor:
    """(N, O) = rows @ weight; views that are transposed cost nothing more."""
    if by_onednn(rows_NI, weight_IO):
        return cast(Tensor, _linear()(_dense(rows_NI), _dense(weight_IO).t(), None, "none", [], ""))
    return rows_NI @ weight_IO


def affine(rows_NI: Tensor, weight_IO: Tensor, bias_1O: Tensor, *, relu: bool) -> Tensor:
    """(N, O) = rows @ weight + bias, cut off below 0 with `relu`.

    The ReLU is torch's: the one that oneDNN has to offer with the product makes 0 of NaN.
    """
    if by_onednn(rows_NI, weight_IO):
        out = cast(Tensor, _linear()(_dense(rows_NI), _dense(weight_IO).t(), bias_1O[0], "none", [], ""))
    else:
        out = torch.addmm(bias_1O, rows_NI, weight_IO)
    return out.relu_() if relu else out


def added(sum_IO: Tensor, left_IN: Tensor, right_NO: Tensor) -> Tensor:
    """sum + left @ right; `sum_IO` itself where that is in place, and not to be used further in any case."""
    if by_onednn(left_IN, right_NO):
        return cast(Tensor, _linear().binary(_dense(left_IN), sum_IO, _dense(right_NO).t(), None, "add"))
    return sum_IO.addmm_(left_IN, right_NO)


def by_onednn(left_NI: Tensor, right_IO: Tensor) -> bool:
    """Whether this product goes to oneDNN."""
    work = left_NI.shape[0] * left_NI.shape[1] * right_IO.shape[1]
    return (
        work >= WORTHWHILE
        and left_NI.dtype == right_IO.dtype == torch.float32
        and left_NI.is_cpu
        and bool(torch.backends.mkldnn.enabled)
        and _passes_its_trial()
    )


def _dense(matrix: Tensor) -> Tensor:
    """Itself or a copy: columns cut out of a wider matrix go to a kernel fifty times slower."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()


def _linear() -> Any:
    return torch.ops.mkldnn._linear_pointwise


@cache
def _passes_its_trial() -> bool:
    """Whether this processor has AVX-512 (measured nowhere else) and the operator, which torch does not promise, does what it is asked for here."""
    if "AVX512" not in torch.backends.cpu.get_cpu_capability():
        return False
    left, right = torch.arange(6.0).view(2, 3), torch.arange(12.0).view(3, 4) - 6
    bias, wanted = torch.full((4,), 2.0), left @ right
    try:
        plain = _linear()(left, right.t(), None, "none", [], "")
        more = _linear()(left, right.t(), bias, "none", [], "")
        summed = _linear().binary(left, wanted, right.t(), None, "add")
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.equal(plain, wanted) and torch.equal(more, wanted + bias) and torch.equal(summed, 2 * wanted)
