"""Time to hold after faults of a running graph: simulator, supervisor, policy and manager as processes, in real time at 5 Hz.

Run: ``python benchmarks/faults.py [--quick]``. Prints a table, then one JSON object on the last line. Each fault several times on
one graph; from the moment it is there (signal sent, parameter set, message published) to the last command that moved the arm, as
a subscriber in another process hears it. Asked: e-stop and deadman 0.1 s; silent policy, camera or joint states 2.5 control periods.
A deadman whose heartbeats (50 Hz) stop counts as released after 0.08 s, as on an arm; a frozen picture after 1 s of motion.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from quick import asked_quick

from robot_pt.machine import describe, versions
from robot_pt_ros.ros import use_ros

sys.path.insert(0, str(Path(__file__).parents[1]))
use_ros()

from sensor_msgs.msg import Joy  # noqa: E402 - after the path to them and the overlay are set

from robot_pt.teleop import LAYOUTS  # noqa: E402
from robot_pt_ros import topics  # noqa: E402
from tests.ros.graph import Graph, Watcher, circling_policy  # noqa: E402
from tests.ros.node_process import NodeProcess, change_state  # noqa: E402

DOMAIN = 68
RB = LAYOUTS["game_controller"].buttons["RB"]
AT_ONCE_S, SILENT_S = 0.1, 0.5
Fault = Callable[[Graph, Watcher], float]
"""Makes the fault; when it was there [s, monotonic]."""


def _signalled(node: str) -> tuple[Fault, Fault]:
    return (
        lambda graph, _: graph.send(node, signal.SIGSTOP),
        lambda graph, _: graph.send(node, signal.SIGCONT),
    )


def _parameter(**bad: object) -> tuple[Fault, Fault]:
    good = {name: type(value)() for name, value in bad.items()}
    return lambda _, watcher: watcher.set("sim", **bad), lambda _, watcher: watcher.set("sim", **good)


def _deadman(value: bool | None) -> tuple[Fault, Fault]:
    def drop(_: Graph, watcher: Watcher) -> float:
        watcher.held = value
        if value is not None:
            watcher.beat()
        return time.monotonic()

    return drop, lambda _, watcher: time.monotonic()


class Unplugged:
    """A gamepad with its teleop node, whose messages (50 Hz, RB held) stop: from the last of them to the hold."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._node: NodeProcess | None = None

    def pull(self, _: Graph, watcher: Watcher) -> float:
        """Let the gamepad hold the switch in place of the watcher, and then no more; the time of its last message [s]."""
        joy = watcher.node.create_publisher(Joy, "joy", topics.sampled())
        watcher.let_go()
        self._node = NodeProcess("teleop", DOMAIN, Path(self._folder.name), device="joy", robot="panda")
        assert change_state(watcher, watcher.node, "teleop", 1, 3) == [True, True], self._node.text
        for _ in range(5):  # one message that comes late on a busy machine is a release, and RB must be pressed anew
            for beat in range(150):
                joy.publish(Joy(axes=[0.0] * 6, buttons=[int(beat > 10 and index == RB) for index in range(21)]))
                last_s = time.monotonic()
                time.sleep(0.02)
            if watcher.motions(last_s - 0.5):
                watcher.node.destroy_publisher(joy)
                return last_s
        raise AssertionError("the gamepad held the switch and nothing moved")

    def plug_in(self, _: Graph, watcher: Watcher) -> float:
        """The watcher holds the switch again."""
        self.close()
        watcher.held = True
        return time.monotonic()

    def close(self) -> None:
        """End the teleop node, where there is one."""
        if self._node is not None:
            self._node.close()
            self._node = None


UNPLUGGED = Unplugged()
CASES: dict[str, tuple[tuple[Fault, Fault], float | None]] = {
    "e-stop topic": ((lambda _, watcher: watcher.estop(True), lambda _, watcher: watcher.estop(False)), AT_ONCE_S),
    "deadman released": (_deadman(False), AT_ONCE_S),
    "deadman silent": (_deadman(None), AT_ONCE_S),
    "gamepad unplugged": ((UNPLUGGED.pull, UNPLUGGED.plug_in), AT_ONCE_S),
    "policy stopped": (_signalled("policy"), SILENT_S),
    "sim stopped (camera and joints)": (_signalled("sim"), SILENT_S),
    "supervisor stopped": (_signalled("supervisor"), AT_ONCE_S),
    "joint states silent": (_parameter(freeze_joint_states=True), SILENT_S),
    "joint states NaN": (_parameter(nan_state=True), AT_ONCE_S),
    "stamps 5 s back": (_parameter(clock_offset_s=-5.0), SILENT_S),
    "frames lost": (_parameter(drop_image_p=1.0), SILENT_S),
    "frames 0.5 s late": (_parameter(image_delay_s=0.5), SILENT_S),
    "frames frozen": (_parameter(freeze_images=True), None),
}


def main() -> None:
    """Measure and print."""
    times = 2 if asked_quick(__doc__) else 8
    before, found = describe(), dict[str, dict[str, float | int | None]]()
    with tempfile.TemporaryDirectory() as folder:
        run = circling_policy(Path(folder) / "run")
        watcher = Watcher(DOMAIN)
        watcher.held = True
        graph = Graph(DOMAIN, Path(folder), checkpoint=run, require_deadman="true", deadman_timeout_s=0.08)
        try:
            watcher.until_mode("policy", timeout_s=90)
            for name, ((make, undo), asked_s) in CASES.items():
                seconds = []
                for _ in range(times):
                    watcher.drive()
                    since = make(graph, watcher)
                    seconds.append(watcher.time_to_hold(since, settle_s=1.0))
                    undo(graph, watcher)
                    watcher.drive()
                found[name] = {
                    "p50 s": float(np.median(seconds)), "max s": max(seconds), "asked s": asked_s, "times": times,
                }  # fmt: skip
                bound = "" if asked_s is None else f"  (asked: at most {asked_s:g})"
                print(f"{name:34}{np.median(seconds):8.3f} s  max {max(seconds):.3f} s{bound}", flush=True)
            commands = watcher.check_limits()
            print(f"{commands} commands, every one inside its limits")
            graph.end()
        finally:
            UNPLUGGED.close()
            graph.close()
            watcher.close()
    print(
        json.dumps(
            {"benchmark": "faults", "results": found, "commands": commands, "machine": before,
             "load_after": describe()["load"], "versions": versions()}
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
