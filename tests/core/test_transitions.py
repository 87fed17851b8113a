import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.errors import DataError, UserError
from robot_pt.rewards import RewardLabel
from robot_pt.schema import FAILURE, SUCCESS, UNKNOWN
from robot_pt.transitions import n_step_sums, transitions

PTR = RewardLabel()


def by_hand(reward, terminal, gamma, n):
    """The definition, step by step: sum until a terminal step, n rewards, or the last observation."""
    out = []
    for t in range(len(reward)):
        total, k = 0.0, 0
        while True:
            if t + k == len(reward) - 1 and not terminal[t + k] and k > 0:
                out.append((t + k, total, gamma**k))
                break
            total += gamma**k * reward[t + k]
            if terminal[t + k]:
                out.append((min(t + n, len(reward) - 1), total, 0.0))
                break
            k += 1
            if t + k > len(reward) - 1:
                out.append((len(reward) - 1, total, 0.0))
                break
            if k == n:
                out.append((t + k, total, gamma**k))
                break
    return [np.array(c) for c in zip(*out, strict=True)]


@given(
    st.lists(st.tuples(st.floats(-3, 3, width=32), st.booleans()), min_size=1, max_size=15),
    st.floats(0.1, 0.99),
    st.integers(1, 6),
)
def test_n_step_sums_match_the_definition(steps, gamma, n):
    reward = np.array([r for r, _ in steps], np.float32)
    terminal = np.array([e for _, e in steps])
    got, want = n_step_sums(reward, terminal, gamma, n), by_hand(reward, terminal, gamma, n)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-5)


def test_one_step_transitions_of_a_success(memory_source):
    index = transitions(memory_source([5], success=[SUCCESS]), PTR, 0.9)
    np.testing.assert_array_equal(index.row, [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(index.next_row, [1, 2, 3, 4, 4])
    np.testing.assert_array_equal(index.reward, [-1, -1, 10, 10, 10])
    np.testing.assert_allclose(index.discount, [0.9, 0.9, 0, 0, 0])
    np.testing.assert_allclose(index.return_to_go, [-1 + 0.9 * 8, 8, 10, 10, 10], rtol=1e-6)
    assert index.without_next == 0


def test_a_last_step_that_did_not_end_cannot_bootstrap_and_is_left_out(memory_source):
    source = memory_source([4, 3], success=[FAILURE, UNKNOWN])
    index = transitions(source, PTR, 0.9)
    np.testing.assert_array_equal(index.row, [0, 1, 2, 4, 5])
    assert index.without_next == 2
    assert (index.discount == np.float32(0.9)).all()
    imitation = transitions(source, PTR, 0.9, bootstrap=False)
    np.testing.assert_array_equal(imitation.row, np.arange(7))
    assert imitation.discount[3] == 0
    assert imitation.next_row[3] == 3


@pytest.mark.parametrize("n", [1, 3, 50])
def test_nothing_ever_points_into_another_episode(memory_source, n):
    source = memory_source([6, 1, 4, 9], success=[SUCCESS, SUCCESS, FAILURE, UNKNOWN])
    index = transitions(source, PTR, 0.96, n)
    owner = np.repeat(np.arange(4), source.episodes.length)
    np.testing.assert_array_equal(owner[index.row], index.episode)
    np.testing.assert_array_equal(owner[index.next_row], index.episode)


def test_long_n_step_equals_the_return_where_the_episode_ended(memory_source):
    index = transitions(memory_source([7], success=[SUCCESS]), PTR, 0.9, 50)
    np.testing.assert_allclose(index.reward, index.return_to_go, rtol=1e-5)
    assert (index.discount == 0).all()


def test_a_subset_of_episodes_keeps_the_rows_of_the_source(memory_source):
    source = memory_source([3, 4], success=[SUCCESS, SUCCESS])
    source.episodes = source.episodes.select([1])
    index = transitions(source, PTR, 0.9)
    np.testing.assert_array_equal(index.row, [3, 4, 5, 6])
    np.testing.assert_array_equal(index.episode, 0)


def test_truncated_stored_rewards_are_bounded_below(memory_source):
    source = memory_source([3])
    source.rewards = np.array([0, -2, 0], np.float32)
    index = transitions(source, RewardLabel(source="stored", scale=1, shift=0), 0.5, bootstrap=False)
    np.testing.assert_allclose(index.return_to_go, [0 - 1 - 0.25 * 2, -2 - 1, -2])


@pytest.mark.parametrize("column", ["actions", "proprio", "rewards"])
def test_nan_names_column_episode_and_step(memory_source, column):
    source = memory_source([6, 4, 5])
    getattr(source, column)[7] = np.nan
    with pytest.raises(DataError, match=f"{column} of episode 1 of toy hold NaN or Inf at step 1"):
        transitions(source, PTR, 0.9)


def test_nan_outside_the_selected_episodes_does_not_matter(memory_source):
    source = memory_source([6, 4])
    source.actions[7] = np.inf
    source.episodes = source.episodes.select([0])
    assert len(transitions(source, PTR, 0.9)) == 5


def test_senseless_settings_are_refused(memory_source):
    with pytest.raises(UserError, match="n_step"):
        transitions(memory_source(), PTR, 0.9, 0)
    with pytest.raises(UserError, match="gamma"):
        transitions(memory_source(), PTR, 1.0)


def test_empty_episodes_and_empty_sources_have_no_transitions(memory_source):
    source = memory_source([3])
    source.episodes.length[:] = 0
    assert len(transitions(source, PTR, 0.9)) == 0
    source.episodes = source.episodes.select(np.zeros(0, np.int64))
    assert len(transitions(source, PTR, 0.9)) == 0
