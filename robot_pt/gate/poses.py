"""Positions and rotations of the gate: distances, shortened steps, and limits of rotation in the tangent space.

Rotations are (3, 3) matrices in the robot base frame. A rotation vector is axis times angle [rad]; between two rotations it is
that of ``to @ from.T``, in base axes. Euler angles serve only to measure one small step: elsewhere they jump.
"""

from __future__ import annotations

from math import atan2, cos, pi, sin, sqrt

import numpy as np

from robot_pt.commands import Float64
from robot_pt.rotations import matrix_to_rpy

SLACK = 1e-6
"""Relative: a step this little over its limit is inside it, so that rounding on the wire never counts as clipping."""


def rotation_vector(rotation: Float64) -> Float64:
    """(3, 3) -> (3,) [rad], length in [0, pi]."""
    r = rotation
    skew = np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]]) / 2  # sin(angle) axis
    sine, cosine = float(np.linalg.norm(skew)), (float(np.trace(r)) - 1) / 2
    angle = atan2(sine, cosine)
    if sine > 1e-6:
        return np.asarray(skew * (angle / sine))
    if cosine > 0:
        return skew
    outer = (r + r.T) / 4 + np.eye(3) / 2  # axis axis^T, for angles of pi within 1e-6
    column = int(np.argmax(np.diag(outer)))
    axis = outer[:, column] / sqrt(max(outer[column, column], 1e-12))
    sign = -1.0 if float(axis @ skew) < 0 else 1.0
    return np.asarray(axis * (sign * angle / max(float(np.linalg.norm(axis)), 1e-12)))


def rotation_from_vector(vector: Float64) -> Float64:
    """(3,) [rad] -> (3, 3), by Rodrigues' formula."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.asarray(np.eye(3) + sin(angle) * cross + (1 - cos(angle)) * (cross @ cross))


def distance(T_a: Float64, T_b: Float64) -> tuple[float, float]:
    """How far apart two poses are: [m], [rad]."""
    turn = rotation_vector(T_b[:3, :3] @ T_a[:3, :3].T)
    return float(np.linalg.norm(T_b[:3, 3] - T_a[:3, 3])), float(np.linalg.norm(turn))


def between(T_from: Float64, T_to: Float64, fraction: float) -> Float64:
    """The pose at `fraction` of the way: straight in position, along the shortest rotation. 1 gives `T_to` bit by bit."""
    if fraction >= 1:
        return T_to.copy()
    pose = T_from.copy()
    pose[:3, 3] += fraction * (T_to[:3, 3] - T_from[:3, 3])
    turn = rotation_vector(T_to[:3, :3] @ T_from[:3, :3].T)
    pose[:3, :3] = rotation_from_vector(fraction * turn) @ T_from[:3, :3]
    return pose


def is_pose(T: Float64) -> bool:
    """(4, 4), finite, a rotation to 1e-5, within 100 m."""
    if T.shape != (4, 4) or not np.isfinite(T).all() or not (np.abs(T) <= 100).all():
        return False
    rotation = T[:3, :3]
    orthonormal = bool(np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-5)
    return orthonormal and bool(np.linalg.det(rotation) > 0) and bool(np.array_equal(T[3], (0.0, 0.0, 0.0, 1.0)))


def step_position(position: Float64, start: Float64, longest: float) -> Float64:
    """`position` (3,), or as far towards it from `start` as `longest` [m] allows."""
    length = float(np.linalg.norm(position - start))
    if length <= longest * (1 + SLACK):
        return position
    return np.asarray(start + (position - start) * (longest / length))


def action_angle(rotation: Float64, start: Float64) -> float:
    """Length [rad] of (droll, dpitch, dyaw) from `start` to `rotation`: how the canonical action measures a step."""
    return float(np.linalg.norm(matrix_to_rpy(rotation @ start.T)))


def step_rotation(rotation: Float64, start: Float64, longest: float) -> Float64:
    """`rotation`, or as far towards it from `start`, the shortest way, as an `action_angle` of `longest` [rad] allows."""
    if action_angle(rotation, start) <= longest * (1 + SLACK):
        return rotation
    turn = rotation_vector(rotation @ start.T)
    turn *= min(1.0, longest / max(float(np.linalg.norm(turn)), 1e-12))
    for _ in range(8):
        shorter = np.asarray(rotation_from_vector(turn) @ start)
        angle = action_angle(shorter, start)  # differs from the length of `turn` in second order
        if angle <= longest * (1 + SLACK):
            return shorter
        turn *= longest / angle
    return start


class RotationBox:
    """Rotations whose rotation vector from `reference` lies between `low` and `high` (3,) [rad], base axes."""

    def __init__(self, reference: Float64, low: Float64, high: Float64):
        self._reference, self._low, self._high = reference, low, high
        self.unlimited = bool((low <= -pi).all() and (high >= pi).all())

    def excess(self, rotation: Float64) -> float:
        """By how much the worst component is outside [rad]; 0 inside."""
        if self.unlimited:
            return 0.0
        vector = rotation_vector(rotation @ self._reference.T)
        return float(max(0.0, (self._low - vector).max(), (vector - self._high).max()))

    def clip(self, rotation: Float64) -> Float64:
        """`rotation`, or where clipping its vector puts it."""
        if self.excess(rotation) <= SLACK:
            return rotation
        vector = rotation_vector(rotation @ self._reference.T)
        return np.asarray(rotation_from_vector(np.clip(vector, self._low, self._high)) @ self._reference)

    def step(self, rotation: Float64, start: Float64, longest: float) -> Float64:
        """As far from `start` towards the clipped `rotation` as `longest` allows without leaving the box.

        The box is not convex on the sphere of rotations, so a shortest path between two of its points may bulge out of it:
        then a shorter step is taken. From outside, every step leads towards it.
        """
        goal = self.clip(step_rotation(rotation, start, longest))
        goal = step_rotation(goal, start, longest)
        if self.excess(start) > SLACK:
            return goal
        for _ in range(6):
            if self.excess(goal) <= SLACK:
                return goal
            turn = rotation_vector(goal @ start.T)
            goal = np.asarray(rotation_from_vector(turn / 2) @ start)
        return start
