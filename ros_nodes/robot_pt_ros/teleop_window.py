"""The cameras of the graph on a `CameraPage`."""

from __future__ import annotations

from functools import partial
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from robot_pt.images import encode_jpeg
from robot_pt.messages import COMPRESSED
from robot_pt_ros.camera_page import CameraPage
from robot_pt_ros.camera_topics import best_frames, cameras_in, frames_topic
from robot_pt_ros.conversions import image_of
from robot_pt_ros.topics import sampled

LOOK_S = 1.0
QUALITY = 80


class Window:
    """Looks for cameras once a second. Raises UserError where the port is taken."""

    def __init__(self, node: Node, port: int):
        self._node, self._seen = node, set[str]()
        self.page = CameraPage(port)
        node.create_timer(LOOK_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        node.get_logger().info(
            f"cameras: {self.page.address} (from another machine: ssh -L {self.page.port}:127.0.0.1:{self.page.port} HERE)"
        )
        self.page.open()

    def _look(self) -> None:
        for name in cameras_in(self._node) - self._seen:
            kind = best_frames(self._node, name)
            if not kind:
                continue
            self._seen.add(name)
            message, show = (CompressedImage, self._jpeg) if kind == COMPRESSED else (Image, self._raw)
            self._node.create_subscription(message, frames_topic(name, kind), partial(show, name), sampled())

    def _jpeg(self, name: str, message: Any) -> None:
        self.page.show(name, bytes(message.data))

    def _raw(self, name: str, message: Any) -> None:
        try:
            self.page.show(name, encode_jpeg(image_of(message), QUALITY))
        except ValueError as error:
            self._node.get_logger().error(f"camera {name}: {error}", throttle_duration_sec=5.0)

    def close(self) -> None:
        self.page.close()
