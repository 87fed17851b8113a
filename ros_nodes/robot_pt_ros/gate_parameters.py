"""The supervisor's parameters -> `GateLimits`. Names as robot people know them; NaN or an empty list means "the usual for this arm"."""

from __future__ import annotations

from math import isnan, nan, pi
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from robot_pt.errors import UserError
from robot_pt.gate.limits import NEVER, Box, GateLimits
from robot_pt.robots import Arm
from robot_pt_ros import realtime, topics
from robot_pt_ros.arm_model import declare_arm
from robot_pt_ros.node import flag, number, numbers, text, texts

_NUMBERS = {
    "control_rate_hz": ("control_hz", "Targets per second that step limits belong to [Hz]."),
    "tick_rate_hz": ("tick_hz", "How often the gate decides [Hz]."),
    "max_step_translation_m": ("max_step_m", "Longest translation of one control step [m]."),
    "max_step_rotation_rad": ("max_step_rad", "Largest rotation of one control step [rad]."),
    "joint_margin_rad": ("joint_margin_rad", "How far inside its limits every joint stays [rad]."),
    "max_joint_velocity": ("max_joint_velocity_rad_s", "Fastest any joint is commanded [rad/s]."),
    "max_tracking_error_rad": (
        "max_tracking_error_rad",
        "Largest distance of a measured joint from its command [rad].",
    ),
    "max_command_age_s": ("max_command_age_s", "Oldest target that is followed [s]."),
    "max_obs_age_s": ("max_observation_age_s", "Oldest observation a policy may decide on [s]."),
    "frozen_image_s": (
        "frozen_image_s",
        "A camera that repeats one picture for longer is frozen [s]; .inf = unchecked.",
    ),
    "frozen_motion_rad": ("frozen_motion_rad", "... if a joint moved by more meanwhile [rad]."),
    "deadman_timeout_s": ("deadman_timeout_s", "A deadman heartbeat older than this is a release [s]."),
    "estop_timeout_s": ("estop_timeout_s", "A heartbeat of the e-stop older than this is silence [s]."),
    "ramp_in_s": ("ramp_in_s", "Time from a start to full speed [s]."),
    "jitter_warn_s": ("jitter_warn_s", "A tick that comes later than this is counted [s]."),
    "jitter_fault_s": (
        "jitter_fault_s",
        "A tick that comes later than this is a fault [s]; .inf = off, not on hardware.",
    ),
}
_ROTATIONS = {
    "reference_rpy": ("reference_rpy", "Tool rotation from which the walls of rotation count, R = Rz Ry Rx [rad]."),
    "rotation_min": ("rotation_low", "Lowest rotation vector of the tool from the reference, base axes [rad]."),
    "rotation_max": ("rotation_high", "Highest rotation vector of the tool from the reference, base axes [rad]."),
}
_IK_FAILURES = {"hold": 10, "reject": NEVER, "fault": 1}
"""What to do where no joints reach a target -> how many in a row are a fault. The last good joints are held in any case."""
_TIMEOUTS = ("hold",)
"""What to do when commands stop. A stop that slows down would end later than the times a hold is asked to keep, and an arm without
torque falls: that is arm/torque, in the sleep pose."""


def declare(node: Node) -> None:
    """Declare every parameter of the supervisor, read-only after the start."""
    fixed = lambda words: ParameterDescriptor(description=words, read_only=True)  # noqa: E731
    declare_arm(node)
    realtime.declare(node)
    node.declare_parameter("frame_id", "base_link", fixed("Frame of all poses: the arm's base."))
    node.declare_parameter("hardware", False, fixed("A real arm: nothing that protects it may be left out."))
    node.declare_parameter(
        "allow_domain_0", False, fixed("Drive hardware on DDS domain 0, where everybody's ROS talks.")
    )
    node.declare_parameter("lockstep", False, fixed("Simulation that waits for commands; needs use_sim_time."))
    node.declare_parameter("require_deadman", False, fixed("A policy moves only while a hold-to-run device is held."))
    node.declare_parameter("estop_topic", topics.ESTOP, fixed("Where True is an e-stop, besides safety/estop."))
    node.declare_parameter(
        "require_estop_heartbeat", False, fixed("Silence on estop_topic is an e-stop, and nothing is armed without it.")
    )
    node.declare_parameter(
        "command_timeout_s", nan, fixed("Silence that ends in hold [s]; NaN: two and a half control periods.")
    )
    node.declare_parameter("on_timeout", "hold", fixed(f"What silence ends in: {', '.join(_TIMEOUTS)}."))
    node.declare_parameter(
        "ik_fail_action", "hold",
        fixed("Where no joints reach a target, the last good ones are held, and: hold: ten in a row are a fault; reject: none is; fault: one is."),
    )  # fmt: skip
    node.declare_parameter(
        "yaw_limits", [nan, nan], fixed("Lowest and highest turn about the base's z axis from reference_rpy [rad].")
    )
    node.declare_parameter(
        "follows",
        "joints",
        fixed("joints or pose: what the arm is sent: positions, or poses for a controller that chooses the joints."),
    )
    node.declare_parameter("workspace_min", [nan] * 3, fixed("Lowest x y z of the tool [m]; required on hardware."))
    node.declare_parameter("workspace_max", [nan] * 3, fixed("Highest x y z of the tool [m]; required on hardware."))
    for name, (_, words) in _ROTATIONS.items():
        node.declare_parameter(name, [nan] * 3, fixed(words))
    node.declare_parameter(
        "effort_limit", [nan], fixed("Largest effort per joint, in the driver's unit; NaN = unchecked.")
    )
    node.declare_parameter("floor_m", nan, fixed("Elbow, wrist and fingers stay above this height [m]."))
    node.declare_parameter("cameras", [""], fixed("Cameras whose silence or frozen picture holds the policy."))
    node.declare_parameter("latch_file", "", fixed("Where e-stop and fault survive a restart; required on hardware."))
    for name, (_, words) in _NUMBERS.items():
        node.declare_parameter(name, nan, fixed(words))


