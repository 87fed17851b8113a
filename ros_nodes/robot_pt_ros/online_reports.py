"""What the online node says: which version acts, is offered and waits; ages and troubles of learner, robot and store."""

from __future__ import annotations

import json
import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from std_msgs.msg import String

from robot_pt.online.robot import RobotVersions
from robot_pt.online.robot_report import rows, troubles
from robot_pt.online.robot_watch import RunWatch
from robot_pt_ros import topics
from robot_pt_ros.conversions import stamp, status_message
from robot_pt_ros.episode_phase import EpisodePhase
from robot_pt_ros.node import number

LEVELS = {"ok": DiagnosticStatus.OK, "warn": DiagnosticStatus.WARN, "error": DiagnosticStatus.ERROR, "stale": DiagnosticStatus.STALE}  # fmt: skip


class OnlineReports:
    """Publishers of the online node; the robot's heart in the run's folder says the same."""

    def __init__(self, node: Node, versions: RobotVersions, watch: RunWatch, episode: EpisodePhase):
        self._node, self._versions, self._watch, self._episode = node, versions, watch, episode
        self._stale_s = number(node, "stale_s")
        self.swap = ""
        """How the last swap went."""
        self._said, self._told = "", set[str]()
        self._state = node.create_publisher(String, topics.ONLINE_STATE, topics.latched())
        self._diagnostics = node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, topics.recorded(10))

    def state(self) -> None:
        """Where it stands, where that is news."""
        values = self._versions.values()
        self._watch.tell(
            "waiting for a confirmation" if values["waits_for_operator"] else "acting" if self._episode.runs else "between episodes",
            version=values["acting"], number=values["acting_number"], env_steps=self._episode.steps,
            episode=self._episode.id, swap=self.swap,
        )  # fmt: skip
        state = json.dumps({**values, "sentence": self._versions.sentence(), "swap": self.swap})
        if state != self._said:
            self._said = state
            self._state.publish(String(data=state))

    def diagnostics(self) -> None:
        """Once a second; what is new among the troubles goes to the log too."""
        now_s, seen = time.monotonic(), self._watch.seen
        found = troubles(self._versions, seen, now_s, self._stale_s)
        plain = {"".join(c for c in sentence if not c.isdigit()): sentence for sentence in found}  # ages change
        for key in plain.keys() - self._told:
            self._node.get_logger().warning(plain[key])
        self._told = set(plain)
        message = DiagnosticArray()
        message.header.stamp = stamp(int(self._node.get_clock().now().nanoseconds))
        message.status = [
            status_message(LEVELS[row.level], row.name, row.said, row.values)
            for row in rows(self._versions, seen, now_s, self._stale_s)
        ]
        self._diagnostics.publish(message)
