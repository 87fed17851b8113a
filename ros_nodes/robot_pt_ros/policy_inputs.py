"""What the policy node hears: frames, joints and what the gate made of its targets, handed to the session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image
from trajectory_msgs.msg import JointTrajectory

from robot_pt.commands import ArmState, JointCommand, PoseTarget
from robot_pt.robots import Arm
from robot_pt.session import Session
from robot_pt_ros import topics
from robot_pt_ros.arm_readings import ArmReadings
from robot_pt_ros.conversions import command_joints, image_of, nanoseconds, pose_of
from robot_pt_ros.lockstep import Rendezvous

ARM = "arm"


class SessionInputs:
    """Subscriptions of the policy node. `changed` is called after everything heard: in lock-step that may be the tick."""

    def __init__(
        self, node: LifecycleNode, session: Callable[[], Session], arm: Arm, cameras: Mapping[str, str], *, lockstep: bool,
        changed: Callable[[], None],
    ):  # fmt: skip
        """`cameras`: role -> camera name in the topics. `session` gives the one in force, which a reload replaces."""
        self._node, self._session, self._arm, self._lockstep, self._changed = node, session, arm, lockstep, changed
        self._pending_pose: tuple[int, Any] | None = None
        self.meeting = Rendezvous([ARM, *cameras])
        listen = node.create_subscription
        for role, name in cameras.items():
            listen(Image, topics.camera_image(name), partial(self._on_image, role), topics.sampled())
        self._readings = ArmReadings(node, arm, self._on_arm, with_opening=lockstep)
        listen(PoseStamped, topics.COMMAND_POSE, self._on_command_pose, topics.newest())
        listen(JointTrajectory, topics.COMMAND, self._on_command, topics.newest())
        listen(PoseStamped, topics.APPLIED, self._on_applied, topics.newest())

    def _ros_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _on_image(self, role: str, message: Any) -> None:
        try:
            frame = image_of(message)
        except ValueError as error:
            self._node.get_logger().error(f"camera {role}: {error}", throttle_duration_sec=5.0)
            return
        stamp_ns = nanoseconds(message.header.stamp)
        self._notice_set_back(role, stamp_ns)
        self._session().observe_image(role, stamp_ns, frame, None if self._lockstep else self._ros_ns())
        self.meeting.came(role, stamp_ns)
        self._changed()

    def _notice_set_back(self, source: str, stamp_ns: int) -> None:
        if self._lockstep and self.meeting.set_back(source, stamp_ns):
            self._session().clock_set_back()

    def _on_arm(self, state: ArmState) -> None:
        self._notice_set_back(ARM, state.stamp_ns)
        self._session().observe_arm(state, None if self._lockstep else self._ros_ns())
        self.meeting.came(ARM, state.stamp_ns)
        self._changed()

    def _on_command_pose(self, message: Any) -> None:
        try:
            self._pending_pose = (nanoseconds(message.header.stamp), pose_of(message))
        except ValueError:
            return

    def _on_command(self, message: Any) -> None:
        stamp_ns = nanoseconds(message.header.stamp)
        if self._pending_pose is None or self._pending_pose[0] != stamp_ns:
            return
        try:
            q, opening = command_joints(message, self._arm.joint_names)
        except ValueError:
            return
        self._session().executed(JointCommand(stamp_ns, q, opening, self._pending_pose[1]))
        self.meeting.answered(stamp_ns)
        self._changed()

    def _on_applied(self, message: Any) -> None:
        try:
            self._session().applied(PoseTarget(nanoseconds(message.header.stamp), pose_of(message), 0.0))
        except ValueError:
            return
