"""The conservative term against numerical integration, finite differences and sums written out."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robot_pt.agents import conservative
from robot_pt.agents.conservative import Sampled
from robot_pt.networks.distributions import ActionGaussian

GEN = torch.Generator().manual_seed(0)


def draw(heads: int = 2, states: int = 3, count: int = 4, seed: int = 0) -> Sampled:
    gen = torch.Generator().manual_seed(seed)
    shapes = [(heads, states), *[(heads, states, count)] * 3, *[(states, count)] * 2]
    return Sampled(*(torch.randn(shape, generator=gen, dtype=torch.float64) for shape in shapes))


@pytest.mark.parametrize("scale", [0.3, 2.0, 6.0])
def test_the_soft_maximum_estimates_the_integral_of_exp_q(scale: float) -> None:
    """K samples each of three densities: log(3K) + log of the integral over [-1, 1], by numerical integration."""
    q = lambda a: scale * torch.sin(3 * a) + a * a  # noqa: E731
    grid = torch.linspace(-1, 1, 100_001, dtype=torch.float64)
    exact = torch.trapezoid(q(grid).exp(), grid).log()
    count, one = 200_000, torch.ones(1, 1, dtype=torch.float64)
    standard = lambda: torch.randn(1, count, 1, generator=GEN, dtype=torch.float64)  # noqa: E731
    policy, policy_log = ActionGaussian(0.5 * one, -0.3 * one, True).sample(standard())
    following, next_log = ActionGaussian(-0.2 * one, 0.1 * one, True).sample(standard())
    uniform = torch.rand(1, 1, count, generator=GEN, dtype=torch.float64) * 2 - 1
    sampled = Sampled(
        q(0.7 * one), q(uniform), q(policy[None, ..., 0]), q(following[None, ..., 0]), policy_log, next_log
    )
    assert float(conservative.soft_maximum(sampled, 1)) == pytest.approx(float(exact) + math.log(3 * count), abs=0.02)
    wanted = float(exact) + math.log(3 * count) - float(q(torch.tensor(0.7)))
    assert float(conservative.gap(sampled, 1)) == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_the_calibrated_soft_maximum_integrates_the_larger_of_q_and_return_where_the_policy_samples(
    scale: float,
) -> None:
    """With the policy's own densities as weights: 1/3 of exp Q and 2/3 of exp max(Q, V)."""
    q, value = (lambda a: scale * torch.cos(4 * a)), 0.4
    grid = torch.linspace(-1, 1, 100_001, dtype=torch.float64)
    whole, bounded = (torch.trapezoid(x.exp(), grid) for x in (q(grid), q(grid).clamp(min=value)))
    count, one = 200_000, torch.ones(1, 1, dtype=torch.float64)
    policy, log = ActionGaussian(0.1 * one, -0.2 * one, True).sample(
        torch.randn(1, 2 * count, 1, generator=GEN, dtype=torch.float64)
    )
    uniform = torch.rand(1, 1, count, generator=GEN, dtype=torch.float64) * 2 - 1
    of_policy = q(policy[None, ..., 0])
    sampled = Sampled(
        q(0 * one), q(uniform), of_policy[..., :count], of_policy[..., count:], log[:, :count], log[:, count:]
    )
    got = conservative.soft_maximum(conservative.calibrated(sampled, torch.tensor([value])), 1)
    assert float(got) == pytest.approx(float((count * whole + 2 * count * bounded).log()), abs=0.02)


def test_terms_by_hand_with_and_without_importance() -> None:
    q = draw()
    for head in range(2):
        for b in range(3):
            rows = [x[head, b].tolist() for x in (q.uniform_EBK, q.policy_EBK, q.next_EBK)]
            logs = [[-5 * math.log(2)] * 4, q.policy_log_BK[b].tolist(), q.next_log_BK[b].tolist()]
            weighed = sum(
                math.exp(v - p) for row, log in zip(rows, logs, strict=True) for v, p in zip(row, log, strict=True)
            )
            alike = sum(math.exp(v) for row in rows for v in row) + math.exp(q.data_EB[head, b])
            assert float(conservative.soft_maximum(q, 5)[head, b]) == pytest.approx(math.log(weighed))
            assert float(conservative.soft_maximum(q, 5, importance=False)[head, b]) == pytest.approx(math.log(alike))


def test_without_importance_the_gap_is_never_negative_because_the_data_action_is_inside() -> None:
    q = draw()._replace(data_EB=torch.full((2, 3), 30.0, dtype=torch.float64))
    assert (conservative.gap(q, 5, importance=False) >= 0).all()
    assert (conservative.gap(q, 5) < 0).all()


def test_split_takes_the_samples_in_the_order_of_the_critics_call() -> None:
    logs = torch.zeros(1, 2), torch.ones(1, 2)
    q = Sampled.split(torch.arange(7.0).view(1, 1, 7), *logs)
    assert [x.flatten().tolist() for x in q[:4]] == [[0], [1, 2], [3, 4], [5, 6]]
    assert q.policy_log_BK is logs[0]
    assert q.next_log_BK is logs[1]


