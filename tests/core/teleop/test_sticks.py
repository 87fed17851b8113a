from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robot_pt.teleop import TeleopSettings
from robot_pt.teleop.sticks import Deadman, Presses, deflection, travelled

MS = 1_000_000
six = arrays(np.float64, 6, elements=st.floats(-3, 3))


@settings(deadline=None)
@given(six, st.floats(0, 0.9))
def test_deflections_stay_in_range_begin_at_nothing_and_keep_their_sign(values, dead_zone):
    out = deflection(values, dead_zone)
    assert (np.abs(out) <= 1 + 1e-12).all()
    assert (out[np.abs(values) <= dead_zone] == 0).all()
    assert (out * values >= 0).all()


def test_the_full_range_is_left_beyond_the_dead_zone():
    np.testing.assert_allclose(deflection(np.array([0.1, 0.55, 1.0, -1.0, -0.05, 0.2]), 0.1), [0, 0.5, 1, -1, 0, 1 / 9])


@settings(deadline=None)
@given(six, st.floats(0, 0.1))
def test_no_direction_is_faster_than_the_settings_allow(values, dt_s):
    settings = TeleopSettings()
    out = travelled(deflection(values, 0.1), dt_s, settings)
    assert np.linalg.norm(out[:3]) <= settings.max_speed_m_s * dt_s + 1e-12
    assert np.linalg.norm(out[3:]) <= settings.max_speed_rad_s * dt_s + 1e-12


def test_full_deflection_for_a_second_is_the_speed():
    np.testing.assert_allclose(
        travelled(np.array([1, 0, 0, 0, 0, -1.0]), 1.0, TeleopSettings()), [0.1, 0, 0, 0, 0, -0.5]
    )


def heard(*messages, timeout_s=0.2):
    made = Deadman(timeout_s)
    for at, pressed in messages:
        made.hear(pressed, at * MS)
    return made


def test_a_deadman_is_held_while_it_is_heard():
    made = heard((0, False), (50, True), (100, True))
    assert made.held(110 * MS)
    assert made.held(300 * MS)
    assert not made.held(301 * MS)
    assert not made.held(99 * MS)  # a clock set back
    assert not Deadman(0.2).held(0)


def test_what_was_pressed_before_a_silence_or_at_first_sight_must_be_seen_open():
    assert not heard((0, True), (50, True)).held(60 * MS)
    assert not heard((0, False), (50, True), (1000, True), (1050, True)).held(1060 * MS)
    assert heard((0, False), (50, True), (1000, True), (1050, False), (1100, True)).held(1110 * MS)


def test_a_release_wants_a_new_press():
    made = heard((0, False), (50, True))
    made.release()
    assert not made.held(60 * MS)
    made.hear(True, 100 * MS)
    assert not made.held(110 * MS)
    made.hear(False, 120 * MS)
    made.hear(True, 140 * MS)
    assert made.held(150 * MS)


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=30))
def test_a_button_asks_once_for_each_time_it_goes_down(states):
    presses = Presses({"A": "gripper"})
    for down in states:
        presses.see({"A": down, "B": True})
    rises = sum(b and not a for a, b in pairwise(states))
    assert presses.take() == ("gripper",) * rises
    assert presses.take() == ()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"max_speed_m_s": 0.0}, "max_speed_m_s is 0.0"),
        ({"max_speed_rad_s": float("nan")}, "nan"),
        ({"step_m": -0.1}, "step_m is -0.1"),
        ({"step_rad": 100.0}, "at most 10"),
        ({"dead_zone": 0.95}, "dead_zone is 0.95"),
        ({"key_interval_s": 0.0}, "above 0"),
        ({"lead_s": -0.1}, "of at least 0"),
        ({"lead_s": 0.6}, "key_held_s 0.5"),
        ({"timeout_s": 0.0}, "timeout_s"),
        ({"idle_release_s": float("inf")}, "inf"),
    ],
)
def test_settings_that_cannot_be_meant_are_one_sentence(wrong, words):
    from robot_pt.errors import UserError

    with pytest.raises(UserError) as raised:
        TeleopSettings(**wrong)
    assert words in str(raised.value)
