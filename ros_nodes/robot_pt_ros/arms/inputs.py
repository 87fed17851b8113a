"""What the arm node hears: the supervisor's commands and mode, and the driver's joint states."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from robot_pt.arm_adapter import ArmAdapter
from robot_pt.robots import Arm
from robot_pt_ros import topics
from robot_pt_ros.arms.parameters import DriverTopics
from robot_pt_ros.arms.states import Reading, StateReader
from robot_pt_ros.node import text
from robot_pt_ros.sim_commands import CommandPairs

UNKNOWN_NODE = "_NODE_NAME_UNKNOWN_"
"""What the graph calls a publisher whose node has not been discovered yet, or speaks another ROS's discovery."""


class ArmInputs:
    """Subscriptions of the arm node."""

    def __init__(
        self, node: LifecycleNode, adapter: ArmAdapter, arm: Arm, reader: StateReader, states: DriverTopics,
        on_reading: Callable[[Reading], None],
    ):  # fmt: skip
        """`on_reading` gets every reading of the joints, with the last known opening."""
        self._node, self._adapter, self._reader, self._on_reading = node, adapter, reader, on_reading
        self._pairs = CommandPairs(arm.joint_names)
        self._offered_ns = self._command_ns = 0
        self._opening: float | None = None
        self._expected = text(node, "supervisor")
        self._command_topics = [node.resolve_topic_name(name) for name in (topics.COMMAND, topics.COMMAND_POSE)]
        listen = node.create_subscription
        listen(JointTrajectory, topics.COMMAND, self._on_joints, topics.newest())
        listen(PoseStamped, topics.COMMAND_POSE, self._on_pose, topics.newest())
        listen(DiagnosticStatus, topics.SAFETY_STATE, self._on_safety, topics.latched())
        listen(JointState, states.joint_states, self._on_state, topics.sampled())
        if states.gripper_states:
            listen(JointState, states.gripper_states, self._on_gripper, topics.sampled())

    def supervised(self) -> bool:
        """Somebody publishes commands."""
        return bool(self._node.count_publishers(self._command_topics[0]))

    def check_publishers(self) -> None:
        """Only the supervisor may publish commands, either half of them."""
        guard, before = self._adapter.guard, self._adapter.guard.rival
        for topic in self._command_topics:
            infos = self._node.get_publishers_info_by_topic(topic)
            names = ["" if info.node_name == UNKNOWN_NODE else info.node_name for info in infos]
            guard.publishers(names, self._expected)
            if guard.rival:
                break
        if guard.rival and guard.rival != before:
            self._node.get_logger().error(f"commands are not followed: {guard.rival} publishes on {topic}.")

    def counts(self) -> dict[str, int]:
        """What could not be used, by reason."""
        halves = {"refused/unpaired or malformed": self._pairs.refused} if self._pairs.refused else {}
        return {**halves, **{f"joint states {reason}": n for reason, n in self._reader.refused.items()}}

    def _on_joints(self, message: Any) -> None:
        self._heard()
        self._pairs.joints(message)
        self._offer()

    def _on_pose(self, message: Any) -> None:
        self._heard()
        self._pairs.pose(message)
        self._offer()

    def _heard(self) -> None:
        """After a silence pairs begin anew: the supervisor was started again, or its clock was set."""
        now_ns = time.monotonic_ns()
        if now_ns - self._command_ns > self._adapter.guard.settings.timeout_s * 1e9:
            self._pairs.clear()
            self._offered_ns = 0
        self._command_ns = now_ns

    def _offer(self) -> None:
        command = self._pairs.newest()
        if command is not None and command.stamp_ns != self._offered_ns:
            self._offered_ns = command.stamp_ns
            self._adapter.command(time.monotonic_ns(), int(self._node.get_clock().now().nanoseconds), command)

    def _on_safety(self, message: Any) -> None:
        mode = {pair.key: pair.value for pair in message.values}.get("mode", "")
        self._adapter.mode(time.monotonic_ns(), mode)

    def _on_state(self, message: Any) -> None:
        reading = self._reader.arm(message)
        if reading is None:
            return
        self._opening = self._opening if reading.opening is None else reading.opening
        self._on_reading(reading._replace(opening=self._opening))

    def _on_gripper(self, message: Any) -> None:
        try:
            opening = self._reader.opening(message)
        except ValueError:
            return
        self._opening = self._opening if opening is None else opening
