"""`validate_full_topic_name`, at rclpy's place."""

from rclpy._names import validate_full_topic_name as validate_full_topic_name
