"""How many updates steps are worth: exact, monotone, within its ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.errors import UserError
from robot_pt.online.budget import Budget


def test_updates_are_steps_times_the_ratio_after_the_warm_up() -> None:
    budget = Budget(utd=4, warm_up_steps=100)
    assert [budget.earned(n) for n in (0, 100, 101, 150)] == [0, 0, 4, 200]


def test_a_fraction_is_exact_in_the_long_run() -> None:
    assert Budget(utd=0.1).earned(1_000_000_000) == 100_000_000
    assert Budget(utd=0.29).earned(100) == 29  # 28 in floating point


@given(st.floats(0.001, 100), st.integers(0, 1000), st.lists(st.integers(0, 500), max_size=20))
def test_more_steps_never_earn_fewer_updates(utd: float, warm_up: int, lengths: list[int]) -> None:
    budget = Budget(utd=utd, warm_up_steps=warm_up)
    total, earned = 0, [0]
    for length in lengths:
        total += length
        earned.append(budget.earned(total))
    assert earned == sorted(earned)
    assert abs(earned[-1] - utd * max(0, total - warm_up)) <= 1 + 1e-6 * total


def test_step_wise_counts_what_actors_report() -> None:
    assert Budget(alternation="step").earned(10, 25) == 25
    assert Budget(alternation="trajectory").earned(10, 25) == 10
    assert Budget(alternation="step").earned(30, 25) == 30  # a heartbeat may be older than an episode


def test_ends() -> None:
    budget = Budget(most_updates=10, most_seconds=60)
    assert budget.earned(1000) == 10
    assert budget.spent(10, 0)
    assert budget.spent(0, 60)
    assert not budget.spent(9, 59.9)
    assert not Budget().spent(1 << 40, 1e9)


@pytest.mark.parametrize(
    "wrong",
    [{"utd": 0}, {"utd": float("nan")}, {"utd": float("inf")}, {"utd": -1}, {"warm_up_steps": -1}, {"alternation": "both"},
     {"most_updates": 0}, {"most_seconds": 0}, {"most_seconds": float("nan")}],
)  # fmt: skip
def test_what_is_out_of_range_is_refused(wrong) -> None:
    with pytest.raises(UserError, match="give"):
        Budget(**wrong)
