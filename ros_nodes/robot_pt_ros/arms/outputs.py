"""What a controller is told on its topic: a trajectory of one point, or an array of positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, final

from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from robot_pt.commands import Float64
from robot_pt.errors import UserError
from robot_pt_ros import topics
from robot_pt_ros.conversions import trajectory_message


class Positions(Protocol):
    """Positions of some joints, in an order that both sides know. `topic` is its full name."""

    topic: str

    def send(self, positions: Sequence[float] | Float64) -> None: ...


@final
class TrajectoryOutput:
    """joint_trajectory_controller's topic. The stamp is zero, which means now: a stamp of the past would drop the point."""

    def __init__(self, node: Node, topic: str, names: Sequence[str], period_s: float):
        self._names, self._period_s = list(names), period_s
        self._publisher = node.create_publisher(JointTrajectory, topic, topics.newest())
        self.topic = self._publisher.topic_name

    def send(self, positions: Sequence[float] | Float64) -> None:
        """To be reached within one period."""
        self._publisher.publish(trajectory_message(0, "", self._names, positions, self._period_s))


@final
class ArrayOutput:
    """The commands topic of forward_command_controller and its kind: positions without names, in the controller's order."""

    def __init__(self, node: Node, topic: str):
        self._publisher = node.create_publisher(Float64MultiArray, topic, topics.newest())
        self.topic = self._publisher.topic_name

    def send(self, positions: Sequence[float] | Float64) -> None:
        """At once: the controller does not interpolate."""
        self._publisher.publish(Float64MultiArray(data=[float(v) for v in positions]))


def positions_output(kind: str, node: Node, topic: str, names: Sequence[str], period_s: float) -> Positions:
    """`kind` is "trajectory" or "array"; raises UserError for another."""
    if kind == "trajectory":
        return TrajectoryOutput(node, topic, names, period_s)
    if kind == "array":
        return ArrayOutput(node, topic)
    raise UserError(
        f"an arm's commands cannot be {kind!r}; choose trajectory (joint_trajectory_controller) or array (forward_command_controller)."
    )


GRAPH_LOOK_NS = 200_000_000


@final
class Wiring:
    """Looks five times a second whether commands on these topics reach somebody, and come from here alone."""

    def __init__(self, node: Node, outputs: Sequence[str]):
        """`outputs`: full names of topics this node publishes on."""
        self._node, self._topics, self._next_ns = node, list(outputs), 0
        self.trouble = "the arm's controller was not looked for yet."

    def poll(self, now_ns: int) -> None:
        """Look, if it is time."""
        if now_ns < self._next_ns:
            return
        self._next_ns = now_ns + GRAPH_LOOK_NS
        self.trouble = next(filter(None, map(self._trouble_of, self._topics)), "")

    def _trouble_of(self, topic: str) -> str:
        if self._node.count_publishers(topic) > 1:
            return f"somebody else publishes on {topic} too; stop that program."
        if not self._node.count_subscribers(topic):
            return f"nobody listens on {topic}; start and activate the arm's controller."
        return ""
