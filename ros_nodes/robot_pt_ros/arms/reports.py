"""What the arm node says: joints by the model's names, opening, pose, what it does, what is broken."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from robot_pt.arm_adapter import ArmAdapter
from robot_pt.robots import Arm
from robot_pt_ros import topics
from robot_pt_ros.arms.states import Reading
from robot_pt_ros.conversions import GRIPPER, joint_state_message, pose_message, stamp, status_message
from robot_pt_ros.node import text


class ArmReports:
    """Publishers of the arm node."""

    def __init__(self, node: LifecycleNode, arm: Arm, adapter: ArmAdapter):
        self._node, self._arm, self._adapter = node, arm, adapter
        self._frame, self._hands_on_effort = text(node, "frame_id"), text(node, "effort_unit") == "Nm"
        make = node.create_publisher
        self._joints = make(JointState, topics.JOINT_STATES, topics.newest())
        self._gripper = make(JointState, topics.GRIPPER_STATE, topics.newest())
        self._pose = make(PoseStamped, topics.EE_POSE, topics.newest())
        self._diagnostics = make(DiagnosticArray, topics.DIAGNOSTICS, topics.recorded(10))
        self._state = make(String, topics.ARM_STATE, topics.latched())
        self._fault = make(String, topics.ARM_FAULT, topics.latched())
        self._said, self._broken = "", ""

    def joints(self, reading: Reading, opening: float) -> None:
        """The driver's reading under its own stamp. Efforts only where they are N m."""
        names, both = [*self._arm.joint_names, GRIPPER], np.append(reading.q, opening)
        joints = joint_state_message(reading.stamp_ns, names, both, self._frame)
        if self._hands_on_effort and reading.effort is not None:
            joints.effort = [*map(float, reading.effort), 0.0]
        self._joints.publish(joints)
        self._gripper.publish(joint_state_message(reading.stamp_ns, [GRIPPER], both[-1:], self._frame))
        self._pose.publish(pose_message(reading.stamp_ns, self._frame, self._arm.fk(reading.q)))

    def changes(self, now_ns: int) -> None:
        """What it does and what is broken, where that is news."""
        fault = self._adapter.fault()
        if fault != self._broken:
            self._broken = fault
            self._fault.publish(String(data=fault))
        well, sentence, values = self._adapter.status(now_ns)
        said = json.dumps({"ok": well, "state": sentence, "motion": values["motion"], "fault": fault})
        if said != self._said:
            self._said = said
            self._state.publish(String(data=said))
            if well:
                self._node.get_logger().info(sentence)
            else:
                self._node.get_logger().warning(sentence)

    def diagnostics(self, now_ns: int, counts: dict[str, Any]) -> None:
        """Everything, for /diagnostics."""
        well, sentence, values = self._adapter.status(now_ns)
        level = DiagnosticStatus.ERROR if self._broken else DiagnosticStatus.OK if well else DiagnosticStatus.WARN
        message = DiagnosticArray()
        message.header.stamp = stamp(int(self._node.get_clock().now().nanoseconds))
        message.status = [status_message(level, "arm", sentence, {**values, **counts}, self._arm.name)]
        self._diagnostics.publish(message)
