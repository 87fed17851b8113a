"""Something to trigger from any thread so that an executor runs a callback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy._rclpy_pybind11 import InvalidHandle


class GuardCondition:
    """Made by `Node.create_guard_condition`; several triggers before the callback runs are one."""

    def __init__(self, callback: Callable[[], Any] | None, callback_group: Any, context: Any = None) -> None:
        from rclpy.utilities import _context_or_default

        self.context = _context_or_default(context)
        if not self.context.ok():
            from rclpy.exceptions import NotInitializedException

            raise NotInitializedException("cannot create a guard condition")
        self.callback = callback
        self.callback_group = callback_group
        self._triggered = False
        self._destroyed = False
        self._wake: Callable[[], None] = _nobody

    def trigger(self) -> None:
        """Raises InvalidHandle after destruction."""
        if self._destroyed:
            raise InvalidHandle("cannot trigger a guard condition that was destroyed")
        self._triggered = True
        self._wake()

    def _is_ready(self) -> bool:
        return self._triggered and not self._destroyed

    def _take(self) -> Callable[[], Any] | None:
        self._triggered = False
        return self.callback

    def destroy(self) -> None:
        self._destroyed = True


def _nobody() -> None:
    """Wakes nobody: the entity is on no node."""
