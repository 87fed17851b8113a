"""The arm node's parameters -> guard, adapter settings, state reader and driver."""

from __future__ import annotations

from math import isfinite, isnan, nan
from typing import Any, NamedTuple

import numpy as np
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from robot_pt.arm_adapter import AdapterSettings, Driver
from robot_pt.arm_guard import GuardSettings
from robot_pt.commands import Float64
from robot_pt.errors import UserError
from robot_pt.gripper_loop import GripperLoop, GripperLoopSettings
from robot_pt.robots import Arm
from robot_pt.rotations import rpy_to_matrix
from robot_pt_ros import realtime, topics
from robot_pt_ros.arm_model import declare_arm
from robot_pt_ros.arms.crisp import CrispDriver
from robot_pt_ros.arms.outputs import positions_output
from robot_pt_ros.arms.ros2_control import GripperOutput, Ros2ControlDriver
from robot_pt_ros.arms.states import GripperScale, StateReader, joint_map_of
from robot_pt_ros.arms.xs_sdk import XsDriver
from robot_pt_ros.arms.xs_set_up import XsSettings
from robot_pt_ros.node import number, numbers, text, texts

DRIVERS = ("ros2_control", "xs_sdk", "crisp")
_DEFAULT_RATE_HZ = {"ros2_control": 50.0, "xs_sdk": 25.0, "crisp": 50.0}
_TEXTS = {
    "frame_id": ("base_link", "Frame of all poses: the arm's base."),
    "driver": ("", "ros2_control, xs_sdk or crisp."),
    "supervisor": ("supervisor", "Name of the only node whose commands are followed."),
    "driver_namespace": ("/", "Where the driver's topics and services are."),
    "driver_joint_states": ("joint_states", "The driver's JointState topic, in its namespace."),
    "gripper_joint_states": ("", "JointState topic of the gripper, where it has one of its own."),
    "arm_output": ("trajectory", "ros2_control: trajectory or array."),
    "arm_topic": ("", "The arm controller's topic; empty: the usual one."),
    "gripper_output": ("none", "trajectory, array or none."),
    "gripper_topic": ("gripper_controller/joint_trajectory", "The gripper controller's topic."),
    "gripper_joint": ("", "The gripper's joint as the driver calls it; empty: it has none."),
    "driver_frame": ("base", "crisp: frame of target_pose."),
    "effort_unit": ("none", "Unit of the driver's efforts: Nm is handed on; mA and none are not."),
    "xs_group": ("arm", "xs_sdk: group of the arm's joints."),
    "gripper_mode": ("pwm", "xs_sdk: pwm or linear_position."),
}
_NUMBERS = {
    "command_rate_hz": (0.0, "How often commands are passed on [Hz]; 0: the usual for this driver."),
    "command_timeout_s": (0.25, "Silence of the supervisor that ends in hold [s]."),
    "max_command_age_s": (0.3, "Oldest command that is followed [s]."),
    "joint_state_timeout_s": (0.5, "Silence of the driver that ends in hold [s]."),
    "max_jump_rad": (0.5, "Largest distance of a commanded joint from the measured one [rad]."),
    "reset_speed_rad_s": (0.4, "Fastest joint on the way to home or sleep [rad/s]."),
    "max_tracking_error_rad": (0.35, "On that way, distance from the command that stops it [rad]."),
    "floor_m": (nan, "Height that nothing dips below on that way [m], base frame; NaN: 0."),
    "gripper_closed": (nan, "Position of the gripper's joint when closed; NaN: the model's finger."),
    "gripper_open": (nan, "Position of the gripper's joint when open; NaN: the model's finger."),
    "max_gripper_pwm": (350.0, "xs_sdk: strongest push of the gripper."),
    "grasp_pwm": (180.0, "xs_sdk: push kept on what is grasped."),
    "profile_velocity_ms": (nan, "xs_sdk: time of a motor's profile [ms]; NaN: 1.5 periods of command_rate_hz."),
    "max_current_ma": (0.0, "xs_sdk: a joint that draws more is a fault [mA]; 0: not checked."),
}


