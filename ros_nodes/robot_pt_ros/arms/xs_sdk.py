"""Interbotix X-series arms (WidowX-250s) through xs_sdk, which checks no limits and has no timeout: robot_pt.arm_guard does."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from rclpy.node import Node

from robot_pt.commands import Answer, Float64, JointCommand
from robot_pt.gripper_loop import GripperLoop
from robot_pt.joint_motion import ARRIVED_RAD
from robot_pt.robots import Arm
from robot_pt_ros import topics
from robot_pt_ros.arms.outputs import Wiring
from robot_pt_ros.arms.states import GripperScale
from robot_pt_ros.arms.xs_set_up import Asking, SetUp, XsSettings, load_interfaces

NS = 1_000_000_000
POLL_NS = NS
"""Between two looks at the motors' error registers."""
MISSING_REPLIES = 3


@final
class XsDriver:
    """Positions to the group, PWM or a distance to the gripper; once a second it asks every motor for its hardware error.

    Motors report current in mA: it is shown and may be limited, and is never handed on as an effort in N m.
    """

    def __init__(self, node: Node, arm: Arm, settings: XsSettings, base: str, gripper: GripperScale, loop: GripperLoop):
        """`base`: namespace of xs_sdk with its slash. Raises MissingExtraError without interbotix_xs_msgs."""
        self._msg, self._srv = load_interfaces()
        self._arm, self._settings, self._scale, self._loop = arm, settings, gripper, loop
        make = node.create_publisher
        self._group = make(self._msg.JointGroupCommand, base + "commands/joint_group", topics.newest())
        self._single = make(self._msg.JointSingleCommand, base + "commands/joint_single", topics.newest())
        self._wiring = Wiring(node, [self._group.topic_name, self._single.topic_name])
        self._set_up = SetUp(node, arm, settings, base, self._in_sleep_pose)
        self._errors = Asking(node.create_client(self._srv.RegisterValues, base + "get_motor_registers"))
        self._torque = node.create_client(self._srv.TorqueEnable, base + "torque_enable")
        self._torque_on = True
        self._fault, self._next_poll_ns, self._polling = "", 0, False
        self._q: Float64 | None = None
        self._opening: float | None = None
        self._opening_sent: float | None = None
        self._pwm, self._current_ma = 0.0, np.zeros(len(arm.joint_names))

    def state(self, q: Float64, opening: float | None, current_ma: Float64 | None) -> None:
        """What the motors say, for the sleep pose, the gripper's loop and the current limit."""
        self._q = q
        self._opening = self._opening if opening is None else opening
        if current_ma is not None and np.isfinite(current_ma).all():
            self._current_ma = np.abs(current_ma)

    def poll(self, now_ns: int) -> None:
        self._wiring.poll(now_ns)
        self._set_up.poll(now_ns)
        if self._set_up.done:
            self._poll_errors(now_ns)
            self._move_gripper(now_ns)

    def trouble(self) -> str:
        if not self._torque_on:
            return "torque is off; call arm/torque with true."
        return self._set_up.trouble or self._wiring.trouble

    def fault(self) -> str:
        most = self._settings.max_current_ma
        if most and (self._current_ma > most).any():
            joint = self._arm.joint_names[int(self._current_ma.argmax())]
            return f"{joint} draws {self._current_ma.max():.0f} mA, more than max_current_ma {most:g}."
        return self._fault

    def send(self, command: JointCommand) -> None:
        self._group.publish(self._msg.JointGroupCommand(name=self._settings.group, cmd=[float(v) for v in command.q]))
        self._loop.aim(command.gripper)

    def hold(self) -> None:
        """Position servos keep their goal; the gripper's loop goes on with its own."""

    def farewell(self) -> None:
        """The gripper's motor must not be left pushing in the open; what it grasps it keeps."""
        if self._settings.gripper_mode == "pwm" and self._pwm:
            opening = self._opening if self._opening is not None else 0.0
            kept = (
                -self._loop.settings.grasp_pwm if self._loop.target is not None and self._loop.target < opening else 0.0
            )
            self._tell_gripper(kept)

    def torque(self, on: bool) -> Answer:
        if not self._torque.service_is_ready():
            return Answer(False, "xs_sdk offers no torque_enable; start interbotix_xsarm_control.")
        request = self._srv.TorqueEnable.Request(cmd_type="group", name="all", enable=on)
        self._torque.call_async(request)
        self._torque_on = on
        if on:
            self._set_up.again()
            self._set_up.trouble = "xs_sdk is being set up."
        return Answer(True, f"torque is switched {'on' if on else 'off; hold the arm before you call it again'}.")

    def values(self) -> dict[str, Any]:
        current = {
            f"current_ma/{n}": round(float(v)) for n, v in zip(self._arm.joint_names, self._current_ma, strict=True)
        }
        return {"driver": "xs_sdk", "gripper_pwm": round(self._pwm), "torque": self._torque_on, **current}

    def _in_sleep_pose(self) -> bool:
        return self._q is not None and float(np.abs(self._q - self._arm.sleep_rad).max()) <= ARRIVED_RAD

    def _poll_errors(self, now_ns: int) -> None:
        """Ask, wait without blocking, and look again a second later; a motor in error stays a fault until it reports none."""
        if not self._polling and now_ns < self._next_poll_ns:
            return
        self._polling = True
        request = self._srv.RegisterValues.Request(cmd_type="group", name="all", reg="Hardware_Error_Status")
        answer = self._errors.ask(now_ns, request)
        if answer is None:
            if self._errors.lost >= MISSING_REPLIES:
                self._fault = "xs_sdk does not answer get_motor_registers; it or the motors' bus hangs."
            return
        self._polling, self._next_poll_ns = False, now_ns + POLL_NS
        self._fault = _errors_in([*self._arm.joint_names, self._settings.gripper], list(answer.values))

    def _move_gripper(self, now_ns: int) -> None:
        target = self._loop.target
        if self._opening is None or target is None or not self._torque_on:
            return
        if self._settings.gripper_mode == "pwm":
            pwm = 0.0 if self._fault else self._loop.step(now_ns, self._opening)
            if pwm != self._pwm or pwm:
                self._tell_gripper(pwm)
        elif target != self._opening_sent:
            self._opening_sent = target
            self._publish_gripper(
                2 * self._scale.position(target)
            )  # linear_position is the distance between both fingers

    def _tell_gripper(self, pwm: float) -> None:
        self._pwm = float(np.clip(pwm, -self._loop.settings.max_pwm, self._loop.settings.max_pwm))
        self._publish_gripper(self._pwm)

    def _publish_gripper(self, value: float) -> None:
        self._single.publish(self._msg.JointSingleCommand(name=self._settings.gripper, cmd=value))


_ERRORS = {1: "input voltage", 4: "overheating", 8: "motor encoder", 16: "electrical shock", 32: "overload"}
"""Bits of Hardware_Error_Status, from the DYNAMIXEL X series' control table."""


def _errors_in(names: list[str], values: list[int]) -> str:
    """One sentence on the motors in error; "" where none is. A simulated driver gives no values."""
    found = []
    for at, value in enumerate(values):
        if value:
            words = [word for bit, word in _ERRORS.items() if int(value) & bit] or [f"status {value}"]
            found.append(f"{names[at] if at < len(names) else f'motor {at + 1}'}: {' and '.join(words)}")
    return f"hardware error in {', '.join(found)}; support the arm, then reboot that motor." if found else ""
