"""supervisor: the only node that may move the arm. Every request passes `robot_pt.gate.Gate` here; no torch in this process.

Services safety/<request> (std_srvs/Trigger): arm, disarm, start_policy, stop_policy, reset_fault, clear_estop; takeover (SetBool).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool, Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from robot_pt.commands import Source
from robot_pt.gate.gate import Gate, GateOutput
from robot_pt.gate.reasons import SENTENCES
from robot_pt.robots import load
from robot_pt_ros import topics
from robot_pt_ros.conversions import (
    command_messages,
    frame_digest,
    gripper_of,
    nanoseconds,
    pose_of,
    status_message,
)  # fmt: skip
from robot_pt_ros.gate_parameters import declare, gate_limits
from robot_pt_ros.latches import LatchFile
from robot_pt_ros.lockstep import Early
from robot_pt_ros.node import Heartbeat, configuring, text
from robot_pt_ros.processes import run

REQUESTS = ("arm", "disarm", "start_policy", "stop_policy", "reset_fault", "clear_estop")
OBSERVATIONS_KEPT = 64
HOLD_BEFORE_LEAVING_S = 0.5


class SupervisorNode(LifecycleNode):
    """Messages in, gate, commands out."""

    def __init__(self) -> None:
        super().__init__("supervisor")
        declare(self)
        self._heartbeat = Heartbeat(self)
        self._gate: Gate | None = None
        self._opening: float | None = None
        self._observed: dict[int, int] = {}  # command stamp -> observation stamp
        self._waiting: dict[int, Any] = {}  # policy poses whose observation stamp is not known yet
        self._early = Early()
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._held_since: float | None = None

    @configuring
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._arm, self._frame = load(text(self, "robot")), text(self, "frame_id")
        limits = gate_limits(self, self._arm)
        self._latches = LatchFile(Path(text(self, "latch_file")) if text(self, "latch_file") else None)
        self._gate = Gate(self._arm, limits, latches=self._latches.read())
        self._period_s, self._lockstep = 1 / limits.control_hz, limits.lockstep
        self._command = self.create_lifecycle_publisher(JointTrajectory, topics.COMMAND, topics.newest())
        self._command_pose = self.create_lifecycle_publisher(PoseStamped, topics.COMMAND_POSE, topics.newest())
        self._clipped = self.create_publisher(Float64MultiArray, topics.CLIPPED, topics.recorded(10))
        self._safety = self.create_publisher(DiagnosticStatus, topics.SAFETY_STATE, topics.latched())
        self._subscribe(limits.cameras)
        for request in REQUESTS:
            self.create_service(Trigger, f"safety/{request}", partial(self._serve, request))
        self.create_service(SetBool, "takeover", self._takeover)
        self.create_service(SetBool, "safety/estop_set", self._estop_set)
        return TransitionCallbackReturn.SUCCESS

    def _subscribe(self, cameras: tuple[str, ...]) -> None:
        listen = self.create_subscription
        listen(JointState, topics.JOINT_STATES, self._on_joints, topics.sampled())
        listen(JointState, topics.GRIPPER_STATE, self._on_opening, topics.sampled())
        listen(PoseStamped, topics.POLICY_POSE, self._on_policy_pose, topics.newest())
        listen(JointTrajectory, topics.POLICY_GRIPPER, partial(self._on_gripper, "policy"), topics.newest())
        listen(String, topics.STEP_INFO, self._on_step_info, topics.recorded())
        listen(PoseStamped, topics.TELEOP_POSE, self._on_teleop_pose, topics.newest())
        listen(JointTrajectory, topics.TELEOP_GRIPPER, partial(self._on_gripper, "teleop"), topics.newest())
        listen(Bool, topics.DEADMAN, self._on_deadman, topics.heartbeat())
        listen(Bool, topics.ESTOP, self._on_estop, topics.latched())
        for camera in cameras:
            listen(Image, topics.camera_image(camera), partial(self._on_frame, camera), topics.sampled())

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)
        tick_s = 1 / self.gate.limits.tick_hz
        self._ticks = [] if self._lockstep else [self.create_timer(tick_s, self._tick, clock=self._steady)]
        self._ticks.append(self.create_timer(0.5, self._publish_state, clock=self._steady))
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.gate.request(self._now(), "disarm")
        for timer in self._ticks:
            self.destroy_timer(timer)
        self._publish_state()
        return super().on_deactivate(state)

    @property
    def gate(self) -> Gate:
        assert self._gate is not None, "configured before it is used"
        return self._gate

    # the clocks: watchdogs run on one that nobody sets; in lock-step simulated time is the only one

    def _ros_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _now(self) -> int:
        return self._early.now_ns if self._lockstep else time.monotonic_ns()

    # inputs

    def _on_joints(self, message: Any) -> None:
        if self._opening is None and "gripper" in message.name:
            self._opening = float(message.position[list(message.name).index("gripper")])
        if self._opening is None:  # an arm whose gripper is not known yet is not known
            return
        stamp_ns = nanoseconds(message.header.stamp)
        now_ns = max(self._early.now_ns, stamp_ns) if self._lockstep else self._now()
        self.gate.on_joint_state(
            now_ns, stamp_ns, message.name, message.position, message.effort, gripper=self._opening
        )
        self._publishers_checked()
        self._early.arrived(stamp_ns)

    def _on_opening(self, message: Any) -> None:
        if list(message.name) == ["gripper"] and len(message.position) == 1:
            self._opening = float(message.position[0])

    def _on_step_info(self, message: Any) -> None:
        try:
            info = json.loads(message.data)
            stamp, observed = int(info["stamp_ns"]), int(info["observation_ns"])
        except (ValueError, KeyError, TypeError):
            self.gate.on_malformed(self._now(), "policy")
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
            self.gate.on_malformed(self._now(), source)
            return
        self._in_time(stamp_ns, lambda: self.gate.on_pose(self._now(), source, stamp_ns, pose, observation_ns))

    def _on_gripper(self, source: Source, message: Any) -> None:
        stamp_ns = nanoseconds(message.header.stamp)
        try:
            opening = gripper_of(message)
        except ValueError:
            self.gate.on_malformed(self._now(), source)
            return
        self._in_time(stamp_ns, lambda: self.gate.on_gripper(self._now(), source, stamp_ns, opening))

    def _in_time(self, stamp_ns: int, work: Callable[[], None]) -> None:
        """Lock-step: a request waits for the joint state of its time, and is decided on at once."""
        if not self._lockstep:
            work()
            return
        self._early.run(stamp_ns, work)
        self._early.run(stamp_ns, self._tick)

    def _on_deadman(self, message: Any) -> None:
        self.gate.on_deadman(self._now(), bool(message.data))

    def _on_estop(self, message: Any) -> None:
        if message.data:
            self.gate.on_estop(self._now(), True)
            self._latches.write(self.gate.state_to_json())
            self._tick()

    def _on_frame(self, camera: str, message: Any) -> None:
        digest = frame_digest(message)
        self.gate.on_frame(self._now(), camera, nanoseconds(message.header.stamp), digest)

    def _publishers_checked(self) -> None:
        for topic in (topics.COMMAND, topics.POLICY_POSE, topics.TELEOP_POSE):
            if self.count_publishers(topic) > 1:
                self.gate.on_second_publisher(self._now(), topic)

    # requests

    def _serve(self, name: str, request: Any, response: Any) -> Any:
        reply = self.gate.request(self._now(), name)
        response.success, response.message = reply.ok, reply.message
        self.get_logger().info(f"{name}: {reply.message}")
        self._latches.write(self.gate.state_to_json())
        self._tick()
        return response

    def _takeover(self, request: Any, response: Any) -> Any:
        return self._serve("takeover" if request.data else "release", request, response)

    def _estop_set(self, request: Any, response: Any) -> Any:
        if not request.data:
            return self._serve("clear_estop", request, response)
        self.gate.on_estop(self._now(), True)
        self._latches.write(self.gate.state_to_json())
        response.success, response.message = True, "the software e-stop is latched."
        self._tick()
        return response

    # outputs

    def _tick(self) -> None:
        output = self.gate.tick(self._now(), clock_ns=None if self._lockstep else self._ros_ns())
        answers = output.requested is not None or not self._lockstep  # lock-step: one command per target, no more
        if output.command is not None and answers and self._command.is_activated:
            joints, pose = command_messages(output.command, self._frame, self._arm.joint_names, self._period_s)
            self._command_pose.publish(pose)
            self._command.publish(joints)
        if output.clipped.any():
            self._clipped.publish(Float64MultiArray(data=[float(v) for v in output.clipped]))
        if output.changed:
            self._latches.write(self.gate.state_to_json())
            self._publish(output)
        self._last = output

    def _publish_state(self) -> None:
        self._publishers_checked()
        if self._lockstep:
            self._tick()
        self._publish(self._last)

    def _publish(self, output: GateOutput) -> None:
        level = DiagnosticStatus.ERROR if output.mode in ("fault", "estop") else DiagnosticStatus.OK
        values = {**output.status, "stamp_ns": self._ros_ns(), "mode": output.mode}
        text = SENTENCES[output.reasons[0]] if output.reasons else str(output.mode)
        self._safety.publish(status_message(level, "safety", text, values, self._arm.name))

    # the end: hold until nothing moves, then leave

    def leave(self) -> None:
        """Stop hearing policy and operator; the gate goes on holding for the arm to come to rest."""
        self._held_since = time.monotonic()
        if self._gate is not None:
            for name in ("stop_policy", "release"):
                self.gate.request(self._now(), name)

    def has_left(self) -> bool:
        """Half a second of hold was sent, which an arm adapter confirms by following it."""
        assert self._held_since is not None
        return self._gate is None or self._lockstep or time.monotonic() - self._held_since > HOLD_BEFORE_LEAVING_S


def main() -> int:
    """Entry point of the executable."""
    return run(SupervisorNode)


if __name__ == "__main__":
    raise SystemExit(main())
