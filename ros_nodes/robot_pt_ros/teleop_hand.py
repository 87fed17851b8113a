"""The operator's hand on a device: what it says goes out as a deadman heartbeat and as targets."""

from __future__ import annotations

import time
from collections.abc import Sequence

from geometry_msgs.msg import PoseStamped
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Bool
from trajectory_msgs.msg import JointTrajectory

from robot_pt.teleop import Hand, TeleopSettings
from robot_pt_ros import topics
from robot_pt_ros.arm_model import arm_of
from robot_pt_ros.arm_watch import ArmWatch
from robot_pt_ros.conversions import target_messages
from robot_pt_ros.node import number, text
from robot_pt_ros.teleop_devices import Attached

LAST_BEATS_S = 1.0
"""How long a hand that is gone is told of before its node leaves."""


class HandInTheGraph:
    """`attached` held by a `robot_pt.teleop.Hand`, beside the arm that it moves."""

    def __init__(self, node: LifecycleNode, attached: Attached, settings: TeleopSettings):
        self._node, self._attached = node, attached
        self._frame, self._period_s = text(node, "frame_id"), 1 / number(node, "rate_hz")
        self._arm = arm_of(node)
        self._hung_up_ns: int | None = None
        self._hand = Hand(attached.device, settings, rate_hz=number(node, "rate_hz"))
        self._watch = ArmWatch(node, self._arm, self._hand)
        self._pose = node.create_publisher(PoseStamped, topics.TELEOP_POSE, topics.newest())
        self._gripper = node.create_publisher(JointTrajectory, topics.TELEOP_GRIPPER, topics.newest())
        self._deadman = node.create_publisher(Bool, topics.DEADMAN, topics.heartbeat())

    @property
    def gone_for_good(self) -> bool:
        """Whoever held the device is gone (a terminal does not come back), and that nothing is held was said for long enough."""
        return self._hung_up_ns is not None and time.monotonic_ns() - self._hung_up_ns >= LAST_BEATS_S * 1e9

    def beat(self) -> None:
        """The heartbeat; before everything else, for a target is only heard while it is held."""
        now_ns = time.monotonic_ns()
        self._deadman.publish(Bool(data=self._hand.deadman(now_ns)))
        if self._attached.hung_up and self._hung_up_ns is None:
            self._hung_up_ns = now_ns

    def requests(self) -> Sequence[str]:
        """What the operator asked for since the last call, words of `robot_pt.teleop.Request`."""
        return self._hand.requests()

    def ask(self) -> None:
        """The next target, where the hand moves and the arm is known."""
        state = self._watch.state
        if state is None:
            return
        stamp_ns = int(self._node.get_clock().now().nanoseconds)
        target = self._hand.tick(time.monotonic_ns(), stamp_ns, state, self._arm.fk(state.q))
        if target is not None:
            pose, gripper = target_messages(target, self._frame, self._period_s)
            self._pose.publish(pose)
            self._gripper.publish(gripper)

    def release(self) -> None:
        """Say that nothing is held."""
        self._deadman.publish(Bool(data=False))

    def close(self) -> None:
        """Give back what the device took."""
        self._attached.close()
