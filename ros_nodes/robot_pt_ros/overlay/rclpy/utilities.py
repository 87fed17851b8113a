"""The default context and what goes with it."""

from __future__ import annotations

import sys
import threading
from typing import Any

from rclpy import _arguments
from rclpy.constants import S_TO_NS
from rclpy.context import Context

g_default_context: Context | None = None
g_context_lock = threading.Lock()


def get_default_context(*, shutting_down: bool = False) -> Context:
    """The context that is used where none is given; a fresh one after each shutdown of it."""
    global g_default_context
    with g_context_lock:
        if shutting_down:
            old, g_default_context = g_default_context, None
            return old if old is not None else Context()
        if g_default_context is None:
            g_default_context = Context()
        return g_default_context


def ok(*, context: Context | None = None) -> bool:
    return (get_default_context() if context is None else context).ok()


def shutdown(*, context: Context | None = None) -> None:
    """Shut a context down. Raises RuntimeError where it was never up or is down already."""
    return (get_default_context(shutting_down=True) if context is None else context).shutdown()


def try_shutdown(*, context: Context | None = None) -> None:
    """Shut a context down if it is up."""
    if context is None:
        context = get_default_context(shutting_down=True)
    context.try_shutdown()


def remove_ros_args(args: list[str] | None = None) -> list[str]:
    """The command line (``sys.argv`` by default) without what is ROS's."""
    return _arguments.split(sys.argv if args is None else args)[0]


def get_rmw_implementation_identifier() -> str:
    """rmw_cyclonedds_cpp, whose bytes this overlay speaks."""
    return "rmw_cyclonedds_cpp"


def get_available_rmw_implementations() -> set[str]:
    return {get_rmw_implementation_identifier()}


def timeout_sec_to_nsec(timeout_sec: float | None) -> int:
    """-1 for None and negative (wait forever), else whole nanoseconds."""
    return -1 if timeout_sec is None or timeout_sec < 0 else int(float(timeout_sec) * S_TO_NS)


def _context_or_default(context: Any) -> Context:
    return get_default_context() if context is None else context
