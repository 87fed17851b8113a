import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.teleop import MEANINGS, Keyboard, TeleopSettings
from robot_pt.teleop.keyboard import MOTIONS, REQUESTS

MS = 1_000_000
NOW = 5_000 * MS


@pytest.mark.parametrize("key", MOTIONS)
def test_a_press_is_one_bounded_step(key):
    keyboard = Keyboard()
    keyboard.feed(key.encode(), NOW)
    step = keyboard.motion(NOW + 10 * MS, 0.05)
    index, sign = MOTIONS[key]
    expected = np.zeros(6)
    expected[index] = sign * (0.01 if index < 3 else 0.05)
    np.testing.assert_array_equal(step, expected)
    assert not keyboard.motion(NOW + 20 * MS, 0.05).any()  # once


def test_opposite_keys_are_opposite_steps():
    for pair in ("ws", "ad", "rf", "uo", "ik", "jl"):
        (first, one), (second, other) = MOTIONS[pair[0]], MOTIONS[pair[1]]
        assert (first, one) == (second, -other)


def test_the_deadman_a_press_stands_for_ends_by_itself():
    keyboard = Keyboard()
    assert not keyboard.held(NOW)
    keyboard.feed(b"w", NOW)
    assert keyboard.held(NOW)
    assert keyboard.held(NOW + 500 * MS)
    assert not keyboard.held(NOW + 501 * MS)
    assert not keyboard.held(NOW - 1)  # a clock set back releases
    assert not Keyboard.hold_to_run


def test_a_step_that_was_not_taken_in_time_is_never_made():
    keyboard = Keyboard()
    keyboard.feed(b"w", NOW)
    keyboard.feed(b"g", NOW + 2000 * MS)
    assert keyboard.held(NOW + 2000 * MS)
    assert not keyboard.motion(NOW + 2010 * MS, 0.05).any()
    keyboard.feed(b"w", NOW + 4000 * MS)
    assert not keyboard.motion(NOW + 6000 * MS, 0.05).any()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.sampled_from("wsadrfg 1")), max_size=60))
def test_auto_repeat_and_bursts_are_never_faster_than_the_interval_allows(presses):
    keyboard, now, moved = Keyboard(), NOW, 0.0
    for wait, key in presses:
        now += wait * MS
        keyboard.feed(key.encode(), now)
        moved += np.abs(keyboard.motion(now, 0.05)).sum()
    assert moved <= 0.01 * ((now - NOW) / (100 * MS) + 1) + 1e-9


def test_a_burst_after_a_hang_up_of_the_line_is_one_step():
    keyboard = Keyboard()
    keyboard.feed(b"w" * 50, NOW)
    assert keyboard.dropped == 49
    np.testing.assert_allclose(keyboard.motion(NOW, 0.05), [0.01, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("end", [b"", b"\x04", b"\x03", b"w\x04"])
def test_end_of_input_releases_at_once_and_for_good(end):
    keyboard = Keyboard()
    keyboard.feed(b"w", NOW)
    keyboard.feed(end, NOW + MS)
    assert keyboard.closed
    assert not keyboard.held(NOW + 2 * MS)
    assert not keyboard.motion(NOW + 2 * MS, 0.05).any()
    keyboard.feed(b"w", NOW + 3 * MS)
    assert not keyboard.held(NOW + 3 * MS)


def test_keys_ask_for_what_the_legend_says():
    keyboard = Keyboard()
    keyboard.feed(b"123456789g ", NOW)
    assert keyboard.requests() == tuple(REQUESTS[key] for key in "123456789g ")
    assert keyboard.requests() == ()
    assert set(REQUESTS.values()) == set(MEANINGS)
    legend = keyboard.legend()
    for key, request in REQUESTS.items():
        assert any(
            line.startswith("SPACE" if key == " " else key) and MEANINGS[request] in line
            for line in legend.splitlines()
        )


def test_only_motion_and_gripper_count_as_held():
    for key, held in ((b"1", False), (b" ", False), (b"g", True), (b"w", True), (b"?", False)):
        keyboard = Keyboard()
        keyboard.feed(key, NOW)
        assert keyboard.held(NOW) == held


def test_steps_can_be_made_smaller_and_never_larger_than_set():
    keyboard = Keyboard(TeleopSettings(step_m=0.02))
    for keys, scale in ((b"--", 0.25), (b"-----", 0.125), (b"=", 0.25), (b"+++++", 1.0)):
        keyboard.feed(keys, NOW)
        assert keyboard.scale == scale
    keyboard.feed(b"-s", NOW)
    assert keyboard.motion(NOW, 0.05)[0] == -0.01


@pytest.mark.parametrize(
    "sequence", [b"\x1b[A", b"\x1b[1;5D", b"\x1bOr", b"\x1b[3~", b"\x1bw", b"\xff\xfe", "ß".encode(), b"WQ!"]
)
def test_arrows_function_keys_and_unknown_bytes_do_nothing(sequence):
    keyboard = Keyboard()
    keyboard.feed(sequence, NOW)
    assert keyboard.requests() == ()
    assert not keyboard.held(NOW)
    keyboard.feed(b"d", NOW)
    assert keyboard.motion(NOW, 0.05)[1] == -0.01  # the next key counts


def test_a_sequence_may_come_in_pieces():
    keyboard = Keyboard()
    for piece in (b"\x1b", b"[", b"1", b";", b"5", b"D"):
        keyboard.feed(piece, NOW)
    assert not keyboard.held(NOW)


@settings(deadline=None)
@given(st.binary(max_size=12))
def test_space_always_stops_whatever_was_typed_before(typed):
    keyboard = Keyboard()
    keyboard.feed(bytes(b for b in typed if b not in (3, 4)) or b"x", NOW)
    keyboard.requests()
    keyboard.feed(b" ", NOW)
    assert "estop" in keyboard.requests()
