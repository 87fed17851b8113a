"""Durations, times, clocks and their jumps, timers: arithmetic as rcl's, on a clock that the test moves."""

from __future__ import annotations

import threading
import time

import builtin_interfaces.msg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rclpy.clock import Clock, ClockChange, JumpThreshold, ROSClock, TimeJump
from rclpy.clock_type import ClockType
from rclpy.context import Context
from rclpy.duration import Duration, Infinite
from rclpy.exceptions import InvalidHandle, NotInitializedException
from rclpy.time import Time
from rclpy.timer import Timer

DOMAIN = 40
INT64 = st.integers(-(2**63), 2**63 - 1)


@given(INT64, INT64)
def test_durations_order_as_their_nanoseconds(a: int, b: int) -> None:
    first, second = Duration(nanoseconds=a), Duration(nanoseconds=b)
    assert (first < second, first <= second, first == second) == (a < b, a <= b, a == b)
    assert (first > second, first >= second, first != second) == (a > b, a >= b, a != b)


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 10**9 - 1))
def test_durations_survive_messages(seconds: int, nanoseconds: int) -> None:
    duration = Duration(seconds=seconds, nanoseconds=nanoseconds)
    assert Duration.from_msg(duration.to_msg()) == duration
    assert duration.to_msg() == builtin_interfaces.msg.Duration(sec=seconds, nanosec=nanoseconds)


def test_durations_refuse_what_does_not_fit() -> None:
    assert str(Infinite) == "Infinite"
    assert str(Duration(seconds=1.5)) == "1500000000 nanoseconds"
    assert repr(Duration(nanoseconds=-3)) == "Duration(nanoseconds=-3)"
    with pytest.raises(OverflowError):
        Duration(seconds=2**63)
    with pytest.raises(TypeError, match="Duration"):
        Duration.from_msg(builtin_interfaces.msg.Time())
    assert Duration(nanoseconds=1) != 1


@given(st.integers(0, 2**62 - 1), st.integers(0, 2**62 - 1))
def test_times_add_and_subtract_exactly(start: int, span: int) -> None:
    moment = Time(nanoseconds=start, clock_type=ClockType.ROS_TIME)
    later = moment + Duration(nanoseconds=span)
    assert later - moment == Duration(nanoseconds=span)
    assert later - Duration(nanoseconds=span) == moment
    assert later.clock_type == ClockType.ROS_TIME
    assert (moment < later, moment <= later, moment > later, moment >= later) == (span > 0, True, False, span == 0)
    assert Duration(nanoseconds=span) + moment == later


def test_times_refuse_other_clocks_and_what_does_not_fit() -> None:
    ros, system = Time(seconds=1, clock_type=ClockType.ROS_TIME), Time(seconds=1)
    for mixed in (lambda: ros == system, lambda: ros < system, lambda: ros - system):
        with pytest.raises(TypeError, match="clock types"):
            mixed()
    with pytest.raises(ValueError, match="negative"):
        Time(seconds=-1)
    with pytest.raises(ValueError, match="negative"):
        Time(nanoseconds=-1)
    with pytest.raises(OverflowError):
        Time(seconds=2**40)
    with pytest.raises(OverflowError, match="overflow"):
        Time(nanoseconds=2**63 - 1) + Duration(nanoseconds=1)
    with pytest.raises(ValueError, match="negative time"):
        Time(nanoseconds=1) - Duration(nanoseconds=2)
    with pytest.raises(TypeError, match="ClockType"):
        Time(clock_type=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Time"):
        Time.from_msg(builtin_interfaces.msg.Duration())
    for other in (1, 1.0, "1"):
        with pytest.raises(TypeError):
            ros + other  # type: ignore[operator]


def test_time_messages_are_of_ros_time() -> None:
    message = builtin_interfaces.msg.Time(sec=3, nanosec=4)
    moment = Time.from_msg(message)
    assert moment.clock_type == ClockType.ROS_TIME
    assert moment.seconds_nanoseconds() == (3, 4)
    assert moment.to_msg() == message
    assert repr(moment) == "Time(nanoseconds=3000000004, clock_type=ROS_TIME)"


def test_clock_kinds() -> None:
    assert isinstance(Clock(clock_type=ClockType.ROS_TIME), ROSClock)
    assert Clock().clock_type == ClockType.SYSTEM_TIME
    assert abs(Clock().now().nanoseconds - time.time_ns()) < 10**9
    assert abs(Clock(clock_type=ClockType.STEADY_TIME).now().nanoseconds - time.monotonic_ns()) < 10**9
    assert ROSClock().now().clock_type == ClockType.ROS_TIME
    assert repr(ROSClock()) == "Clock(clock_type=ROS_TIME)"
    with pytest.raises(TypeError, match="ClockType"):
        Clock(clock_type=2)  # type: ignore[arg-type]


def simulated(now_ns: int) -> ROSClock:
    clock = ROSClock()
    clock.set_ros_time_override(Time(nanoseconds=now_ns, clock_type=ClockType.ROS_TIME))
    clock._set_ros_time_is_active(True)
    return clock


def set_ns(clock: ROSClock, now_ns: int) -> None:
    clock.set_ros_time_override(Time(nanoseconds=now_ns, clock_type=ClockType.ROS_TIME))


def test_ros_clock_follows_its_override_only_while_active() -> None:
    clock = simulated(5)
    assert clock.ros_time_is_active
    assert clock.now().nanoseconds == 5
    set_ns(clock, 7)
    assert clock.now().nanoseconds == 7
    clock._set_ros_time_is_active(False)
    assert abs(clock.now().nanoseconds - time.time_ns()) < 10**9
    with pytest.raises(TypeError, match=r"rclpy\.time\.Time"):
        clock.set_ros_time_override(8)  # type: ignore[arg-type]


def test_jump_callbacks_come_around_jumps_beyond_their_threshold() -> None:
    clock = simulated(1000)
    told: list[object] = []
    threshold = JumpThreshold(min_forward=Duration(nanoseconds=100), min_backward=Duration(nanoseconds=-10))
    handle = clock.create_jump_callback(
        threshold, pre_callback=lambda: told.append(clock.now().nanoseconds), post_callback=told.append
    )
    set_ns(clock, 1099)  # +99: too small
    set_ns(clock, 1090)  # -9: too small
    assert told == []
    set_ns(clock, 1190)
    assert told[0] == 1090
    assert isinstance(told[1], TimeJump)
    assert (told[1].clock_change, told[1].delta.nanoseconds) == (ClockChange.ROS_TIME_NO_CHANGE, 100)
    set_ns(clock, 1180)
    assert told[3].delta.nanoseconds == -10  # type: ignore[attr-defined]
    clock._set_ros_time_is_active(False)
    assert told[5].clock_change == ClockChange.ROS_TIME_DEACTIVATED  # type: ignore[attr-defined]
    handle.unregister()
    handle.unregister()
    clock._set_ros_time_is_active(True)
    assert len(told) == 6


def test_jump_callbacks_refuse_what_means_nothing() -> None:
    clock = ROSClock()
    threshold = JumpThreshold(min_forward=None, min_backward=None, on_clock_change=False)
    with pytest.raises(ValueError, match="must be callable"):
        clock.create_jump_callback(threshold)
    with pytest.raises(ValueError, match="pre_callback must be callable"):
        clock.create_jump_callback(threshold, pre_callback=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="min_forward"):
        JumpThreshold(min_forward=Duration(), min_backward=None)
    with pytest.raises(ValueError, match="min_backward"):
        JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=1))
    with pytest.raises(TypeError, match="ClockChange"):
        TimeJump(1, Duration())  # type: ignore[arg-type]


