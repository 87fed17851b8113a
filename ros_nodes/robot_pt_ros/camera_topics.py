"""Which cameras a graph has, and how to hear each as well as it offers."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy

from robot_pt.messages import COMPRESSED, RAW, camera_of
from robot_pt_ros import topics


def cameras_in(node: Node) -> set[str]:
    """Names of the cameras in the node's namespace."""
    prefix = node.get_namespace().rstrip("/") + "/"
    found = (camera_of(topic.removeprefix(prefix)) for topic, _ in node.get_topic_names_and_types())
    return {name for name in found if name is not None}


def best_frames(node: Node, name: str) -> str:
    """Message type of a camera's frames: compressed where it offers them, "" where it offers nothing."""
    if node.count_publishers(topics.camera_compressed(name)):
        return COMPRESSED
    return RAW if node.count_publishers(topics.camera_image(name)) else ""


def frames_topic(name: str, kind: str) -> str:
    """Topic of the frames of that type."""
    return topics.camera_compressed(name) if kind == COMPRESSED else topics.camera_image(name)


def all_frames(node: Node, topic: str) -> Any:
    """With room for every frame; RELIABLE unless a driver offers only BEST_EFFORT."""
    qos = topics.recorded(100)
    offered = node.get_publishers_info_by_topic(node.resolve_topic_name(topic))
    if any(info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT for info in offered):
        qos.reliability = ReliabilityPolicy.BEST_EFFORT
    return qos
