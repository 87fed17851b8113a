"""Whether an episode runs, as its manager says."""

from __future__ import annotations

import json
from typing import Any

from rclpy.node import Node
from std_msgs.msg import String

from robot_pt_ros import topics


class EpisodePhase:
    """Listens to episode/state. A manager that is gone says nothing any more, and no episode of it runs."""

    def __init__(self, node: Node):
        self._node = node
        self.id = self.phase = ""
        self._steps: dict[str, int] = {}  # of the episode that runs; the others are in the sum
        self._before = 0
        node.create_subscription(String, topics.EPISODE_STATE, self._on_state, topics.latched())

    @property
    def runs(self) -> bool:
        """An episode is being played or recorded: nothing about the policy may change."""
        return self.phase == "recording" and self._node.count_publishers(topics.EPISODE_STATE) > 0

    @property
    def steps(self) -> int:
        """Control steps of all episodes heard of, the one that runs included."""
        return self._before + sum(self._steps.values())

    def _on_state(self, message: Any) -> None:
        try:
            told = json.loads(message.data)
            name, phase, step = str(told["id"]), str(told["phase"]), int(told.get("step", 0))
        except (ValueError, KeyError, TypeError):
            return
        self.id, self.phase = name, phase
        if name and name not in self._steps:
            self._before, self._steps = self.steps, {}
        if name:
            self._steps[name] = max(step, self._steps.get(name, 0))