def timer_on(clock: Clock, period_ns: int, **arguments: bool) -> Timer:
    return Timer(lambda: None, None, period_ns, clock, **arguments)


@given(st.integers(1, 1000), st.lists(st.integers(0, 5000), max_size=20))
def test_timers_keep_their_phase_however_late_they_are_called(period: int, steps: list[int]) -> None:
    clock = simulated(100)
    timer = timer_on(clock, period)
    for step in steps:
        set_ns(clock, clock.now().nanoseconds + step)
        was_ready = timer.is_ready()
        assert (timer._take() is not None) == was_ready
        left = timer.time_until_next_call()
        assert left is not None
        assert 0 <= left <= period
        assert (clock.now().nanoseconds + left - 100) % period == 0


def test_timers_start_over_when_simulated_time_goes_back() -> None:
    clock = simulated(10_000)
    timer = timer_on(clock, 100)
    set_ns(clock, 10_150)
    assert timer._take() is not None
    set_ns(clock, 50)
    assert timer.time_until_next_call() == 100
    assert timer.time_since_last_call() == 0


def test_timers_keep_what_was_left_when_the_source_of_time_changes() -> None:
    clock = ROSClock()
    timer = timer_on(clock, 10**9)
    set_ns(clock, 5)
    clock._set_ros_time_is_active(True)
    left = timer.time_until_next_call()
    assert left is not None
    assert 0 < left <= 10**9


def test_timers_cancel_and_reset() -> None:
    clock = simulated(0)
    timer = timer_on(clock, 10)
    set_ns(clock, 10)
    assert timer.is_ready()
    timer.cancel()
    assert timer.is_canceled()
    assert not timer.is_ready()
    assert timer.time_until_next_call() is None
    assert timer._take() is None
    timer.reset()
    assert timer.time_until_next_call() == 10
    timer.timer_period_ns = 30
    assert timer.timer_period_ns == 30
    timer.destroy()
    assert not timer.is_ready()
    with pytest.raises(InvalidHandle):
        timer.reset()
    waiting = timer_on(clock, 10, autostart=False)
    assert waiting.is_canceled()
    with pytest.raises(ValueError, match="non-negative"):
        timer_on(clock, -1)


def test_sleep_follows_the_clock() -> None:
    clock, context = simulated(0), Context()
    with pytest.raises(NotInitializedException):
        clock.sleep_for(Duration(nanoseconds=1), context=context)
    context.init([], domain_id=DOMAIN)
    try:
        with pytest.raises(ValueError, match="clock type"):
            clock.sleep_until(Time(nanoseconds=1), context=context)
        slept: list[bool] = []
        sleeper = threading.Thread(
            target=lambda: slept.append(clock.sleep_for(Duration(nanoseconds=100), context=context))
        )
        sleeper.start()
        time.sleep(0.05)
        set_ns(clock, 99)
        time.sleep(0.05)
        assert not slept
        set_ns(clock, 100)
        sleeper.join(5)
        assert slept == [True]
        start_s = time.monotonic()
        assert Clock(clock_type=ClockType.STEADY_TIME).sleep_for(Duration(seconds=0.05), context=context)
        assert time.monotonic() - start_s >= 0.05
        sleeper = threading.Thread(target=lambda: slept.append(clock.sleep_for(Duration(seconds=9), context=context)))
        sleeper.start()
        time.sleep(0.05)
        clock._set_ros_time_is_active(False)
        sleeper.join(5)
        assert slept == [True, False]
        sleeper = threading.Thread(
            target=lambda: slept.append(Clock().sleep_for(Duration(seconds=60), context=context))
        )
        sleeper.start()
        time.sleep(0.05)
    finally:
        context.shutdown()
    sleeper.join(5)
    assert slept == [True, False, False]
