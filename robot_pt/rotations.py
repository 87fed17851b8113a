"""Rotations in the one convention of the canonical action: fixed-axis roll, pitch, yaw, R = Rz(yaw) Ry(pitch) Rx(roll).

Quaternions are (x, y, z, w), as ROS messages carry them. Imports numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import asin, atan2, cos, hypot, sin

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def rpy_to_matrix(rpy: ArrayLike) -> Array:
    """(3,) roll pitch yaw [rad] -> (3, 3)."""
    roll, pitch, yaw = np.asarray(rpy, np.float64)
    cr, sr, cp, sp, cy, sy = cos(roll), sin(roll), cos(pitch), sin(pitch), cos(yaw), sin(yaw)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def matrix_to_rpy(matrix: ArrayLike) -> Array:
    """(3, 3) -> (3,) roll pitch yaw [rad], pitch in [-pi/2, pi/2]. At pitch = +-pi/2 roll is set to 0.

    The angles describe the matrix to 1e-8 everywhere, also beside pitch = +-pi/2.
    """
    m = np.asarray(matrix, np.float64)
    sin_pitch = min(1.0, max(-1.0, -m[2, 0]))
    if abs(sin_pitch) > 1 - 1e-12:
        return _rpy_beside_gimbal_lock(m)
    return np.array([atan2(m[2, 1], m[2, 2]), asin(sin_pitch), atan2(m[1, 0], m[0, 0])])


def _rpy_beside_gimbal_lock(m: Array) -> Array:
    """Yaw is read after roll is taken out, so that an ill-defined roll cannot spoil their sum."""
    cos_pitch = hypot(m[2, 1], m[2, 2])
    roll = atan2(m[2, 1], m[2, 2]) if cos_pitch > 1e-9 else 0.0
    cr, sr = cos(roll), sin(roll)
    yaw = atan2(sr * m[0, 2] - cr * m[0, 1], cr * m[1, 1] - sr * m[1, 2])
    return np.array([roll, atan2(-m[2, 0], cos_pitch), yaw])


def matrix_to_quaternion(matrix: ArrayLike) -> Array:
    """(3, 3) -> (4,) unit x y z w with w >= 0. Divides by the largest component, so it is exact near half turns too."""
    (a, b, c), (d, e, f), (g, h, i) = np.asarray(matrix, np.float64).tolist()
    rows = (  # of 4 q q^T (Shepperd 1978), the largest diagonal entry is at least 1
        (1 + a - e - i, b + d, g + c, h - f),
        (b + d, 1 + e - a - i, f + h, c - g),
        (g + c, f + h, 1 + i - a - e, d - b),
        (h - f, c - g, d - b, 1 + a + e + i),
    )
    row = rows[max(range(4), key=lambda k: rows[k][k])]
    size = hypot(*row) if row[3] >= 0 else -hypot(*row)
    return np.array([v / size for v in row])


def quaternion_to_matrix(quaternion: ArrayLike) -> Array:
    """(4,) x y z w of any length above 0 -> (3, 3); the caller checks that it is finite and not zero."""
    x, y, z, w = np.asarray(quaternion, np.float64).tolist()
    size = hypot(x, y, z, w)
    x, y, z, w = x / size, y / size, z / size, w / size
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def angle_between(first: ArrayLike, second: ArrayLike) -> float:
    """Angle [rad] in [0, pi] of the rotation that takes one (3, 3) to the other; exact for small angles too."""
    turn = np.asarray(second, np.float64) @ np.asarray(first, np.float64).T
    axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])  # 2 sin(angle) axis
    return atan2(float(np.linalg.norm(axis)), float(np.trace(turn)) - 1)


def wrap_angle(angle: ArrayLike, period: float = 2 * np.pi) -> Array:
    """The equivalent of each angle [rad] in [-period/2, period/2)."""
    return np.asarray((np.asarray(angle, np.float64) + period / 2) % period - period / 2)


def is_rotation(matrix: Array, tolerance: float = 1e-4) -> bool:
    """(3, 3) -> whether it is finite and orthonormal to `tolerance` (it may have travelled as float32), and no mirror image."""
    x, y, z = matrix.tolist()  # floats: a control tick has no time for numpy on nine numbers
    off = (_dot(x, x) - 1, _dot(y, y) - 1, _dot(z, z) - 1, _dot(x, y), _dot(y, z), _dot(z, x))
    normal = (x[1] * y[2] - x[2] * y[1], x[2] * y[0] - x[0] * y[2], x[0] * y[1] - x[1] * y[0])
    return all(abs(v) < tolerance for v in off) and _dot(normal, z) > 0  # neither is true of NaN


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
