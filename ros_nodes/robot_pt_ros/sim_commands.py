"""The two halves of a command, paired by their stamp: joints and the pose that they reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robot_pt.commands import Float64, JointCommand
from robot_pt_ros.conversions import command_joints, nanoseconds, pose_of

KEPT = 8


class CommandPairs:
    """Keeps the newest whole command; what cannot be read, or has no other half, is counted in `refused`."""

    def __init__(self, joint_names: Sequence[str]):
        self._names = list(joint_names)
        self.refused = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything heard."""
        self._joints: dict[int, tuple[Float64, float]] = {}
        self._poses: dict[int, Float64] = {}
        self._newest: JointCommand | None = None

    def joints(self, message: Any) -> None:
        """The JointTrajectory half."""
        try:
            self._joints[nanoseconds(message.header.stamp)] = command_joints(message, self._names)
        except ValueError:
            self.refused += 1
        self._pair()

    def pose(self, message: Any) -> None:
        """The PoseStamped half."""
        try:
            self._poses[nanoseconds(message.header.stamp)] = pose_of(message)
        except ValueError:
            self.refused += 1
        self._pair()

    def newest(self) -> JointCommand | None:
        """The newest command of which both halves came."""
        return self._newest

    def _pair(self) -> None:
        for stamp in sorted(self._joints.keys() & self._poses.keys()):
            (q, opening), pose = self._joints.pop(stamp), self._poses.pop(stamp)
            if self._newest is None or stamp > self._newest.stamp_ns:
                self._newest = JointCommand(stamp, q, opening, pose)
        for halves in (self._joints, self._poses):
            while len(halves) > KEPT:
                halves.pop(next(iter(halves)))  # type: ignore[attr-defined]
                self.refused += 1
