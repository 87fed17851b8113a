"""Positions and rotations of the gate: distances, shortened steps, and limits of rotation in the tangent space.

Rotations are (3, 3) matrices in the robot base frame. A rotation vector is axis times angle [rad]; between two rotations it is
that of ``to @ from.T``, in base axes. Euler angles serve only to measure one small step: elsewhere they jump.
"""

from __future__ import annotations

from math import atan2, cos, hypot, pi, sin, sqrt
from typing import NamedTuple

import numpy as np

from robot_pt.commands import Float64
from robot_pt.rotations import is_rotation, matrix_to_rpy

SLACK = 1e-6
"""Relative: a step this little over its limit is inside it, so that rounding on the wire never counts as clipping."""


def rotation_vector(rotation: Float64) -> Float64:
    """(3, 3) -> (3,) [rad], length in [0, pi]."""
    (a, b, c), (d, e, f), (g, h, i) = rotation.tolist()  # floats: cheaper than numpy by far on numbers so few
    x, y, z = (h - f) / 2, (c - g) / 2, (d - b) / 2  # sin(angle) axis
    sine, cosine = hypot(x, y, z), (a + e + i - 1) / 2
    angle = atan2(sine, cosine)
    if sine > 1e-6:
        scale = angle / sine
        return np.array([x * scale, y * scale, z * scale])
    if cosine > 0:
        return np.array([x, y, z])
    return _half_turn_vector(rotation, np.array([x, y, z]), angle)


def _half_turn_vector(rotation: Float64, skew: Float64, angle: float) -> Float64:
    outer = (rotation + rotation.T) / 4 + np.eye(3) / 2  # axis axis^T, for angles of pi within 1e-6
    column = int(np.argmax(np.diag(outer)))
    axis = outer[:, column] / sqrt(max(outer[column, column], 1e-12))
    sign = -1.0 if float(axis @ skew) < 0 else 1.0
    return np.asarray(axis * (sign * angle / max(length(axis), 1e-12)))


def rotation_from_vector(vector: Float64) -> Float64:
    """(3,) [rad] -> (3, 3), by Rodrigues' formula."""
    x, y, z = vector.tolist()
    angle = hypot(x, y, z)
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = x / angle, y / angle, z / angle
    s, k = sin(angle), 1 - cos(angle)
    return np.array(
        [
            [1 - k * (y * y + z * z), k * x * y - s * z, k * x * z + s * y],
            [k * x * y + s * z, 1 - k * (x * x + z * z), k * y * z - s * x],
            [k * x * z - s * y, k * y * z + s * x, 1 - k * (x * x + y * y)],
        ]
    )


def length(vector: Float64) -> float:
    """Euclidean, of (n,)."""
    return hypot(*vector.tolist())


def farthest(a: Float64, b: Float64) -> float:
    """Largest distance of two components, of (n,) each."""
    return max(map(abs, (a - b).tolist()))


class Way(NamedTuple):
    """From one pose to another: straight in position, along the shortest rotation."""

    T_from: Float64
    T_to: Float64
    metres: float
    turn: Float64  # (3,) rotation vector, base axes [rad]
    radians: float

    @classmethod
    def of(cls, T_from: Float64, T_to: Float64) -> Way:
        """The whole way, measured once."""
        turn = rotation_vector(T_to[:3, :3] @ T_from[:3, :3].T)
        return cls(T_from, T_to, length(T_to[:3, 3] - T_from[:3, 3]), turn, length(turn))

    def pose(self, fraction: float) -> Float64:
        """(4, 4) at `fraction` of the way; 1 gives `T_to` bit by bit."""
        if fraction >= 1:
            return self.T_to.copy()
        pose = self.T_from.copy()
        pose[:3, 3] += fraction * (self.T_to[:3, 3] - self.T_from[:3, 3])
        pose[:3, :3] = rotation_from_vector(fraction * self.turn) @ self.T_from[:3, :3]
        return pose


def is_pose(T: Float64) -> bool:
    """(4, 4), finite, a rotation to 1e-5, within 100 m."""
    if T.shape != (4, 4) or not all(abs(v) <= 100 for row in T.tolist() for v in row):  # which NaN is not
        return False
    return T[3].tolist() == [0.0, 0.0, 0.0, 1.0] and is_rotation(T[:3, :3], tolerance=1e-5)


def step_position(position: Float64, start: Float64, longest: float) -> Float64:
    """`position` (3,), or as far towards it from `start` as `longest` [m] allows."""
    away = length(position - start)
    if away <= longest * (1 + SLACK):
        return position
    return np.asarray(start + (position - start) * (longest / away))


def action_angle(rotation: Float64, start: Float64) -> float:
    """Length [rad] of (droll, dpitch, dyaw) from `start` to `rotation`: how the canonical action measures a step."""
    return length(matrix_to_rpy(rotation @ start.T))


def step_rotation(rotation: Float64, start: Float64, longest: float) -> Float64:
    """`rotation`, or as far towards it from `start`, the shortest way, as an `action_angle` of `longest` [rad] allows."""
    if action_angle(rotation, start) <= longest * (1 + SLACK):
        return rotation
    turn = rotation_vector(rotation @ start.T)
    turn *= min(1.0, longest / max(length(turn), 1e-12))
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
