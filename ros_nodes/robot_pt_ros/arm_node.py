"""arm: one real arm behind the graph's topics. It follows the supervisor alone, checks again, and holds by itself when commands stop.

Topics joint_states, gripper/state, ee_pose, arm/state, arm/fault; services arm/home, arm/sleep (Trigger), arm/torque (SetBool).
"""

from __future__ import annotations

import time

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from robot_pt.arm_adapter import ArmAdapter
from robot_pt.arm_guard import ArmGuard
from robot_pt_ros import realtime
from robot_pt_ros.arm_model import arm_of
from robot_pt_ros.arms import parameters
from robot_pt_ros.arms.farewell import Farewell
from robot_pt_ros.arms.inputs import ArmInputs
from robot_pt_ros.arms.reports import ArmReports
from robot_pt_ros.arms.requests import ArmRequests
from robot_pt_ros.arms.states import Reading
from robot_pt_ros.arms.xs_sdk import XsDriver
from robot_pt_ros.domain import require_own_domain
from robot_pt_ros.node import Heartbeat, configuring, flag, text, unmake
from robot_pt_ros.processes import run


class ArmNode(LifecycleNode):
    """Messages in, `ArmAdapter`, driver out."""

    def __init__(self) -> None:
        super().__init__("arm")
        parameters.declare(self)
        self._heartbeat = Heartbeat(self)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._adapter: ArmAdapter | None = None
        self._farewell: Farewell | None = None

    @configuring
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        require_own_domain(self, flag(self, "allow_domain_0"))
        self._rate_hz, self._urgency = parameters.rate_hz(self), realtime.wanted_by(self, hardware=True)
        self._arm = arm_of(self)
        states, reader = parameters.driver_topics(self), parameters.state_reader(self, self._arm)
        guard = ArmGuard(parameters.narrowed(self, self._arm), parameters.guard_settings(self))
        settings = parameters.adapter_settings(self)
        self._driver = parameters.make_driver(self, self._arm)
        self._adapter = ArmAdapter(self._arm, self._driver, guard, settings)
        self._reports = ArmReports(self, self._arm, self._adapter)
        self._inputs = ArmInputs(self, self._adapter, self._arm, reader, states, self._on_reading)
        self._requests = ArmRequests(self, self._adapter)
        self._service_timers = [
            self.create_timer(1 / self._rate_hz, self._tick, clock=self._steady),
            self.create_timer(0.2, self._inputs.check_publishers, clock=self._steady),
            self.create_timer(1.0, self._publish_diagnostics, clock=self._steady),
        ]
        return TransitionCallbackReturn.SUCCESS

    @property
    def adapter(self) -> ArmAdapter:
        assert self._adapter is not None, "configured before it is used"
        return self._adapter

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.adapter.activate()
        realtime.take(self, self._urgency)
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.adapter.deactivate("the arm node was deactivated.")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The arm holds since it was deactivated; the driver's last word is said before its publishers go."""
        self.adapter.leave()
        self._adapter = None
        return unmake(self)

    # what the driver says, what it is told

    def _on_reading(self, reading: Reading) -> None:
        if reading.opening is None and text(self, "gripper_joint"):
            self.get_logger().warning("the driver says nothing of the gripper yet; waiting.", throttle_duration_sec=5.0)
            return
        opening = 1.0 if reading.opening is None else reading.opening  # an arm without a gripper is open
        if isinstance(self._driver, XsDriver):
            self._driver.state(reading.q, reading.opening, reading.effort)
        self._reports.joints(reading, opening)
        self.adapter.state(time.monotonic_ns(), reading.q, opening)

    def _tick(self) -> None:
        now_ns = time.monotonic_ns()
        self.adapter.tick(now_ns)
        self._reports.changes(now_ns)

    def _publish_diagnostics(self) -> None:
        self._reports.diagnostics(time.monotonic_ns(), self._inputs.counts())

    # the end: the last to leave

    def leave(self) -> None:
        """Go on following: the supervisor sends its hold."""
        self._farewell = None if self._adapter is None else Farewell(self._inputs.supervised, time.monotonic())

    def has_left(self) -> bool:
        """The supervisor is gone or had its time; now hold."""
        if self._farewell is None:
            return True
        if not self._farewell.is_over(time.monotonic()):
            return False
        self.adapter.leave()
        return True


def main() -> int:
    """Entry point of the executable."""
    return run(ArmNode)


if __name__ == "__main__":
    raise SystemExit(main())
