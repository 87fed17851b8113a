"""What the recorder says: recorder/state, where that is news, and its counts on /diagnostics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import String

from robot_pt.episode_recorder import EpisodeRecorder
from robot_pt_ros import topics
from robot_pt_ros.conversions import stamp, status_message


class RecorderReports:
    """Publishers of the recorder node."""

    def __init__(self, node: LifecycleNode, episodes: EpisodeRecorder):
        self._node, self._episodes, self._said = node, episodes, ""
        self._state = node.create_publisher(String, topics.RECORDER_STATE, topics.latched())
        self._diagnostics = node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, topics.recorded(10))

    def state(self, active: bool) -> None:
        """Phase, episode, why, what became of the last one; `active`: whether an episode may begin."""
        state = json.dumps({**self._episodes.state(), "active": active})
        if state != self._said:
            self._said = state
            self._state.publish(String(data=state))
            if self._episodes.phase == "failed":
                self._node.get_logger().error(f"episode {self._episodes.episode_id}: {self._episodes.reason}")

    def diagnostics(self, listening: Mapping[str, Any]) -> None:
        """Once a second, with what is listened to."""
        values = {**self._episodes.status(), **listening}
        bad = self._episodes.phase == "failed" or values.get("dropped")
        level = DiagnosticStatus.ERROR if bad else DiagnosticStatus.OK
        message = DiagnosticArray(status=[status_message(level, "recorder", self._episodes.phase, values)])
        message.header.stamp = stamp(int(self._node.get_clock().now().nanoseconds))
        self._diagnostics.publish(message)
