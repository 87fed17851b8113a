"""Distributional CQL: n-step sums against the transitions', the projection, the estimate of the integral, and a chain of ten states."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from robot_pt.clips import ClipBatch
from robot_pt.errors import UserError
from robot_pt.networks.categorical import C51
from robot_pt.normalize import Bounds
from robot_pt.objectives.distributional_cql import (
    DistributionalCQL,
    DistributionalCQLConfig,
    conservative_gap,
    log_density,
    n_step,
    proposal,
)  # fmt: skip
from robot_pt.objectives.stepper import StepConfig
from robot_pt.rewards import RewardLabel
from robot_pt.schema import Spec
from robot_pt.transitions import n_step_sums
from tests.objectives.clip_batch import clips
from tests.objectives.toy_moves import ENCODER, SIDE

STATES, GAMMA, STEPS = 10, 0.9, 3
SPEC = Spec(cameras={"primary": (SIDE, SIDE)}, embodiment="chain", action_names=("a",), proprio_names=("p",))
BOUNDS = Bounds(low=(-1.0,), high=(1.0,), origin="chain")
FAST = StepConfig(learning_rate=3e-3, weight_decay=0.0, clip_norm=0.0, momentum=(0.9, 0.9))


def build(**options: Any) -> DistributionalCQL:
    config = DistributionalCQLConfig(
        **({
            "alpha": 0.0, "gamma": GAMMA, "n_step": STEPS, "returns": (-1.0, 1.0), "hidden": (64,), "augment": None, "optim": FAST,
            "actions": 8,
        } | options)
    )  # fmt: skip
    return DistributionalCQL.build(
        SPEC, image_size=(SIDE, SIDE), task_slots=1, encoder=ENCODER, config=config, bounds=BOUNDS
    )


# n steps.


@settings(max_examples=80)
@given(
    st.lists(st.tuples(st.floats(-3, 3, width=32), st.booleans()), min_size=1, max_size=9), st.integers(1, 4),
    st.sampled_from([0.0, 0.5, 0.96]),
)  # fmt: skip
def test_n_step_sums_are_those_of_the_transitions(episode: list[tuple[float, bool]], n: int, gamma: float) -> None:
    reward, terminal = np.array([r for r, _ in episode], np.float32), np.array([t for _, t in episode])
    length = len(episode)
    wanted = np.arange(length)[:, None] + np.arange(n + 1)
    place = wanted.clip(max=length - 1)
    told = n_step(*(torch.from_numpy(x) for x in (reward[place], terminal[place], wanted < length)), gamma)
    _, sums, discount = n_step_sums(reward, terminal, gamma, n)
    usable = np.ones(length, bool)
    usable[-1] = terminal[-1]
    np.testing.assert_array_equal(told.usable_B, usable)
    np.testing.assert_allclose(told.reward_B[usable], sums[usable], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(told.discount_B[usable], discount[usable], rtol=1e-6)


def test_an_end_inside_the_window_spreads_over_it() -> None:
    told = n_step(
        torch.ones(1, 4), torch.tensor([[False, True, False, False]]), torch.ones(1, 4, dtype=torch.bool), 0.5
    )
    assert (float(told.reward_B), float(told.discount_B)) == (1.5, 0.0)


# The projection.


def by_floor_and_ceiling(probability: np.ndarray, place: np.ndarray, code: C51) -> np.ndarray:
    """Algorithm 1 of C51 as it is written, which loses the mass of a place on an atom."""
    step = (code.high - code.low) / (code.outputs - 1)
    out = np.zeros(code.outputs)
    for mass, b in zip(probability, (place.clip(code.low, code.high) - code.low) / step, strict=True):
        out[int(np.floor(b))] += mass * (np.ceil(b) - b)
        out[int(np.ceil(b))] += mass * (b - np.floor(b))
    return out


@settings(max_examples=60)
@given(st.integers(2, 60), st.floats(-1, 1, width=32), st.floats(0, 1, width=32), st.integers(0, 99))
def test_the_projection_keeps_mass_and_mean(atoms: int, shift: float, gamma: float, seed: int) -> None:
    code, rng = C51(-2.0, 3.0, atoms), np.random.default_rng(seed)
    probability = torch.from_numpy(rng.dirichlet(np.ones(atoms)))[None]
    places = torch.linspace(-2.0, 3.0, atoms, dtype=torch.float64)
    target = (0.3 * gamma * places + shift)[None]
    got = code.project(probability, target)
    assert float(got.sum()) == pytest.approx(1, abs=1e-6)
    assert float(got @ places) == pytest.approx(float((probability * target).sum()), abs=1e-5)


def test_a_place_on_an_atom_gets_its_whole_mass_where_the_written_algorithm_loses_it() -> None:
    code = C51(-10.0, 10.0, 51)
    probability = np.full(51, 1 / 51)
    place = np.linspace(-10, 10, 51)  # reward 0, discount 1: every b is a whole number
    got = code.project(torch.from_numpy(probability)[None], torch.from_numpy(place)[None])[0].numpy()
    np.testing.assert_allclose(got, probability, atol=1e-6)
    assert by_floor_and_ceiling(probability, np.round(place / 0.4) * 0.4, code).sum() < 0.7


# The integral over the action box.


def test_the_proposal_stays_in_the_box_and_follows_its_density() -> None:
    centre = torch.tensor([[[0.9], [-0.2]]]).expand(20_000, -1, -1)
    uniform = torch.rand(20_000, 2, 2, generator=torch.Generator().manual_seed(0))
    found = proposal(centre, uniform, 0.3)
    assert found.action_BKA.abs().max() <= 1
    grid = torch.linspace(-1, 1, 4001)
    density = log_density(grid[None, :, None], centre[:1], 0.3, 0.5)[0].exp()
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1, abs=1e-4)
    below = torch.cumulative_trapezoid(density, grid).numpy()
    drawn = found.action_BKA.flatten().numpy()
    result = stats.kstest(drawn, lambda x: np.interp(x, grid[1:].numpy(), below))
    assert result.pvalue > 1e-3
    assert stats.kstest(drawn, "uniform", args=(-1, 2)).pvalue < 1e-6


def test_the_density_in_two_dimensions_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    centre, action, deviation = rng.uniform(-1, 1, (3, 2)), rng.uniform(-1, 1, (5, 2)), 0.2
    cut = lambda c: stats.truncnorm((-1 - c) / deviation, (1 - c) / deviation, loc=c, scale=deviation)  # noqa: E731
    near = np.mean([cut(c[0]).pdf(action[:, 0]) * cut(c[1]).pdf(action[:, 1]) for c in centre], axis=0)
    got = log_density(torch.from_numpy(action)[None], torch.from_numpy(centre)[None], deviation, 0.25)[0]
    np.testing.assert_allclose(got.exp(), 0.25 / 4 + 0.75 * near, rtol=1e-5)


def linear_gap(weight: Tensor, actions: int) -> Tensor:
    """Estimates of log of the integral of exp(weight . a), one per row, from K = `actions`."""
    count, size = 400, len(weight)
    centre = 0.6 * torch.ones(count, 2, size)
    uniform = torch.rand(count, actions, size + 1, generator=torch.Generator().manual_seed(1))
    found = proposal(centre, uniform, 0.3)
    return conservative_gap(found.action_BKA @ weight, found.log_density_BK, torch.zeros(count))


def test_the_gap_estimates_the_integral_in_closed_form() -> None:
    weight = torch.tensor([1.5, -0.5, 2.0])
    exact = float((2 * torch.sinh(weight) / weight).log().sum())
    estimate = linear_gap(weight, 512)
    assert float(estimate.mean()) == pytest.approx(exact, abs=0.01)
    assert float(linear_gap(weight, 16).mean()) == pytest.approx(exact, abs=0.15)


def test_without_the_density_the_width_of_the_proposal_would_be_learned() -> None:
    action = proposal(torch.zeros(400, 1, 3), torch.rand(400, 512, 4), 0.3)
    flat = torch.zeros(400, 512)
    torch.testing.assert_close(
        conservative_gap(flat, action.log_density_BK, flat[:, 0]).mean(),
        torch.tensor(3 * np.log(2.0)),
        atol=0.02,
        rtol=0,
        check_dtype=False,
    )
    biased = conservative_gap(flat, torch.zeros(400, 512), flat[:, 0])
    assert biased.abs().max() < 1e-5


# The chain: s to s + 1 whatever is done, 1 at the end. Q(s) = gamma^(9 - s).


def chain(states: Tensor, key: int, action: Tensor | None = None) -> ClipBatch:
    batch = len(states)
    wanted = states[:, None] + torch.arange(STEPS + 1)
    place = wanted.clamp(max=STATES - 1)
    frames = torch.zeros(batch, 2, SIDE, SIDE, 3, dtype=torch.uint8)
    for b in range(batch):
        for i, s in enumerate((place[b, 0], place[b, -1])):
            row, column = 4 * (int(s) // 4), 4 * (int(s) % 4)
            frames[b, i, row : row + 4, column : column + 4] = 220
    noise = 2 * torch.rand(batch, STEPS + 1, 1, generator=torch.Generator().manual_seed(key)) - 1
    at_end = place == STATES - 1
    return clips(
        frames, key=key, action=noise if action is None else action, reward=at_end.float(), terminal=at_end,
        valid=wanted < STATES, step=place, return_to_go=at_end.float(),
    )  # fmt: skip


@cache
def values(momentum: float) -> np.ndarray:
    objective = build(optim=replace(FAST, momentum=(momentum, momentum)))
    everywhere = torch.arange(STATES).repeat(3)
    for step in range(90):
        objective.update(chain(everywhere, key=100 * step), step)
    batch = chain(torch.arange(STATES), key=0)
    with torch.no_grad():
        feature = objective.encoder(batch.images["primary"][:, 0])
        tried = torch.linspace(-0.9, 0.9, 7)[None, :, None].expand(STATES, -1, -1)
        return objective.code.decode(objective.head(feature, batch.task, tried))[0].mean(1).numpy()


def test_value_reaches_the_start_of_a_chain_longer_than_the_steps() -> None:
    np.testing.assert_allclose(values(0.9), GAMMA ** (STATES - 1 - np.arange(STATES)), atol=0.05)


def test_a_target_that_never_moves_stops_after_n_steps() -> None:
    """Atari-PB's CQL as released: its value of s0 stays what the first network said, times gamma^n."""
    frozen = values(1.0)
    np.testing.assert_allclose(frozen[-STEPS:], GAMMA ** np.arange(STEPS)[::-1], atol=0.06)
    assert frozen[0] < 0.1 < GAMMA**9 - 0.1


