"""`validate_parameter_name`, at rclpy's place."""

from rclpy._names import validate_parameter_name as validate_parameter_name
