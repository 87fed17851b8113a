"""arm: one real arm behind the graph's topics. It follows the supervisor alone, checks again, and holds by itself when commands stop.

Topics joint_states, gripper/state, ee_pose, arm/state, arm/fault; services arm/home, arm/sleep (Trigger), arm/torque (SetBool).
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import SetBool, Trigger

from robot_pt.arm_adapter import ArmAdapter
from robot_pt.arm_guard import ArmGuard
from robot_pt.robots import load
from robot_pt_ros.arms import parameters
from robot_pt_ros.arms.inputs import ArmInputs
from robot_pt_ros.arms.reports import ArmReports
from robot_pt_ros.arms.states import Reading
from robot_pt_ros.arms.xs_sdk import XsDriver
from robot_pt_ros.domain import require_own_domain
from robot_pt_ros.node import Heartbeat, configuring, flag, text, unmake
from robot_pt_ros.processes import run

FOLLOW_WHILE_LEAVING_S = 2.0
"""The supervisor's hold is followed so long after a signal, or until its publisher is gone."""


class ArmNode(LifecycleNode):
    """Messages in, `ArmAdapter`, driver out."""

    def __init__(self) -> None:
        super().__init__("arm")
        parameters.declare(self)
        self._heartbeat = Heartbeat(self)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._adapter: ArmAdapter | None = None
        self._leaving_since: float | None = None
        self._opening: float | None = None

    @configuring
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        require_own_domain(self, flag(self, "allow_domain_0"))
        self._rate_hz = parameters.rate_hz(self)
        self._arm = load(text(self, "robot"))
        states, reader = parameters.driver_topics(self), parameters.state_reader(self, self._arm)
        guard = ArmGuard(parameters.narrowed(self, self._arm), parameters.guard_settings(self))
        settings = parameters.adapter_settings(self)
        self._driver = parameters.make_driver(self, self._arm)
        self._adapter = ArmAdapter(self._arm, self._driver, guard, settings)
        self._reports = ArmReports(self, self._arm, self._adapter)
        self._inputs = ArmInputs(self, self._adapter, self._arm, reader, states, self._on_reading)
        self.create_service(Trigger, "arm/home", partial(self._move, "home"))
        self.create_service(Trigger, "arm/sleep", partial(self._move, "sleep"))
        self.create_service(SetBool, "arm/torque", self._torque)
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
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.adapter.deactivate("the arm node was deactivated.")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The arm holds since it was deactivated; the driver's last word is said before its publishers go."""
        self.adapter.leave()
        self._adapter, self._opening = None, None
        return unmake(self)

    # requests

    def _move(self, place: Any, request: Any, response: Any) -> Any:
        return self._answered(f"arm/{place}", self.adapter.move_to(time.monotonic_ns(), place), response)

    def _torque(self, request: Any, response: Any) -> Any:
        return self._answered("arm/torque", self.adapter.torque(time.monotonic_ns(), bool(request.data)), response)

    def _answered(self, name: str, answer: Any, response: Any) -> Any:
        response.success, response.message = answer.ok, answer.sentence
        self.get_logger().info(f"{name}: {answer.sentence}")
        return response

    # what the driver says, what it is told

    def _on_reading(self, reading: Reading) -> None:
        self._opening = self._opening if reading.opening is None else reading.opening
        if self._opening is None and text(self, "gripper_joint"):
            self.get_logger().warning("the driver says nothing of the gripper yet; waiting.", throttle_duration_sec=5.0)
            return
        self._opening = 1.0 if self._opening is None else self._opening  # an arm without a gripper is open
        if isinstance(self._driver, XsDriver):
            self._driver.state(reading.q, reading.opening, reading.effort)
        self._reports.joints(reading, self._opening)
        self.adapter.state(time.monotonic_ns(), reading.q, self._opening)

    def _tick(self) -> None:
        now_ns = time.monotonic_ns()
        self.adapter.tick(now_ns)
        self._reports.changes(now_ns)

    def _publish_diagnostics(self) -> None:
        self._reports.diagnostics(time.monotonic_ns(), self._inputs.counts())

    # the end: the last to leave

    def leave(self) -> None:
        """Go on following: the supervisor sends its hold."""
        self._leaving_since = time.monotonic()

    def has_left(self) -> bool:
        """The supervisor is gone or had its time; now hold."""
        assert self._leaving_since is not None
        if self._adapter is None:
            return True
        if self._inputs.supervised() and time.monotonic() - self._leaving_since < FOLLOW_WHILE_LEAVING_S:
            return False
        self.adapter.leave()
        return True


def main() -> int:
    """Entry point of the executable."""
    return run(ArmNode)


if __name__ == "__main__":
    raise SystemExit(main())
