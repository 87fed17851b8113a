"""From canonical actions to a commanded tool pose and back: integration, step limits and workspace.

The deltas of an action add to the previous *commanded* target, never to the achieved pose, so tracking lag does not
leak into the data and a recorded action sequence always describes the same path. The one formula, for simulators, sessions,
teleoperation and recorders alike:

    position' = position + (dx, dy, dz)        rotation' = Rz(dyaw) Ry(dpitch) Rx(droll) rotation        gripper' = gripper action
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robot_pt.commands import JointCommand, PoseTarget
from robot_pt.errors import UserError
from robot_pt.rotations import Array, matrix_to_rpy, rpy_to_matrix
from robot_pt.schema import ACTION_NAMES, Float


class TargetIntegrator:
    """The commanded tool pose in the robot base frame, moved by canonical actions within `limits`."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.position: Array = np.zeros(3)  # [m]
        self.rotation: Array = np.eye(3)
        self.gripper = 1.0  # 1 = open

    def reset(self, position: Array, rotation: Array, gripper: float = 1.0) -> None:
        """Start from this commanded pose: position (3,) [m], rotation (3, 3), gripper in [0, 1]."""
        self.position, self.rotation, self.gripper = position.copy(), rotation.copy(), float(gripper)

    def apply(self, action: Float) -> Float:
        """Move the target by one action (7,) and return the action (7,) that was left after every limit.

        A translation or rotation longer than one step allows keeps its direction; a target outside the workspace stops
        at its wall. Raises UserError on a wrong shape, NaN or Inf, and then nothing moves.
        """
        requested = checked_action(action)
        limits = self.limits
        position = self.position + _shortened(requested[:3], limits.max_step_m)
        position = np.clip(position, limits.low[:3], limits.high[:3])
        rotation = rpy_to_matrix(_shortened(requested[3:6], limits.max_step_rad)) @ self.rotation
        rotation = rpy_to_matrix(np.clip(matrix_to_rpy(rotation), limits.low[3:], limits.high[3:]))
        gripper = float(np.clip(requested[6], 0.0, 1.0))
        turned = matrix_to_rpy(rotation @ self.rotation.T)
        sent = np.concatenate([position - self.position, turned, [gripper]]).astype(np.float32)
        self.position, self.rotation, self.gripper = position, rotation, gripper
        return sent


def moved(T_base_tool: Array, action: Float | Array) -> Array:
    """The target pose (4, 4) that one action (7,) asks for, before any limit; gripper apart.

    Raises UserError on a wrong shape, NaN or Inf.
    """
    requested = checked_action(action)
    target = np.eye(4)
    target[:3, :3] = rpy_to_matrix(requested[3:6]) @ T_base_tool[:3, :3]
    target[:3, 3] = T_base_tool[:3, 3] + requested[:3]
    return target


def action_between(previous: PoseTarget | JointCommand, target: PoseTarget | JointCommand) -> Array:
    """The canonical action (7,) float64 that moves the commanded target `previous` to `target`: the inverse of `moved`.

    `action_between(p, moved(p, a))` is `a` to 1e-7 wherever the angles of a rotation are unique, that is |dpitch| < pi/2 and
    |droll|, |dyaw| < pi; elsewhere other angles of the same rotation come back.
    """
    turned = matrix_to_rpy(target.T_base_tool[:3, :3] @ previous.T_base_tool[:3, :3].T)
    return np.concatenate([target.T_base_tool[:3, 3] - previous.T_base_tool[:3, 3], turned, [target.gripper]])


def checked_action(action: Float | Array) -> Array:
    """The action as (7,) float64; raises UserError on a wrong shape, NaN or Inf."""
    values = np.asarray(action, np.float64)
    if values.shape != (len(ACTION_NAMES),):
        raise UserError(f"an action has {len(ACTION_NAMES)} numbers {ACTION_NAMES}; it was given shape {values.shape}.")
    if not np.isfinite(values).all():
        name = ACTION_NAMES[int(np.flatnonzero(~np.isfinite(values))[0])]
        raise UserError(f"the action holds NaN or Inf in {name!r}; nothing was moved, check the policy's output.")
    return values


def _shortened(vector: Array, longest: float) -> Array:
    length = float(np.linalg.norm(vector))
    return vector if length <= longest else vector * (longest / length)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one robot in one workspace may be asked to do, in its base frame.

    Its walls of rotation are Euler angles, which a simulated tool that points down never brings near pi; the gate of a real arm limits
    rotation vectors instead (`robot_pt.gate.limits`), so at such a wall the two differ.
    """

    low: tuple[float, float, float, float, float, float]
    """Lowest commanded x, y, z [m], roll, pitch, yaw [rad]."""
    high: tuple[float, float, float, float, float, float]
    """Highest commanded x, y, z [m], roll, pitch, yaw [rad]."""
    max_step_m: float = 0.05
    """Longest translation of one control step [m]: 0.25 m/s at 5 Hz."""
    max_step_rad: float = 0.25
    """Largest rotation of one control step, as the length of (droll, dpitch, dyaw) [rad]."""
