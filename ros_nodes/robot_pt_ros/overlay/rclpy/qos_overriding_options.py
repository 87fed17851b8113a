"""QoS overriding by parameters: not part of this overlay, and it says so."""

raise ImportError(
    "rclpy.qos_overriding_options is not part of robot-pt's overlay for machines without ROS 2; "
    "give each endpoint its QoSProfile, or run this node on a ROS 2 installation."
)
