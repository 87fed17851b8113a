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
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from types import FrameType
from typing import Protocol

import rclpy
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from robot_pt.errors import UserError

FAREWELL_S = 3.0
"""Longest time a node may take to hear that it is to leave, to say its last word, and to tidy up after it, each.

ros2 launch sends SIGTERM 5 s after SIGINT and SIGKILL 5 s after that.
"""


is_own = False
"""This process is one node's, by `run`."""


class Leaving(Protocol):
    """A node that is asked to leave."""

    def leave(self) -> None:
        """Start leaving: stop asking for motion, say the last word."""
        ...

    def has_left(self) -> bool:
        """Nothing is left to say or to wait for."""
        ...


def run(make: Callable[[], Node], args: Sequence[str] | None = None) -> int:
    """Spin the node until SIGINT, SIGTERM or its own end; returns the exit code (2 after a user's mistake at start).

    Nothing can move yet while a node is made or configured, which may take long on a busy machine: it then leaves in the midst of it.
    """
    global is_own  # a process is
    is_own = True
    # What a handler touches takes no lock, which another signal would find taken by its own thread.
    asked, told, ended, executors = list[int](), SimpleQueue[int](), list[int](), list[SingleThreadedExecutor]()
    nodes = list[Node]()
    atexit.register(_end_at_once, ended)  # first registered, last called

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        told.put(number)
        for spinning in executors:
            spinning.wake()

    threading.Thread(target=_leave_the_start, args=(told, nodes), name="leaving", daemon=True).start()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    try:
        rclpy.init(args=list(args) if args is not None else None, signal_handler_options=SignalHandlerOptions.NO)
        executor = SingleThreadedExecutor()
        executors.append(executor)
        node = make()
    except (UserError, InvalidParameterTypeException, InvalidParameterValueException) as error:
        sys.stderr.write(f"{error}{_hint(str(error))}\n")  # there is no logger without a node
        rclpy.try_shutdown()
        ended.append(2)
        return 2
    nodes.append(node)
    executor.add_node(node)
    gc.freeze()  # what was imported stays: looking through it for garbage takes 0.1 s, in the midst of a tick
    try:
        while rclpy.ok() and not asked and not getattr(node, "finished", False):
            executor.spin_once(timeout_sec=0.1)
        _say_farewell(node, executor)
    except ExternalShutdownException:
        pass
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # what libraries tidy up at the end is not to be cut short
            signal.signal(number, signal.SIG_IGN)
        code = int(getattr(node, "exit_code", 0))
        with _at_most(FAREWELL_S, 1 if sys.exc_info()[0] is not None else code):
            executor.shutdown(timeout_sec=0.5)
            node.destroy_node()
            rclpy.try_shutdown()
    ended.append(code)
    return code


def _hint(refusal: str) -> str:
    """How a parameter is written that rclpy refused for its type."""
    expected = refusal.rpartition("expecting type ")[2]
    example = "[0.0, -0.15, 0.02]" if "DOUBLE" in expected else "[480, 640]"
    if "ARRAY" in expected:
        return f"; give a list, as {example}{', its numbers with a point' * ('DOUBLE' in expected)}."
    return "; a number like that is written with a point, as 2.0." * ("DOUBLE" in expected)


def _leave_the_start(told: SimpleQueue[int], nodes: Sequence[Node]) -> None:
    """Where a signal finds the node still being made or configured, and does so a while later, there is nothing to wait for."""
    told.get()
    time.sleep(FAREWELL_S)
    if not nodes or getattr(nodes[0], "is_configuring", False):
        sys.stderr.write("told to leave in the midst of the start: left at once.\n")
        _exit(0)


@contextlib.contextmanager
def _at_most(longest_s: float, code: int) -> Iterator[None]:
    """Everything is said: who hangs now, of peers that died without a word for one, leaves without tidying up."""
    timer = threading.Timer(longest_s, _exit, (code,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end_at_once(ended: Sequence[int]) -> None:
    """An interpreter with torch takes seconds to take itself apart, while launch waits to kill it: everything is said, so go."""
    if ended:
        _exit(ended[0])


def _exit(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _say_farewell(node: Node, executor: SingleThreadedExecutor) -> None:
    leave, has_left = getattr(node, "leave", None), getattr(node, "has_left", None)
    if leave is None or has_left is None:
        return
    leave()
    until = time.monotonic() + FAREWELL_S
    while rclpy.ok() and not has_left() and time.monotonic() < until:
        executor.spin_once(timeout_sec=0.02)
