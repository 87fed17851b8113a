"""Conversion factors that rclpy exports."""

S_TO_NS = 1000 * 1000 * 1000
