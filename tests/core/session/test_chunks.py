from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.errors import UserError
from robot_pt.session.chunks import ChunkPlayer, checked_chunk

PERIOD = 200


def chunk(length):
    """Action i holds i."""
    return np.repeat(np.arange(length, dtype=np.float32)[:, None], 7, 1)


def player(length=4, play=None, first=1000):
    made = ChunkPlayer(PERIOD, play)
    made.load(chunk(length), first, observation_ns=990, inference_ms=1.0)
    return made


def test_every_tick_has_its_action():
    made = player()
    assert [made.take(1000 + k * PERIOD)[0] for k in range(4)] == [0, 1, 2, 3]
    assert made.take(1800) is None


def test_the_action_itself_comes_with_its_index():
    index, action = player().take(1000 + 2 * PERIOD)
    assert index == 2
    np.testing.assert_array_equal(action, np.full(7, 2.0))


@settings(deadline=None)
@given(st.lists(st.integers(1, 700), max_size=12), st.integers(1, 8))
def test_no_action_is_played_twice_early_or_more_than_half_a_period_off(waits, length):
    made, now, played = player(length), 1000, []
    for wait in waits:
        used_up = made.used_up(now)
        taken = made.take(now)
        if taken is not None:
            assert not used_up
            played.append(taken[0])
            assert abs(now - (1000 + taken[0] * PERIOD)) <= PERIOD / 2
        now += wait
    assert played == sorted(set(played))


@settings(deadline=None)
@given(st.integers(1, 2000), st.integers(1, 8))
def test_a_late_chunk_has_lost_its_first_ceil_latency_over_period_actions_at_the_next_tick(latency, length):
    made = player(length)
    lost = ceil(latency / PERIOD)
    taken = made.take(1000 + lost * PERIOD)  # the first tick after it arrived
    assert (taken[0] if taken else length) == min(lost, length)
    assert (taken is None) == (lost >= length)


def test_ticks_a_little_early_or_late_play_the_same():
    made = player()
    assert [made.take(1000 + t)[0] for t in (0, PERIOD - 30, 2 * PERIOD + 60)] == [0, 1, 2]


def test_two_ticks_in_one_period_play_once():
    made = player()
    assert made.take(1000)[0] == 0
    assert made.take(1080) is None
    assert not made.used_up(1080)


def test_only_so_many_of_a_chunk_are_played():
    made = player(play=2)
    assert made.take(1000 + PERIOD)[0] == 1
    assert made.used_up(1000 + PERIOD)
    assert made.used_up(1000 + 2 * PERIOD)


def test_a_cleared_player_has_nothing():
    made = player()
    made.clear()
    assert made.used_up(1000)
    assert made.take(1000) is None


def test_a_good_chunk_comes_back_as_float32():
    assert checked_chunk(np.zeros((3, 7))).dtype == np.float32
    assert checked_chunk([[0] * 7]).shape == (1, 7)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros(7), "shape (7,)"),
        (np.zeros((0, 7)), "shape (0, 7)"),
        (np.zeros((2, 6)), "shape (2, 6)"),
        (np.array([["a"] * 7]), "type <U1"),
        (np.full((1, 7), np.nan), "dx = nan"),
        (np.array([[0, 0, 0, 0, 0, 0, np.inf]]), "gripper = inf"),
        (np.array([[0, 0, 0, 0, 0, 0, 1], [0, 0, 4.0, 0, 0, 0, 1]]), "dz = 4.0"),
    ],
)
def test_anything_else_is_refused_with_what_it_was(given, words):
    with pytest.raises(UserError) as raised:
        checked_chunk(given)
    assert words in str(raised.value)


def test_the_rest_of_a_chunk_is_what_comes_after_the_action_taken():
    made = player(4, play=3)
    assert made.rest[:, 0].tolist() == [0, 1, 2]
    made.take(1000 + PERIOD)
    assert made.rest[:, 0].tolist() == [2]
    made.take(1000 + 2 * PERIOD)
    assert made.rest.shape == (0, 7)
