"""Arms behind ros2_control: joint_trajectory_controller or forward_command_controller, and a second one for the gripper."""

from __future__ import annotations

from typing import Any, final

from rclpy.node import Node

from robot_pt.commands import Answer, JointCommand
from robot_pt_ros.arms.outputs import Positions, Wiring
from robot_pt_ros.arms.states import GripperScale


@final
class GripperOutput:
    """The gripper's own controller; sends when the opening changes, for a position controller keeps what it was told."""

    def __init__(self, output: Positions | None, scale: GripperScale):
        self.topics = [] if output is None else [output.topic]
        self._output, self._scale = output, scale
        self._sent: float | None = None

    def send(self, opening: float) -> None:
        """0 closed .. 1 open."""
        if self._output is not None and (self._sent is None or abs(opening - self._sent) > 1e-3):
            self._sent = opening
            self._output.send([self._scale.position(opening)])


@final
class Ros2ControlDriver:
    """Positions in, positions out. To hold nothing is sent: these controllers keep the last point."""

    def __init__(self, node: Node, arm: Positions, order: list[int], gripper: GripperOutput):
        """`order`: index in the arm's joints of each of the controller's."""
        self._arm, self._order, self._gripper = arm, order, gripper
        self._wiring = Wiring(node, [arm.topic, *gripper.topics])

    def poll(self, now_ns: int) -> None:
        self._wiring.poll(now_ns)

    def trouble(self) -> str:
        return self._wiring.trouble

    def fault(self) -> str:
        return ""

    def send(self, command: JointCommand) -> None:
        self._arm.send(command.q[self._order])
        self._gripper.send(command.gripper)

    def hold(self) -> None:
        """The controller holds its last point."""

    def farewell(self) -> None:
        """The controller holds its last point."""

    def torque(self, on: bool) -> Answer:
        return Answer(False, "ros2_control has no torque service; use the driver's own, or deactivate its hardware.")

    def values(self) -> dict[str, Any]:
        return {"driver": "ros2_control", "topic": self._arm.topic}
