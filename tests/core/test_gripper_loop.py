"""GripperLoop: bounded, nothing in place, less on what is grasped; against a simple gripper with friction and an obstacle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.errors import UserError
from robot_pt.gripper_loop import GripperLoop, GripperLoopSettings

NS = 1_000_000_000


class Gripper:
    """Opening that moves with PWM beyond friction, between stops."""

    def __init__(self, opening: float, least: float = 0.0):
        self.opening, self.least = opening, least

    def push(self, pwm: float, dt: float) -> None:
        if abs(pwm) > 80:
            self.opening = float(np.clip(self.opening + 2.5 * pwm / 350 * dt, self.least, 1.0))


def run(loop: GripperLoop, gripper: Gripper, seconds: float, begin: float = 0.0) -> list[float]:
    sent = []
    for i in range(int(seconds * 50)):
        pwm = loop.step(int((begin + i / 50) * NS) + 1, gripper.opening)
        gripper.push(pwm, 0.02)
        sent.append(pwm)
    return sent


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1))
def test_it_goes_there_and_leaves_the_motor_alone(start: float, target: float) -> None:
    loop, gripper = GripperLoop(), Gripper(start)
    loop.aim(target)
    sent = run(loop, gripper, 3)
    assert gripper.opening == pytest.approx(target, abs=0.04)
    assert sent[-1] == 0
    assert max(map(abs, sent)) <= 350


def test_nothing_is_sent_before_it_is_asked_or_without_a_measurement() -> None:
    loop = GripperLoop()
    assert loop.step(NS, 0.5) == 0
    loop.aim(1.0)
    assert loop.step(NS, float("nan")) == 0
    loop.aim(float("nan"))
    assert loop.target == 1.0


def test_what_is_grasped_is_held_with_less_and_let_go_at_full_strength() -> None:
    loop, gripper = GripperLoop(), Gripper(1.0, least=0.4)
    loop.aim(0.0)
    sent = run(loop, gripper, 3)
    assert sent[-1] == -180
    assert min(sent) == -350
    loop.aim(1.0)
    sent = run(loop, gripper, 3, begin=3)
    assert max(sent) == 350
    assert sent[-1] == 0
    assert gripper.opening > 0.96


def test_a_jammed_gripper_is_not_pushed_open() -> None:
    loop = GripperLoop()
    loop.aim(1.0)
    sent = [loop.step(int(i / 50 * NS) + 1, 0.5) for i in range(100)]
    assert sent[0] > 0
    assert sent[-1] == 0


def test_something_that_slips_is_followed_again() -> None:
    loop, gripper = GripperLoop(), Gripper(1.0, least=0.4)
    loop.aim(0.0)
    run(loop, gripper, 2)
    gripper.least = 0.0
    run(loop, gripper, 4, begin=2)
    assert gripper.opening < 0.04


@given(st.lists(st.tuples(st.floats(), st.floats(), st.integers(-(10**9), 10**10)), max_size=30))
def test_whatever_comes_the_push_is_bounded(events) -> None:
    loop = GripperLoop()
    for target, measured, now in events:
        loop.aim(target)
        pwm = loop.step(now, measured)
        assert np.isfinite(pwm)
        assert abs(pwm) <= 350


@pytest.mark.parametrize(
    "changes",
    [{"max_pwm": 351.0}, {"min_pwm": -1.0}, {"grasp_pwm": 360.0}, {"grasp_pwm": float("nan")}, {"max_pwm": 100.0}],
)
def test_strengths_that_cannot_be_meant_are_refused(changes) -> None:
    with pytest.raises(UserError, match="gripper PWM is"):
        GripperLoopSettings(**changes)


@pytest.mark.parametrize("changes", [{"gain": 0.0}, {"in_place": 0.6}, {"stalled_s": 0.0}, {"gain": float("nan")}])
def test_other_numbers_that_cannot_be_meant_are_refused(changes) -> None:
    with pytest.raises(UserError, match="gripper gain"):
        GripperLoopSettings(**changes)
