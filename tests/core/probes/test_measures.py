import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.probes.measures import dormant, rank_me, ratio, recall_at_1, spectrum


def test_rank_me_closed_forms():
    """1 for a line, D for equal singular values, exp(entropy) for given ones."""
    assert rank_me(np.outer(np.arange(1, 9), [3.0, 4.0, 0.0])) == pytest.approx(1, abs=1e-4)
    assert rank_me(np.eye(6)) == pytest.approx(6, abs=1e-3)
    share = np.array([0.5, 0.3, 0.2])
    expected = np.exp(-(share * np.log(share)).sum())
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(10, 3)))[0]
    assert rank_me(basis * share * 7) == pytest.approx(expected, abs=1e-4)


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 99))
def test_rank_me_is_that_of_numpys_singular_values_whatever_the_shape(n, d, seed):
    x = np.random.default_rng(seed).normal(size=(n, d))
    values = np.linalg.svd(x, compute_uv=False)
    share = values / values.sum() + 1e-7
    full = np.concatenate([share, np.full(max(min(n, d) - len(share), 0), 1e-7)])
    assert rank_me(x) == pytest.approx(np.exp(-(full * np.log(full)).sum()), rel=1e-4)


def test_a_weight_is_a_row_that_often():
    x = np.random.default_rng(1).normal(size=(5, 3))
    assert rank_me(x, np.array([2.0, 1, 0, 3, 1])) == pytest.approx(
        rank_me(np.repeat(x, [2, 1, 0, 3, 1], axis=0)), rel=1e-5
    )
    assert dormant(x, 3, np.array([0.0, 0, 0, 0, 1])) == dormant(x[4:], 3)


def test_dormant_units_are_those_far_below_the_average():
    """Two channels at two places each, then one that is silent: strengths 1, 1, 0.02 and 0 of an average of about 0.5."""
    x = np.tile([1.0, -1.0, 1.0, 1.0, 0.01, 0.01, 0.0, 0.0], (6, 1))
    assert dormant(x, units=4) == 0.5
    assert dormant(x, units=8) == 0.5
    assert dormant(np.zeros((4, 3)), 3) == 1.0
    assert dormant(np.ones((4, 3)), 3) == 0.0


def test_recall_counts_the_nearest_by_cosine_and_ties_as_lost():
    query = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    np.testing.assert_array_equal(recall_at_1(query, query * [[5.0], [0.1], [3.0]]), [True, True, True])
    np.testing.assert_array_equal(recall_at_1(query, query[[1, 0, 2]]), [False, False, True])
    np.testing.assert_array_equal(
        recall_at_1(np.ones((4, 3)), np.ones((4, 3))), [False] * 4
    )  # collapsed features find nothing


def test_recall_of_unrelated_features_is_chance():
    rng = np.random.default_rng(0)
    hits = [recall_at_1(rng.normal(size=(64, 16)), rng.normal(size=(64, 16))).mean() for _ in range(200)]
    assert np.mean(hits) == pytest.approx(1 / 64, abs=0.004)


def test_the_interval_of_a_ratio_is_that_of_the_mean_where_episodes_are_alike():
    """Equal numbers of steps: the ratio is the mean over episodes, whose interval is known."""
    rng = np.random.default_rng(0)
    right = rng.normal(0.6, 0.1, 400)
    found = ratio("order", right, np.ones(400), lambda share: share)
    half = 1.96 * right.std() / 20
    assert found.value == pytest.approx(right.mean())
    assert found.interval.low == pytest.approx(right.mean() - half, abs=0.002)
    assert found.interval.high == pytest.approx(right.mean() + half, abs=0.002)


def test_episodes_are_resampled_whole():
    """Ten episodes of a hundred steps each that are all right or all wrong: as uncertain as ten coins, not a thousand."""
    above = np.array([100.0] * 5 + [0.0] * 5)
    low, high = ratio("order", above, np.full(10, 100.0), lambda share: share).interval
    assert 0.1 <= low <= 0.3
    assert 0.7 <= high <= 0.9


def test_the_interval_of_a_spectrum_lies_around_its_value():
    rng = np.random.default_rng(0)
    x, episode = rng.normal(size=(300, 8)), np.repeat(np.arange(30), 10)
    found = spectrum("rank", lambda weight: rank_me(x, weight), episode)
    assert found.value == pytest.approx(rank_me(x), rel=1e-6)
    assert found.interval.low < found.value < found.interval.high
    assert found.interval.high - found.interval.low < 1.0
    assert np.mean(found.resampled) == pytest.approx(found.value)
    assert found.to_json()["interval"] == list(found.interval)
