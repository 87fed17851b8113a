import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import beta, trim_mean

from robot_pt.comparison.protocol import Cell, Distance, Outcome, read_protocol
from robot_pt.comparison.scores import (
    FROM_SCRATCH,
    RANDOM_ACTIONS,
    RANDOM_FROZEN,
    bounds_of,
    markdown,
    rates_of,
    rows_of,
)

PROTOCOL = replace(
    read_protocol(),
    distances=(Distance(name="near", rule="", tasks=("a", "b")), Distance(name="far", rule="", tasks=("c",))),
    demos=(10, 50),
    evaluation_episodes=10,
)


def cells(method, task, demos, successes, online=None):
    """One cell per seed, of 10 episodes each."""
    after = online or [None] * len(successes)
    return [
        Outcome(cell=Cell(method, task, demos, seed), successes=s, episodes=10, online_successes=o)
        for seed, (s, o) in enumerate(zip(successes, after, strict=True))
    ]


def reference():
    """Random actions solve 1 in 10 of "a", nothing else; from scratch solves 8, 5 and 1 of 10 with 50 demos."""
    return [
        *cells(RANDOM_ACTIONS, "a", 0, [1]), *cells(RANDOM_ACTIONS, "b", 0, [0]), *cells(RANDOM_ACTIONS, "c", 0, [1]),
        *cells(FROM_SCRATCH, "a", 50, [8, 8]), *cells(FROM_SCRATCH, "b", 50, [4, 6]), *cells(FROM_SCRATCH, "c", 50, [1, 1]),
    ]  # fmt: skip


def row(rows, method, distance="near", demos=10, online=False):
    return next(r for r in rows if (r.method, r.distance, r.demos, r.online) == (method, distance, demos, online))


def test_scores_are_rates_between_random_actions_and_training_from_scratch():
    outcomes = [*reference(), *cells("atc", "a", 10, [1, 8, 4]), *cells("atc", "b", 10, [0, 5, 5])]
    found = row(rows_of(PROTOCOL, outcomes, ["atc"]), "atc")
    expected = [(r - 0.1) / 0.7 for r in (0.1, 0.8, 0.4)] + [r / 0.5 for r in (0.0, 0.5, 0.5)]
    assert found.score == pytest.approx(trim_mean(expected, 0.25))
    assert found.mean == pytest.approx(np.mean(expected))
    assert found.rate == pytest.approx(np.mean([0.1, 0.8, 0.4, 0.0, 0.5, 0.5]))
    assert found.runs == 3
    assert found.interval.low <= found.score <= found.interval.high


def test_a_task_that_separates_nobody_counts_by_its_plain_rates():
    outcomes = [*reference(), *cells("atc", "c", 10, [2, 4])]
    assert bounds_of(PROTOCOL, rates_of(outcomes), "c") is None
    assert bounds_of(PROTOCOL, rates_of(outcomes), "a") == pytest.approx((0.1, 0.8))
    assert row(rows_of(PROTOCOL, outcomes, ["atc"]), "atc", "far").score == pytest.approx(0.3)


def test_a_method_is_compared_with_random_features_of_the_same_tasks_and_demos():
    outcomes = [*reference()]
    for task in ("a", "b"):
        outcomes += [
            *cells("atc", task, 10, [6, 7]),
            *cells(RANDOM_FROZEN, task, 10, [2, 3]),
            *cells(RANDOM_FROZEN, task, 50, [9, 9]),
        ]
    rows = rows_of(PROTOCOL, outcomes, [RANDOM_FROZEN, "atc"])
    assert row(rows, "atc").better == 1.0
    low, high = row(rows, "atc").better_interval
    assert 0.6 < low < 1.0 == high  # 6 and 7 of 10 against 2 and 3 of 10
    assert row(rows, RANDOM_FROZEN).better is None


def test_only_seeds_that_all_tasks_have_count():
    outcomes = [*reference(), *cells("atc", "a", 10, [2, 4, 6]), *cells("atc", "b", 10, [5])]
    found = row(rows_of(PROTOCOL, outcomes, ["atc"]), "atc")
    assert found.runs == 1
    assert found.rate == pytest.approx((0.2 + 0.5) / 2)


def test_gaps_are_rows_without_numbers_and_are_drawn_as_such():
    rows = rows_of(PROTOCOL, [*reference(), *cells("atc", "a", 10, [3])], ["atc"])
    gap = row(rows, "atc", demos=50)
    assert (gap.runs, gap.score, gap.interval, gap.better) == (0, None, None, None)
    table = markdown(rows)
    assert table.count("not run") == len(rows)
    assert "**near** (a, b)" in table


def test_a_task_that_has_not_begun_is_left_out_and_one_under_way_leaves_gaps():
    outcomes = [*cells(RANDOM_FROZEN, "a", 10, [2]), *cells("atc", "a", 10, [4]), *cells("bc", "a", 10, [3])]
    rows = rows_of(PROTOCOL, outcomes, ["atc", "bc"])
    assert {r.tasks for r in rows if (r.distance, r.demos) == ("near", 10)} == {("a",)}
    assert row(rows, "atc").rate == pytest.approx(0.4)
    assert "**near** (10 demos: a; 50 demos: a, b)" in markdown(rows)
    assert "**near** (a)" in markdown([r for r in rows if r.demos == 10])
    outcomes += [*cells(RANDOM_FROZEN, "b", 10, [2]), *cells("atc", "b", 10, [8])]
    rows = rows_of(PROTOCOL, outcomes, ["atc", "bc"])
    assert row(rows, "atc").tasks == ("a", "b")
    assert row(rows, "atc").rate == pytest.approx(0.6)
    assert row(rows, "bc").rate is None


@pytest.mark.parametrize("successes", [0, 5, 10])
def test_one_seed_has_the_interval_that_its_episodes_leave(successes):
    """No width from one run would read as certainty: ten episodes of one seed are held against scipy's Jeffreys interval."""
    protocol = replace(PROTOCOL, distances=(Distance(name="near", rule="", tasks=("a",)),))
    found = row(rows_of(protocol, cells("atc", "a", 10, [successes]), ["atc"]), "atc")
    low, high = beta(successes + 0.5, 10 - successes + 0.5).ppf([0.025, 0.975])
    assert found.interval == pytest.approx((min(low, successes / 10), max(high, successes / 10)), abs=0.02)
    assert found.interval.low <= found.score <= found.interval.high


def test_numbers_after_rl_stand_in_rows_of_their_own():
    outcomes = [*reference()]
    for task in ("a", "b"):
        outcomes += cells("atc", task, 50, [2, 2], online=[6, 8])
    rows = rows_of(PROTOCOL, outcomes, ["atc"])
    assert row(rows, "atc", demos=50).rate == pytest.approx(0.2)
    assert row(rows, "atc", demos=50, online=True).rate == pytest.approx(0.7)
    assert "50, then RL" in markdown(rows)
    assert not [r for r in rows_of(PROTOCOL, reference(), ["atc"]) if r.online]


def test_the_table_says_rates_scores_and_intervals():
    outcomes = [*reference()]
    for task in ("a", "b"):
        outcomes += [*cells("atc", task, 10, [5, 5]), *cells(RANDOM_FROZEN, task, 10, [5, 5])]
    line = next(x for x in markdown(rows_of(PROTOCOL, outcomes, ["atc"])).splitlines() if x.startswith("| atc | 10"))
    assert "| 50 % |" in line
    assert re.search(r"\| 0\.79 \(0\.[45]\d to 1\.\d\d\) \| 0\.79 \| 0\.50 \(0\.0\d to 1\.00\) \|$", line)
