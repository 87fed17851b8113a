"""Raw subscriptions to everything that an episode is made of; of a camera the compressed frames where it offers them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.subscription import Subscription

from robot_pt.messages import COMPRESSED, LATCHED, TOPICS
from robot_pt_ros import topics
from robot_pt_ros.camera_topics import all_frames, best_frames, cameras_in, frames_topic

EXTRA: Mapping[str, str] = {
    topics.DEADMAN: "std_msgs/msg/Bool",
    topics.ESTOP: "std_msgs/msg/Bool",
    topics.CLIPPED: "std_msgs/msg/Float64MultiArray",
    topics.POLICY_CHUNK: "geometry_msgs/msg/PoseArray",
}
"""In the journal besides what steps are made of."""
LOOK_S = 0.25
TRANSIENT = ("safety/state", "policy/version", topics.ESTOP)


class Listener:
    """Calls back with (relative topic, type, CDR bytes). Cameras are found as they appear, unless they are named.

    A camera's raw frames are taken only while it offers no compressed ones.
    """

    def __init__(self, node: Node, cameras: Mapping[str, str], heard: Callable[[str, str, bytes], None]):
        self._node, self._heard, self._names = node, heard, set(cameras.values())
        self._frames: dict[str, tuple[str, Subscription]] = {}
        for topic, kind in {**TOPICS, **EXTRA}.items():
            qos = topics.alarms() if topic in TRANSIENT else topics.recorded(100)
            self._listen(topic, kind, qos)
        node.create_timer(LOOK_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._look()

    def status(self) -> dict[str, str]:
        """Which frames are recorded of each camera."""
        return {f"camera_{name}": kind for name, (kind, _) in self._frames.items()}

    def _listen(self, topic: str, kind: str, qos: Any) -> Subscription:
        package, _, name = kind.partition("/msg/")
        message = getattr(import_module(f"{package}.msg"), name)
        return self._node.create_subscription(message, topic, partial(self._heard, topic, kind), qos, raw=True)

    def _look(self) -> None:
        """Subscribe to the best that every camera offers now."""
        for name in sorted(self._names or cameras_in(self._node)):
            best, (kind, subscription) = best_frames(self._node, name), self._frames.get(name, ("", None))
            if not best or kind in (best, COMPRESSED):
                continue
            if subscription is not None:
                self._node.destroy_subscription(subscription)
            topic = frames_topic(name, best)
            self._frames[name] = (best, self._listen(topic, best, all_frames(self._node, topic)))


assert set(TRANSIENT) - {topics.ESTOP} <= set(LATCHED)
