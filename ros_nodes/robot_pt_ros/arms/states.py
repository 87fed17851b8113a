"""A driver's joint states -> the arm's joints by the model's names, and the gripper's opening."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from robot_pt.commands import Float64
from robot_pt.errors import UserError
from robot_pt_ros.conversions import joints_of, nanoseconds

IN_A_ROW = 3


@dataclass(frozen=True)
class GripperScale:
    """The driver's gripper joint: its name and its positions closed and open, in whatever unit the driver has."""

    joint: str
    """As the driver calls it; "" where it reports none."""
    closed: float
    open: float

    def __post_init__(self) -> None:
        if not (isfinite(self.closed) and isfinite(self.open)) or self.closed == self.open:
            raise UserError(
                f"gripper_closed is {self.closed} and gripper_open {self.open}; give the gripper joint's two positions."
            )

    def opening(self, position: float) -> float:
        """0 closed .. 1 open; beyond its stops it stays 0 or 1. ValueError on NaN or Inf."""
        if not isfinite(position):
            raise ValueError("gripper position is not finite")
        return float(np.clip((position - self.closed) / (self.open - self.closed), 0.0, 1.0))

    def position(self, opening: float) -> float:
        """Opening in [0, 1] -> the driver's position."""
        return self.closed + float(np.clip(opening, 0.0, 1.0)) * (self.open - self.closed)


class Reading(NamedTuple):
    """One joint state of a driver."""

    stamp_ns: int
    q: Float64  # (J,) [rad], arm order
    opening: float | None
    """None where this message has no gripper."""
    effort: Float64 | None  # (J,) in the driver's unit


class StateReader:
    """Reads JointState messages; what cannot be meant is counted in `refused` by its reason, and the newest stamp wins."""

    def __init__(self, joint_names: Sequence[str], joint_map: Mapping[str, str], gripper: GripperScale):
        """`joint_map`: model's name -> driver's name; a joint that is not in it has one name."""
        self._names = [joint_map.get(name, name) for name in joint_names]
        self._gripper = gripper
        self._stamp_ns = self._older_ns = self._older_in_a_row = 0
        self.refused: dict[str, int] = {}

    def arm(self, message: Any) -> Reading | None:
        """None where the message is not news: unstamped, not newer, without a joint, or not finite."""
        stamp_ns = nanoseconds(message.header.stamp)
        if stamp_ns <= self._stamp_ns and not self._set_back(stamp_ns):
            self._refuse("without a stamp" if stamp_ns <= 0 else "not newer than the last")
            return None
        try:
            q, effort = joints_of(message, self._names)
            opening = self.opening(message)
        except ValueError as error:
            self._refuse(str(error)[:100])
            return None
        self._stamp_ns = stamp_ns
        return Reading(stamp_ns, q, opening, effort)

    def opening(self, message: Any) -> float | None:
        """The gripper's opening in any JointState; None where it is not there. ValueError where it is not finite."""
        names = list(message.name)
        if self._gripper.joint not in names:
            return None
        return self._gripper.opening(float(message.position[names.index(self._gripper.joint)]))

    def _set_back(self, stamp_ns: int) -> bool:
        """The driver's clock was set back: older stamps come that go on from one another. A driver that repeats one is frozen."""
        goes_on = 0 < self._older_ns < stamp_ns < self._stamp_ns
        self._older_in_a_row = self._older_in_a_row + 1 if goes_on else 0
        self._older_ns = stamp_ns
        return self._older_in_a_row >= IN_A_ROW

    def _refuse(self, reason: str) -> None:
        if reason in self.refused or len(self.refused) < 16:
            self.refused[reason] = self.refused.get(reason, 0) + 1


def joint_map_of(pairs: Sequence[str], joint_names: Sequence[str]) -> dict[str, str]:
    """["fr3_joint1=joint1", ...] -> {model's name: driver's name}. Raises UserError for a pair that cannot be meant."""
    found: dict[str, str] = {}
    for pair in pairs:
        driver, equals, model = (part.strip() for part in pair.partition("="))
        if not (driver and equals) or model not in joint_names or model in found or driver in found.values():
            raise UserError(
                f"joint_map has {pair!r}; give each joint once as DRIVER=MODEL, with MODEL one of {list(joint_names)}."
            )
        found[model] = driver
    return found
