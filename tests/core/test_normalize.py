import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.errors import DataError
from robot_pt.normalize import (
    BRIDGE_BOUNDS,
    CLIP,
    ActionNormalizer,
    Bounds,
    ProprioNormalizer,
    fit_bounds,
    proprio_statistics,
    share_clipped,
)
from robot_pt.schema import EpisodeTable, Spec

RNG = np.random.default_rng(0)


def source(actions: np.ndarray, start: list[int], length: list[int]) -> SimpleNamespace:
    n = len(start)
    table = EpisodeTable(
        start=np.array(start, np.int64),
        length=np.array(length, np.int64),
        instruction=[""] * n,
        task=[""] * n,
        success=np.zeros(n, np.int8),
        dataset=[""] * n,
        split=[""] * n,
        operator=[""] * n,
    )
    spec = Spec(cameras={"primary": (8, 8)}, embodiment="x")
    return SimpleNamespace(spec=spec, episodes=table, actions=actions.astype(np.float32), proprio=actions * 2 + 1)


@given(st.lists(st.floats(-0.98, 0.98, allow_subnormal=False), min_size=7, max_size=7))
@settings(max_examples=100, deadline=None)
def test_encode_inverts_decode_inside_the_clip(values: list[float]) -> None:
    normalizer = ActionNormalizer(BRIDGE_BOUNDS)
    encoded = torch.tensor(values)
    torch.testing.assert_close(normalizer.encode(normalizer.decode(encoded)), encoded, atol=2e-6, rtol=0)


def test_encode_is_min_max_then_clip() -> None:
    normalizer = ActionNormalizer(BRIDGE_BOUNDS)
    low, high = torch.tensor(BRIDGE_BOUNDS.low), torch.tensor(BRIDGE_BOUNDS.high)
    torch.testing.assert_close(normalizer.encode(high), torch.full((7,), CLIP))
    torch.testing.assert_close(normalizer.encode(3 * low - 2 * high), torch.full((7,), -CLIP))
    torch.testing.assert_close(normalizer.encode((low + high) / 2), torch.zeros(7), atol=1e-7, rtol=0)
    quarter = low + 0.25 * (high - low)
    torch.testing.assert_close(normalizer.encode(quarter), torch.full((7,), -0.5))
    assert torch.atanh(normalizer.encode(1e6 * high)).isfinite().all()


def test_decode_never_leaves_the_bounds() -> None:
    normalizer = ActionNormalizer(BRIDGE_BOUNDS)
    torch.testing.assert_close(normalizer.decode(torch.full((7,), 5.0)), torch.tensor(BRIDGE_BOUNDS.high))


def test_bounds_are_buffers_that_travel_with_the_module() -> None:
    one, other = ActionNormalizer(BRIDGE_BOUNDS), ActionNormalizer(Bounds(low=(-1,) * 7, high=(1,) * 7, origin="x"))
    other.load_state_dict(one.state_dict())
    action = torch.full((7,), 0.03)
    assert torch.equal(one.encode(action), other.encode(action))
    assert not list(one.parameters())


def test_fit_is_min_max_of_the_view_with_gripper_kept() -> None:
    actions = RNG.normal(size=(30, 7)) * 0.01
    actions[10:20] *= 100  # an episode that is not in the view
    bounds = fit_bounds(source(actions, [0, 20], [10, 10]))
    used = actions[[*range(10), *range(20, 30)]].astype(np.float32)
    np.testing.assert_allclose(bounds.low[:6], used.min(0)[:6], rtol=1e-5)
    np.testing.assert_allclose(bounds.high[:6], used.max(0)[:6], rtol=1e-5)
    assert (bounds.low[6], bounds.high[6]) == (0, 1)


def test_fit_quantiles_ignore_outliers_and_nan() -> None:
    actions = RNG.uniform(-0.05, 0.05, size=(1000, 7))
    actions[0], actions[1] = 50, np.nan
    bounds = fit_bounds(source(actions, [0], [1000]), quantiles=(0.01, 0.99))
    assert max(bounds.high[:6]) < 0.051


def test_fit_of_a_dimension_that_never_moves_encodes_to_zero() -> None:
    actions = RNG.uniform(-0.05, 0.05, size=(10, 7))
    actions[:, 3] = 0.125
    bounds = fit_bounds(source(actions, [0], [10]))
    encoded = ActionNormalizer(bounds).encode(torch.tensor(actions, dtype=torch.float32))
    assert encoded[:, 3].abs().max() < 1e-3
    assert ActionNormalizer(bounds).decode(torch.ones(7))[3] == pytest.approx(0.125, abs=1e-3)


@pytest.mark.parametrize("quantiles", [(0.5, 0.5), (-0.1, 1), (0, 1.1)])
def test_fit_refuses_bad_quantiles(quantiles: tuple[float, float]) -> None:
    with pytest.raises(DataError, match="quantiles"):
        fit_bounds(source(RNG.normal(size=(5, 7)), [0], [5]), quantiles=quantiles)


def test_fit_refuses_a_source_without_actions() -> None:
    with pytest.raises(DataError, match="at least one step"):
        fit_bounds(source(np.full((5, 7), np.nan), [0], [5]))
    with pytest.raises(DataError, match="at least one step"):
        fit_bounds(source(np.zeros((0, 7)), [], []))


def test_bounds_json_round_trip_and_refusals() -> None:
    assert Bounds.from_json(json.loads(json.dumps(BRIDGE_BOUNDS.to_json()))) == BRIDGE_BOUNDS
    with pytest.raises(DataError, match="fields"):
        Bounds.from_json({"low": [0], "high": [1]})
    with pytest.raises(DataError, match="low < high"):
        Bounds(low=(1.0,), high=(1.0,), origin="")
    with pytest.raises(DataError, match="finite"):
        Bounds(low=(float("-inf"),), high=(1.0,), origin="")
    with pytest.raises(DataError, match="as many"):
        Bounds(low=(0.0, 0.0), high=(1.0,), origin="")


def test_proprio_statistics_standardise() -> None:
    data = source(RNG.normal(size=(200, 7)) * 3 + 5, [0], [200])
    mean, std = proprio_statistics(data)
    out = ProprioNormalizer(tuple(mean), tuple(std))(torch.tensor(data.proprio, dtype=torch.float32))
    torch.testing.assert_close(out.mean(0), torch.zeros(7), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.std(0, correction=0), torch.ones(7), atol=1e-4, rtol=0)
    with pytest.raises(DataError, match="at least one step"):
        proprio_statistics(source(np.zeros((0, 7)), [], []))
    with pytest.raises(DataError, match="positive std"):
        ProprioNormalizer((0.0,), (0.0,))


def test_the_share_of_clipped_actions_counts_only_steps_of_the_episodes():
    actions = np.zeros((20, 7))
    actions[:5, 0] = 0.0509  # within 1 % of the range beyond the bound
    actions[5:10, 0] = 0.06
    actions[0, 5] = -0.3
    actions[15:, 3] = 9.0  # rows of no episode
    share = share_clipped(source(actions, [0, 10], [10, 5]), BRIDGE_BOUNDS)
    np.testing.assert_allclose(share, [5 / 15, 0, 0, 0, 0, 1 / 15, 0])
    assert share_clipped(source(actions, [], []), BRIDGE_BOUNDS).tolist() == [0] * 7
