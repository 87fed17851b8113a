"""Joints and opening as an arm of the graph publishes them -> one reading of the arm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import JointState

from robot_pt.commands import ArmState
from robot_pt.robots import Arm
from robot_pt_ros import topics
from robot_pt_ros.conversions import GRIPPER, joints_of, nanoseconds


class ArmReadings:
    """Subscriptions to joint_states and gripper/state. There is no reading before the opening is known.

    `with_opening`: the opening is taken from joint_states where it is among them: in lock-step both belong to one time.
    """

    def __init__(self, node: Node, arm: Arm, read: Callable[[ArmState], None], *, with_opening: bool = False):
        self._node, self._arm, self._read, self._with_opening = node, arm, read, with_opening
        self._opening: float | None = None
        node.create_subscription(JointState, topics.JOINT_STATES, self._on_joints, topics.sampled())
        node.create_subscription(JointState, topics.GRIPPER_STATE, self._on_opening, topics.sampled())

    def _on_opening(self, message: Any) -> None:
        if list(message.name) == [GRIPPER] and len(message.position) == 1:
            self._opening = float(message.position[0])

    def _on_joints(self, message: Any) -> None:
        try:
            q, effort = joints_of(message, self._arm.joint_names)
        except ValueError as error:
            self._node.get_logger().error(str(error), throttle_duration_sec=5.0)
            return
        if self._with_opening and GRIPPER in message.name:
            self._opening = float(message.position[list(message.name).index(GRIPPER)])
        if self._opening is not None:
            self._read(ArmState(nanoseconds(message.header.stamp), q, self._opening, effort))
