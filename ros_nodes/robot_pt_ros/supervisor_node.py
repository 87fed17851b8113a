"""supervisor: the only node that may move the arm. Every request passes `robot_pt.gate.Gate` here; no torch in this process.

Services safety/* and takeover: see `robot_pt_ros.supervisor_requests`.
"""

from __future__ import annotations

import time

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from robot_pt.gate.gate import Gate, GateOutput
from robot_pt_ros import realtime, topics
from robot_pt_ros.arm_model import arm_of
from robot_pt_ros.domain import require_own_domain
from robot_pt_ros.gate_parameters import declare, gate_limits
from robot_pt_ros.node import Heartbeat, configuring, flag, text, unmake
from robot_pt_ros.processes import run
from robot_pt_ros.supervisor_inputs import GateInputs
from robot_pt_ros.supervisor_reports import SupervisorReports
from robot_pt_ros.supervisor_requests import Latches, SupervisorRequests

HOLD_BEFORE_LEAVING_S = 0.5
REHEARSED_AHEAD_S = 0.001
"""So long before a tick its rehearsal begins: it is over by then, and what it fetched from memory is still in the caches."""


class SupervisorNode(LifecycleNode):
    """Messages in, gate, commands out."""

    def __init__(self) -> None:
        super().__init__("supervisor")
        declare(self)
        self._heartbeat = Heartbeat(self)
        self._gate: Gate | None = None
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._held_since: float | None = None
        self._last: GateOutput | None = None

    @configuring
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        arm = arm_of(self)
        limits = gate_limits(self, arm)
        if limits.hardware:
            require_own_domain(self, flag(self, "allow_domain_0"))
        self._urgency = realtime.wanted_by(self, hardware=limits.hardware)
        self._latches, self._lockstep = Latches(self), limits.lockstep
        self._gate = Gate(arm, limits, latches=self._latches.read())
        self._reports = SupervisorReports(self, self._gate, arm)
        self._inputs = GateInputs(self, self._gate, frame=text(self, "frame_id"), decide=self._tick)
        self._requests = SupervisorRequests(self, self._gate, self._latches, self._inputs.now_ns, self._tick)
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)
        realtime.take(self, self._urgency)
        self._ticks = [self.create_timer(0.5, self._look, clock=self._steady)]
        if not self._lockstep:
            tick_s = 1 / self.gate.limits.tick_hz
            self._ticks.append(self.create_timer(tick_s, self.gate.rehearse, clock=self._steady))
            time.sleep(min(REHEARSED_AHEAD_S, tick_s / 2))  # timers keep the distance at which they were made
            self._ticks.append(self.create_timer(tick_s, self._tick, clock=self._steady))
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.gate.request(self._inputs.now_ns(), "disarm")
        for timer in self._ticks:
            self.destroy_timer(timer)
        self._tick()  # what is said last is that it is disarmed
        self._look()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return unmake(self)

    @property
    def gate(self) -> Gate:
        assert self._gate is not None, "configured before it is used"
        return self._gate

    def _tick(self) -> None:
        """The gate decides."""
        ros_ns = None if self._lockstep else int(self.get_clock().now().nanoseconds)
        self._last = output = self.gate.tick(self._inputs.now_ns(), clock_ns=ros_ns)
        self._reports.decision(output)
        if output.changed:
            self._latches.keep(self.gate)
            self._reports.state(output)

    def _look(self) -> None:
        """Twice a second: who publishes, and the state again for those who missed it."""
        self._inputs.check_publishers()
        self._latches.keep(self.gate)  # again, where the disk was full
        if self._lockstep or self._last is None:
            self._tick()
        assert self._last is not None
        self._reports.state(self._last)

    # the end: hold until nothing moves, then leave

    def leave(self) -> None:
        """Stop hearing policy and operator; the gate goes on holding for the arm to come to rest."""
        self._held_since = time.monotonic()
        if self._gate is not None:
            for name in ("stop_policy", "release"):
                self.gate.request(self._inputs.now_ns(), name)

    def has_left(self) -> bool:
        """Half a second of hold was sent, which an arm adapter confirms by following it, and nobody asks for motion any more."""
        assert self._held_since is not None
        if self._gate is None or self._lockstep:
            return True
        asking = any(self.count_publishers(topic) for topic in (topics.POLICY_POSE, topics.TELEOP_POSE))
        return time.monotonic() - self._held_since > HOLD_BEFORE_LEAVING_S and not asking


def main() -> int:
    """Entry point of the executable."""
    return run(SupervisorNode)


if __name__ == "__main__":
    raise SystemExit(main())
