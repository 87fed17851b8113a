"""Products by oneDNN against double precision, on views and sizes of every kind, and what stands in where it cannot be used."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robot_pt.networks import products as module
from robot_pt.networks.linear import Linear
from robot_pt.networks.products import added, affine, product


@pytest.fixture(autouse=True)
def untried() -> Iterator[None]:
    module._passes_its_trial.cache_clear()
    yield
    module._passes_its_trial.cache_clear()


def matrix(gen: torch.Generator, rows: int, columns: int, view: str) -> Tensor:
    """Whole, transposed, or columns cut out of a wider one; small whole numbers, whose products float32 holds exactly."""
    if view == "transposed":
        return matrix(gen, columns, rows, "whole").t()
    if view == "cut":
        return matrix(gen, rows, columns + 3, "whole")[:, 1:-2]
    return torch.randint(-8, 9, (rows, columns), generator=gen).float()


views = st.sampled_from(["whole", "transposed", "cut"])
size = st.integers(0, 40)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 99), n=size, i=size, o=size, left=views, right=views, relu=st.booleans())
def test_sums_are_exact_on_whole_numbers(
    seed: int, n: int, i: int, o: int, left: str, right: str, relu: bool
) -> None:  # fmt: skip
    gen = torch.Generator().manual_seed(seed)
    rows, weight, bias = matrix(gen, n, i, left), matrix(gen, i, o, right), matrix(gen, 1, o, "whole")
    wanted = rows.double() @ weight.double()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WORTHWHILE", 1)
        assert torch.equal(product(rows, weight).double(), wanted)
        plus = wanted + bias.double()
        assert torch.equal(affine(rows, weight, bias, relu=relu).double(), plus.relu() if relu else plus)
        start = matrix(gen, n, o, "whole")
        assert torch.equal(added(start.clone(), rows, weight).double(), start.double() + wanted)


@pytest.mark.parametrize("shape", [(1024, 256, 256), (640, 29, 256), (256, 1024, 256)])
def test_large_products_are_those_of_double_precision_but_for_rounding(shape: tuple[int, int, int]) -> None:
    n, i, o = shape
    gen = torch.Generator().manual_seed(0)
    rows, weight = torch.randn(n, i, generator=gen), torch.randn(i, o, generator=gen)
    wanted = rows.double() @ weight.double()
    torch.testing.assert_close(product(rows, weight).double(), wanted, atol=1e-5 * i**0.5, rtol=0)


def test_nan_and_infinity_are_kept() -> None:
    rows, weight = torch.ones(64, 256), torch.ones(256, 256)
    rows[3, 5], rows[4, 6] = torch.nan, torch.inf
    out = affine(rows, weight, torch.zeros(1, 256), relu=True)
    assert out[3].isnan().all()
    assert out[4].isposinf().all()
    assert out[5].eq(256).all()


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # torch, where flags are set
@pytest.mark.parametrize("why", ["it is switched off", "another processor", "torch without it", "it is wrong"])
def test_torchs_own_product_stands_in(monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """Bit by bit what torch gives."""
    if why == "another processor":
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    if why == "torch without it":
        monkeypatch.setattr(module, "_linear", lambda: torch.ops.mkldnn.not_there)
    if why == "it is wrong":
        monkeypatch.setattr(module, "_linear", lambda: lambda left, right, *_: left @ right.t() + 1)
    gen = torch.Generator().manual_seed(0)
    rows, weight = torch.randn(256, 256, generator=gen), torch.randn(256, 256, generator=gen)
    bias = torch.randn(1, 256, generator=gen)
    with torch.backends.mkldnn.flags(enabled=why != "it is switched off"):
        assert torch.equal(product(rows, weight), rows @ weight)
        assert torch.equal(affine(rows, weight, bias, relu=False), torch.addmm(bias, rows, weight))
        assert torch.equal(added(rows.clone(), rows, weight), torch.addmm(rows, rows, weight))


def test_double_precision_stays_double() -> None:
    rows = torch.randn(256, 256, dtype=torch.float64)
    assert torch.equal(product(rows, rows), rows @ rows)


@pytest.mark.parametrize("shape", [(4, 9, 48), (1, 5), (7,), (0, 48)])
@pytest.mark.parametrize("worthwhile", [1, 2**60])
def test_a_linear_layer_and_its_gradients_are_torchs(shape: tuple[int, ...], worthwhile: int, monkeypatch) -> None:
    """Of any shape, by oneDNN and without, on whole numbers."""
    monkeypatch.setattr(module, "WORTHWHILE", worthwhile)
    gen = torch.Generator().manual_seed(0)
    ours, theirs = Linear(shape[-1], 12), torch.nn.Linear(shape[-1], 12)
    with torch.no_grad():
        theirs.weight.copy_(matrix(gen, 12, shape[-1], "whole"))
        theirs.bias.copy_(matrix(gen, 1, 12, "whole")[0])
    ours.load_state_dict(theirs.state_dict())
    inputs = torch.randint(-3, 4, shape, generator=gen).float()
    upstream = torch.randint(-3, 4, (*shape[:-1], 12), generator=gen).float()
    seen = []
    for network in (ours, theirs):
        x = inputs.clone().requires_grad_()
        out = network(x)
        seen.append((out, *torch.autograd.grad((out * upstream).sum(), [x, network.weight, network.bias])))
    for mine, wanted in zip(*seen, strict=True):
        assert torch.equal(mine, wanted)
        assert mine.stride() == wanted.stride()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit, which acting on a CPU uses
def test_a_linear_layer_is_torchs_where_it_is_recorded_or_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORTHWHILE", 1)
    network, x = Linear(8, 4), torch.randn(3, 8)
    recorded = torch.jit.trace(network, x)
    assert "aten::linear" in {node.kind() for node in recorded.inlined_graph.nodes()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert network(x).dtype == torch.bfloat16
    assert Linear(8, 4, bias=False)(x).shape == (3, 4)
