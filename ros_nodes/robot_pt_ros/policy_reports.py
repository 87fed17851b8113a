"""What the policy node says: targets and how they came about, its version, its diagnostics."""

from __future__ import annotations

import json

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseArray, PoseStamped
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from robot_pt.commands import PoseTarget
from robot_pt.session import Session, StepInfo
from robot_pt.targets import moved
from robot_pt_ros import topics
from robot_pt_ros.conversions import GRIPPER, poses_message, stamp, status_message
from robot_pt_ros.node import flag, text
from robot_pt_ros.prepared import PreparedPose, PreparedTrajectory


class PolicyReports:
    """Publishers of the policy node."""

    def __init__(self, node: LifecycleNode, period_ns: int):
        self._node, self._frame = node, text(node, "frame_id")
        qos = topics.newest(lifespan_s=None if flag(node, "lockstep") else 2e-9 * period_ns)
        self._pose = node.create_lifecycle_publisher(PoseStamped, topics.POLICY_POSE, qos)
        self._gripper = node.create_lifecycle_publisher(JointTrajectory, topics.POLICY_GRIPPER, qos)
        self._chunk = node.create_lifecycle_publisher(PoseArray, topics.POLICY_CHUNK, topics.newest())
        self._chunk_from = 0
        self._info = node.create_lifecycle_publisher(String, topics.STEP_INFO, topics.recorded())
        self._version = node.create_publisher(String, topics.POLICY_VERSION, topics.latched())
        self._diagnostics = node.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, topics.recorded(10))
        self._pose_bytes = PreparedPose(self._frame)
        self.pace(period_ns)

    def pace(self, period_ns: int) -> None:
        """Targets are to be reached within this time from now on."""
        self._gripper_bytes = PreparedTrajectory(self._frame, [GRIPPER], 1e-9 * period_ns)

    def step(self, info: StepInfo) -> None:
        """How the next target came about; before it, for the gate looks for the observation of a target."""
        self._info.publish(String(data=json.dumps(info.to_json())))

    def target(self, target: PoseTarget) -> None:
        """Both halves, under one stamp."""
        self._pose.publish(self._pose_bytes.at(target.stamp_ns, target.T_base_tool))
        self._gripper.publish(self._gripper_bytes.at(target.stamp_ns, [target.gripper]))

    def chunk(self, target: PoseTarget, info: StepInfo) -> None:
        """The poses of a chunk whose first action was just played, that target first, where somebody listens."""
        begins, self._chunk_from = info.decided_ns != self._chunk_from, info.decided_ns
        if not (begins and self._chunk.get_subscription_count()):
            return
        poses = [target.T_base_tool]
        for action in info.rest:
            poses.append(moved(poses[-1], action))
        self._chunk.publish(poses_message(target.stamp_ns, self._frame, poses))

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
