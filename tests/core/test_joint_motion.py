"""JointMotion and its path: slow, in step, watched; and nothing of the arm dips below what both ends allow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt import robots
from robot_pt.joint_motion import ARRIVED_RAD, SETTLE_S, JointMotion, path_trouble

NS = 1_000_000_000
T0 = 50 * NS


def motion(start, goal, speed: float = 0.4, error: float = 0.35) -> JointMotion:
    return JointMotion(
        "home", np.asarray(start, float), np.asarray(goal, float), speed_rad_s=speed, max_error_rad=error, now_ns=T0
    )


ANGLES = st.lists(st.floats(-3, 3), min_size=3, max_size=3)


@settings(deadline=None)
@given(ANGLES, ANGLES, st.floats(0.05, 1.0), st.integers(5, 60))
def test_it_is_never_faster_than_asked_and_ends_at_the_goal(start, goal, speed: float, ms: int) -> None:
    moving = motion(start, goal, speed)
    sent, now = [np.asarray(start, float)], T0
    while moving.phase == "moving":
        q = moving.step(now, sent[-1])
        assert q is not None
        sent.append(q)
        now += ms * 10**6
        assert now < T0 + (moving.duration_s + 1) * NS
    assert moving.phase == "arrived"
    np.testing.assert_array_equal(sent[-1], goal)
    assert np.abs(np.diff(sent, axis=0)).max(initial=0) <= speed * ms / 1000 + 1e-9
    assert moving.step(now, sent[-1]) is None


def test_the_fastest_joint_reaches_the_speed_and_all_keep_step() -> None:
    moving = motion([0, 0], [1, -0.5])
    times = np.arange(T0, T0 + int(moving.duration_s * NS), 10**7)
    q = [np.zeros(2)]
    for now in times:
        q.append(moving.step(int(now), q[-1]))
    speeds = np.abs(np.diff(q[1:], axis=0)).max(0) / 0.01
    np.testing.assert_allclose(speeds, [0.4, 0.2], rtol=0.01)
    np.testing.assert_allclose(np.array(q)[:, 1], -0.5 * np.array(q)[:, 0], atol=1e-12)


def test_an_arm_that_does_not_follow_ends_it() -> None:
    moving = motion([0.0], [2.0])
    now = T0
    while moving.step(now, np.zeros(1)) is not None:
        now += 20_000_000
    assert moving.phase == "stopped"
    assert "stalled or touches something" in moving.reason
    assert (now - T0) / NS < 3


def test_a_clock_set_back_ends_it() -> None:
    moving = motion([0.0], [1.0])
    assert moving.step(T0 - 1, np.zeros(1)) is None
    assert moving.phase == "stopped"


def test_sag_counts_as_arrived_and_more_does_not() -> None:
    for off, phase in ((ARRIVED_RAD * 0.9, "arrived"), (ARRIVED_RAD * 1.5, "stopped")):
        moving = motion([0.0], [0.1])
        end = T0 + int((moving.duration_s + SETTLE_S + 0.1) * NS)
        moving.step(T0 + int(moving.duration_s * NS) + 1, np.array([0.1 - off]))
        moving.step(end, np.array([0.1 - off]))
        assert moving.phase == phase
    assert "came no nearer to home than 0.15 rad" in moving.reason


def test_stopping_keeps_the_first_reason() -> None:
    moving = motion([0.0], [1.0])
    moving.stop("first")
    moving.stop("second")
    assert (moving.phase, moving.reason) == ("stopped", "first")


@pytest.mark.parametrize("name", robots.names())
def test_between_home_and_sleep_the_way_is_free(name: str) -> None:
    arm = robots.load(name)
    assert path_trouble(arm, arm.home_rad, arm.sleep_rad, 1.0, 0.0) == ""
    assert path_trouble(arm, arm.sleep_rad, arm.home_rad, 0.0, 0.0) == ""


def test_a_way_through_the_table_is_refused_also_between_two_free_ends() -> None:
    arm = robots.load("wx250s")
    up, folded = np.array([0, 1.4, -1.9, 0, -0.8, 0]), np.array([0, 1.4, 1.6, 0, 0.7, 0])
    for end in (up, folded):
        assert min(p[2] for p in arm.points(end).values()) > 0.06
    trouble = path_trouble(arm, up, folded, 1.0, 0.0)
    assert "would come -0.3" in trouble
    assert "the floor is at 0.00 m; move the arm up first." in trouble
    assert path_trouble(arm, up, folded, 1.0, -0.5) == ""


def test_an_arm_below_the_floor_may_come_up_and_only_up() -> None:
    arm = robots.load("wx250s")
    low = np.array([0, 1.4, 0.3, 0, 0.0, 0])
    assert min(p[2] for p in arm.points(low).values()) < -0.05
    assert path_trouble(arm, low, arm.home_rad, 1.0, 0.0) == ""
