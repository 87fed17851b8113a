"""The teleoperation node's parameters."""

from __future__ import annotations

from dataclasses import fields

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from robot_pt.teleop import TeleopSettings
from robot_pt_ros.arm_model import declare_arm
from robot_pt_ros.node import number
from robot_pt_ros.teleop_devices import DEVICES


def declare(node: Node) -> None:
    """Declare every parameter of the teleoperation node, read-only after the start."""
    fixed = lambda words, **more: ParameterDescriptor(description=words, read_only=True, **more)  # noqa: E731
    rate = [FloatingPointRange(from_value=10.0, to_value=200.0, step=0.0)]
    port = [IntegerRange(to_value=65535, step=1)]
    node.declare_parameter("device", "keyboard", fixed(f"One of {', '.join(DEVICES)}."))
    declare_arm(node)
    node.declare_parameter("frame_id", "base_link", fixed("Frame of all poses: the arm's base."))
    node.declare_parameter("rate_hz", 20.0, fixed("Of targets [Hz].", floating_point_range=rate))
    node.declare_parameter("heartbeat_hz", 50.0, fixed("Of the deadman [Hz].", floating_point_range=rate))
    node.declare_parameter("gamepad_layout", "game_controller", fixed("game_controller or xbox."))
    node.declare_parameter(
        "policy_on_arm", False, fixed("A policy moves a real arm here: the device must be hold-to-run.")
    )
    node.declare_parameter("window", False, fixed("Show the cameras on a page of this machine."))
    node.declare_parameter("window_port", 8088, fixed("Of that page; 0 takes any.", integer_range=port))
    for field in fields(TeleopSettings):
        node.declare_parameter(field.name, float(field.default), fixed("See robot_pt.teleop.TeleopSettings."))  # type: ignore[arg-type]


def teleop_settings(node: Node) -> TeleopSettings:
    """Raises UserError for a number that cannot be meant."""
    return TeleopSettings(**{field.name: number(node, field.name) for field in fields(TeleopSettings)})
