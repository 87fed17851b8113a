"""One thread waits here for everything an executor serves."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from cyclonedds.core import DDSException, GuardCondition, WaitSet

from robot_pt.errors import UserError
from robot_pt_ros.wire import clayer

if TYPE_CHECKING:
    from robot_pt_ros.wire.dds import Participant

SLICE_S = 0.1  # Python runs signal handlers between slices, so Ctrl-C ends an endless wait


class Source(Protocol):
    """Reader, Writer, Client, Server and Graph: what to wait on, and whether there is something new.

    Data not taken wakes again at once; an event or a change of the graph wakes once.
    """

    def triggers(self) -> list[Any]: ...
    def poll(self) -> bool: ...


class Waiter:
    """`wait` is for one thread; `add`, `remove` and `wake` are for any."""

    def __init__(self, participant: Participant):
        self._waitset = WaitSet(participant.dds)
        self._guard = GuardCondition(participant.dds)
        self._triggers = clayer.Triggers(self._waitset)
        self._triggers.attach(self._guard)
        self._sources: list[Source] = []
        self._called: dict[int, Source] = {}  # by what its triggers are called
        self._lock = threading.Lock()
        self._waiting = threading.RLock()  # held while the waitset is in use
        self._closed = False

    def add(self, source: Source) -> None:
        """Wake for `source` from now on, at once where it has something already."""
        with self._lock:
            if source not in self._sources and not self._closed:
                self._called.update({self._triggers.attach(trigger): source for trigger in source.triggers()})
                self._sources.append(source)

    def remove(self, source: Source) -> None:
        """No longer wake for `source`."""
        with self._lock:
            if source in self._sources:
                self._sources.remove(source)
                self._called = {called: of for called, of in self._called.items() if of is not source}
                self._detach(source)

    def _detach(self, source: Source) -> None:
        for trigger in source.triggers():
            with suppress(DDSException):  # its source was closed already, which detached it
                self._waitset.detach(trigger)

    def wake(self) -> None:
        """End the wait under way, or the next one."""
        if not self._closed:
            with suppress(DDSException):  # closed meanwhile
                self._guard.set(True)

    def wait(self, timeout_s: float | None = None) -> list[Source]:
        """Sources that have something, in the order added; [] after `timeout_s` (None: no limit) or after `wake`."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        with self._waiting:
            while not self._closed:
                left = SLICE_S if end is None else min(SLICE_S, end - time.monotonic())
                woken = self._triggers.wait(max(0, int(left * 1e9)))
                called = self._guard.take()
                with self._lock:
                    ready = [source for source in self._triggered(woken) if _has_something(source)]
                if ready or called or (end is not None and time.monotonic() >= end):
                    return ready
        return []

    def _triggered(self, woken: list[int] | None) -> list[Source]:
        if woken is None:
            return list(self._sources)
        found = {self._called[called] for called in woken if called in self._called}
        return list(found) if len(found) < 2 else [source for source in self._sources if source in found]

    def close(self) -> None:
        """Free it; a wait under way ends first. A second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._guard.set(True)
            self._closed = True
        with self._waiting, self._lock:
            for source in self._sources:
                self._detach(source)
            self._sources.clear()
            self._called.clear()
            clayer.delete(self._waitset)
            clayer.delete(self._guard)


def _has_something(source: Source) -> bool:
    """One that cannot even be asked does: who takes from it hears why, and the others are served."""
    try:
        return source.poll()
    except (DDSException, UserError):
        return True