def declare(node: Node) -> None:
    """Declare every parameter of the arm node, read-only after the start."""
    declare_arm(node)
    realtime.declare(node)
    for name, (default, words) in {**_TEXTS, **_NUMBERS}.items():
        node.declare_parameter(name, default, ParameterDescriptor(description=words, read_only=True))
    fixed = lambda words: ParameterDescriptor(description=words, read_only=True)  # noqa: E731
    node.declare_parameter("allow_domain_0", False, fixed("Drive an arm on DDS domain 0, where everybody talks."))
    for name in ("joint_lower", "joint_upper"):
        node.declare_parameter(name, [nan], fixed("Narrower joint limits than the model's [rad]; [NaN]: the model's."))
    node.declare_parameter("joint_map", [""], fixed("DRIVER=MODEL joint names, e.g. fr3_joint1=joint1."))
    node.declare_parameter(
        "controller_joints", [""], fixed("Model's joints in the controller's order; empty: the same.")
    )
    node.declare_parameter("ee_offset_xyz", [0.0] * 3, fixed("crisp: its end effector in the model's tool [m]."))
    node.declare_parameter("ee_offset_rpy", [0.0] * 3, fixed("crisp: its end effector in the model's tool [rad]."))


class DriverTopics(NamedTuple):
    """Full names of what the driver publishes."""

    joint_states: str
    gripper_states: str
    """"" where the gripper is among the joint states."""


def base_of(node: Node) -> str:
    """The driver's namespace with a slash at its end."""
    return text(node, "driver_namespace").rstrip("/") + "/"


def driver_topics(node: Node) -> DriverTopics:
    """Raises UserError where the driver would publish on the graph's own joint_states: its gripper and efforts mean something else."""
    states = node.resolve_topic_name(base_of(node) + text(node, "driver_joint_states"))
    if states == node.resolve_topic_name(topics.JOINT_STATES):
        raise UserError(
            f"the driver publishes {states}, which is the graph's own topic; launch the graph in another namespace "
            "(namespace:=...), or the driver in another (driver_namespace)."
        )
    gripper = text(node, "gripper_joint_states")
    return DriverTopics(states, node.resolve_topic_name(base_of(node) + gripper) if gripper else "")


def rate_hz(node: Node) -> float:
    """Raises UserError for a driver there is not, or a rate that cannot be meant."""
    driver = text(node, "driver")
    if driver not in DRIVERS:
        raise UserError(f"driver is {driver!r}; choose from {', '.join(DRIVERS)}.")
    rate = number(node, "command_rate_hz") or _DEFAULT_RATE_HZ[driver]
    if not 5 <= rate <= 500:
        raise UserError(f"command_rate_hz is {rate:g}; give 5 to 500, or 0 for the usual.")
    return rate


class NarrowedArm(NamedTuple):
    """The model's limits, narrowed by the place's."""

    lower_rad: Float64
    upper_rad: Float64
    max_velocity_rad_s: Float64


def narrowed(node: Node, arm: Arm) -> NarrowedArm:
    """What the guard holds the arm to. Raises UserError for limits that are wider than the model's or leave no room."""
    given = [numbers(node, name) for name in ("joint_lower", "joint_upper")]
    low, high = (
        usual if len(values) == 1 and isnan(values[0]) else np.asarray(values)
        for values, usual in zip(given, (arm.lower_rad, arm.upper_rad), strict=True)
    )
    fits = low.shape == high.shape == arm.lower_rad.shape
    if not fits or not ((low >= arm.lower_rad) & (low < high) & (high <= arm.upper_rad)).all():
        raise UserError(
            f"joint_lower is {given[0]} and joint_upper {given[1]}; give one number per joint inside the model's "
            f"{arm.lower_rad.tolist()} to {arm.upper_rad.tolist()}."
        )
    return NarrowedArm(low, high, arm.max_velocity_rad_s)


def guard_settings(node: Node) -> GuardSettings:
    """Raises UserError for a number that cannot be meant."""
    return GuardSettings(
        timeout_s=number(node, "command_timeout_s"),
        max_age_s=number(node, "max_command_age_s"),
        state_timeout_s=number(node, "joint_state_timeout_s"),
        max_jump_rad=number(node, "max_jump_rad"),
    )


