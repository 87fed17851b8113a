"""The written-out gradient of a head against autograd through the same layers, in double precision."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robot_pt.networks import plain_head as module
from robot_pt.networks.plain_head import plain_head


def layers(gen: torch.Generator, state: int, action: int, widths: tuple[int, ...]) -> tuple[Tensor, ...]:
    """First layer's action weights, then weights, then biases."""
    number = lambda *shape: torch.randn(*shape, generator=gen, dtype=torch.float64)  # noqa: E731
    pairs = list(pairwise(widths))
    return (number(action, widths[0]), *(number(i, o) for i, o in pairs), *(number(1, o) for _, o in pairs))


def by_hand(action: Tensor, state: Tensor, first: Tensor, *rest: Tensor) -> Tensor:
    """One action at a time, every layer as F.linear."""
    depth = len(rest) // 2
    columns = []
    for k in range(action.shape[1]):
        x = action[:, k] @ first + state
        for weight, bias in zip(rest[:depth], rest[depth:], strict=True):
            x = F.linear(F.relu(x), weight.T, bias[0])
        columns.append(x)
    return torch.stack(columns, 1)


def ours(action: Tensor, state: Tensor, first: Tensor, *rest: Tensor) -> Tensor:
    depth = len(rest) // 2
    return plain_head(action, state, first, rest[:depth], rest[depth:])


def inputs(seed: int, batch: int, count: int, actions: int, widths: tuple[int, ...]) -> list[Tensor]:
    gen = torch.Generator().manual_seed(seed)
    action = torch.randn(batch, count, actions, generator=gen, dtype=torch.float64)
    state = torch.randn(batch, widths[0], generator=gen, dtype=torch.float64)
    return [x.requires_grad_() for x in (action, state, *layers(gen, 0, actions, widths))]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000), batch=st.integers(1, 9), count=st.integers(1, 7), actions=st.integers(0, 4),
    hidden=st.lists(st.integers(1, 6), min_size=1, max_size=3), outputs=st.sampled_from([1, 3]),
    silent=st.sampled_from([0.0, 0.05, 0.5, 1.0]), rows=st.sampled_from([1, 5, 16, 1000]),
)  # fmt: skip
def test_values_and_gradients_are_autograds_in_pieces_and_with_rows_left_out(
    seed: int, batch: int, count: int, actions: int, hidden: list[int], outputs: int, silent: float, rows: int
) -> None:
    given_ = inputs(seed, batch, count, actions, (*hidden, outputs))
    upstream = torch.randn(batch, count, outputs, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    upstream[torch.rand(batch, count, generator=torch.Generator().manual_seed(seed + 1)) < silent] = 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROWS", rows)
        mine, theirs = ours(*given_), by_hand(*given_)
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=1e-10)
        both = [torch.autograd.grad((q * upstream).sum(), given_) for q in (mine, theirs)]
    for one, other in zip(*both, strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-9)


def test_only_what_needs_a_gradient_gets_one() -> None:
    """The actor's loss goes through constant weights to the actions alone; a target needs nothing at all."""
    action, *rest = inputs(0, 6, 3, 4, (8, 8, 1))
    constant = [x.detach() for x in rest]
    upstream = torch.randn(6, 3, 1, dtype=torch.float64)
    (mine,) = torch.autograd.grad((ours(action, *constant) * upstream).sum(), [action])
    (theirs,) = torch.autograd.grad((by_hand(action, *constant) * upstream).sum(), [action])
    torch.testing.assert_close(mine, theirs)
    free = ours(action.detach(), *constant)
    assert not free.requires_grad
    torch.testing.assert_close(free, by_hand(action.detach(), *constant))
    first = rest[1].detach().requires_grad_()
    (alone,) = torch.autograd.grad(ours(action.detach(), constant[0], first, *constant[2:]).sum(), [first])
    (wanted,) = torch.autograd.grad(by_hand(action.detach(), constant[0], first, *constant[2:]).sum(), [first])
    torch.testing.assert_close(alone, wanted)


def test_a_row_without_gradient_costs_nothing_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which rows go the way back is counted where they are picked."""
    given_ = inputs(1, 10, 10, 3, (8, 8, 1))
    upstream = torch.zeros(10, 10, 1, dtype=torch.float64)
    upstream[:, :2] = torch.randn(10, 2, 1, dtype=torch.float64)
    seen: list[int] = []
    through = module._through

    def counted(grad: Tensor, *others: Tensor) -> Tensor:
        seen.append(len(grad))
        return through(grad, *others)

    monkeypatch.setattr(module, "_through", counted)
    mine = torch.autograd.grad((ours(*given_) * upstream).sum(), given_)
    assert seen == [20, 20]  # of 100, in each of two layers
    theirs = torch.autograd.grad((by_hand(*given_) * upstream).sum(), given_)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_a_gradient_of_nan_is_not_taken_for_none() -> None:
    given_ = inputs(2, 4, 4, 2, (5, 1))
    upstream = torch.zeros(4, 4, 1, dtype=torch.float64)
    upstream[1, 2] = torch.nan
    gradients = torch.autograd.grad((ours(*given_) * upstream).sum(), given_)
    assert gradients[0][1, 2].isnan().any()
    assert not gradients[0][0].isnan().any()
    assert gradients[-1].isnan().all()


def test_weights_that_changed_between_the_way_there_and_back_are_refused() -> None:
    given_ = inputs(3, 4, 2, 2, (5, 5, 1))
    q = ours(*given_)
    with torch.no_grad():
        given_[3].add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        q.sum().backward()


def test_second_derivatives_are_refused_instead_of_being_wrong() -> None:
    given_ = inputs(4, 4, 2, 2, (5, 1))
    (slope,) = torch.autograd.grad(ours(*given_).square().sum(), [given_[0]], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@pytest.mark.parametrize("retained", [False, True])
def test_going_back_twice_gives_the_same_or_is_refused(retained: bool) -> None:
    given_ = inputs(5, 7, 3, 2, (6, 6, 1))
    total = ours(*given_).square().sum()
    first = torch.autograd.grad(total, given_, retain_graph=retained)
    if not retained:
        with pytest.raises(RuntimeError, match="second time"):
            torch.autograd.grad(total, given_)
        return
    for one, other in zip(first, torch.autograd.grad(total, given_), strict=True):
        assert torch.equal(one, other)
