from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, mannwhitneyu, trim_mean

from robot_pt.aggregate import bootstrap_interval, improvement, improvement_interval, iqm, judged_again, mean
from robot_pt.errors import UserError

FINITE = st.floats(-1e3, 1e3)


@given(st.lists(FINITE, min_size=1, max_size=30))
def test_iqm_is_scipys_trimmed_mean(scores):
    assert iqm([scores]) == pytest.approx(trim_mean(scores, 0.25), rel=1e-9, abs=1e-9)


def test_iqm_closed_forms():
    assert iqm([[1.0]]) == 1
    assert iqm([[0, 0, 1, 1]]) == 0.5
    assert iqm([[-1e9, 1, 2, 3, 1e9]]) == 2
    assert iqm([[0, 1], [2, 3]]) == 1.5  # over tasks and runs together
    np.testing.assert_allclose(iqm(np.arange(24.0).reshape(3, 2, 4)), [3.5, 11.5, 19.5])


@given(st.lists(st.lists(FINITE, min_size=3, max_size=3), min_size=1, max_size=4))
def test_mean_is_over_tasks_and_runs(scores):
    assert mean(scores) == pytest.approx(np.mean(scores))


def test_equal_runs_have_no_width_whatever_the_tasks():
    assert bootstrap_interval([[0.2] * 4, [0.8] * 4], mean) == pytest.approx((0.5, 0.5))


def test_resampling_stays_within_a_task():
    """Runs of task 0 never stand in for runs of task 1: with one run each there is one resample only."""
    assert bootstrap_interval([[0.0], [1.0]], mean) == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("runs", [[0.0, 1.0, 0.5], [0.1, 0.9, 0.4, 0.6]])
def test_interval_against_the_enumeration_of_all_resamples(runs):
    """Every resample counted once: the exact bootstrap distribution, which drawing approaches."""
    exact = sorted(float(np.mean(drawn)) for drawn in product(runs, repeat=len(runs)))
    low, high = bootstrap_interval([runs], mean, confidence=0.8, resamples=200_000)
    assert low == pytest.approx(np.quantile(exact, 0.1), abs=0.02)
    assert high == pytest.approx(np.quantile(exact, 0.9), abs=0.02)


def test_interval_of_many_normal_runs_is_the_textbook_one():
    scores = np.random.default_rng(0).normal(5, 2, (1, 400))
    low, high = bootstrap_interval(scores, mean, resamples=4000)
    half = 1.96 * scores.std() / 20
    assert low == pytest.approx(scores.mean() - half, abs=0.03)
    assert high == pytest.approx(scores.mean() + half, abs=0.03)


@pytest.mark.parametrize(("rate", "episodes"), [(0.0, 20), (0.35, 20), (1.0, 8)])
def test_a_run_judged_again_has_the_jeffreys_interval_of_its_count(rate, episodes):
    found = bootstrap_interval([[rate]], mean, redraw=judged_again(episodes), resamples=100_000)
    exact = beta(episodes * rate + 0.5, episodes * (1 - rate) + 0.5).ppf([0.025, 0.975])
    assert found == pytest.approx(tuple(exact), abs=0.005)


def test_judging_again_adds_to_what_runs_differ_by():
    scores = [[0.4, 0.5, 0.6]]
    exact, again = (bootstrap_interval(scores, mean, redraw=r) for r in (None, judged_again(10)))
    assert again.low < exact.low < exact.high < again.high


def test_equal_rates_judged_again_may_come_out_either_way():
    low, high = improvement_interval([[0.5]], [[0.5]], redraw=judged_again(10))
    assert (low, high) == (0.0, 1.0)
    assert improvement_interval([[0.5]], [[0.5]]) == (0.5, 0.5)
    far = improvement_interval([[0.9]] * 4, [[0.1]] * 4, redraw=judged_again(20))
    assert far == (1.0, 1.0)


def test_the_same_seed_gives_the_same_interval():
    scores = np.random.default_rng(1).random((2, 5))
    assert bootstrap_interval(scores, seed=4) == bootstrap_interval(scores, seed=4)
    assert bootstrap_interval(scores, seed=4, resamples=50) != bootstrap_interval(scores, seed=5, resamples=50)


@pytest.mark.parametrize(
    ("scores", "options", "words"),
    [
        ([1.0, 2.0], {}, "shape \\(tasks, runs\\)"),
        ([[]], {}, "finite scores"),
        ([[1.0, np.nan]], {}, "finite scores"),
        ([[1.0]], {"confidence": 1.0}, "confidence 1.0"),
        ([[1.0]], {"resamples": 0}, "0 resamples"),
    ],
)
def test_what_cannot_be_resampled_is_said(scores, options, words):
    with pytest.raises(UserError, match=words):
        bootstrap_interval(scores, **options)


SCORES = st.lists(st.integers(0, 6), min_size=1, max_size=6)


@given(SCORES, SCORES)
def test_improvement_is_mann_whitneys_u_over_the_pairs(a, b):
    expected = mannwhitneyu(a, b, method="asymptotic").statistic / (len(a) * len(b)) if len({*a, *b}) > 1 else 0.5
    assert improvement([a], [b]) == pytest.approx(expected)


@given(SCORES, SCORES)
def test_improvement_one_way_and_the_other_add_up_to_one(a, b):
    assert improvement([a], [b]) + improvement([b], [a]) == pytest.approx(1)


def test_improvement_is_averaged_over_tasks():
    assert improvement([[1, 1], [0, 0]], [[0, 0], [1, 1]]) == 0.5
    assert improvement([[1, 1], [1, 0]], [[0], [1]]) == pytest.approx((1 + 0.25) / 2)


def test_rliable_agrees_where_it_is_installed():
    metrics = pytest.importorskip("rliable.metrics")
    a, b = np.random.default_rng(0).random((2, 5, 3))  # rliable has runs first
    assert improvement(a.T, b.T) == pytest.approx(float(metrics.probability_of_improvement(a, b)))
    assert iqm(a.T) == pytest.approx(float(metrics.aggregate_iqm(a)))


@pytest.mark.parametrize(("a", "b"), [([0.0, 1.0, 0.5, 0.7], [0.25, 0.65, 0.6]), ([0.1, 0.2], [0.3, 0.4])])
def test_improvement_interval_against_the_enumeration_of_all_resamples(a, b):
    exact = sorted(
        float(improvement([list(x)], [list(y)])) for x in product(a, repeat=len(a)) for y in product(b, repeat=len(b))
    )
    low, high = improvement_interval([a], [b], confidence=0.8, resamples=50_000)
    assert low == pytest.approx(np.quantile(exact, 0.1), abs=0.03)
    assert high == pytest.approx(np.quantile(exact, 0.9), abs=0.03)


def test_methods_on_different_tasks_are_not_compared():
    with pytest.raises(UserError, match="they have 1 and 2"):
        improvement_interval([[1.0]], [[1.0], [0.0]])
    with pytest.raises(UserError, match="finite scores"):
        improvement_interval([[1.0]], [[np.nan]])
