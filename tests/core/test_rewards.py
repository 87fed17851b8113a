import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.errors import UserError
from robot_pt.rewards import PTR_REWARDS, RewardLabel, return_to_go
from robot_pt.schema import FAILURE, SUCCESS, UNKNOWN

ZERO = np.zeros(6, np.float32)
NEVER = np.zeros(6, bool)


def test_ptr_rewards_the_last_three_transitions_and_ends_there():
    told = RewardLabel().label(ZERO, NEVER, SUCCESS)
    np.testing.assert_array_equal(told.reward, [-1, -1, -1, 10, 10, 10])
    np.testing.assert_array_equal(told.terminal, [False, False, False, True, True, True])
    assert told.reward.dtype == np.float32


@pytest.mark.parametrize(("step", "success"), [(-1, 10), (0, 1), (-0.5, 0)])
def test_two_rewards_say_the_label(step, success):
    told = RewardLabel.of(step, success, final_steps=2).label(ZERO, NEVER, SUCCESS)
    np.testing.assert_array_equal(told.reward, np.float32([step] * 4 + [success] * 2))
    assert RewardLabel.of(*PTR_REWARDS) == RewardLabel()


@pytest.mark.parametrize(("step", "success"), [(1, 1), (2, 1), (float("nan"), 1), (0, float("inf"))])
def test_rewards_that_say_nothing_are_refused(step, success):
    with pytest.raises(UserError, match="two finite numbers, the second larger"):
        RewardLabel.of(step, success)


@pytest.mark.parametrize("success", [FAILURE, UNKNOWN])
def test_failures_and_unknown_outcomes_get_minus_one_everywhere(success):
    told = RewardLabel().label(ZERO, NEVER, success)
    np.testing.assert_array_equal(told.reward, -np.ones(6))
    assert not told.terminal.any()


def test_assume_success_is_about_unknown_outcomes_only():
    label = RewardLabel(assume_success=True)
    assert label.label(ZERO, NEVER, UNKNOWN).reward[-1] == 10
    assert label.label(ZERO, NEVER, FAILURE).reward[-1] == -1


def test_an_episode_shorter_than_the_reward_is_rewarded_throughout():
    told = RewardLabel().label(ZERO[:2], NEVER[:2], SUCCESS)
    np.testing.assert_array_equal(told.reward, [10, 10])


def test_every_parameter_is_used():
    label = RewardLabel(final_steps=1, scale=4, shift=-2, terminal="stored")
    told = label.label(ZERO, np.arange(6) == 2, SUCCESS)
    np.testing.assert_array_equal(told.reward, [-2, -2, -2, -2, -2, 2])
    np.testing.assert_array_equal(np.flatnonzero(told.terminal), [2])
    either = RewardLabel(final_steps=1, terminal="either").label(ZERO, np.arange(6) == 2, SUCCESS)
    np.testing.assert_array_equal(np.flatnonzero(either.terminal), [2, 5])


def test_stored_rewards_are_scaled_and_shifted():
    stored = np.array([0, 0, 1, 0], np.float32)
    told = RewardLabel(source="stored", scale=10, shift=-5).label(stored, np.zeros(4, bool), UNKNOWN)
    np.testing.assert_array_equal(told.reward, [-5, -5, 5, -5])
    np.testing.assert_array_equal(told.terminal, [False, False, True, False])
    assert told.tail == "truncated"
    assert RewardLabel(source="stored").label(ZERO, NEVER, UNKNOWN).tail == "sparse_negative"


@pytest.mark.parametrize("values", [{"final_steps": 0}, {"scale": 0.0}, {"scale": -1.0}, {"shift": float("nan")}])
def test_senseless_parameters_are_refused(values):
    with pytest.raises(UserError):
        RewardLabel(**values)


