"""What the supervisor hears, handed to the gate: messages are unpacked here, paired with their observation, and put in order of time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool, String
from trajectory_msgs.msg import JointTrajectory

from robot_pt.commands import Source
from robot_pt.gate import Gate
from robot_pt_ros import topics
from robot_pt_ros.conversions import frame_digest, gripper_of, nanoseconds, pose_of
from robot_pt_ros.lockstep import Early
from robot_pt_ros.node import text

OBSERVATIONS_KEPT = 64
ONE_PUBLISHER = (
    topics.COMMAND, topics.COMMAND_POSE, topics.POLICY_POSE, topics.POLICY_GRIPPER, topics.TELEOP_POSE, topics.TELEOP_GRIPPER,
    topics.DEADMAN,
)  # fmt: skip
"""Topics on which two publishers are a fault: nobody could say who moves the arm, or who lets it move."""


class GateInputs:
    """Subscriptions of the supervisor. `decide` is called in lock-step when a request's time has come, and on an e-stop at once."""

    def __init__(self, node: LifecycleNode, gate: Gate, *, frame: str, decide: Callable[[], None]):
        self._node, self._gate, self._frame, self._decide = node, gate, frame, decide
        self._lockstep = gate.limits.lockstep
        self._opening: float | None = None
        self._observed: dict[int, int] = {}  # command stamp -> observation stamp
        self._waiting: dict[int, Any] = {}  # policy poses whose observation stamp is not known yet
        self._early = Early()
        self._subscribe(gate.limits.cameras)

    def _subscribe(self, cameras: tuple[str, ...]) -> None:
        listen = self._node.create_subscription
        listen(JointState, topics.JOINT_STATES, self._on_joints, topics.sampled())
        listen(JointState, topics.GRIPPER_STATE, self._on_opening, topics.sampled())
        listen(PoseStamped, topics.POLICY_POSE, self._on_policy_pose, topics.newest())
        listen(JointTrajectory, topics.POLICY_GRIPPER, partial(self._on_gripper, "policy"), topics.newest())
        listen(String, topics.STEP_INFO, self._on_step_info, topics.recorded())
        listen(PoseStamped, topics.TELEOP_POSE, self._on_teleop_pose, topics.newest())
        listen(JointTrajectory, topics.TELEOP_GRIPPER, partial(self._on_gripper, "teleop"), topics.newest())
        listen(Bool, topics.DEADMAN, self._on_deadman, topics.heartbeat())
        quiet = SubscriptionEventCallbacks(use_default_callbacks=False)  # whom one of them does not hear, another does
        for topic in {topics.ESTOP, text(self._node, "estop_topic") or topics.ESTOP}:
            for quality in topics.alarms_of_anybody():
                listen(Bool, topic, partial(self._on_estop, topic), quality, event_callbacks=quiet)
        listen(String, topics.ARM_FAULT, self._on_arm_fault, topics.alarms())
        for camera in cameras:
            listen(Image, topics.camera_image(camera), partial(self._on_frame, camera), topics.sampled())

    def now_ns(self) -> int:
        """Of the gate: a clock that nobody sets; in lock-step simulated time is the only one."""
        return self._early.now_ns if self._lockstep else time.monotonic_ns()

    def _on_joints(self, message: Any) -> None:
        if self._opening is None and "gripper" in message.name:
            self._opening = float(message.position[list(message.name).index("gripper")])
        if self._opening is None:  # an arm whose gripper is not known yet is not known
            return
        stamp_ns = nanoseconds(message.header.stamp)
        if self._lockstep and self._early.set_back(stamp_ns):
            self._node.get_logger().warning("simulated time was set back; holding until what follows from it is heard.")
        now_ns = max(self._early.now_ns, stamp_ns) if self._lockstep else self.now_ns()
        self._gate.on_joint_state(
            now_ns, stamp_ns, message.name, message.position, message.effort, gripper=self._opening
        )
        self._early.arrived(stamp_ns)

    def _on_opening(self, message: Any) -> None:
        if list(message.name) == ["gripper"] and len(message.position) == 1:
            self._opening = float(message.position[0])

    def _on_step_info(self, message: Any) -> None:
        try:
            info = json.loads(message.data)
            stamp, observed = int(info["stamp_ns"]), int(info["observation_ns"])
        except (ValueError, KeyError, TypeError):
            self._gate.on_malformed(self.now_ns(), "policy")
            return
        self._observed[stamp] = observed
        while len(self._observed) > OBSERVATIONS_KEPT:
            del self._observed[next(iter(self._observed))]
        waiting = self._waiting.pop(stamp, None)
        if waiting is not None:
            self._on_policy_pose(waiting)

    def _on_policy_pose(self, message: Any) -> None:
        stamp = nanoseconds(message.header.stamp)
        if stamp not in self._observed:
            self._waiting = {stamp: message}  # only the newest: depth 1, as on the wire
            return
        self._on_pose("policy", message, self._observed[stamp])

    def _on_teleop_pose(self, message: Any) -> None:
        self._on_pose("teleop", message, 0)

    def _on_pose(self, source: Source, message: Any, observation_ns: int) -> None:
        stamp_ns = nanoseconds(message.header.stamp)
        try:
            if message.header.frame_id != self._frame:
                raise ValueError("a pose in another frame")
            pose = pose_of(message)
        except ValueError:
            self._gate.on_malformed(self.now_ns(), source)
            return
        self._in_time(stamp_ns, lambda: self._gate.on_pose(self.now_ns(), source, stamp_ns, pose, observation_ns))

    def _on_gripper(self, source: Source, message: Any) -> None:
        stamp_ns = nanoseconds(message.header.stamp)
        try:
            opening = gripper_of(message)
        except ValueError:
            self._gate.on_malformed(self.now_ns(), source)
            return
        self._in_time(stamp_ns, lambda: self._gate.on_gripper(self.now_ns(), source, stamp_ns, opening))

    def _in_time(self, stamp_ns: int, work: Callable[[], None]) -> None:
        """Lock-step: a request waits for the joint state of its time, and is decided on at once."""
        if not self._lockstep:
            work()
            return
        self._early.run(stamp_ns, work)
        self._early.run(stamp_ns, self._decide)

    def _on_deadman(self, message: Any) -> None:
        self._gate.on_deadman(self.now_ns(), bool(message.data))

    def _on_estop(self, topic: str, message: Any) -> None:
        """True trips, wherever it is said; False is the heartbeat of who says it on `estop_topic`, and no more."""
        if message.data or topic == text(self._node, "estop_topic"):
            self._gate.on_estop(self.now_ns(), bool(message.data))
        if message.data:
            self._decide()

    def _on_arm_fault(self, message: Any) -> None:
        if message.data:
            self._gate.on_fault(self.now_ns(), f"the arm's adapter: {message.data[:200]}")
            self._decide()

    def _on_frame(self, camera: str, message: Any) -> None:
        digest = frame_digest(message)
        self._gate.on_frame(self.now_ns(), camera, nanoseconds(message.header.stamp), digest)

    def check_publishers(self) -> None:
        """A second publisher where one must be is a fault."""
        for topic in ONE_PUBLISHER:
            if self._node.count_publishers(topic) > 1:
                self._gate.on_second_publisher(self.now_ns(), topic)
