"""What the two nodes between a request and a moving arm ask of Linux, where their user may have it: priority, and processors that stay awake.

At SCHED_FIFO 50, which ros2_control's controller manager takes too, no ordinary process of a busy machine delays a tick of the gate. It
needs `ulimit -r` of at least that (a line `@realtime - rtprio 99` in /etc/security/limits.d), or root. A processor that slept between
two ticks has to fetch everything anew; Linux keeps processors from sleeping deeper than a latency for as long as that is held in
/dev/cpu_dma_latency (Documentation/power/pm_qos_interface.rst), which root may write. It costs power, so it is asked for by parameter.

Taken when a node is activated, after the seconds of imports and models that are nobody's hurry.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from pathlib import Path
from typing import NamedTuple

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from robot_pt.errors import UserError
from robot_pt_ros import processes
from robot_pt_ros.node import number

USUAL, OF_HARDWARE = -1, 50
"""The parameter's default; the priority that it stands for on a real arm, in simulation none."""
AWAKE = Path("/dev/cpu_dma_latency")


class Wanted(NamedTuple):
    """What a node asks for."""

    priority: int
    """SCHED_FIFO; 0: none."""
    latency_us: int
    """Longest time in which a processor wakes up; -1: as the machine is set."""


def declare(node: Node) -> None:
    """The parameters `realtime_priority` and `cpu_latency_us`."""
    words = (
        f"SCHED_FIFO priority, 1 to 99, where the user may have it; 0: none; -1: {OF_HARDWARE} on hardware, else none."
    )
    node.declare_parameter("realtime_priority", USUAL, ParameterDescriptor(description=words, read_only=True))
    words = "Processors wake up within this time [us], which costs power and needs root; 0: they never sleep; -1: as the machine is set."
    node.declare_parameter("cpu_latency_us", -1, ParameterDescriptor(description=words, read_only=True))


def wanted_by(node: Node, *, hardware: bool) -> Wanted:
    """What the parameters say. Raises UserError for a number that cannot be meant."""
    given, latency_us = int(number(node, "realtime_priority")), int(number(node, "cpu_latency_us"))
    if not USUAL <= given <= 99:
        raise UserError(f"realtime_priority is {given}; give 1 to 99, 0 for none, or -1 for the usual.")
    if not -1 <= latency_us <= 10**6:
        raise UserError(f"cpu_latency_us is {latency_us}; give 0 to 1000000 microseconds, or -1 to leave it.")
    return Wanted(OF_HARDWARE * hardware if given == USUAL else given, latency_us)


def take(node: Node, wanted: Wanted) -> None:
    """Give this process, if it is a node's own, what is wanted; the log says in a sentence what it may not have."""
    if not processes.is_own:
        return
    if wanted.priority:
        try:
            raise_all(wanted.priority)
        except OSError as error:
            node.get_logger().warning(
                f"runs without real-time priority ({error.strerror}), so a busy machine can delay it; allow {wanted.priority} by "
                "'ulimit -r', or set realtime_priority to 0."
            )
    if wanted.latency_us >= 0:
        try:
            stay_awake(wanted.latency_us)
        except OSError as error:
            node.get_logger().warning(
                f"processors may sleep between ticks ({AWAKE}: {error.strerror}); run as root, or set cpu_latency_us to -1."
            )


def stay_awake(latency_us: int, device: Path = AWAKE) -> None:
    """No processor sleeps so deep that it wakes up later than this, until the process ends. Raises OSError where that is not allowed."""
    held = os.open(device, os.O_WRONLY | os.O_CLOEXEC)  # whose end of life is the process'
    os.write(held, struct.pack("=i", latency_us))


def raise_all(wanted: int) -> None:
    """SCHED_FIFO for every thread of this process; those that start later inherit it. Raises OSError where that is not allowed."""
    if not hasattr(os, "sched_setscheduler"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))  # no Linux
    for thread in sorted(int(entry.name) for entry in Path("/proc/self/task").iterdir()):
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(wanted))