def gate_limits(node: Node, arm: Arm) -> GateLimits:
    """Limits from parameters; what was not given is the usual for this arm.

    Raises UserError for a value that cannot be meant, and on hardware for a missing workspace, latch file or hold-to-run.
    """
    hardware, lockstep = flag(node, "hardware"), flag(node, "lockstep")
    if hardware and not text(node, "latch_file"):
        raise UserError("latch_file is empty; on a real arm give a path where an e-stop survives a restart.")
    given: dict[str, Any] = {
        field: number(node, name) for name, (field, _) in _NUMBERS.items() if not isnan(number(node, name))
    }
    given |= {
        field: tuple(numbers(node, name))
        for name, (field, _) in _ROTATIONS.items()
        if not all(isnan(v) for v in numbers(node, name))
    }
    given |= _yaw(node, given) | _silence(node, given) | _ik_failures(node)
    low, high = numbers(node, "workspace_min"), numbers(node, "workspace_max")
    if not all(isnan(v) for v in (*low, *high)):
        given["workspace"] = Box(tuple(low), tuple(high))  # type: ignore[arg-type]
    effort = numbers(node, "effort_limit")
    if not all(isnan(v) for v in effort):
        given["effort_limit"] = tuple(effort)
    given["follows"] = text(node, "follows")
    if not isnan(number(node, "floor_m")):
        above = Box((-4.0, -4.0, number(node, "floor_m")), (4.0, 4.0, 4.0))
        given["watch"] = dict.fromkeys(("elbow", "wrist", "left_finger", "right_finger"), above)
    return GateLimits.for_robot(
        arm, hardware=hardware, lockstep=lockstep, require_deadman=flag(node, "require_deadman") or hardware,
        cameras=tuple(texts(node, "cameras")), require_estop_heartbeat=flag(node, "require_estop_heartbeat"), **given,
    )  # fmt: skip


def _yaw(node: Node, given: dict[str, Any]) -> dict[str, Any]:
    limits = numbers(node, "yaw_limits")
    if all(isnan(v) for v in limits):
        return {}
    if len(limits) != 2:
        raise UserError(f"yaw_limits is {limits}; give two angles [rad], e.g. [-0.8, 0.8].")
    if {"rotation_low", "rotation_high"} & set(given):
        raise UserError("yaw_limits and rotation_min or rotation_max are given; give the one or the others.")
    return {"rotation_low": (-pi, -pi, limits[0]), "rotation_high": (pi, pi, limits[1])}


def _silence(node: Node, given: dict[str, Any]) -> dict[str, Any]:
    if text(node, "on_timeout") not in _TIMEOUTS:
        raise UserError(
            f"on_timeout is {text(node, 'on_timeout')!r}; give hold: torque is switched off by arm/torque alone, in the sleep pose."
        )
    timeout_s, control_hz = number(node, "command_timeout_s"), given.get("control_hz", GateLimits.control_hz)
    if isnan(timeout_s) or not control_hz > 0:
        return {}
    if not 1 <= timeout_s * control_hz <= 10:
        raise UserError(
            f"command_timeout_s is {timeout_s:g}; give 1 to 10 control periods of {1 / control_hz:g} s, 2.5 at most on a real arm."
        )
    return {"timeout_periods": timeout_s * control_hz}


def _ik_failures(node: Node) -> dict[str, Any]:
    action = text(node, "ik_fail_action")
    if action not in _IK_FAILURES:
        raise UserError(f"ik_fail_action is {action!r}; choose one of {', '.join(_IK_FAILURES)}.")
    return {"ik_failures_to_fault": _IK_FAILURES[action]}
