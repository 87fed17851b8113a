"""Rotations as data sets store them, brought to roll, pitch, yaw [rad]: R = Rz(yaw) Ry(pitch) Rx(roll), fixed axes."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import DataError

RotationFormat = Literal["euler", "quaternion_xyzw", "quaternion_wxyz", "axis_angle", "pose_matrix"]
ROTATION_WIDTH: dict[str, int] = {
    "euler": 3,
    "quaternion_xyzw": 4,
    "quaternion_wxyz": 4,
    "axis_angle": 3,
    "pose_matrix": 16,
}

Double = NDArray[np.float64]


def wrap(angle: NDArray[Any]) -> NDArray[Any]:
    """Angles [rad] brought to (-pi, pi], dtype kept; a difference of two Euler angles belongs through here."""
    turns: NDArray[Any] = np.ceil((angle - np.pi) / (2 * np.pi))
    wrapped: NDArray[Any] = angle - (2 * np.pi * turns).astype(angle.dtype)
    return wrapped


def to_euler(rotation: NDArray[Any], kind: RotationFormat) -> NDArray[Any]:
    """(T, width) of the given kind to (T, 3) roll, pitch, yaw; Euler angles pass through untouched."""
    if kind == "euler":
        return rotation
    return matrix_to_euler(to_matrix(rotation, kind))


def to_matrix(rotation: NDArray[Any], kind: RotationFormat) -> Double:
    """(T, width) of the given kind to (T, 3, 3). Raises DataError for a matrix that is no pose."""
    values = np.asarray(rotation, np.float64)
    if kind == "euler":
        return _euler_to_matrix(values)
    if kind == "axis_angle":
        return _axis_angle_to_matrix(values)
    if kind == "pose_matrix":
        return pose_matrix(values)[:, :3, :3]
    return _quaternion_to_matrix(values if kind == "quaternion_xyzw" else values[:, [1, 2, 3, 0]])


def pose_matrix(flat: NDArray[Any]) -> Double:
    """(T, 16) homogeneous transforms to (T, 4, 4), row- or column-major, told apart by where 0 0 0 1 stands."""
    rows = np.asarray(flat, np.float64).reshape(-1, 4, 4)
    last = np.array([0.0, 0.0, 0.0, 1.0])
    if np.allclose(rows[:, 3], last, atol=1e-4):
        return rows
    columns = rows.transpose(0, 2, 1)
    if np.allclose(columns[:, 3], last, atol=1e-4):
        return columns
    raise DataError("a pose matrix has 0 0 0 1 neither as its last row nor as its last column.")


def matrix_to_euler(matrix: Double) -> Double:
    """(T, 3, 3) to (T, 3) roll, pitch, yaw; at a pitch of +-90 degrees roll is 0."""
    sine = np.clip(-matrix[:, 2, 0], -1.0, 1.0)
    pitch = np.arcsin(sine)
    free = np.abs(sine) < 1.0 - 1e-9
    roll = np.where(free, np.arctan2(matrix[:, 2, 1], matrix[:, 2, 2]), 0.0)
    yaw = np.where(
        free,
        np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0]),
        np.arctan2(-matrix[:, 0, 1], matrix[:, 1, 1]),
    )
    return np.stack([roll, pitch, yaw], axis=1)


def _euler_to_matrix(euler: Double) -> Double:
    (cr, cp, cy), (sr, sp, sy) = np.cos(euler).T, np.sin(euler).T
    rows = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=1)


def _axis_angle_to_matrix(vector: Double) -> Double:
    angle = np.linalg.norm(vector, axis=1, keepdims=True)
    half = angle / 2
    # sin(half)/angle -> 1/2 at 0
    scale = np.where(angle > 1e-8, np.sin(half) / np.where(angle > 1e-8, angle, 1.0), 0.5)
    return _quaternion_to_matrix(np.concatenate([vector * scale, np.cos(half)], axis=1))


def _quaternion_to_matrix(xyzw: Double) -> Double:
    norm = np.linalg.norm(xyzw, axis=1, keepdims=True)
    if not (norm > 1e-6).all():
        raise DataError(f"a quaternion has length {float(norm.min()):.2g}; rotations have length 1.")
    x, y, z, w = (xyzw / norm).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=1)
