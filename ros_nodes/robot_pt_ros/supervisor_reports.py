"""What the supervisor says: commands to the arm, what became of requests, its mode and why."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from robot_pt.gate.gate import Gate, GateOutput
from robot_pt.gate.motion import SAME
from robot_pt.gate.reasons import SENTENCES
from robot_pt.robots import Arm
from robot_pt_ros import topics
from robot_pt_ros.conversions import GRIPPER, status_message
from robot_pt_ros.node import text
from robot_pt_ros.prepared import PreparedPose, PreparedTrajectory


class SupervisorReports:
    """Publishers of the supervisor. Commands leave it while it is active only; what it says of itself, at any time."""

    def __init__(self, node: LifecycleNode, gate: Gate, arm: Arm):
        self._node, self._gate, self._arm = node, gate, arm
        self._lockstep = gate.limits.lockstep
        frame, period_s = text(node, "frame_id"), 1 / gate.limits.control_hz
        self._pose_bytes = PreparedPose(frame)
        self._joint_bytes = PreparedTrajectory(frame, [*arm.joint_names, GRIPPER], period_s)
        self._command = node.create_lifecycle_publisher(JointTrajectory, topics.COMMAND, topics.newest())
        self._command_pose = node.create_lifecycle_publisher(PoseStamped, topics.COMMAND_POSE, topics.newest())
        self._clipped = node.create_publisher(Float64MultiArray, topics.CLIPPED, topics.recorded(10))
        self._safety = node.create_publisher(DiagnosticStatus, topics.SAFETY_STATE, topics.latched())
        self._applied = node.create_publisher(PoseStamped, topics.APPLIED, topics.newest())

    def decision(self, output: GateOutput) -> None:
        """One tick of the gate: the command, and what became of the request."""
        answers = output.requested is not None or not self._lockstep  # lock-step: one command per target, no more
        if output.command is not None and answers and self._command.is_activated:
            stamp_ns, q, gripper, T_base_tool = output.command
            self._command_pose.publish(self._pose_bytes.at(stamp_ns, T_base_tool))
            self._command.publish(self._joint_bytes.at(stamp_ns, [*q.tolist(), gripper]))
        if output.applied is not None:
            self._applied.publish(self._pose_bytes.at(output.applied.stamp_ns, output.applied.T_base_tool))
        clipped = output.clipped.tolist()
        if output.requested is not None and max(map(abs, clipped)) > SAME:
            self._clipped.publish(Float64MultiArray(data=clipped))

    def state(self, output: GateOutput) -> None:
        """The mode of that tick, and why, in a sentence for the operator."""
        level = DiagnosticStatus.ERROR if output.mode in ("fault", "estop") else DiagnosticStatus.OK
        now_ns = int(self._node.get_clock().now().nanoseconds)
        values = {**self._gate.status(), "stamp_ns": now_ns, "mode": output.mode}
        said = SENTENCES[output.reasons[0]] if output.reasons else str(output.mode)
        self._safety.publish(status_message(level, "safety", said, values, self._arm.name))
