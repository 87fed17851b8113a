"""What xs_sdk must be told before an arm may stream: profiles of about one period, modes only where the arm cannot fall.

Stock settings give every position command two seconds to be reached; streaming would lag behind by as much. Profile times are written
to the motors' memory while torque is on. A change of mode switches torque off for a moment, so it is done in the sleep pose alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, final

from rclpy.node import Node

from robot_pt.errors import MissingExtraError, UserError
from robot_pt.robots import Arm

NS = 1_000_000_000
ANSWER_S = 2.0
"""xs_sdk answers in milliseconds; a request without an answer for so long is asked again."""
LIMIT_RAD = 0.03
"""Difference of joint limits between the driver's description and ours that rounding explains."""


@dataclass(frozen=True, kw_only=True)
class XsSettings:
    """Names and numbers of one X-series arm. Raises UserError where they cannot be meant."""

    group: str = "arm"
    gripper: str = "gripper"
    gripper_mode: str = "pwm"
    """pwm: a loop of our own; linear_position: the motor's."""
    profile_velocity_ms: int = 60
    profile_acceleration_ms: int = 24
    max_current_ma: float = 0.0
    """A joint that draws more is a fault [mA]; 0: not checked."""

    def __post_init__(self) -> None:
        if self.gripper_mode not in ("pwm", "linear_position"):
            raise UserError(f"gripper_mode is {self.gripper_mode!r}; choose pwm or linear_position.")
        if not 0 <= self.profile_acceleration_ms <= self.profile_velocity_ms / 2 or self.profile_velocity_ms > 1000:
            raise UserError(
                f"profiles are {self.profile_velocity_ms} and {self.profile_acceleration_ms} ms; give at most 1000, and acceleration "
                "at most half of it."
            )


def load_interfaces() -> Any:
    """(messages, services) of interbotix_xs_msgs; raises MissingExtraError where it is not installed."""
    try:
        return import_module("interbotix_xs_msgs.msg"), import_module("interbotix_xs_msgs.srv")
    except ImportError as error:
        raise MissingExtraError(
            "interbotix_xs_msgs",
            "",
            "driver:=xs_sdk (install Interbotix's X-series packages and source their workspace)",
        ) from error


@final
class Asking:
    """One service call at a time, without waiting for it."""

    def __init__(self, client: Any):
        self._client, self._future, self._asked_ns = client, None, 0
        self.lost = 0

    def ask(self, now_ns: int, request: Any) -> Any | None:
        """The answer when it is there, else None; call it again with the same request until then."""
        if self._future is not None and self._future.done():
            future, self._future = self._future, None
            if future.exception() is None:
                self.lost = 0
                return future.result()
        if self._future is not None and now_ns - self._asked_ns > ANSWER_S * NS:
            self._client.remove_pending_request(self._future)
            self._future, self.lost = None, self.lost + 1
        if self._future is None and self._client.service_is_ready():
            self._future, self._asked_ns = self._client.call_async(request), now_ns
        elif self._future is None and now_ns - self._asked_ns > ANSWER_S * NS:
            self._asked_ns, self.lost = now_ns, self.lost + 1
        return None


@final
class SetUp:
    """Brings arm and gripper into the state commands need, step by step; `trouble` says what is missing until then."""

    def __init__(self, node: Node, arm: Arm, settings: XsSettings, base: str, in_sleep_pose: Callable[[], bool]):
        self._arm, self._settings, self._srv, self._in_sleep_pose = arm, settings, load_interfaces()[1], in_sleep_pose
        services = {"info": "get_robot_info", "modes": "set_operating_modes", "registers": "set_motor_registers"}
        types = {"info": self._srv.RobotInfo, "modes": self._srv.OperatingModes, "registers": self._srv.RegisterValues}
        self._ask = {key: Asking(node.create_client(types[key], base + name)) for key, name in services.items()}
        self._steps = [self._arm_info, self._arm_velocity, self._arm_acceleration, self._gripper_info]
        self.trouble = f"xs_sdk has not answered on {base}get_robot_info; start interbotix_xsarm_control."

    @property
    def done(self) -> bool:
        return not self._steps

    def again(self) -> None:
        """Start over: motors were rebooted or switched off and on."""
        self._steps = [self._arm_info, self._arm_velocity, self._arm_acceleration, self._gripper_info]

    def poll(self, now_ns: int) -> None:
        """Go on with the next step."""
        if self._steps and self._steps[0](now_ns):
            self._steps.pop(0)
            self.trouble = "" if not self._steps else "xs_sdk is being set up."

    def _arm_info(self, now_ns: int) -> bool:
        s = self._settings
        info = self._ask["info"].ask(now_ns, self._srv.RobotInfo.Request(cmd_type="group", name=s.group))
        if info is None:
            return False
        self.trouble = _difference(self._arm, info)
        if self.trouble:
            return False
        if info.mode == "position" and info.profile_type == "time":
            return True
        return self._change_mode(now_ns, "group", s.group, "position", f"{info.mode} with {info.profile_type} profile")

    def _gripper_info(self, now_ns: int) -> bool:
        s = self._settings
        info = self._ask["info"].ask(now_ns, self._srv.RobotInfo.Request(cmd_type="single", name=s.gripper))
        if info is None:
            return False
        return info.mode == s.gripper_mode or self._change_mode(now_ns, "single", s.gripper, s.gripper_mode, info.mode)

    def _change_mode(self, now_ns: int, kind: str, name: str, mode: str, found: str) -> bool:
        """False: the next look at the info shows whether it was changed."""
        s = self._settings
        if not self._in_sleep_pose():
            self.trouble = (
                f"{name} is in mode {found!r} and needs {mode!r}, which switches its torque off for a moment; move the arm to its sleep "
                "pose (interbotix's own tools can), or set the mode in xs_sdk's modes.yaml."
            )
            return False
        self._ask["modes"].ask(
            now_ns,
            self._srv.OperatingModes.Request(
                cmd_type=kind, name=name, mode=mode, profile_type="time",
                profile_velocity=s.profile_velocity_ms, profile_acceleration=s.profile_acceleration_ms,
            ),
        )  # fmt: skip
        self.trouble = f"{name} is being brought to mode {mode!r}."
        return False

    def _arm_velocity(self, now_ns: int) -> bool:
        return self._write(now_ns, "Profile_Velocity", self._settings.profile_velocity_ms)

    def _arm_acceleration(self, now_ns: int) -> bool:
        return self._write(now_ns, "Profile_Acceleration", self._settings.profile_acceleration_ms)

    def _write(self, now_ns: int, register: str, value: int) -> bool:
        request = self._srv.RegisterValues.Request(
            cmd_type="group", name=self._settings.group, reg=register, value=value
        )
        return self._ask["registers"].ask(now_ns, request) is not None


def _difference(arm: Arm, info: Any) -> str:
    """Why the driver's arm is not ours."""
    names: Sequence[str] = list(info.joint_names)
    if names != list(arm.joint_names):
        return f"xs_sdk drives joints {names}, the model {arm.name} has {list(arm.joint_names)}; start the right one."
    for name, low, high, mine_low, mine_high in zip(
        names, info.joint_lower_limits, info.joint_upper_limits, arm.lower_rad, arm.upper_rad, strict=False
    ):
        if mine_low < low - LIMIT_RAD or mine_high > high + LIMIT_RAD:
            return f"xs_sdk limits {name} to {low:.2f}..{high:.2f} rad, {arm.name} to {mine_low:.2f}..{mine_high:.2f}; start the right one."
    return ""
