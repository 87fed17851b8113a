"""`validate_namespace`, at rclpy's place."""

from rclpy._names import validate_namespace as validate_namespace
