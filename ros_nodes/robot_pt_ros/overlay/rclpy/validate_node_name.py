"""`validate_node_name`, at rclpy's place."""

from rclpy._names import validate_node_name as validate_node_name
