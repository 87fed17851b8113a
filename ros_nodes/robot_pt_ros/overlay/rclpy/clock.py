"""Clocks: system, steady, and ROS time, which follows ``/clock`` while a time source has activated it."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from enum import IntEnum
from threading import Condition, RLock
from types import TracebackType
from typing import Any

from rclpy.clock_type import ClockType as ClockType
from rclpy.duration import Duration
from rclpy.exceptions import NotInitializedException
from rclpy.time import Time


class ClockChange(IntEnum):
    """What happened to the source of ROS time in a jump."""

    ROS_TIME_NO_CHANGE = 1
    ROS_TIME_ACTIVATED = 2
    ROS_TIME_DEACTIVATED = 3
    SYSTEM_TIME_NO_CHANGE = 4


class JumpThreshold:
    """Which jumps call back. Raises ValueError on a forward threshold <= 0 or a backward one >= 0."""

    def __init__(
        self, *, min_forward: Duration | None, min_backward: Duration | None, on_clock_change: bool = True
    ) -> None:
        if min_forward is not None and min_forward.nanoseconds <= 0:
            raise ValueError("min_forward must be a positive non-zero duration")
        if min_backward is not None and min_backward.nanoseconds >= 0:
            raise ValueError("min_backward must be a negative non-zero duration")
        self.min_forward = min_forward
        self.min_backward = min_backward
        self.on_clock_change = on_clock_change

    def _exceeded(self, change: ClockChange, delta_ns: int) -> bool:
        if change in (ClockChange.ROS_TIME_ACTIVATED, ClockChange.ROS_TIME_DEACTIVATED):
            return self.on_clock_change
        if self.min_forward is not None and delta_ns >= self.min_forward.nanoseconds:
            return True
        return self.min_backward is not None and delta_ns <= self.min_backward.nanoseconds


class TimeJump:
    """What a jump callback is told."""

    def __init__(self, clock_change: ClockChange, delta: Duration) -> None:
        if not isinstance(clock_change, ClockChange):
            raise TypeError("clock_change must be an instance of rclpy.clock.ClockChange")
        self._clock_change = clock_change
        self._delta = delta

    @property
    def clock_change(self) -> ClockChange:
        return self._clock_change

    @property
    def delta(self) -> Duration:
        return self._delta


class JumpHandle:
    """A registered jump callback; a context manager that unregisters."""

    def __init__(
        self,
        *,
        clock: Clock,
        threshold: JumpThreshold,
        pre_callback: Callable[[], Any] | None,
        post_callback: Callable[[TimeJump], Any] | None,
    ) -> None:
        if pre_callback is None and post_callback is None:
            raise ValueError("One of pre_callback or post_callback must be callable")
        for name, callback in (("pre_callback", pre_callback), ("post_callback", post_callback)):
            if callback is not None and not callable(callback):
                raise ValueError(f"{name} must be callable if given")
        self._clock: Clock | None = clock
        self._threshold = threshold
        self._pre_callback = pre_callback
        self._post_callback = post_callback
        clock._jump_handles.append(self)

    def unregister(self) -> None:
        if self._clock is not None:
            self._clock._jump_handles.remove(self)
            self._clock = None

    def __enter__(self) -> JumpHandle:
        return self

    def __exit__(self, t: type[BaseException] | None, v: BaseException | None, tb: TracebackType | None) -> None:
        self.unregister()


class Clock:
    """A source of `Time`. ``Clock(clock_type=ClockType.ROS_TIME)`` makes a `ROSClock`."""

    _clock_type: ClockType
    _jump_handles: list[JumpHandle]

    def __new__(cls, *, clock_type: ClockType = ClockType.SYSTEM_TIME) -> Clock:
        if not isinstance(clock_type, ClockType):
            raise TypeError("Clock type must be a ClockType enum")
        self: Clock = super().__new__(ROSClock if clock_type is ClockType.ROS_TIME else cls)
        self._clock_type = clock_type
        self._jump_handles = []
        self._start()
        return self

    def _start(self) -> None:
        """What a subclass keeps besides."""

    @property
    def clock_type(self) -> ClockType:
        return self._clock_type

    def __repr__(self) -> str:
        return f"Clock(clock_type={self._clock_type.name})"

    def _now_ns(self) -> int:
        return time.monotonic_ns() if self._clock_type == ClockType.STEADY_TIME else time.time_ns()

    def _stands_still(self) -> bool:
        """True where time moves only by messages, so that waiting for it is waiting for them."""
        return False

    def now(self) -> Time:
        return Time(nanoseconds=self._now_ns(), clock_type=self._clock_type)

    def create_jump_callback(
        self,
        threshold: JumpThreshold,
        *,
        pre_callback: Callable[[], Any] | None = None,
        post_callback: Callable[[TimeJump], Any] | None = None,
    ) -> JumpHandle:
        """Call back around jumps beyond `threshold`; keep the handle as long as that is wanted."""
        return JumpHandle(clock=self, threshold=threshold, pre_callback=pre_callback, post_callback=post_callback)

    def sleep_until(self, until: Time, context: Any = None) -> bool:
        """Sleep until a time of this clock; False where shutdown or a change of the clock's source came first.

        Raises ValueError on a time of another kind of clock and NotInitializedException on a context that is not up.
        """
        from rclpy.utilities import get_default_context

        context = get_default_context() if context is None else context
        if not context.ok():
            raise NotInitializedException
        if until.clock_type != self._clock_type:
            raise ValueError("until's clock type does not match this clock's type")
        changed = Condition()
        source_changed = False

        def wake(jump: TimeJump | None = None) -> None:
            nonlocal source_changed
            with changed:
                source_changed = source_changed or (
                    jump is not None
                    and jump.clock_change in (ClockChange.ROS_TIME_ACTIVATED, ClockChange.ROS_TIME_DEACTIVATED)
                )
                changed.notify_all()

        every = JumpThreshold(min_forward=Duration(nanoseconds=1), min_backward=Duration(nanoseconds=-1))
        forget = context._call_on_invalid(wake)
        try:
            with self.create_jump_callback(every, post_callback=wake), changed:
                while context.ok() and not source_changed:
                    left_ns = until.nanoseconds - self._now_ns()
                    if left_ns <= 0:
                        return True
                    changed.wait(None if self._stands_still() else min(left_ns / 1e9, 3600.0))
            return False
        finally:
            forget()

    def sleep_for(self, rel_time: Duration, context: Any = None) -> bool:
        """Sleep for a span of this clock; as `sleep_until`."""
        return self.sleep_until(self.now() + rel_time, context=context)


class ROSClock(Clock):
    """ROS time: system time until a time source activates it, then whatever ``/clock`` last said."""

    def __new__(cls) -> ROSClock:
        clock = Clock.__new__(Clock, clock_type=ClockType.ROS_TIME)
        assert isinstance(clock, ROSClock)
        return clock

    def _start(self) -> None:
        self._lock = RLock()
        self._active = False
        self._override_ns = 0
        self._timers: weakref.WeakSet[Any] = weakref.WeakSet()

    @property
    def ros_time_is_active(self) -> bool:
        return self._active

    def _set_ros_time_is_active(self, enabled: bool) -> None:
        if enabled == self._active:
            return
        change = ClockChange.ROS_TIME_ACTIVATED if enabled else ClockChange.ROS_TIME_DEACTIVATED
        self._jump(change, enabled, self._override_ns)

    def set_ros_time_override(self, time: Time) -> None:
        """What ROS time is now, while it is active. Raises TypeError on anything but a `Time`."""
        if not isinstance(time, Time):
            raise TypeError(f"Time must be specified as rclpy.time.Time. Received type: {type(time)}")
        if self._active:
            self._jump(ClockChange.ROS_TIME_NO_CHANGE, True, time.nanoseconds)
        else:
            self._override_ns = time.nanoseconds

    def _jump(self, change: ClockChange, active: bool, override_ns: int) -> None:
        before_ns = self._now_ns()
        after_ns = override_ns if active else time.time_ns()
        delta_ns = after_ns - before_ns
        told = [handle for handle in list(self._jump_handles) if handle._threshold._exceeded(change, delta_ns)]
        for handle in told:
            if handle._pre_callback is not None:
                handle._pre_callback()
        with self._lock:
            self._active = active
            self._override_ns = override_ns
        for timer in list(self._timers):
            timer._time_moved(change, delta_ns)
        for handle in told:
            if handle._post_callback is not None:
                handle._post_callback(TimeJump(change, Duration(nanoseconds=delta_ns)))

    def _now_ns(self) -> int:
        with self._lock:
            return self._override_ns if self._active else time.time_ns()

    def _stands_still(self) -> bool:
        return self._active
