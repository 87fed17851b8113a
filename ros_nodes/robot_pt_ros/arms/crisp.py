"""Arms behind a Cartesian controller that follows a pose: crisp_controllers' `target_pose` and its kind."""

from __future__ import annotations

from typing import Any, final

from geometry_msgs.msg import PoseStamped
from rclpy.node import Node

from robot_pt.commands import Answer, Float64, JointCommand
from robot_pt_ros import topics
from robot_pt_ros.arms.outputs import Wiring
from robot_pt_ros.arms.ros2_control import GripperOutput
from robot_pt_ros.conversions import pose_message


@final
class CrispDriver:
    """Poses of the controller's end effector in its base frame. To hold, the last pose is sent again: some controllers time out."""

    def __init__(self, node: Node, topic: str, frame: str, T_tool_ee: Float64, gripper: GripperOutput):
        """`T_tool_ee` (4, 4): the controller's end effector as seen from the arm model's tool."""
        self._node, self._frame, self._T_tool_ee, self._gripper = node, frame, T_tool_ee, gripper
        self._publisher = node.create_publisher(PoseStamped, topic, topics.newest())
        self._wiring = Wiring(node, [self._publisher.topic_name, *gripper.topics])
        self._last: Float64 | None = None

    def poll(self, now_ns: int) -> None:
        self._wiring.poll(now_ns)

    def trouble(self) -> str:
        return self._wiring.trouble

    def fault(self) -> str:
        return ""

    def send(self, command: JointCommand) -> None:
        self._last = command.T_base_tool @ self._T_tool_ee
        self._publish(self._last)
        self._gripper.send(command.gripper)

    def hold(self) -> None:
        """The last pose again; before the first command nothing."""
        if self._last is not None:
            self._publish(self._last)

    def farewell(self) -> None:
        self.hold()

    def torque(self, on: bool) -> Answer:
        return Answer(False, "this controller has no torque service; use the arm's own desk or brakes.")

    def values(self) -> dict[str, Any]:
        return {"driver": "crisp", "topic": self._publisher.topic_name}

    def _publish(self, T_base_ee: Float64) -> None:
        now_ns = int(self._node.get_clock().now().nanoseconds)
        self._publisher.publish(pose_message(now_ns, self._frame, T_base_ee))
