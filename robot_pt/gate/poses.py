"""Positions and rotations of the gate: distances, shortened steps, and limits of rotation in the tangent space.

Rotations are (3, 3) matrices in the robot base frame. A rotation vector is axis times angle [rad]; between two rotations it is
that of ``to @ from.T``, in base axes. Euler angles serve only to measure one small step: elsewhere they jump.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import atan2, cos, hypot, pi, sin, sqrt

import numpy as np

from robot_pt.commands import Float64
from robot_pt.rotations import is_rotation, matrix_to_rpy, rpy_to_matrix

SLACK = 1e-6
"""Relative: a step this little over its limit is inside it, so that rounding on the wire never counts as clipping."""
ACTION_LIKE_RAD = 0.5
"""What a single action turns is less [rad]: a share of such angles is 2e-3 rad off the shortest way at most."""


def rotation_vector(rotation: Float64) -> Float64:
    """(3, 3) -> (3,) [rad], length in [0, pi]."""
    return np.array(_vector(rotation.tolist()))


def rotation_from_vector(vector: Float64) -> Float64:
    """(3,) [rad] -> (3, 3), by Rodrigues' formula."""
    return np.array(_matrix(*vector.tolist()))


def length(vector: Float64) -> float:
    """Euclidean, of (n,)."""
    return hypot(*vector.tolist())


def farthest(a: Float64, b: Float64) -> float:
    """Largest distance of two components, of (n,) each."""
    return float(max(map(abs, (a - b).tolist())))


class Way:
    """From one pose to another: straight in position, along the shortest rotation."""

    def __init__(self, T_from: Float64, T_to: Float64):
        self._to, self._rows = T_to, T_from.tolist()
        rows = T_to.tolist()
        self._shift = [b[3] - a[3] for a, b in zip(self._rows[:3], rows[:3], strict=True)]
        self._turn = _vector([[_dot(b, a) for a in self._rows[:3]] for b in rows[:3]])
        self.metres, self.radians = hypot(*self._shift), hypot(*self._turn)

    def pose(self, fraction: float) -> Float64:
        """(4, 4) at `fraction` of the way; 1 gives `T_to` bit by bit."""
        if fraction >= 1:
            return self._to.copy()
        x, y, z, last = self._rows
        columns = list(zip(x[:3], y[:3], z[:3], strict=True))
        turned = _matrix(*(fraction * v for v in self._turn))
        parts = zip(turned, self._rows, self._shift, strict=False)
        moved = [[*(_dot(row, column) for column in columns), at[3] + fraction * shift] for row, at, shift in parts]
        return np.array([*moved, last])


def _vector(rows: list[list[float]]) -> list[float]:
    """Floats here and below: cheaper than numpy by far on numbers so few, in a process that is woken for each tick."""
    (a, b, c), (d, e, f), (g, h, i) = rows
    x, y, z = (h - f) / 2, (c - g) / 2, (d - b) / 2  # sin(angle) axis
    sine, cosine = hypot(x, y, z), (a + e + i - 1) / 2
    angle = atan2(sine, cosine)
    if sine > 1e-6:
        scale = angle / sine
        return [x * scale, y * scale, z * scale]
    return [x, y, z] if cosine > 0 else _half_turn(np.array(rows), np.array([x, y, z]), angle)


def _half_turn(rotation: Float64, skew: Float64, angle: float) -> list[float]:
    outer = (rotation + rotation.T) / 4 + np.eye(3) / 2  # axis axis^T, for angles of pi within 1e-6
    column = int(np.argmax(np.diag(outer)))
    axis = outer[:, column] / sqrt(max(outer[column, column], 1e-12))
    sign = -1.0 if float(axis @ skew) < 0 else 1.0
    scaled: list[float] = (axis * (sign * angle / max(length(axis), 1e-12))).tolist()
    return scaled


def _matrix(x: float, y: float, z: float) -> list[list[float]]:
    angle = hypot(x, y, z)
    if angle < 1e-12:
        return [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    x, y, z = x / angle, y / angle, z / angle
    s, k = sin(angle), 1 - cos(angle)
    return [
        [1 - k * (y * y + z * z), k * x * y - s * z, k * x * z + s * y],
        [k * x * y + s * z, 1 - k * (x * x + z * z), k * y * z - s * x],
        [k * x * z - s * y, k * y * z + s * x, 1 - k * (x * x + y * y)],
    ]


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


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
    """`rotation`, or as far towards it from `start` as an `action_angle` of `longest` [rad] allows.

    As an action is shortened, by a share of its angles, so that who shortens it once more comes to the same; the shortest way where
    the angles are large.
    """
    angles = matrix_to_rpy(rotation @ start.T)
    angle = length(angles)
    if angle <= longest * (1 + SLACK):
        return rotation
    if angle < ACTION_LIKE_RAD:
        return np.asarray(rpy_to_matrix(angles * (longest / angle)) @ start)
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
        if self.unlimited:
            return step_rotation(rotation, start, longest)
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
