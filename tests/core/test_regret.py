import itertools

import numpy as np
import pytest

from robot_pt.errors import MismatchError, UserError
from robot_pt.regret import RULES, Trials, at_random, by_imitation, by_values, earliest_on_plateau, last, regret
from robot_pt.selection import Score


def score(step, rise, error):
    return Score(step, [] if rise is None else [[0.0]], [] if rise is None else [rise], error, 0.0)


RISING = [score(10, 0.2, 0.9), score(20, 0.895, 0.5), score(30, 0.9, 0.3), score(40, 0.89, 0.4), score(50, 0.7, 0.1)]


def test_each_rule_takes_its_own_checkpoint():
    chosen = {name: rule(RISING) for name, rule in RULES.items()}
    assert chosen == {
        "values, then imitation": {30: 1.0},
        "first of the plateau": {20: 1.0},
        "imitation alone": {50: 1.0},
        "last": {50: 1.0},
        "at random": dict.fromkeys((10, 20, 30, 40, 50), 0.2),
    }


@pytest.mark.parametrize("rises", [(None, None, None), (0.1, -0.5, 0.49)])
def test_without_rising_values_the_plateau_is_imitations(rises):
    scores = [score(step, r, error) for step, r, error in zip((1, 2, 3), rises, (0.4, 0.2, 0.2), strict=True)]
    assert earliest_on_plateau(scores) == by_imitation(scores) == by_values(scores) == {2: 1.0}


def test_certain_curves_give_the_regret_that_is_read_off_them():
    """Rates 0, 0.5, 1, 0.5, 0.25 in both halves alike: nothing is left to luck, so both numbers agree."""
    success = np.array(
        [[0, 0, 0, 0] * 4, [1, 1, 0, 0] * 4, [1] * 16, [0, 0, 1, 1] * 4, [1, 1, 0, 0, 0, 0, 0, 0] * 2], bool
    )
    run = Trials(RISING, success)
    for rule, rate in ((by_values, 1.0), (earliest_on_plateau, 0.5), (last, 0.25), (at_random, 0.45)):
        found = regret([run], rule)
        assert found.rate == pytest.approx(rate)
        assert found.seen == pytest.approx(1 - rate)
        assert found.fresh == pytest.approx(1 - rate)
        assert found.interval.low <= found.fresh <= found.interval.high
    assert regret([run], by_values).interval == (0, 0)


def test_means_are_over_runs():
    good = Trials(RISING[:2], np.array([[0] * 4, [1] * 4], bool))
    bad = Trials(RISING[:2], np.array([[1] * 4, [0] * 4], bool))
    found = regret([good, bad, bad], last)
    assert found[:3] == pytest.approx((1 / 3, 2 / 3, 2 / 3))
    assert found.interval == pytest.approx((0, 1))  # 1/27 of the resamples hold the good one alone
    assert regret([good, bad, bad], last) == found  # of its seed alone


def test_luck_is_no_regret():
    """Equal checkpoints, every outcome of 2 x 4 fair coins: on average a rule loses nothing, which `fresh` says and `seen` does not."""
    found = []
    for bits in itertools.product((False, True), repeat=8):
        found.append(regret([Trials(RISING[:2], np.array(bits).reshape(2, 4))], last, resamples=1)[1:3])
    seen, fresh = np.mean(found, axis=0)
    assert fresh == pytest.approx(0, abs=1e-12)
    # mean of max(X, Y) - Y with X, Y binomial(4, 1/2) / 4: E|X - Y| / 2
    weights = np.array([1, 4, 6, 4, 1]) / 16
    gap = sum(a * b * abs(i - j) / 4 for (i, a), (j, b) in itertools.product(enumerate(weights), repeat=2))
    assert seen == pytest.approx(gap / 2)


def test_a_choice_made_on_half_the_episodes_is_judged_on_the_other():
    """By hand: on even episodes the first is best (2 of 2 against 1), on odd ones the second (2 of 2 against 0)."""
    success = np.array([[1, 0, 1, 0], [1, 1, 0, 1]], bool)
    found = regret([Trials(RISING[:2], success)], last)
    assert found.rate == pytest.approx(0.75)
    assert found.seen == pytest.approx(0.0)
    # even chooses the first: judged on odd 0 - 1; odd chooses the second, which is the last: 0
    assert found.fresh == pytest.approx(-0.5)


def test_a_tie_is_worth_the_mean_of_what_is_tied():
    success = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]], bool)
    found = regret([Trials(RISING[:3], success)], last)
    assert found.fresh == pytest.approx(((1 + 0) / 2 + 1) / 2)  # even: the first two tie, judged 1 and 0 on odd


def test_what_says_nothing_is_refused():
    with pytest.raises(UserError, match="at least one"):
        regret([], last)
    with pytest.raises(UserError, match="at least 4"):
        regret([Trials(RISING, np.zeros((5, 3), bool))], last)
    with pytest.raises(UserError, match="at least 1, each"):
        regret([Trials([], np.zeros((0, 8), bool))], last)
    with pytest.raises(MismatchError, match="5 checkpoints have scores and 4"):
        regret([Trials(RISING, np.zeros((4, 8), bool))], last)
