"""The sim node's parameters -> the simulator that they name, or one sentence why not."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from robot_pt.errors import UserError
from robot_pt.simulator import Simulator
from robot_pt_ros.arm_model import declare_arm
from robot_pt_ros.node import flag, number, size, text, texts
from robot_pt_ros.policy_parameters import EMBODIMENTS


def declare(node: Node) -> None:
    """Parameters of the simulated world, read-only but for the seed."""
    fixed = lambda words: ParameterDescriptor(description=words, read_only=True)  # noqa: E731
    node.declare_parameter(
        "simulator", "robot_pt_sim", fixed("Package with make(task, camera=, image_size=) -> Simulator.")
    )
    node.declare_parameter("task", "", fixed("Task, e.g. lift-red; robot-pt collect --list names them."))
    declare_arm(node, "panda")
    node.declare_parameter("frame_id", "base_link", fixed("Frame of all poses: the arm's base."))
    node.declare_parameter("cameras", ["primary"], fixed("Camera roles."))
    node.declare_parameter("image_size", [64, 64], fixed("Height and width of every frame [px]."))
    node.declare_parameter("lockstep", True, fixed("Wait for the command to every observation; else real time."))
    node.declare_parameter(
        "state_rate_hz", 50.0, fixed("Real time: joint states per second [Hz]: 5, 10, 20, 25, 50 or 100.")
    )
    node.declare_parameter("camera_every", 4, fixed("Real time: a frame with every n-th joint state."))
    node.declare_parameter(
        "answer_timeout_s", 10.0, fixed("Lock-step: wait so long for a command [s, wall], then hold.")
    )
    node.declare_parameter(
        "seed",
        1_000_000,
        ParameterDescriptor(description="Of the next episode; each reset adds one; below 0: one at random."),
    )


def simulator_of(node: Node) -> Simulator:
    """Raises UserError for an unknown simulator, task or camera, or where it is not installed."""
    name = text(node, "simulator")
    try:
        make = import_module(name).make
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"simulator {name!r} has no make() ({error}); install robot-pt[sim] or name another package."
        ) from None
    wanted = size(node, "image_size")
    paced = {} if flag(node, "lockstep") else _pace(node)
    simulator = cast(Simulator, make(text(node, "task"), camera=texts(node, "cameras"), image_size=wanted, **paced))
    robot = text(node, "robot")
    if simulator.spec.embodiment != EMBODIMENTS.get(robot, robot):
        simulator.close()
        raise UserError(
            f"task {text(node, 'task')} moves a {simulator.spec.embodiment}, not a {robot}; choose a task of the arm."
        )
    return simulator


def _pace(node: Node) -> dict[str, Any]:
    return {"control_hz": number(node, "state_rate_hz"), "camera_every": int(number(node, "camera_every"))}
