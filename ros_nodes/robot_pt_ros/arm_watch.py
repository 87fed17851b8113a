"""The arm as a teleoperation node sees it: joints, opening, and what the gate sent and made of its targets."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from robot_pt.commands import ArmState, JointCommand, PoseTarget
from robot_pt.robots import Arm
from robot_pt.teleop import Hand
from robot_pt_ros import topics
from robot_pt_ros.arm_readings import ArmReadings
from robot_pt_ros.conversions import command_joints, nanoseconds, pose_of


class ArmWatch:
    """`state` is the newest reading, None before the first; commands go to `hand`."""

    def __init__(self, node: Node, arm: Arm, hand: Hand):
        self._node, self._arm, self._hand = node, arm, hand
        self.state: ArmState | None = None
        self._halves: dict[int, dict[str, Any]] = {}
        listen = node.create_subscription
        self._readings = ArmReadings(node, arm, self._on_arm)
        listen(PoseStamped, topics.COMMAND_POSE, lambda m: self._on_half("pose", m), topics.newest())
        listen(JointTrajectory, topics.COMMAND, lambda m: self._on_half("joints", m), topics.newest())
        listen(PoseStamped, topics.APPLIED, self._on_applied, topics.newest())

    def _on_arm(self, state: ArmState) -> None:
        self.state = state

    def _on_half(self, half: str, message: Any) -> None:
        stamp_ns = nanoseconds(message.header.stamp)
        found = self._halves.setdefault(stamp_ns, {})
        found[half] = message
        if len(found) < 2:
            while len(self._halves) > 8:
                del self._halves[min(self._halves)]
            return
        self._halves = {at: kept for at, kept in self._halves.items() if at > stamp_ns}
        try:
            q, opening = command_joints(found["joints"], self._arm.joint_names)
            self._hand.executed(JointCommand(stamp_ns, q, opening, pose_of(found["pose"])))
        except ValueError as error:
            self._node.get_logger().error(str(error), throttle_duration_sec=5.0)

    def _on_applied(self, message: Any) -> None:
        try:
            self._hand.applied(PoseTarget(nanoseconds(message.header.stamp), pose_of(message), 0.0))
        except ValueError as error:
            self._node.get_logger().error(str(error), throttle_duration_sec=5.0)
