"""What the recorder hears: every message of an episode as it came over the wire, and when an episode begins and ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import String

from robot_pt.episode_following import Following, Simulation
from robot_pt.episode_recorder import STAMPED, EpisodeRecorder
from robot_pt.errors import DataError
from robot_pt.messages import Message, header_stamp
from robot_pt_ros import topics
from robot_pt_ros.node import flag
from robot_pt_ros.recorder_topics import Listener


class RecorderInputs:
    """Subscriptions of the recorder node. `cameras`: role -> camera name; empty takes all that are heard."""

    def __init__(
        self, node: LifecycleNode, cameras: Mapping[str, str], episodes: EpisodeRecorder, following: Following
    ):  # fmt: skip
        self._node, self._episodes, self._following = node, episodes, following
        self._listener = Listener(node, cameras, self._on_message)
        node.create_subscription(String, topics.EPISODE_STATE, self._on_episode, topics.latched())

    def status(self) -> dict[str, str]:
        """Which frames are recorded of each camera."""
        return self._listener.status()

    def now_ns(self) -> int:
        """Of the graph's clock."""
        return int(self._node.get_clock().now().nanoseconds)

    def _on_message(self, topic: str, kind: str, cdr: bytes) -> None:
        received_ns = self.now_ns()
        if kind in STAMPED and flag(self._node, "use_sim_time") and len(cdr) >= 12:
            received_ns = max(received_ns, header_stamp(cdr))  # /clock may come after what happened at its time
        self._episodes.message(Message(topic, kind, cdr), received_ns)

    def _on_episode(self, message: Any) -> None:
        try:
            self._following.told(message.data, self.now_ns())
        except DataError as error:
            self._node.get_logger().error(str(error), throttle_duration_sec=5.0)


def listen_to_simulator(node: LifecycleNode, simulation: Simulation, changed: Callable[[], None]) -> None:
    """Subscribe to what a simulator says of itself; `changed` is called after it."""

    def told(message: Any) -> None:
        try:
            simulation.told(message.data)
        except DataError as error:
            node.get_logger().error(str(error))
        changed()

    node.create_subscription(String, topics.SIMULATOR, told, topics.latched())