def test_the_q_range_of_ptr():
    """Talk and code: at gamma 0.96 values lie in [-25, 10]."""
    label = RewardLabel()
    won, lost = label.label(ZERO, NEVER, SUCCESS), label.label(ZERO, NEVER, FAILURE)
    best = return_to_go(won.reward, won.terminal, 0.96, tail=won.tail)
    worst = return_to_go(lost.reward, lost.terminal, 0.96, tail=lost.tail)
    np.testing.assert_allclose(best[3:], 10)  # terminal: nothing is added from the steps after
    np.testing.assert_allclose(best[2], -1 + 0.96 * 10, rtol=1e-6)
    np.testing.assert_allclose(worst, -25, rtol=1e-6)
    assert label.worst_return(0.96, lost.reward) == pytest.approx(-25)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.floats(0, 0.99))
def test_terminated_return_is_the_discounted_sum(rewards, gamma):
    got = return_to_go(np.array(rewards, np.float32), np.zeros(len(rewards), bool), gamma)
    kept = np.array(rewards, np.float32).astype(float)
    want = [sum(gamma**k * kept[t + k] for k in range(len(kept) - t)) for t in range(len(kept))]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@given(st.floats(-5, -0.1), st.integers(1, 40), st.floats(0, 0.99))
def test_never_succeeding_is_worth_r_over_one_minus_gamma_everywhere(reward, steps, gamma):
    rewards = np.full(steps, reward, np.float32)
    got = return_to_go(rewards, np.zeros(steps, bool), gamma, tail="sparse_negative")
    np.testing.assert_allclose(got, rewards[0] / (1 - gamma), rtol=1e-4)


def test_sparse_negative_rule_needs_all_rewards_equal():
    """CORL tests the last reward only; an episode that succeeded on the way must not be replaced."""
    rewards = np.array([-5, 5, -5], np.float32)
    got = return_to_go(rewards, np.zeros(3, bool), 0.5, tail="sparse_negative")
    np.testing.assert_allclose(got, [-5 + 0.5 * 5 - 0.25 * 5, 5 - 2.5, -5])


def test_sparse_rule_leaves_all_positive_and_all_zero_rewards_alone():
    for value in (0.0, 1.0):
        got = return_to_go(np.full(3, value, np.float32), np.zeros(3, bool), 0.5, tail="sparse_negative")
        assert got[-1] == value


def test_kitchen_tail_repeats_the_last_reward_for_ever():
    rewards = np.array([0, 1, 3], np.float32)
    got = return_to_go(rewards, np.zeros(3, bool), 0.9, tail="repeat_last")
    after = 3 / (1 - 0.9)
    np.testing.assert_allclose(got, [0 + 0.9 + 0.81 * 3 + 0.729 * after, 1 + 0.9 * 3 + 0.81 * after, after], rtol=1e-6)


def test_truncated_tail_is_the_callers_number_and_terminal_cuts_it_off():
    rewards, ends = np.array([1, 1], np.float32), np.array([False, False])
    got = return_to_go(rewards, ends, 0.5, tail="truncated", tail_value=-8)
    np.testing.assert_allclose(got, [1 + 0.5 * (1 - 4), 1 - 4])
    np.testing.assert_allclose(return_to_go(rewards, ~ends, 0.5, tail="truncated", tail_value=-8), [1, 1])


def test_return_needs_a_tail_value_and_a_discount_below_one():
    with pytest.raises(UserError, match="tail_value"):
        return_to_go(ZERO, NEVER, 0.9, tail="truncated")
    for gamma in (1.0, -0.1, float("nan")):
        with pytest.raises(UserError, match="gamma"):
            return_to_go(ZERO, NEVER, gamma)


def test_no_steps_no_returns():
    assert return_to_go(ZERO[:0], NEVER[:0], 0.9).shape == (0,)


def test_what_lies_beyond_a_cut_episode_can_be_its_last_reward_for_ever() -> None:
    stored, never = np.array([0, 2], np.float32), np.zeros(2, bool)
    label = RewardLabel(source="stored", scale=1.0, shift=0.0, terminal="stored", beyond="repeat_last")
    assert label.label(stored, never, UNKNOWN).tail == "repeat_last"
    assert label.label(stored, np.array([False, True]), UNKNOWN).tail == "terminated"
    with pytest.raises(UserError, match="choose worst or repeat_last"):
        RewardLabel(beyond="best")
