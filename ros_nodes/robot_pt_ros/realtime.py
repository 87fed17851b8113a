"""Real-time priority for the two nodes that stand between a request and a moving arm, as ros2_control's controller manager takes it.

At SCHED_FIFO 50 no ordinary process of a busy machine delays a tick of the gate. It is the user's to allow: with `ulimit -r` of at least
the priority (a line `@realtime - rtprio 99` in /etc/security/limits.d), or as root. Taken when a node is activated, after the seconds of
imports and models that are nobody's hurry.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from robot_pt.errors import UserError
from robot_pt_ros import processes
from robot_pt_ros.node import number

USUAL, OF_HARDWARE = -1, 50
"""The parameter's default; the priority that it stands for on a real arm, in simulation none."""


def declare(node: Node) -> None:
    """The parameter `realtime_priority`."""
    words = (
        f"SCHED_FIFO priority, 1 to 99, where the user may have it; 0: none; -1: {OF_HARDWARE} on hardware, else none."
    )
    node.declare_parameter("realtime_priority", USUAL, ParameterDescriptor(description=words, read_only=True))


def priority(node: Node, *, hardware: bool) -> int:
    """What is wanted, 0: nothing. Raises UserError outside -1 .. 99."""
    given = int(number(node, "realtime_priority"))
    if not USUAL <= given <= 99:
        raise UserError(f"realtime_priority is {given}; give 1 to 99, 0 for none, or -1 for the usual.")
    return OF_HARDWARE * hardware if given == USUAL else given


def take(node: Node, wanted: int) -> None:
    """Give this process, if it is a node's own, the priority; the log says so where it may not have it."""
    if not wanted or not processes.is_own:
        return
    try:
        raise_all(wanted)
    except OSError as error:
        node.get_logger().warning(
            f"runs without real-time priority ({error.strerror}), so a busy machine can delay it; allow {wanted} by "
            "'ulimit -r', or set realtime_priority to 0."
        )
        return
    node.get_logger().info(f"runs at real-time priority {wanted}.")


def raise_all(wanted: int) -> None:
    """SCHED_FIFO for every thread of this process; those that start later inherit it. Raises OSError where that is not allowed."""
    if not hasattr(os, "sched_setscheduler"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))  # no Linux
    for thread in sorted(int(entry.name) for entry in Path("/proc/self/task").iterdir()):
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(wanted))
