"""`validate_topic_name`, at rclpy's place."""

from rclpy._names import validate_topic_name as validate_topic_name
