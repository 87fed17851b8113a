"""VIP: the sampler by enumeration, the loss by hand, and values that rise towards the goal of a clip never seen."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from robot_pt.clips import ClipPlan
from robot_pt.errors import UserError
from robot_pt.objectives.negatives import other_rows
from robot_pt.objectives.stepper import StepConfig
from robot_pt.objectives.vip import VIP, VIPConfig, VIPFrames, log_mean_exp, value, vip_loss
from tests.objectives.toy_video import ENCODER, SIZE, SPEC, Videos, crossing


def build(**options: Any) -> VIP:
    fast = StepConfig(learning_rate=1e-3, weight_decay=0.0, clip_norm=0.0)
    config = VIPConfig(**({"width": 32, "crop_scale": None, "optim": fast} | options))
    return VIP.build(SPEC, image_size=(SIZE, SIZE), task_slots=1, encoder=ENCODER, config=config)


@pytest.mark.parametrize("length", [2, 3, 4, 6])
def test_frames_are_drawn_as_published(length: int) -> None:
    """The three draws of the original, written out; it has none for two frames."""
    expected: Counter[tuple[int, ...]] = Counter()
    starts = range(max(length - 2, 1))
    for start in starts:
        goals = range(start + 1, length)
        for goal in goals:
            for k in range(start, goal):
                expected[start, goal, k, min(k + 1, goal)] += 1 / len(starts) / len(goals) / (goal - start)
    draws = 40_000
    step = VIPFrames().steps(np.random.default_rng(length), np.zeros(draws, np.int64), np.full(draws, length))
    seen = Counter(map(tuple, step.tolist()))
    assert seen.keys() <= expected.keys()
    assert sum(expected.values()) == pytest.approx(1)
    if len(expected) > 1:
        assert stats.chisquare([seen[k] for k in expected], [draws * p for p in expected.values()]).pvalue > 1e-4


def test_a_single_frame_is_no_clip() -> None:
    assert not Videos(np.zeros((2, 1, SIZE, SIZE, 3), np.uint8)).clips(VIPFrames(), 0, 8).valid.all(1).any()


def by_hand(first: list[float], now: list[list[float]], then: list[list[float]], gamma: float) -> float:
    """r + gamma V(k+1,g) - V(k,g) with r = -1, number by number."""
    loss = (1 - gamma) * -sum(first) / len(first)
    own = [math.exp(-(-1 + gamma * t - n)) for n, t in zip(now[0], then[0], strict=True)]
    loss += math.log(1e-8 + sum(own) / len(own))
    others = [
        math.exp(-(-1 + gamma * t - n))
        for ns, ts in zip(now[1:], then[1:], strict=True)
        for n, t in zip(ns, ts, strict=True)
    ]
    return loss + (math.log(1e-8 + sum(others) / len(others)) if others else 0)


@pytest.mark.parametrize("rows", [1, 4])
def test_the_loss_by_hand(rows: int) -> None:
    rng = np.random.default_rng(rows)
    first, now, then = -rng.random(3) * 5, -rng.random((rows, 3)) * 5, -rng.random((rows, 3)) * 5
    got = vip_loss(*(torch.from_numpy(x) for x in (first, now, then)), torch.ones(rows, 3, dtype=torch.bool), 0.98)
    assert float(got) == pytest.approx(by_hand(first.tolist(), now.tolist(), then.tolist(), 0.98), rel=1e-6)


def test_at_the_values_of_a_chain_only_the_first_term_is_left() -> None:
    """V(k) = -(1 - gamma^n) / (1 - gamma), n steps before the goal: no transition is a surprise."""
    gamma = 0.98
    exact = torch.tensor([-(1 - gamma**n) / (1 - gamma) for n in (4, 3, 2, 1, 0)], dtype=torch.float64)
    loss = vip_loss(exact[:1].expand(4), exact[None, :4], exact[None, 1:], torch.ones(1, 4, dtype=torch.bool), gamma)
    assert float(loss) == pytest.approx((1 - gamma) * -float(exact[0]) + math.log(1 + 1e-8), rel=1e-9)


def test_gradients_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    code = torch.randn(5, 4, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    rows = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]])
    valid = torch.rand(2, 5, generator=generator) < 0.8

    def loss(code: torch.Tensor) -> torch.Tensor:
        first, goal, now, then = code.unbind(1)
        return vip_loss(value(first, goal), value(now[rows], goal), value(then[rows], goal), valid, 0.98)

    assert torch.autograd.gradcheck(loss, (code,))


def test_what_is_not_there_has_no_part_in_the_loss() -> None:
    now, then = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4)
    valid = torch.rand(3, 4, generator=torch.Generator().manual_seed(0)) < 0.5
    valid[0] = torch.tensor([True, False, True, True])
    vip_loss(torch.zeros(4), now, then, valid, 0.9).backward()
    assert torch.equal(now.grad[~valid], torch.zeros(int((~valid).sum())))
    assert (now.grad[valid] > 0).all()
    x = torch.tensor([0.3, 1e9], requires_grad=True)
    mean = log_mean_exp(x, torch.tensor([True, False]))
    assert float(mean.detach()) == pytest.approx(math.log(1e-8 + math.exp(0.3)))
    nothing = log_mean_exp(x, torch.tensor([False, False]))
    nothing.backward()
    assert float(nothing.detach()) == pytest.approx(math.log(1e-8))
    assert torch.equal(x.grad, torch.zeros(2))


def test_values_are_minus_distances() -> None:
    assert value(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]])).tolist() == [-5.0]


def test_an_update_is_that_loss_of_its_codes() -> None:
    objective, videos = build(negatives=2, l1_weight=0.1, l2_weight=0.2), crossing(6, seed=0)
    batch = videos.clips(objective.plan, 0, 6)
    code = objective.phi(batch.images["primary"]).detach()
    first, goal, now, then = code.double().numpy().transpose(1, 0, 2)
    total = float(objective.loss(code, batch, 3)[0])
    rest = 0.1 * np.abs(code.numpy()).sum(-1).mean() + 0.2 * np.linalg.norm(code.numpy(), axis=-1).mean()

    def v(x: np.ndarray) -> np.ndarray:
        return -np.linalg.norm(x - goal, axis=-1)

    others = other_rows(batch.sample_key, 3, 2, 2, seed=0).numpy()
    values = [[v(now), *(v(now[o]) for o in others)], [v(then), *(v(then[o]) for o in others)]]
    expected = by_hand(v(first).tolist(), [x.tolist() for x in values[0]], [x.tolist() for x in values[1]], 0.98)
    assert total == pytest.approx(expected + rest, rel=1e-4)


def order_along(objective: VIP, frames: np.ndarray) -> float:
    """Rank correlation of V(t, last) with t."""
    with torch.no_grad():
        code = objective.phi(torch.from_numpy(frames)[None])[0]
    return float(stats.spearmanr(value(code, code[-1:]).numpy(), np.arange(len(frames))).statistic)


class StepsBackwards:
    """A broken plan: each step of the piece is shown as if it led the other way."""

    frames = 4

    def steps(self, *draw: Any) -> np.ndarray:
        return VIPFrames().steps(*draw)[:, [0, 1, 3, 2]]


def trained(plan: ClipPlan) -> VIP:
    objective, videos = build(), crossing(100, seed=0)
    for step in range(80):
        objective.update(videos.clips(plan, step, 32), step)
    return objective


HELD_OUT = crossing(10, seed=99).frames


def order(objective: VIP) -> float:
    return float(np.mean([order_along(objective, f) for f in HELD_OUT]))


def test_values_rise_towards_the_goal_of_an_unseen_clip() -> None:
    objective = trained(VIPFrames())
    assert order(objective) > 0.9
    assert order(build()) < 0.6  # untrained
    with torch.no_grad():
        codes = objective.phi(torch.from_numpy(HELD_OUT))
    falling = [stats.spearmanr(value(c.flip(0), c[-1:]).numpy(), np.arange(len(c))).statistic for c in codes]
    assert np.mean(falling) < -0.9


def test_steps_told_backwards_fail_the_same_test() -> None:
    assert order(trained(StepsBackwards())) < 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [({"gamma": 1.0}, "gamma is 1.0"), ({"width": -1}, "none below 0"), ({"l1_weight": -1.0}, "none below 0")],
)
def test_impossible_settings_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        VIPConfig(**options)
