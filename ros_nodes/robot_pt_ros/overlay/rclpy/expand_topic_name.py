"""`expand_topic_name`, at rclpy's place, with the checks it makes there."""

from rclpy._names import expand_topic_name as _expand
from rclpy._names import validate_namespace, validate_node_name, validate_topic_name


def expand_topic_name(topic_name: str, node_name: str, node_namespace: str) -> str:
    """The fully qualified topic name, before remapping. Raises the exceptions of rclpy.exceptions on invalid names."""
    validate_node_name(node_name)
    validate_namespace(node_namespace)
    validate_topic_name(topic_name)
    return _expand(topic_name, node_name, node_namespace)