def gap(alpha: float) -> float:
    """Q of the data's action, always 0.6, less that of -0.6, after training."""
    objective = build(alpha=alpha)
    everywhere = torch.arange(STATES).repeat(3)
    for step in range(60):
        action = torch.full((len(everywhere), STEPS + 1, 1), 0.6)
        objective.update(chain(everywhere, key=100 * step, action=action), step)
    batch = chain(torch.arange(STATES), key=0)
    with torch.no_grad():
        feature = objective.encoder(batch.images["primary"][:, 0])
        tried = torch.tensor([0.6, -0.6])[None, :, None].expand(STATES, -1, -1)
        q = objective.code.decode(objective.head(feature, batch.task, tried))[0]
    return float((q[:, 0] - q[:, 1]).mean())


def test_the_conservative_term_parts_the_data_from_other_actions() -> None:
    assert gap(3.0) > gap(0.0) + 0.2


def test_a_step_without_a_next_frame_or_an_end_is_not_learned() -> None:
    objective, batch = build(alpha=0.3), chain(torch.arange(STATES), key=0)
    open_end = batch._replace(terminal=torch.zeros_like(batch.terminal))
    wild = open_end.reward.clone()
    wild[-1] = 50.0
    one, other = build(alpha=0.3), objective
    assert torch.equal(
        one.update(open_end, 0)["objective/loss"], other.update(open_end._replace(reward=wild), 0)["objective/loss"]
    )


