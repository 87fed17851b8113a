"""Rotations in the one convention of the canonical action: fixed-axis roll, pitch, yaw, R = Rz(yaw) Ry(pitch) Rx(roll)."""

from __future__ import annotations

from math import asin, atan2, cos, sin

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
    """(3, 3) -> (3,) roll pitch yaw [rad], pitch in [-pi/2, pi/2]. At pitch = +-pi/2 roll is set to 0."""
    m = np.asarray(matrix, np.float64)
    sin_pitch = min(1.0, max(-1.0, -m[2, 0]))
    if abs(sin_pitch) > 1 - 1e-12:
        return np.array([0.0, asin(sin_pitch), atan2(-m[0, 1], m[1, 1])])
    return np.array([atan2(m[2, 1], m[2, 2]), asin(sin_pitch), atan2(m[1, 0], m[0, 0])])


def wrap_angle(angle: ArrayLike, period: float = 2 * np.pi) -> Array:
    """The equivalent of each angle [rad] in [-period/2, period/2)."""
    return np.asarray((np.asarray(angle, np.float64) + period / 2) % period - period / 2)
