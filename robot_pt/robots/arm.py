"""Arm: what policy, gate, adapter and simulation agree on about one robot: joints, limits, kinematics, gripper travel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import isfinite
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robot_pt.commands import Float64
from robot_pt.errors import MismatchError, UserError
from robot_pt.robots.kinematics import IKResult, Kinematics
from robot_pt.robots.model import ArmModel
from robot_pt.rotations import is_rotation


@final
class Arm:
    """One robot arm with a two-finger gripper. Poses are those of the tool frame in the robot base frame.

    Not thread-safe: it computes in buffers of its own. Give every thread its own `load(name)`.

    Attributes, all read-only, J joints from base to tool:
        name, joint_names: J names in the order of every (J,) array.
        lower_rad, upper_rad, max_velocity_rad_s: limits, (J,).
        effort_limit: (J,) [N m].
        home_rad, sleep_rad: (J,) where it starts and where its torque may be switched off.
        finger_range_m: travel of one finger when closed and when open.
    """

    def __init__(self, name: str, model: ArmModel):
        self.name, self.joint_names = name, model.joint_names
        self.lower_rad, self.upper_rad = model.lower_rad, model.upper_rad
        self.max_velocity_rad_s, self.effort_limit = model.max_velocity_rad_s, model.effort_limit
        self.home_rad, self.sleep_rad = model.home_rad, model.sleep_rad
        self.finger_range_m = model.finger_range_m
        self._kinematics = Kinematics(model)

    def fk(self, q: ArrayLike) -> Float64:
        """(J,) [rad] -> T_base_tool (4, 4). Joint limits are not looked at. Raises UserError on a wrong shape, NaN or Inf."""
        return self._kinematics.tool(self._joints(q))

    def points(self, q: ArrayLike, gripper: float = 1.0) -> dict[str, Float64]:
        """Where parts of the arm are in the base frame, (3,) [m] each: elbow, wrist, left_finger, right_finger, tool.

        Fingers are their tips at the opening `gripper`, 1 = open. Raises UserError as `fk`.
        """
        return self._kinematics.points(self._joints(q), self._opening(gripper))

    def ik(
        self,
        T_base_tool: ArrayLike,
        q_start: ArrayLike,
        *,
        max_step_rad: float | Float64 | None = None,
        restarts: int = 0,
    ) -> IKResult:
        """Joints (J,) within the limits that bring the tool as near to a pose (4, 4) as the solver gets from `q_start` (J,).

        Deterministic, bounded in time, and never NaN; a target out of reach is approached and the residuals say by how much
        it is missed. `q_start` beyond a limit is first moved to it.

        Args:
            max_step_rad: no joint moves farther than this [rad] from `q_start`; a number, or (J,). For control loops: the time
                it takes is bounded more tightly too, and a slow approach goes on in the next call.
            restarts: tries from other configurations when the solver gets stuck, at most. The arm may then have to swing
                through a large motion: for planning, never for following a moving target.
        Raises:
            UserError: a wrong shape, NaN, Inf, a matrix that is no pose, a negative step, or both options at once.
        """
        start = np.minimum(np.maximum(self._joints(q_start), self.lower_rad), self.upper_rad)
        target = _pose(T_base_tool)
        if max_step_rad is None:
            return self._kinematics.solve(target, start, restarts)
        if restarts:
            raise UserError(
                "ik was given max_step_rad and restarts; a limited step starts where the arm is: give one of them."
            )
        step = np.asarray(max_step_rad, np.float64)
        if step.shape not in ((), start.shape) or not (np.isfinite(step).all() and (step >= 0).all()):
            raise UserError(f"max_step_rad is {max_step_rad}; give a number [rad] of at least 0, or one per joint.")
        return self._kinematics.follow(target, start, step)

    def check_q(self, q: ArrayLike, margin_rad: float = 0.0) -> tuple[str, ...]:
        """Names of the joints of (J,) that are not at least `margin_rad` inside their limits; NaN never is."""
        joints = self._shaped(q)
        inside = (joints >= self.lower_rad + margin_rad) & (joints <= self.upper_rad - margin_rad)
        return tuple(name for name, fine in zip(self.joint_names, inside, strict=True) if not fine)

    def joint_index(self, names: Sequence[str]) -> NDArray[np.intp]:
        """(J,) where each joint stands in a message's `names`, in any order and among others: `values[index]` is in arm order.

        Raises MismatchError when a joint is missing or a name stands there twice.
        """
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            raise MismatchError(f"joint names {twice} are given more than once; the driver must send each joint once.")
        place = {name: number for number, name in enumerate(names)}
        missing = [name for name in self.joint_names if name not in place]
        if missing:
            raise MismatchError(
                f"joints {missing} of {self.name} are missing among {list(names)}; check that this is the robot's own driver."
            )
        return np.array([place[name] for name in self.joint_names], np.intp)

    def opening(self, travel_m: float) -> float:
        """Measured travel of one finger [m] -> opening, 0 closed .. 1 open; beyond the stops it stays 0 or 1.

        Raises UserError on NaN or Inf.
        """
        closed, opened = self.finger_range_m
        if not np.isfinite(travel_m):
            raise UserError(f"the finger's travel is {travel_m}; give metres between {closed} and {opened}.")
        return float(np.clip((travel_m - closed) / (opened - closed), 0.0, 1.0))

    def finger_travel_m(self, opening: float) -> float:
        """Opening in [0, 1] -> travel of one finger [m]. Raises UserError outside, or on NaN."""
        closed, opened = self.finger_range_m
        return closed + self._opening(opening) * (opened - closed)

    def _opening(self, opening: float) -> float:
        if not 0.0 <= opening <= 1.0:
            raise UserError(f"the gripper's opening is {opening}; give 0 (closed) to 1 (open).")
        return float(opening)

    def _shaped(self, q: ArrayLike) -> Float64:
        joints = np.asarray(q, np.float64)
        if joints.shape != self.lower_rad.shape:
            raise UserError(
                f"{self.name} has {len(self.lower_rad)} joints; it was given joints of shape {joints.shape}."
            )
        return joints

    def _joints(self, q: ArrayLike) -> Float64:
        joints = self._shaped(q)
        if not all(map(isfinite, joints.tolist())):
            raise UserError(f"the joints of {self.name} are {joints.tolist()}; give finite angles [rad].")
        return joints


def _pose(T_base_tool: ArrayLike) -> Float64:
    """The pose as (4, 4) float64."""
    pose = np.asarray(T_base_tool, np.float64)
    if pose.shape == (4, 4) and is_rotation(pose[:3, :3]):  # nothing here is true of NaN
        x, y, z, last = pose.tolist()
        if last == [0.0, 0.0, 0.0, 1.0] and abs(x[3]) <= 1e3 and abs(y[3]) <= 1e3 and abs(z[3]) <= 1e3:
            return pose
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise UserError(f"a tool pose is a finite (4, 4) matrix; it was given {pose.tolist()}.")
    raise UserError(f"a tool pose is a rotation and a position [m] over the row 0 0 0 1; it was given {pose.tolist()}.")