def test_the_loss_is_cross_entropy_plus_alpha_times_the_gap() -> None:
    metrics = build(alpha=0.3).update(chain(torch.arange(STATES), key=0), 0)
    torch.testing.assert_close(
        metrics["objective/loss"], metrics["objective/bellman"] + 0.3 * metrics["objective/conservative"]
    )


def test_normalised_features_reach_the_head() -> None:
    for wanted in (True, False):
        head = build(normalize_features=wanted).head
        feature, action = torch.rand(5, ENCODER.latent), torch.rand(5, 3, 1)
        length = head.q.penultimate(feature, torch.ones(5, 1), action).norm(dim=-1)
        assert torch.allclose(length, torch.ones(1, 5, 3), atol=1e-6) == wanted


def test_the_range_follows_from_the_labels() -> None:
    code = DistributionalCQLConfig().code()
    assert (code.low, code.high, code.outputs) == (pytest.approx(-25.0), 10.0, 51)
    with pytest.raises(UserError, match="cannot be told from stored rewards"):
        build(returns=None, reward=RewardLabel(source="stored"))
    with pytest.raises(UserError, match=r"goes from 1.0 to 1.0; give two rising"):
        build(returns=(1.0, 1.0))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n_step": 0}, "n_step 0"), ({"atoms": 1}, "1 atoms"), ({"actions": 1}, "1 actions"), ({"hidden": ()}, r"layers \(\)"),
        ({"alpha": -0.1}, "alpha -0.1"), ({"nearness": 0.0}, "nearness 0.0"), ({"gamma": 1.0}, "gamma 1.0"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        DistributionalCQLConfig(**options)
