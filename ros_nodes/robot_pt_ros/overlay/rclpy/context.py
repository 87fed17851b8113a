"""One initialisation of ROS: domain, arguments, participant, and what is to be told when it ends."""

from __future__ import annotations

import inspect
import os
import weakref
from collections.abc import Callable
from threading import RLock
from types import TracebackType
from typing import Any, Literal

from rclpy import _arguments
from rclpy._rclpy_pybind11 import RCLError
from rclpy._transport import Session


class Context:
    """From `init` to `shutdown`, once; a context manager that does both."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._session: Session | None = None
        self._arguments: _arguments.Arguments | None = None
        self._is_up = False
        self._callbacks: list[Any] = []
        self._on_invalid: list[Callable[[], Any]] = []
        self._node_count = 0

    @property
    def handle(self) -> Session | None:
        return self._session

    def destroy(self) -> None:
        """Close the participant, whatever still uses it."""
        with self._lock:
            self._is_up = False
            if self._session is not None:
                self._session.close()

    def init(
        self, args: list[str] | None = None, *, initialize_logging: bool = True, domain_id: int | None = None
    ) -> None:
        """Parse the arguments (``sys.argv`` by default) and join the domain ($ROS_DOMAIN_ID, else 0).

        Raises RuntimeError a second time and on a domain below 0, and the errors of the arguments.
        """
        with self._lock:
            if self._session is not None:
                raise RuntimeError("Context.init() must only be called once")
            if domain_id is not None and domain_id < 0:
                raise RuntimeError("Domain id should not be lower than zero.")
            self._arguments = _arguments.from_command_line(args)
            if initialize_logging:
                _start_logging(self._arguments)
            self._session = Session(domain_id)
            self._is_up = True
        from rclpy import signals

        signals._contexts.add(self)

    def ok(self) -> bool:
        """True from `init` to shutdown, by whomever."""
        return self._is_up

    def get_domain_id(self) -> int:
        if self._session is None:
            raise RuntimeError("Context must be initialized before it has a domain id")
        return self._session.participant.domain

    def shutdown(self) -> None:
        """End this context. Raises RuntimeError where it never was up, RCLError where it is down already."""
        if self._session is None:
            raise RuntimeError("Context must be initialized before it can be shutdown")
        if not self._is_up:
            raise RCLError("failed to shutdown: rcl_shutdown already called on the given context")
        self._end()

    def try_shutdown(self) -> None:
        """End this context if it is up."""
        if self._session is not None:
            self._end()

    def _end(self) -> None:
        self._invalidate()
        with self._lock:
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            called = callback() if isinstance(callback, weakref.WeakMethod) else callback
            if called is not None:
                called()
        self._close_if_unused()

    def _invalidate(self) -> None:
        """What a signal does: nothing works from here on, every wait ends."""
        self._is_up = False
        for wake in list(self._on_invalid):
            wake()

    def _call_on_invalid(self, wake: Callable[[], Any]) -> Callable[[], None]:
        """Call `wake` from any thread when this stops being up; returns what forgets it again."""
        self._on_invalid.append(wake)

        def forget() -> None:
            if wake in self._on_invalid:
                self._on_invalid.remove(wake)

        return forget

    def on_shutdown(self, callback: Callable[[], None]) -> None:
        """Call back on shutdown, at once where that is past; bound methods are held weakly. Raises TypeError."""
        if not callable(callback):
            raise TypeError("callback should be a callable.")
        with self._lock:
            if self.ok():
                self._callbacks.append(weakref.WeakMethod(callback) if inspect.ismethod(callback) else callback)
                return
        callback()

    def _node_made(self, change: int) -> None:
        with self._lock:
            self._node_count += change
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        with self._lock:
            if self._session is not None and not self._is_up and self._node_count == 0:
                self._session.close()

    def __enter__(self) -> Context:
        self.init()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> Literal[False]:
        self.try_shutdown()
        return False


def _start_logging(arguments: _arguments.Arguments) -> None:
    from rclpy import _logging_state

    _logging_state.configure(arguments.log_levels, to_console=arguments.stdout, environment=os.environ)
    for option in arguments.ignored:
        _logging_state.log("rcl", 30, f"'{option}' is ignored: this process has no security enclaves and no log files.")
