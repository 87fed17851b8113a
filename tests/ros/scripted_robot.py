"""An arm, a gate and an operator that exist in messages only: published at their rates, remembered as samples."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from robot_pt.commands import JointCommand, PoseTarget
from robot_pt.robots import load
from robot_pt.rotations import rpy_to_matrix
from robot_pt.samples import Frame, Gripper, Joints, Mode, Request, Sample, ToolPose
from robot_pt_ros import topics
from robot_pt_ros.conversions import (
    command_messages,
    joint_state_message,
    nanoseconds,
    pose_message,
    status_message,
    target_messages,
)

ARM = load("panda")


def pose(t_s: float) -> np.ndarray:
    """Smooth, never twice the same."""
    out = np.eye(4)
    out[:3, 3] = 0.45 + 0.05 * np.sin(t_s), 0.1 * np.cos(0.7 * t_s), 0.25 + 0.02 * np.sin(0.3 * t_s)
    out[:3, :3] = rpy_to_matrix([0.1 * np.sin(t_s), 0.2 * np.cos(t_s), 0.3 * np.sin(0.5 * t_s)])
    return out


class ScriptedRobot:
    """`node` publishes; `samples` has everything that was sent, and the frames that others sent."""

    def __init__(self, node: Any, cameras: tuple[str, ...] = ("primary",), *, mode: str = "teleop", asks: bool = True):
        from diagnostic_msgs.msg import DiagnosticStatus
        from geometry_msgs.msg import PoseStamped
        from sensor_msgs.msg import CompressedImage, JointState
        from trajectory_msgs.msg import JointTrajectory

        self.samples: list[Sample] = []
        self._node, self._mode, self._asks = node, mode, asks
        make = node.create_publisher
        self._joints = make(JointState, topics.JOINT_STATES, topics.newest())
        self._gripper = make(JointState, topics.GRIPPER_STATE, topics.newest())
        self._pose = make(PoseStamped, topics.EE_POSE, topics.newest())
        self._command = make(JointTrajectory, topics.COMMAND, topics.newest())
        self._command_pose = make(PoseStamped, topics.COMMAND_POSE, topics.newest())
        if asks:
            self._asked_pose = make(PoseStamped, topics.TELEOP_POSE, topics.newest())
            self._asked_gripper = make(JointTrajectory, topics.TELEOP_GRIPPER, topics.newest())
        self._safety = make(DiagnosticStatus, topics.SAFETY_STATE, topics.latched())
        for camera in cameras:
            node.create_subscription(
                CompressedImage, topics.camera_compressed(camera), self._seen(camera), topics.recorded(100)
            )
        self._begun, self._ticks = time.time_ns(), 0
        self.say_mode(mode)
        node.create_timer(0.02, self.tick)

    def _seen(self, camera: str) -> Any:
        return lambda m: self.samples.append(Frame(nanoseconds(m.header.stamp), camera, bytes(m.data)))

    def say_mode(self, mode: str) -> None:
        from diagnostic_msgs.msg import DiagnosticStatus

        self._mode, now = mode, time.time_ns()
        self._safety.publish(status_message(DiagnosticStatus.OK, "safety", mode, {"stamp_ns": now, "mode": mode}))
        self.samples.append(Mode(now, mode))

    def tick(self) -> None:
        """50 Hz: states; 25 Hz: commands; 5 Hz: what the operator asks for."""
        now = time.time_ns()
        t = (now - self._begun) / 1e9
        q = ARM.home_rad + 0.1 * np.sin(t)
        self._joints.publish(joint_state_message(now, ARM.joint_names, q))
        self._gripper.publish(joint_state_message(now, ["gripper"], np.array([0.5 + 0.1 * np.sin(t)])))
        self._pose.publish(pose_message(now, "base_link", pose(t)))
        self.samples += [Joints(now, q), Gripper(now, 0.5 + 0.1 * np.sin(t)), ToolPose(now, pose(t))]
        if self._asks and self._ticks % 10 == 0:
            target = PoseTarget(now + 1, pose(t + 0.3), 0.9)
            asked = target_messages(target, "base_link", 0.2)
            self._asked_pose.publish(asked[0])
            self._asked_gripper.publish(asked[1])
            self.samples.append(Request(target, "teleop"))
        if self._ticks % 2 == 0:
            command = JointCommand(now + 2, q, 0.5, pose(t + 0.1))
            joints, where = command_messages(command, "base_link", ARM.joint_names, 0.2)
            self._command_pose.publish(where)
            self._command.publish(joints)
            self.samples.append(command)
        self._ticks += 1
