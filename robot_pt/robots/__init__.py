"""The arms robot-pt drives: an MJCF file each, which holds its limits too, and `load`, which makes an Arm of it.

>>> from robot_pt import robots
>>> arm = robots.load("wx250s")
>>> arm.fk(arm.home_rad)[:3, 3]  # x y z of the tool in the base frame [m]
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from robot_pt.errors import UserError
from robot_pt.robots.arm import Arm
from robot_pt.robots.kinematics import IKResult
from robot_pt.robots.model import read_model
from robot_pt.rotations import is_rotation

__all__ = ["BRIDGE_ACTION_FRAME", "Arm", "IKResult", "load", "mjcf_path", "names"]

BRIDGE_ACTION_FRAME = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0))
"""The WidowX's gripper pointing straight down, where BridgeData's roll, pitch and yaw are zero (its controller's default_rot)."""

_FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """Robots there are, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.xml")))


def mjcf_path(name: str) -> Path:
    """The robot's MJCF file, for simulators. Raises UserError for an unknown name."""
    if name not in names():
        raise UserError(f"robot {name!r} is unknown; choose from {', '.join(names())}.")
    return _FOLDER / f"{name}.xml"


def load(name: str, action_frame_rotation: ArrayLike | None = None) -> Arm:
    """The arm of that name, with buffers of its own.

    Args:
        action_frame_rotation: (3, 3) rotation of the tool in the base frame that poses call zero; None keeps the model's own.
            The wx250s by itself calls zero where `ee_gripper_link` points forward; data recorded as BridgeData's needs
            `BRIDGE_ACTION_FRAME`. The panda's own is that of robosuite's episodes: pointing down.
    Raises:
        UserError: an unknown name, or no rotation.
        MissingExtraError: mujoco, mink or daqp is not installed ([sim]).
    """
    path = mjcf_path(name)
    rotation = np.eye(3) if action_frame_rotation is None else np.asarray(action_frame_rotation, np.float64)
    if rotation.shape != (3, 3) or not is_rotation(rotation):
        raise UserError(f"action_frame_rotation is {rotation.tolist()}; give a (3, 3) rotation matrix.")
    return Arm(name, read_model(path, rotation))
