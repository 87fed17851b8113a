"""The robot side: ordinary rclpy nodes. Where ROS 2 is not installed they run on robot-pt's overlay over Cyclone DDS.

Importing the package makes ``import rclpy`` work on a machine without ROS 2 that has the [ros] extra; a real rclpy is never shadowed.
"""

from importlib.util import find_spec

from robot_pt_ros.ros import is_overlay, use_ros_when_imported

if not is_overlay() and find_spec("rclpy") is None and find_spec("cyclonedds") and find_spec("rosbags"):
    use_ros_when_imported()