def adapter_settings(node: Node) -> AdapterSettings:
    """Raises UserError for a number that cannot be meant."""
    floor = number(node, "floor_m")
    return AdapterSettings(
        reset_speed_rad_s=number(node, "reset_speed_rad_s"),
        max_tracking_error_rad=number(node, "max_tracking_error_rad"),
        floor_m=0.0 if isnan(floor) else floor,
    )


def state_reader(node: Node, arm: Arm) -> StateReader:
    """Raises UserError for a joint or unit that is not known."""
    if text(node, "effort_unit") not in ("Nm", "mA", "none"):
        raise UserError(f"effort_unit is {text(node, 'effort_unit')!r}; choose Nm, mA or none.")
    return StateReader(
        arm.joint_names, joint_map_of(texts(node, "joint_map"), arm.joint_names), gripper_scale(node, arm)
    )


def gripper_scale(node: Node, arm: Arm) -> GripperScale:
    """The gripper's joint and travel; the model's where not given."""
    closed, opened = (
        number(node, name) if isfinite(number(node, name)) else usual
        for name, usual in zip(("gripper_closed", "gripper_open"), arm.finger_range_m, strict=True)
    )
    return GripperScale(text(node, "gripper_joint"), closed, opened)


def make_driver(node: Node, arm: Arm) -> Driver:
    """The driver named by `driver`, with its publishers and clients. Raises UserError and its kinds in one sentence."""
    kind, rate = text(node, "driver"), rate_hz(node)
    if kind == "xs_sdk":
        return _xs_driver(node, arm, rate)
    base, scale = base_of(node), gripper_scale(node, arm)
    gripper = _gripper_output(node, base, scale, 1 / rate)
    if kind == "crisp":
        topic = base + (text(node, "arm_topic") or "target_pose")
        return CrispDriver(node, topic, text(node, "driver_frame"), _offset(node), gripper)
    mine = texts(node, "controller_joints") or list(arm.joint_names)
    if sorted(mine) != sorted(arm.joint_names):
        raise UserError(f"controller_joints are {mine}; give each of {list(arm.joint_names)} once.")
    names = joint_map_of(texts(node, "joint_map"), arm.joint_names)
    output = text(node, "arm_output")
    usual = {"trajectory": "joint_trajectory_controller/joint_trajectory"}.get(
        output, "forward_command_controller/commands"
    )
    topic = base + (text(node, "arm_topic") or usual)
    controlled = positions_output(output, node, topic, [names.get(n, n) for n in mine], 1 / rate)
    return Ros2ControlDriver(node, controlled, [list(arm.joint_names).index(n) for n in mine], gripper)


def _gripper_output(node: Node, base: str, scale: GripperScale, period_s: float) -> GripperOutput:
    kind = text(node, "gripper_output")
    if kind == "none":
        return GripperOutput(None, scale)
    if not scale.joint:
        raise UserError(
            "gripper_output is set but gripper_joint is empty; name the gripper's joint as the driver does."
        )
    output: Any = positions_output(kind, node, base + text(node, "gripper_topic"), [scale.joint], max(period_s, 0.2))
    return GripperOutput(output, scale)


def _xs_driver(node: Node, arm: Arm, rate: float) -> XsDriver:
    given = number(node, "profile_velocity_ms")
    profile_ms = round(1500 / rate if isnan(given) else given)
    settings = XsSettings(
        group=text(node, "xs_group"),
        gripper_mode=text(node, "gripper_mode"),
        profile_velocity_ms=profile_ms,
        profile_acceleration_ms=int(0.4 * profile_ms),
        max_current_ma=number(node, "max_current_ma"),
    )
    loop = GripperLoop(
        GripperLoopSettings(max_pwm=number(node, "max_gripper_pwm"), grasp_pwm=number(node, "grasp_pwm"))
    )
    return XsDriver(node, arm, settings, base_of(node), gripper_scale(node, arm), loop)


def _offset(node: Node) -> Float64:
    T = np.eye(4)
    xyz, rpy = numbers(node, "ee_offset_xyz"), numbers(node, "ee_offset_rpy")
    if len(xyz) != 3 or len(rpy) != 3 or not np.isfinite([*xyz, *rpy]).all():
        raise UserError(f"ee_offset_xyz is {xyz} and ee_offset_rpy {rpy}; give three finite numbers each.")
    T[:3, :3], T[:3, 3] = rpy_to_matrix(rpy), xyz
    return T
