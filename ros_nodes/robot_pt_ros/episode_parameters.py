"""The episode manager's parameters -> what episodes are, and who begins and ends them."""

from __future__ import annotations

import time

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from robot_pt.episodes import EpisodeMachine
from robot_pt_ros.episode_director import Settings
from robot_pt_ros.node import flag, number, text


def declare(node: Node) -> None:
    """Declare every parameter of the episode manager, read-only after the start."""
    fixed = lambda words, **more: ParameterDescriptor(description=words, read_only=True, **more)  # noqa: E731
    count = [IntegerRange(from_value=0, to_value=1_000_000, step=1)]
    rate = [FloatingPointRange(from_value=0.1, to_value=1000.0, step=0.0)]
    node.declare_parameter("task", "", fixed("Task of the episodes."))
    node.declare_parameter("prompt", "", fixed("Instruction of the episodes, for data with language."))
    node.declare_parameter("record", False, fixed("Episodes begin when a recorder records them."))
    node.declare_parameter("prefix", "", fixed("Of episode ids; empty: the time of this start."))
    node.declare_parameter("control_rate_hz", 5.0, fixed("Control steps per second [Hz].", floating_point_range=rate))
    node.declare_parameter("max_steps", 0, fixed("An episode stops there; 0: no limit.", integer_range=count))
    node.declare_parameter("reset_service", "", fixed("Resets the scene, e.g. sim/reset; empty: the operator does."))
    node.declare_parameter(
        "episodes", 0, fixed("Run so many by itself once the graph is active; 0: none.", integer_range=count)
    )
    node.declare_parameter("auto_label", True, fixed("A simulator's result labels the episode; else the operator."))
    node.declare_parameter("exit_when_done", False, fixed("Leave after the last of `episodes`."))


def made(node: Node) -> tuple[Settings, EpisodeMachine]:
    """What the director of the episodes works with."""
    settings = Settings(
        control_hz=number(node, "control_rate_hz"), reset_service=text(node, "reset_service"),
        record=flag(node, "record"), auto_label=flag(node, "auto_label"), episodes=int(number(node, "episodes")),
        sim_time=flag(node, "use_sim_time"),
    )  # fmt: skip
    machine = EpisodeMachine(
        text(node, "prefix") or time.strftime("%Y%m%d-%H%M%S"), task=text(node, "task"),
        instruction=text(node, "prompt"), automatic_reset=bool(settings.reset_service),
        max_steps=int(number(node, "max_steps")) or None,
    )  # fmt: skip
    return settings, machine
