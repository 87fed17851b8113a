"""What the episode manager hears: of the recorder, the simulator, the manager of the graph and the supervisor."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from std_msgs.msg import String

from robot_pt_ros import topics
from robot_pt_ros.episode_director import Director


class EpisodeNews:
    """Subscriptions of the episodes node. `changed` is called after news of recorder and simulator, which may end an episode."""

    def __init__(self, node: Node, director: Director, changed: Callable[[], None]):
        self._director, self._changed = director, changed
        listen = node.create_subscription
        listen(String, topics.RECORDER_STATE, self._on_recorder, topics.latched())
        listen(String, "sim/result", self._on_result, topics.latched())
        listen(String, "manager/state", self._on_manager, topics.latched())
        listen(DiagnosticStatus, topics.SAFETY_STATE, self._on_safety, topics.latched())

    def _on_recorder(self, message: Any) -> None:
        self._on_json(message, self._director.recorder)

    def _on_result(self, message: Any) -> None:
        self._on_json(message, self._director.result)

    def _on_json(self, message: Any, take: Callable[[dict[str, Any]], None]) -> None:
        try:
            values = json.loads(message.data)
        except ValueError:
            values = None
        if isinstance(values, dict):
            take(values)
            self._changed()

    def _on_manager(self, message: Any) -> None:
        self._director.graph_is_up = message.data == "active"

    def _on_safety(self, message: Any) -> None:
        values = {pair.key: pair.value for pair in message.values}
        self._director.safety(str(values.get("mode", "")), str(message.message))
