"""teleop: what the operator's device says -> targets, a deadman heartbeat by operator input alone, the e-stop, and requests as services.

Topic teleop/request (std_msgs/String) takes the words of `robot_pt.teleop.MEANINGS` too. With device "topic" another process publishes the
targets and the deadman; this node then serves its requests alone.
"""

from __future__ import annotations

import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_msgs.msg import Bool, String
from trajectory_msgs.msg import JointTrajectory

from robot_pt.robots import load
from robot_pt.teleop import Hand
from robot_pt_ros import topics
from robot_pt_ros.arm_watch import ArmWatch
from robot_pt_ros.conversions import target_messages
from robot_pt_ros.errands import Errands
from robot_pt_ros.node import Heartbeat, configuring, flag, number, text, unmake
from robot_pt_ros.processes import run
from robot_pt_ros.teleop_devices import Attached, attach
from robot_pt_ros.teleop_parameters import declare, teleop_settings
from robot_pt_ros.teleop_requests import CALLS, SWITCHES, TRIGGERS
from robot_pt_ros.teleop_window import Window

LAST_BEATS_S = 1.0
"""How long a hand that is gone is told of before the node leaves."""


class TeleopNode(LifecycleNode):
    """Twenty times a second: heartbeat, target, requests."""

    def __init__(self) -> None:
        super().__init__("teleop")
        declare(self)
        self._heartbeat = Heartbeat(self)
        self._attached: Attached | None = None
        self._hand: Hand | None = None
        self._window: Window | None = None
        self._active = self._stopped = self.finished = False
        self._last_beats = round(LAST_BEATS_S * 20)

    @configuring
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._close()
        log, kind = self.get_logger(), text(self, "device")
        settings = teleop_settings(self)
        self._errands = Errands(self, TRIGGERS, SWITCHES, self._heard)
        self._estop = self.create_publisher(Bool, topics.ESTOP, topics.latched())
        self.create_subscription(String, "teleop/request", lambda m: self._request(m.data), topics.recorded(10))
        self.create_subscription(DiagnosticStatus, topics.SAFETY_STATE, self._on_safety, topics.latched())
        self._frame, self._period_s = text(self, "frame_id"), 1 / number(self, "rate_hz")
        self._window = Window(self, int(number(self, "window_port"))) if flag(self, "window") else None
        self._arm = load(text(self, "robot"))
        self._attached = attach(self, kind, settings)
        if self._attached is not None:
            self._hand = Hand(self._attached.device, settings, rate_hz=number(self, "rate_hz"))
            self._watch = ArmWatch(self, self._arm, self._hand)
            self._pose = self.create_publisher(PoseStamped, topics.TELEOP_POSE, topics.newest())
            self._gripper = self.create_publisher(JointTrajectory, topics.TELEOP_GRIPPER, topics.newest())
            self._deadman = self.create_publisher(Bool, topics.DEADMAN, topics.heartbeat())
            if kind != "keyboard":
                log.info(f"{kind}:\n{self._attached.device.legend()}")
            if not self._attached.device.hold_to_run:
                log.warning(f"{kind} is no hold-to-run switch: on a real arm it moves the arm, and lets no policy run.")
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._active = True
        self._tick_timer = self.create_timer(self._period_s, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._active = False
        self.destroy_timer(self._tick_timer)
        self._release()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._close()
        return unmake(self)

    def _tick(self) -> None:
        """The heartbeat first: a target is only heard while it is held."""
        if self._hand is None:
            return
        now_ns, state = time.monotonic_ns(), self._watch.state
        self._deadman.publish(Bool(data=self._hand.deadman(now_ns)))
        self._watch_line()
        for name in self._hand.requests():
            self._request(name)
        if state is None:
            return
        stamp_ns = int(self.get_clock().now().nanoseconds)
        target = self._hand.tick(now_ns, stamp_ns, state, self._arm.fk(state.q))
        if target is not None:
            pose, gripper = target_messages(target, self._frame, self._period_s)
            self._pose.publish(pose)
            self._gripper.publish(gripper)

    def _watch_line(self) -> None:
        """A terminal that is gone does not come back: say released for a while, then leave."""
        if self._attached is not None and self._attached.hung_up:
            self._last_beats -= 1
            self.finished = self._last_beats <= 0

    # requests

    def _request(self, name: str) -> None:
        if name not in CALLS:
            self.get_logger().error(f"there is no request {name[:40]!r}; choose one of {', '.join(CALLS)}.")
            return
        if name == "estop":
            self._stopped = False
            self._estop.publish(Bool(data=True))
            self._errands.abandon()
        self._errands.run(CALLS[name], self._done)

    def _done(self, ok: bool, sentence: str, said: dict[str, str]) -> None:
        if not ok:
            self.get_logger().warning(sentence)

    def _heard(self, service: str, ok: bool, sentence: str) -> None:
        if ok:
            self.get_logger().info(f"{service}: {sentence}")

    def _on_safety(self, message: Any) -> None:
        """When an e-stop was cleared, what is latched on the topic says so too: a supervisor that starts later must not trip again."""
        mode = next((str(pair.value) for pair in message.values if pair.key == "mode"), "")
        if self._stopped and mode and mode != "estop":
            self._estop.publish(Bool(data=False))
        self._stopped = mode == "estop"

    # the end

    def _release(self) -> None:
        if self._hand is not None:
            self._deadman.publish(Bool(data=False))

    def _close(self) -> None:
        if self._attached is not None:
            self._attached.close()
        if self._window is not None:
            self._window.close()
        self._attached, self._hand, self._window = None, None, None

    def leave(self) -> None:
        """Release the arm, give the terminal back."""
        self._release()
        self._active = False
        self._close()

    def has_left(self) -> bool:
        return True


def main() -> int:
    """Entry point of the executable."""
    return run(TeleopNode)


if __name__ == "__main__":
    raise SystemExit(main())
