"""Actions: not part of this overlay, and it says so."""

raise ImportError(
    "rclpy.action is not part of robot-pt's overlay for machines without ROS 2; "
    "use topics and services, or run this node on a ROS 2 installation."
)
