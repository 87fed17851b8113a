"""SIGINT and SIGTERM: they shut every context down that was initialised with handlers, then go on as before.

SIGINT ends in Python's KeyboardInterrupt, SIGTERM in the ExternalShutdownException of a spin, as with rclpy.
"""

from __future__ import annotations

import signal
import weakref
from enum import IntEnum
from threading import Thread, current_thread, main_thread
from types import FrameType
from typing import Any

from rclpy.guard_condition import GuardCondition


class SignalHandlerOptions(IntEnum):
    NO = 0
    SIGINT = 1
    SIGTERM = 2
    ALL = 3


_contexts: weakref.WeakSet[Any] = weakref.WeakSet()
_previous: dict[int, Any] = {}


class SignalHandlerGuardCondition(GuardCondition):
    """A guard condition that a signal triggers."""

    def __init__(self, context: Any = None) -> None:
        super().__init__(callback=None, callback_group=None, context=context)
        self.context._call_on_invalid(self.trigger)


def _shutdown_contexts() -> None:
    for context in list(_contexts):
        context._invalidate()


def _on_signal(number: int, frame: FrameType | None) -> None:
    # In a thread of its own: the interrupted frame may hold the locks that waking needs.
    Thread(target=_shutdown_contexts, name="rclpy signal", daemon=True).start()
    previous = _previous.get(number)
    if callable(previous):
        previous(number, frame)


def install_signal_handlers(options: SignalHandlerOptions = SignalHandlerOptions.ALL) -> None:
    """Install the handlers named; Python allows it in the main thread only, elsewhere nothing happens."""
    if current_thread() is not main_thread():
        return
    for number, option in (
        (signal.SIGINT, SignalHandlerOptions.SIGINT),
        (signal.SIGTERM, SignalHandlerOptions.SIGTERM),
    ):
        if options & option and number not in _previous:
            _previous[number] = signal.signal(number, _on_signal)


def get_current_signal_handlers_options() -> SignalHandlerOptions:
    return SignalHandlerOptions((signal.SIGINT in _previous) * 1 + (signal.SIGTERM in _previous) * 2)


def uninstall_signal_handlers() -> None:
    """Put back what was there; in the main thread only."""
    if current_thread() is not main_thread():
        return
    for number, previous in list(_previous.items()):
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, previous if previous is not None else signal.SIG_DFL)
        del _previous[number]
