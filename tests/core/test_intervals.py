"""Intervals against scipy, closed forms and simulated coverage."""

from math import isclose, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc
from scipy.stats import binomtest

from robot_pt.errors import UserError
from robot_pt.intervals import (
    PairedCounts,
    count_pairs,
    mcnemar,
    paired_difference,
    probability_of_improvement,
    wilson,
)

small = st.integers(0, 40)
counts = st.builds(PairedCounts, small, small, small, small).filter(lambda c: c.n > 0)


@given(st.integers(1, 500), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_is_scipys(n, data, confidence):
    successes = data.draw(st.integers(0, n))
    low, high = wilson(successes, n, confidence)
    expected = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert isclose(low, expected.low, abs_tol=1e-12)
    assert isclose(high, expected.high, abs_tol=1e-12)
    assert low <= successes / n <= high


def test_wilson_ends_are_exact_where_nothing_or_everything_succeeded():
    assert wilson(0, 10).low == 0.0
    assert wilson(10, 10).high == 1.0
    z2 = 1.959963984540054**2
    assert isclose(wilson(0, 10).high, z2 / (10 + z2), rel_tol=1e-12)


@given(st.integers(1, 200), st.data())
def test_wilson_mirrors_when_success_and_failure_swap(n, data):
    k = data.draw(st.integers(0, n))
    a, b = wilson(k, n), wilson(n - k, n)
    assert a.low == pytest.approx(1 - b.high, abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(successes, n):
    with pytest.raises(UserError, match=f"{successes} of {n}"):
        wilson(successes, n)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_confidence_is_a_share(confidence):
    with pytest.raises(UserError, match="between 0 and 1"):
        wilson(1, 2, confidence)


def test_pairs_are_counted_by_outcome():
    a = [True, True, True, False, False, True]
    b = [True, False, False, True, False, True]
    assert count_pairs(a, b) == PairedCounts(both=2, only_a=2, only_b=1, neither=1)


@pytest.mark.parametrize(("a", "b"), [([True], [True, False]), ([], [])])
def test_pairs_need_the_same_episodes(a, b):
    with pytest.raises(UserError, match="same episodes"):
        count_pairs(a, b)


@given(counts)
def test_mcnemar_is_the_exact_binomial_test_on_differing_pairs(c):
    differ = c.only_a + c.only_b
    expected = binomtest(c.only_a, differ, 0.5).pvalue if differ else 1.0
    assert mcnemar(c) == pytest.approx(expected, abs=1e-12)


@given(counts)
def test_probability_of_improvement_is_the_beta_posterior(c):
    expected = 1 - betainc(c.only_a + 1, c.only_b + 1, 0.5)
    assert probability_of_improvement(c) == pytest.approx(expected, abs=1e-12)


def test_thousands_of_episodes_do_not_overflow():
    c = PairedCounts(1000, 4000, 1000, 4000)
    assert mcnemar(c) == 0.0
    assert probability_of_improvement(c) == 1.0
    assert mcnemar(PairedCounts(0, 5000, 5000, 0)) == pytest.approx(1.0)


@given(counts)
def test_swapping_the_policies_mirrors_every_number(c):
    swapped = PairedCounts(c.both, c.only_b, c.only_a, c.neither)
    low, high = paired_difference(c)
    assert paired_difference(swapped) == pytest.approx((-high, -low), abs=1e-12)
    assert mcnemar(swapped) == mcnemar(c)
    assert probability_of_improvement(swapped) == pytest.approx(1 - probability_of_improvement(c), abs=1e-12)


@given(counts)
def test_difference_lies_inside_its_interval(c):
    low, high = paired_difference(c)
    assert -1 <= low <= (c.only_a - c.only_b) / c.n <= high <= 1


def test_uncorrelated_outcomes_reduce_to_newcombes_unpaired_interval():
    """phi = 0 leaves method 10 of the independent case: square-and-add of the two Wilson intervals."""
    c = PairedCounts(both=4, only_a=4, only_b=4, neither=4)
    low, high = paired_difference(c)
    a = wilson(8, 16)
    reach = sqrt((0.5 - a.low) ** 2 + (a.high - 0.5) ** 2)
    assert (low, high) == pytest.approx((-reach, reach), abs=1e-12)


@pytest.mark.parametrize(
    ("c", "interval"),
    [((36, 12, 2, 0), (0.0569, 0.3404)), ((0, 12, 2, 36), (0.0569, 0.3404)), ((53, 0, 0, 1), (-0.0729, 0.0729))],
)
def test_published_examples_of_method_10(c, interval):
    """Newcombe (1998), Statistics in Medicine 17, 2635-2650: the worked examples, n = 50 and 54."""
    assert paired_difference(PairedCounts(*c)) == pytest.approx(interval, abs=6e-5)


def test_agreement_between_the_policies_narrows_the_interval():
    apart = paired_difference(PairedCounts(both=10, only_a=10, only_b=10, neither=10))
    agreeing = paired_difference(PairedCounts(both=18, only_a=2, only_b=2, neither=18))
    assert agreeing.high - agreeing.low < 0.6 * (apart.high - apart.low)


@pytest.mark.parametrize(
    "probabilities", [(0.45, 0.25, 0.1, 0.2), (0.2, 0.5, 0.02, 0.28), (0.85, 0.1, 0.03, 0.02), (0.1, 0.1, 0.1, 0.7)]
)
def test_paired_interval_covers_the_truth_about_95_percent_of_the_time(probabilities):
    rng = np.random.default_rng(0)
    truth = probabilities[1] - probabilities[2]
    draws = rng.multinomial(30, probabilities, size=4000)
    covered = [low <= truth <= high for low, high in (paired_difference(PairedCounts(*map(int, d))) for d in draws)]
    assert 0.935 <= np.mean(covered) <= 0.985


def test_paired_interval_agrees_with_the_bootstrap_at_moderate_size():
    c = PairedCounts(both=90, only_a=60, only_b=20, neither=30)
    rng = np.random.default_rng(1)
    draws = rng.multinomial(c.n, np.array(c) / c.n, size=20_000)
    difference = (draws[:, 1] - draws[:, 2]) / c.n
    assert paired_difference(c) == pytest.approx(tuple(np.quantile(difference, [0.025, 0.975])), abs=0.01)
