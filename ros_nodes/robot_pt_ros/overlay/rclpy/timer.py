"""Timers on any clock, and rates that sleep on them. The arithmetic of the next call is rcl's: it never drifts."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition, RLock
from typing import Any

from rclpy.clock import Clock, ClockChange, ROSClock
from rclpy.exceptions import InvalidHandle, ROSInterruptException
from rclpy.guard_condition import _nobody


class Timer:
    """Made by `Node.create_timer`. With `autostart` False it waits for `reset`."""

    def __init__(
        self,
        callback: Callable[[], Any] | None,
        callback_group: Any,
        timer_period_ns: int,
        clock: Clock,
        *,
        context: Any = None,
        autostart: bool = True,
    ) -> None:
        if timer_period_ns < 0:
            raise ValueError("timer period must be non-negative")
        self._lock = RLock()
        self.callback = callback
        self.callback_group = callback_group
        self._context = context
        self._clock = clock
        self._period_ns = timer_period_ns
        self._canceled = not autostart
        self._destroyed = False
        self._last_ns = clock._now_ns()
        self._next_ns = self._last_ns + timer_period_ns
        self._wake: Callable[[], None] = _nobody
        if isinstance(clock, ROSClock):
            clock._timers.add(self)

    @property
    def clock(self) -> Clock:
        return self._clock

    @property
    def timer_period_ns(self) -> int:
        return self._period_ns

    @timer_period_ns.setter
    def timer_period_ns(self, value: int) -> None:
        with self._lock:
            self._period_ns = int(value)
        self._wake()

    def is_ready(self) -> bool:
        with self._lock:
            return not self._canceled and not self._destroyed and self._clock._now_ns() >= self._next_ns

    _is_ready = is_ready

    def _take(self) -> Callable[[], Any] | None:
        """Note the call and plan the next one; None where it was cancelled meanwhile."""
        with self._lock:
            now_ns = self._clock._now_ns()
            if self._canceled or self._destroyed or now_ns < self._next_ns:
                return None
            self._last_ns = now_ns
            self._next_ns += self._period_ns
            if self._next_ns < now_ns:
                if self._period_ns == 0:
                    self._next_ns = now_ns
                else:
                    missed = -(-(now_ns - self._next_ns) // self._period_ns)
                    self._next_ns += missed * self._period_ns
            return self.callback

    def _wait_s(self) -> float | None:
        """Until the next call, None where only an event (reset, a /clock message) can bring it."""
        with self._lock:
            if self._canceled or self._destroyed or self._clock._stands_still():
                return None
            return max(0.0, (self._next_ns - self._clock._now_ns()) / 1e9)

    def _time_moved(self, change: ClockChange, delta_ns: int) -> None:
        """ROS time jumped, changed its source, or just went on."""
        with self._lock:
            if change in (ClockChange.ROS_TIME_ACTIVATED, ClockChange.ROS_TIME_DEACTIVATED):
                self._last_ns += delta_ns
                self._next_ns += delta_ns
            elif self._clock._now_ns() < self._last_ns:
                self._last_ns = self._clock._now_ns()
                self._next_ns = self._last_ns + self._period_ns
        if self._clock._now_ns() >= self._next_ns:
            self._wake()

    def is_canceled(self) -> bool:
        return self._canceled

    def cancel(self) -> None:
        self._canceled = True

    def reset(self) -> None:
        """Start the period anew, also after `cancel`. Raises InvalidHandle after destruction."""
        if self._destroyed:
            raise InvalidHandle("cannot reset a timer that was destroyed")
        with self._lock:
            self._next_ns = self._clock._now_ns() + self._period_ns
            self._canceled = False
        self._wake()

    def time_since_last_call(self) -> int:
        """[ns]"""
        return self._clock._now_ns() - self._last_ns

    def time_until_next_call(self) -> int | None:
        """[ns], negative where it is late; None while cancelled."""
        with self._lock:
            return None if self._canceled else self._next_ns - self._clock._now_ns()

    def destroy(self) -> None:
        self._destroyed = True


class Rate:
    """Made by `Node.create_rate`; sleeps to a fixed rate while another thread spins the node."""

    def __init__(self, timer: Timer, *, context: Any) -> None:
        self._clock = timer.clock
        self._timer = timer
        self._context = context
        self._ended = Condition()
        self._turns = 0
        self._destroyed = False
        timer.callback = self._turn
        self._forget = context._call_on_invalid(self._notify)

    def _turn(self) -> None:
        with self._ended:
            self._turns += 1
            self._ended.notify_all()

    def _notify(self) -> None:
        with self._ended:
            self._ended.notify_all()

    def sleep(self) -> None:
        """Until the next turn. Raises ROSInterruptException on shutdown, RuntimeError after destruction."""
        with self._ended:
            turn = self._turns
            while True:
                if not self._context.ok():
                    raise ROSInterruptException
                if self._destroyed:
                    raise RuntimeError("Rate cannot sleep because it has been destroyed")
                if self._turns != turn:
                    return
                self._ended.wait()

    def destroy(self) -> None:
        self._destroyed = True
        self._forget()
        self._notify()
