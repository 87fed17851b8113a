"""Two clocks and what happens when somebody sets them: the watchdogs' (monotonic) and the one stamps are made with."""

from __future__ import annotations

from enum import Enum, auto

OUT_OF_STEP_NS = 5_000_000
"""Times of two callbacks may be out of order by this much without meaning that the clock was set back."""
JUMP_NS = 500_000_000
"""Stamps' clock against the watchdogs' clock: a change by more between two readings is a jump. A simulator's clock moves in steps
of up to a control period; a smaller jump backwards only drops targets until the clock has caught up."""


class ClockEvent(Enum):
    NONE = auto()
    SET_BACK = auto()
    """The watchdogs' clock went back: ages measured with it mean nothing."""
    STAMPS_JUMPED = auto()
    """The stamps' clock jumped, either way: older stamps cannot be compared with newer ones."""


class Clocks:
    """The newest reading of both. In simulation they are one: readings come without `clock_ns`."""

    def __init__(self) -> None:
        self._now_ns: int | None = None
        self._offset_ns: int | None = None

    @property
    def now_ns(self) -> int:
        return self._now_ns or 0

    @property
    def stamp_ns(self) -> int:
        """Now, on the clock of the stamps."""
        return self.now_ns + (self._offset_ns or 0)

    def read(self, now_ns: int, clock_ns: int | None) -> ClockEvent:
        """Take the time of a call."""
        now_ns, event = int(now_ns), ClockEvent.NONE
        if self._now_ns is not None and now_ns < self._now_ns:
            if self._now_ns - now_ns > OUT_OF_STEP_NS:
                event = ClockEvent.SET_BACK
            else:
                now_ns = self._now_ns
        self._now_ns = now_ns
        if clock_ns is None:
            return event
        before_ns, self._offset_ns = self._offset_ns, int(clock_ns) - now_ns
        jumped = before_ns is not None and abs(self._offset_ns - before_ns) > JUMP_NS
        return ClockEvent.STAMPS_JUMPED if jumped and event is ClockEvent.NONE else event
