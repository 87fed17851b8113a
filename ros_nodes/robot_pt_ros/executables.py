"""The executables: `ros2 run robot_pt_ros NAME`, or `python -m robot_pt_ros NAME`.

A node's modules take seconds to import on a busy machine, and a launch that is stopped meanwhile signals them too. Nothing is joined
and nothing can move yet, so such a process just leaves; `robot_pt_ros.processes.run` takes the signals over.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def start(name: str) -> int:
    """Run the node `name` until it is told to leave; its exit code."""
    for number in SIGNALS:
        signal.signal(number, _leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # `robot-pt launch` lets none through before there is a handler
    if name != "sim":
        # Who draws nothing needs no glfw, which starts a Python of its own to ask for its version: signals reach that too.
        os.environ.setdefault("MUJOCO_GL", "disable")
    code: int = import_module(f"robot_pt_ros.{name}_node").main()
    return code


def main() -> int:
    """`python -m robot_pt_ros NAME ...`; exit code 2 for a name that no executable has."""
    names = sorted(path.stem.removesuffix("_node") for path in Path(__file__).parent.glob("*_node.py"))
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        given = f"there is no executable {sys.argv[1]!r}" if len(sys.argv) > 1 else "an executable is missing"
        sys.stderr.write(f"{given}; python -m robot_pt_ros takes one of {', '.join(names)}.\n")
        return 2
    return start(sys.argv.pop(1))


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(0)


arm, camera, episodes, manager, online, policy, recorder, sim, supervisor, teleop = (
    partial(start, name)
    for name in ("arm", "camera", "episodes", "manager", "online", "policy", "recorder", "sim", "supervisor", "teleop")
)
