"""supervisor: the only node that may move the arm. Every request passes `robot_pt.gate.Gate` here; no torch in this process.

Services safety/<request> (std_srvs/Trigger): arm, disarm, start_policy, stop_policy, reset_fault, clear_estop; takeover (SetBool).
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from robot_pt.gate.gate import Gate, GateOutput
from robot_pt.gate.reasons import SENTENCES
from robot_pt.robots import load
from robot_pt_ros import topics
from robot_pt_ros.conversions import GRIPPER, status_message
from robot_pt_ros.domain import require_own_domain
from robot_pt_ros.gate_parameters import declare, gate_limits
from robot_pt_ros.latches import LatchFile
from robot_pt_ros.node import Heartbeat, configuring, flag, text, unmake
from robot_pt_ros.prepared import PreparedPose, PreparedTrajectory
from robot_pt_ros.processes import run
from robot_pt_ros.supervisor_inputs import GateInputs

REQUESTS = ("arm", "disarm", "start_policy", "stop_policy", "reset_fault", "clear_estop")
HOLD_BEFORE_LEAVING_S = 0.5


class SupervisorNode(LifecycleNode):
    """Messages in, gate, commands out."""

    def __init__(self) -> None:
        super().__init__("supervisor")
        declare(self)
        self._heartbeat = Heartbeat(self)
        self._gate: Gate | None = None
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._held_since: float | None = None

    @configuring
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._arm, self._frame = load(text(self, "robot")), text(self, "frame_id")
        limits = gate_limits(self, self._arm)
        if limits.hardware:
            require_own_domain(self, flag(self, "allow_domain_0"))
        self._latches = LatchFile(Path(text(self, "latch_file")) if text(self, "latch_file") else None)
        self._gate = Gate(self._arm, limits, latches=self._latches.read())
        self._lockstep = limits.lockstep
        self._pose_bytes = PreparedPose(self._frame)
        self._joint_bytes = PreparedTrajectory(self._frame, [*self._arm.joint_names, GRIPPER], 1 / limits.control_hz)
        self._command = self.create_lifecycle_publisher(JointTrajectory, topics.COMMAND, topics.newest())
        self._command_pose = self.create_lifecycle_publisher(PoseStamped, topics.COMMAND_POSE, topics.newest())
        self._clipped = self.create_publisher(Float64MultiArray, topics.CLIPPED, topics.recorded(10))
        self._safety = self.create_publisher(DiagnosticStatus, topics.SAFETY_STATE, topics.latched())
        self._applied = self.create_publisher(PoseStamped, topics.APPLIED, topics.newest())
        self._inputs = GateInputs(self, self._gate, frame=self._frame, decide=self._tick)
        for request in REQUESTS:
            self.create_service(Trigger, f"safety/{request}", partial(self._serve, request))
        self.create_service(SetBool, "takeover", self._takeover)
        self.create_service(SetBool, "safety/estop_set", self._estop_set)
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)
        tick_s = 1 / self.gate.limits.tick_hz
        self._ticks = [] if self._lockstep else [self.create_timer(tick_s, self._tick, clock=self._steady)]
        self._ticks.append(self.create_timer(0.5, self._publish_state, clock=self._steady))
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.gate.request(self._inputs.now_ns(), "disarm")
        for timer in self._ticks:
            self.destroy_timer(timer)
        self._tick()  # what is said last is that it is disarmed
        self._publish_state()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return unmake(self)

    @property
    def gate(self) -> Gate:
        assert self._gate is not None, "configured before it is used"
        return self._gate

    # requests

    def _serve(self, name: str, request: Any, response: Any) -> Any:
        reply = self.gate.request(self._inputs.now_ns(), name)
        response.success, response.message = reply.ok, reply.message
        self.get_logger().info(f"{name}: {reply.message}")
        self._keep_latches()
        self._tick()
        return response

    def _takeover(self, request: Any, response: Any) -> Any:
        return self._serve("takeover" if request.data else "release", request, response)

    def _estop_set(self, request: Any, response: Any) -> Any:
        if not request.data:
            return self._serve("clear_estop", request, response)
        self.gate.on_estop(self._inputs.now_ns(), True)
        self._keep_latches()
        response.success, response.message = True, "the software e-stop is latched."
        self._tick()
        return response

    def _keep_latches(self) -> None:
        complaint = self._latches.write(self.gate.state_to_json())
        if complaint:
            self.get_logger().error(complaint, throttle_duration_sec=5.0)

    # outputs

    def _tick(self) -> None:
        ros_ns = None if self._lockstep else int(self.get_clock().now().nanoseconds)
        output = self.gate.tick(self._inputs.now_ns(), clock_ns=ros_ns)
        answers = output.requested is not None or not self._lockstep  # lock-step: one command per target, no more
        if output.command is not None and answers and self._command.is_activated:
            stamp_ns, q, gripper, T_base_tool = output.command
            self._command_pose.publish(self._pose_bytes.at(stamp_ns, T_base_tool))
            self._command.publish(self._joint_bytes.at(stamp_ns, [*q.tolist(), gripper]))
        if output.applied is not None:
            self._applied.publish(self._pose_bytes.at(output.applied.stamp_ns, output.applied.T_base_tool))
        if output.requested is not None and any(output.clipped.tolist()):
            self._clipped.publish(Float64MultiArray(data=output.clipped.tolist()))
        if output.changed:
            self._keep_latches()
            self._publish(output)
        self._last = output

    def _publish_state(self) -> None:
        self._inputs.check_publishers()
        self._keep_latches()  # again, where the disk was full
        if self._lockstep:
            self._tick()
        self._publish(self._last)

    def _publish(self, output: GateOutput) -> None:
        level = DiagnosticStatus.ERROR if output.mode in ("fault", "estop") else DiagnosticStatus.OK
        values = {**self.gate.status(), "stamp_ns": int(self.get_clock().now().nanoseconds), "mode": output.mode}
        text = SENTENCES[output.reasons[0]] if output.reasons else str(output.mode)
        self._safety.publish(status_message(level, "safety", text, values, self._arm.name))

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
