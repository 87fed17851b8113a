"""What publishers, subscriptions, services and clients share: a wire entity that is attached, watched and closed once."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from types import TracebackType
from typing import Any

from rclpy._rclpy_pybind11 import InvalidHandle
from rclpy.guard_condition import _nobody


class Endpoint:
    """Owner of one wire entity; `callback_group`, `_wake` and readiness are what an executor asks for."""

    def __init__(self, wire: Any, session: Any, callback_group: Any) -> None:
        self._wire = wire
        self._session = session
        self.callback_group = callback_group
        self._lock = RLock()
        self._destroyed = False
        self._wake: Callable[[], None] = _nobody
        self.event_handlers: list[Any] = []

    @property
    def handle(self) -> Handle:
        """A context manager as in rclpy; inside it the entity is not destroyed."""
        return Handle(self)

    def _watch(self) -> None:
        self._session.watch(self._wire, self._arrived)

    def _arrived(self) -> None:
        """In the listening thread: take everything there is."""
        raise NotImplementedError

    def _take_events(self) -> None:
        for event in self._wire.take_events():
            for handler in self.event_handlers:
                if handler._kind == event.kind:
                    handler._happened(event)

    def _check(self) -> Any:
        if self._destroyed:
            raise InvalidHandle("cannot use Destroyable because destruction was requested")
        return self._wire

    def destroy(self) -> None:
        """Close the wire entity; idempotent. Users destroy through the node."""
        self._session.unwatch(self._wire)
        with self._lock:
            if not self._destroyed:
                self._destroyed = True
                self._wire.close()
        for handler in self.event_handlers:
            handler.destroy()


class Handle:
    """Where rclpy has a handle of its C layer."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def __enter__(self) -> Handle:
        self._endpoint._lock.acquire()
        if self._endpoint._destroyed:
            self._endpoint._lock.release()
            self._endpoint._check()
        return self

    def __exit__(self, t: type[BaseException] | None, v: BaseException | None, tb: TracebackType | None) -> None:
        self._endpoint._lock.release()
