"""What the policy node says: targets and how they came about, its version, its diagnostics."""

from __future__ import annotations

import json
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from robot_pt.commands import PoseTarget
from robot_pt.session import Session
from robot_pt_ros import topics
from robot_pt_ros.conversions import GRIPPER, stamp, status_message
from robot_pt_ros.node import flag, text
from robot_pt_ros.prepared import PreparedPose, PreparedTrajectory


class PolicyReports:
    """Publishers of the policy node."""

    def __init__(self, node: LifecycleNode, period_ns: int):
        self._node, frame = node, text(node, "frame_id")
        qos = topics.newest(lifespan_s=None if flag(node, "lockstep") else 2e-9 * period_ns)
        self._pose = node.create_lifecycle_publisher(PoseStamped, topics.POLICY_POSE, qos)
        self._gripper = node.create_lifecycle_publisher(JointTrajectory, topics.POLICY_GRIPPER, qos)
        self._info = node.create_lifecycle_publisher(String, topics.STEP_INFO, topics.recorded())
        self._version = node.create_publisher(String, topics.POLICY_VERSION, topics.latched())
        self._diagnostics = node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, topics.recorded(10))
        self._pose_bytes = PreparedPose(frame)
        self.pace(period_ns)

    def pace(self, period_ns: int) -> None:
        """Targets are to be reached within this time from now on."""
        self._gripper_bytes = PreparedTrajectory(text(self._node, "frame_id"), [GRIPPER], 1e-9 * period_ns)

    def step(self, info: Any) -> None:
        """How the next target came about; before it, for the gate looks for the observation of a target."""
        self._info.publish(String(data=json.dumps(info.to_json())))

    def target(self, target: PoseTarget) -> None:
        """Both halves, under one stamp."""
        self._pose.publish(self._pose_bytes.at(target.stamp_ns, target.T_base_tool))
        self._gripper.publish(self._gripper_bytes.at(target.stamp_ns, [target.gripper]))

    def version(self, session: Session) -> None:
        """Whose targets they are."""
        policy, checkpoint = session.policy, text(self._node, "checkpoint")
        values = {"sha256": policy.version, "step": getattr(policy, "step", None), "checkpoint": checkpoint}
        self._version.publish(String(data=json.dumps(values)))

    def diagnostics(self, session: Session) -> None:
        """Where the session stands."""
        bad = session.phase in ("failed", "stale")
        level, said = (
            DiagnosticStatus.ERROR if bad else DiagnosticStatus.OK,
            f"{session.phase} {session.reason}".strip(),
        )
        message = DiagnosticArray(status=[status_message(level, "policy", said, session.diagnostics())])
        message.header.stamp = stamp(int(self._node.get_clock().now().nanoseconds))
        self._diagnostics.publish(message)
