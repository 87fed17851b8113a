"""What the gate asks of an arm. `robot_pt.robots.load` gives real ones; anything with these members will do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from robot_pt.commands import Float64


class Solution(Protocol):
    """Joints for a pose, with what is left of the error."""

    @property
    def q(self) -> Float64: ...  # (J,) [rad]
    @property
    def position_error_m(self) -> float: ...
    @property
    def rotation_error_rad(self) -> float: ...


class Manipulator(Protocol):
    """An arm of J joints: names, limits (J,), forward and inverse kinematics in the robot base frame."""

    @property
    def name(self) -> str: ...
    @property
    def joint_names(self) -> tuple[str, ...]: ...
    @property
    def lower_rad(self) -> Float64: ...
    @property
    def upper_rad(self) -> Float64: ...
    @property
    def max_velocity_rad_s(self) -> Float64: ...
    @property
    def effort_limit(self) -> Float64: ...  # [N m]

    def fk(self, q: Float64) -> Float64:
        """(J,) -> T_base_tool (4, 4)."""
        ...

    def points(self, q: Float64, gripper: float = 1.0) -> Mapping[str, Float64]:
        """Places on the arm that must stay out of trouble, fingers at this opening: name -> (3,) [m], base frame."""
        ...

    def ik(self, T_base_tool: Float64, q_start: Float64) -> Solution:
        """The joints near `q_start` whose tool is at the pose, or the nearest found, with its error."""
        ...
