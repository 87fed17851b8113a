"""How every node's process runs and ends: own signal handling, so that the last word to the arm can still be said.

rclpy's own handler shuts the context down in the signal, and a publish after it fails: a node that must send a hold would be mute.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Protocol

import rclpy
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from robot_pt.errors import UserError

FAREWELL_S = 3.0
"""Longest time a node may take to leave; ros2 launch sends SIGTERM 5 s after SIGINT."""


class Leaving(Protocol):
    """A node that is asked to leave."""

    def leave(self) -> None:
        """Start leaving: stop asking for motion, say the last word."""
        ...

    def has_left(self) -> bool:
        """Nothing is left to say or to wait for."""
        ...


def run(make: Callable[[], Node], args: Sequence[str] | None = None) -> int:
    """Spin the node until SIGINT, SIGTERM or its own end; returns the exit code (2 after a user's mistake at start)."""
    asked, ended, executors = threading.Event(), list[int](), list[SingleThreadedExecutor]()
    atexit.register(_end_at_once, ended)  # first registered, last called

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()
        for spinning in executors:
            spinning.wake()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    rclpy.init(args=list(args) if args is not None else None, signal_handler_options=SignalHandlerOptions.NO)
    executor = SingleThreadedExecutor()
    executors.append(executor)
    try:
        node = make()
    except (UserError, InvalidParameterTypeException, InvalidParameterValueException) as error:
        hint = "; numbers are written with a point, as in [0.0, -0.15, 0.02]." * ("DOUBLE" in str(error))
        sys.stderr.write(f"{error}{hint}\n")  # there is no logger without a node
        rclpy.try_shutdown()
        ended.append(2)
        return 2
    executor.add_node(node)
    gc.freeze()  # what was imported stays: looking through it for garbage takes 0.1 s, in the midst of a tick
    try:
        while rclpy.ok() and not asked.is_set() and not getattr(node, "finished", False):
            executor.spin_once(timeout_sec=0.1)
        _say_farewell(node, executor)
    except ExternalShutdownException:
        pass
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # what libraries tidy up at the end is not to be cut short
            signal.signal(number, signal.SIG_IGN)
        executor.shutdown(timeout_sec=0.5)
        node.destroy_node()
        rclpy.try_shutdown()
    ended.append(int(getattr(node, "exit_code", 0)))
    return ended[0]


def _end_at_once(ended: Sequence[int]) -> None:
    """An interpreter with torch takes seconds to take itself apart, while launch waits to kill it: everything is said, so go."""
    if ended:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(ended[0])


def _say_farewell(node: Node, executor: SingleThreadedExecutor) -> None:
    leave, has_left = getattr(node, "leave", None), getattr(node, "has_left", None)
    if leave is None or has_left is None:
        return
    leave()
    until = time.monotonic() + FAREWELL_S
    while rclpy.ok() and not has_left() and time.monotonic() < until:
        executor.spin_once(timeout_sec=0.02)
