"""manager: brings the lifecycle nodes up in order and down in reverse, and takes the rest down when one dies.

YAML launch has no lifecycle actions; this is nav2's pattern. A node that cannot be configured ends the launch, and its own sentence is
the last: never a half-started graph. A bond is a heartbeat, five times a second on `manager/heartbeat`.
"""

from __future__ import annotations

import time
from typing import Any

from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import String

from robot_pt_ros import topics
from robot_pt_ros.bringup import Bringup, Step
from robot_pt_ros.last_words import LastWords
from robot_pt_ros.node import number, texts
from robot_pt_ros.processes import run
from robot_pt_ros.state_changes import StateChange
from robot_pt_ros.triggers import Triggers

WORDS_S = 1.0
"""How long a sentence may take from its node to here."""


class ManagerNode(Node):
    """One change of state after the other; `Bringup` says which is next."""

    def __init__(self) -> None:
        super().__init__("manager")
        fixed = lambda words: ParameterDescriptor(description=words, read_only=True)  # noqa: E731
        self.declare_parameter("nodes", [""], fixed("Lifecycle nodes, in the order they come up."))
        slow = "How long each node may take to appear, configure and activate [s]."
        self.declare_parameter("start_timeout_s", 60.0, fixed(slow))
        self.declare_parameter("bond_timeout_s", 2.0, fixed("Silence after which a node counts as dead [s]."))
        after = "Trigger services called once everything is active, in order, e.g. safety/arm."
        self.declare_parameter("trigger", [""], fixed(after))
        names = texts(self, "nodes")
        self._changers = {name: self.create_client(ChangeState, f"{name}/change_state") for name in names}
        self._states = {name: self.create_client(GetState, f"{name}/get_state") for name in names}
        self._triggers = Triggers(self, texts(self, "trigger"))
        self._bringup = Bringup(
            names, number(self, "start_timeout_s"), number(self, "bond_timeout_s"), time.monotonic()
        )
        self._words = LastWords(self, names)
        self._change: StateChange | None = None
        self._change_until = self._down_s = 0.0
        self.finished, self.exit_code = False, 0
        self.create_subscription(String, topics.HEARTBEAT, self._on_heartbeat, topics.recorded(100))
        self._ready = self.create_publisher(String, "manager/state", topics.latched())
        self.create_timer(0.05, self._advance, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_heartbeat(self, message: Any) -> None:
        name = message.data.removeprefix(self.get_namespace().rstrip("/")).lstrip("/")
        self._bringup.heard(name, time.monotonic())
        if self._change is not None and self._change.step.node == name:
            self._change.beat()

    def _advance(self) -> None:
        """One look: is a call answered, is something late, what is next?"""
        now = time.monotonic()
        self._bringup.watch(now)
        if self._change is not None and not self._changed(self._change, now):
            return
        step = self._bringup.next()
        if step is not None:
            self._ask(step)
        elif self._bringup.is_up:
            self._publish("active")
            self._triggers.pull()
        elif self._bringup.is_down:
            self._end()

    def _changed(self, change: StateChange, now: float) -> bool:
        """Whether the change is over, made or not, or is not wanted any more."""
        outcome = change.outcome()
        if outcome is None and now < self._change_until and self._bringup.next() == change.step:
            return False
        self._change = None
        if self._bringup.next() == change.step:
            self._bringup.done(bool(outcome), now)
            self.get_logger().info(f"{change.step.node}: {change.step.action} {'done' if outcome else 'failed'}")
        return True

    def _ask(self, step: Step) -> None:
        client, now = self._changers[step.node], time.monotonic()
        if not client.service_is_ready():
            if self._bringup.going_down:
                self._bringup.done(False, now)
            return
        self._change = StateChange(step, client, self._states[step.node])
        self._change_until = now + (2.0 if self._bringup.going_down else number(self, "start_timeout_s"))

    def _publish(self, state: str) -> None:
        if getattr(self, "_said", None) != state:
            self._said = state
            self._ready.publish(String(data=state))
            self.get_logger().info(f"the graph is {state}.")

    def _end(self) -> None:
        self._publish("down")
        problem, node, now = self._bringup.problem, self._bringup.refused_by, time.monotonic()
        words, self._down_s = self._words.of(node), self._down_s or now
        if node and not words and now < self._down_s + WORDS_S:
            return
        if problem:
            why = f": {words}" if words else "; its own message says why." if node else ""
            self.get_logger().error(problem + why)
        self.finished, self.exit_code = True, int(bool(problem))


def main() -> int:
    """Entry point of the executable."""
    return run(ManagerNode)


if __name__ == "__main__":
    raise SystemExit(main())
