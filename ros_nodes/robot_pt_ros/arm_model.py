"""The arm that a node's parameters name: its model, and which rotation of the tool its poses call zero."""

from __future__ import annotations

import numpy as np
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from robot_pt.errors import UserError
from robot_pt.robots import Arm, load
from robot_pt_ros.node import numbers, text

_NONE = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]


def declare_arm(node: Node, robot: str = "") -> None:
    """Parameters `robot` and `action_frame_rotation`, read-only. All nodes of a graph need the same: config files give them to /**."""
    node.declare_parameter(
        "robot", robot, ParameterDescriptor(description="Arm model: wx250s or panda.", read_only=True)
    )
    words = (
        "Rotation of the tool in the base frame that poses call zero, nine numbers row by row; the identity keeps the model's own. "
        "BridgeData's is 0 0 1 0 1 0 -1 0 0: the gripper pointing down."
    )
    node.declare_parameter("action_frame_rotation", _NONE, ParameterDescriptor(description=words, read_only=True))


def arm_of(node: Node) -> Arm:
    """The arm of a node that has declared it. Raises UserError for an unknown one, and for what is no rotation."""
    given = numbers(node, "action_frame_rotation")
    if len(given) != 9:
        raise UserError(f"action_frame_rotation has {len(given)} numbers; give nine, row by row.")
    return load(text(node, "robot"), np.reshape(given, (3, 3)))