def test_the_bound_lifts_policy_samples_only_and_before_the_density_is_taken_off() -> None:
    q = draw()
    value = torch.tensor([0.5, -9.0, 9.0], dtype=torch.float64)
    c = conservative.calibrated(q, value)
    for name in ("data_EB", "uniform_EBK", "policy_log_BK", "next_log_BK"):
        assert getattr(c, name) is getattr(q, name)
    for name in ("policy_EBK", "next_EBK"):
        got, was = getattr(c, name), getattr(q, name)
        assert torch.equal(got[:, 1], was[:, 1])
        assert (got[:, 2] == 9).all()
        assert torch.equal(got[:, 0], was[:, 0].clamp(min=0.5))
    everywhere = conservative.calibrated(q, torch.full((3,), 9.0, dtype=torch.float64))
    by_hand = torch.cat(
        [q.uniform_EBK + 5 * math.log(2), 9 - q.next_log_BK.expand(2, 3, 4), 9 - q.policy_log_BK.expand(2, 3, 4)], 2
    )
    torch.testing.assert_close(conservative.soft_maximum(everywhere, 5), by_hand.exp().sum(2).log())


def test_bound_rate_counts_policy_samples_of_s_and_next_s() -> None:
    q = draw(heads=1, states=1, count=2)
    q = q._replace(policy_EBK=torch.tensor([[[0.0, 2.0]]]), next_EBK=torch.tensor([[[0.5, 1.0]]]))
    assert float(conservative.bound_rate(q, torch.tensor([1.0]))) == 0.5  # 1.0 itself is not below


@pytest.mark.parametrize("importance", [True, False])
def test_gradients_match_finite_differences(importance: bool) -> None:
    q = draw()
    value = torch.tensor([0.1, -2.0, 0.7], dtype=torch.float64)

    def function(*tensors: Tensor) -> Tensor:
        sampled = conservative.calibrated(q._replace(**dict(zip(q._fields, tensors, strict=False))), value)
        return conservative.gap(sampled, 5, importance=importance)

    assert torch.autograd.gradcheck(function, [x.clone().requires_grad_() for x in q[:4]])


def test_where_the_bound_binds_no_gradient_reaches_q_and_elsewhere_it_is_the_softmax() -> None:
    q = Sampled(*(x.clone().requires_grad_() for x in draw()))
    value = torch.tensor([0.1, -20.0, 20.0], dtype=torch.float64)
    conservative.gap(conservative.calibrated(q, value), 5).sum().backward()
    for sampled in (q.policy_EBK, q.next_EBK):
        bound = sampled.detach() < value[:, None]
        assert bound[:, 2].all()
        assert not bound[:, 1].any()
        assert bound[:, 0].any()
        assert (sampled.grad[bound] == 0).all()
        assert (sampled.grad[~bound] > 0).all()
    torch.testing.assert_close(q.data_EB.grad, torch.full((2, 3), -1 / 3, dtype=torch.float64))
    weighed = torch.cat(
        [q.uniform_EBK + 5 * math.log(2), torch.maximum(q.policy_EBK, value[:, None]) - q.policy_log_BK,
         torch.maximum(q.next_EBK, value[:, None]) - q.next_log_BK], 2,
    ).softmax(2) / 3  # fmt: skip
    torch.testing.assert_close(q.uniform_EBK.grad, weighed[:, :, :4].detach())


@given(seed=st.integers(0, 10**6), value=st.floats(-5, 5), importance=st.booleans())
@settings(max_examples=60, deadline=None)
def test_calibration_never_lowers_the_gap_and_a_low_return_changes_nothing(
    seed: int, value: float, importance: bool
) -> None:
    q = draw(seed=seed)
    free = conservative.soft_maximum(q, 5, importance=importance)
    held = conservative.soft_maximum(conservative.calibrated(q, torch.full((3,), value)), 5, importance=importance)
    assert (held >= free - 1e-12).all()
    low = conservative.calibrated(q, torch.full((3,), -100.0))
    assert torch.equal(conservative.soft_maximum(low, 5, importance=importance), free)


def test_limits_clip_the_gap_state_by_state() -> None:
    q = draw(heads=1, states=3, count=2)
    free = conservative.soft_maximum(q, 5) - q.data_EB
    low, high = sorted(free[0].tolist())[0] + 0.1, sorted(free[0].tolist())[2] - 0.1
    wanted = sum(min(max(x, low), high) for x in free[0].tolist()) / 3
    assert float(conservative.gap(q, 5, floor=low, ceiling=high)) == pytest.approx(wanted)
    assert float(conservative.gap(q, 5, floor=low)) > float(conservative.gap(q, 5))
    assert float(conservative.gap(q, 5, ceiling=high)) < float(conservative.gap(q, 5))


def test_the_multiplier_rises_while_the_gap_exceeds_its_target_and_falls_below_it() -> None:
    for gap, sign in ((2.0, 1), (0.5, -1)):
        log = torch.tensor(1.0, requires_grad=True)
        gaps = torch.full((2,), gap, requires_grad=True)
        loss = conservative.multiplier_loss(log.exp(), 5.0, gaps, 0.8)
        assert float(loss.detach()) == pytest.approx(-math.e * 5 * (gap - 0.8), rel=1e-6)
        loss.backward()
        assert -sign * float(log.grad) > 0  # descent moves against the gradient
        assert gaps.grad is None


def test_infinite_scale_does_not_overflow() -> None:
    q = Sampled(*(1e5 * x for x in draw()[:4]), *draw()[4:])
    assert conservative.gap(q, 5).isfinite().all()
