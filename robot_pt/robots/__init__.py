"""The arms robot-pt drives: an MJCF file each, which holds its limits too, and `load`, which makes an Arm of it.

>>> from robot_pt import robots
>>> arm = robots.load("wx250s")
>>> arm.fk(arm.home_rad)[:3, 3]  # x y z of the tool in the base frame [m]
"""

from __future__ import annotations

from pathlib import Path

from robot_pt.errors import UserError
from robot_pt.robots.arm import Arm
from robot_pt.robots.kinematics import IKResult
from robot_pt.robots.model import read_model

__all__ = ["Arm", "IKResult", "load", "mjcf_path", "names"]

_FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """Robots there are, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.xml")))


def mjcf_path(name: str) -> Path:
    """The robot's MJCF file, for simulators. Raises UserError for an unknown name."""
    if name not in names():
        raise UserError(f"robot {name!r} is unknown; choose from {', '.join(names())}.")
    return _FOLDER / f"{name}.xml"


def load(name: str) -> Arm:
    """The arm of that name, with buffers of its own.

    Raises UserError for an unknown name, MissingExtraError when mujoco, mink or daqp is not installed ([sim]).
    """
    return Arm(name, read_model(mjcf_path(name)))
