"""JointMotion: a slow, watched motion of the joints to a known pose, for home and sleep. A pure state machine, the clock passed in."""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, pi
from typing import Literal, Protocol, final

import numpy as np

from robot_pt.commands import Float64

NS = 1_000_000_000
SETTLE_S = 3.0
"""How long the arm may take to come to rest at the goal."""
ARRIVED_RAD = 0.1
"""Nearness of every joint to its goal that counts as there: gravity leaves position servos a little short."""
PATH_SAMPLES = 64
CLEARANCE_M = 0.01


@final
class JointMotion:
    """From measured joints to a goal, all joints in step, speed rising and falling as a half cosine.

    Attributes:
        phase: moving, then arrived or stopped.
        reason: why it stopped.
        duration_s: planned time.
    """

    def __init__(
        self, name: str, start: Float64, goal: Float64, *, speed_rad_s: float, max_error_rad: float, now_ns: int
    ):
        """`speed_rad_s` is the fastest joint's highest; `max_error_rad` how far a measured joint may be from its command."""
        assert min(speed_rad_s, max_error_rad) > 0, "checked where parameters are read"
        self.name, self._start, self._goal, self._began_ns = name, start.copy(), goal.copy(), now_ns
        self.duration_s = float(pi / 2 * np.abs(goal - start).max() / speed_rad_s)
        self._max_error = max_error_rad
        self.phase: Literal["moving", "arrived", "stopped"] = "moving"
        self.reason = ""
        self._sent = start.copy()

    def stop(self, why: str) -> None:
        """End where the arm is; nothing more is sent."""
        if self.phase == "moving":
            self.phase, self.reason = "stopped", why

    def step(self, now_ns: int, measured: Float64) -> Float64 | None:
        """(J,) to send now; None when it has ended. An arm that does not follow ends it."""
        if self.phase != "moving":
            return None
        error = float(np.abs(measured - self._sent).max())
        if now_ns < self._began_ns or error > self._max_error:
            self.stop(f"the arm is {error:.2f} rad from where it was sent: it is stalled or touches something")
            return None
        elapsed_s = (now_ns - self._began_ns) / NS
        if elapsed_s >= self.duration_s:
            self._settle(elapsed_s, float(np.abs(measured - self._goal).max()))
            self._sent = self._goal
        else:
            self._sent = self._start + (self._goal - self._start) * ((1 - cos(pi * elapsed_s / self.duration_s)) / 2)
        return self._sent.copy()

    def _settle(self, elapsed_s: float, off_rad: float) -> None:
        if off_rad <= ARRIVED_RAD:
            self.phase = "arrived"
        elif elapsed_s > self.duration_s + SETTLE_S:
            self.stop(f"the arm came no nearer to {self.name} than {off_rad:.2f} rad")


class ArmPoints(Protocol):
    """What a path is checked with."""

    def points(self, q: Float64, gripper: float = 1.0) -> Mapping[str, Float64]: ...


def path_trouble(arm: ArmPoints, start: Float64, goal: Float64, gripper: float, floor_m: float) -> str:
    """Why the straight way between two joint poses must not be taken, "" where it may: a part would dip below both ends and the floor."""
    lowest = [_lowest(arm, start + (goal - start) * t, gripper) for t in np.linspace(0, 1, PATH_SAMPLES)]
    allowed = min(floor_m, lowest[0][0], lowest[-1][0]) - CLEARANCE_M
    height, part = min(lowest)
    if height >= allowed:
        return ""
    return (
        f"on the way there the {part} would come {height:.2f} m from the base plane, and the floor is at {floor_m:.2f} m; move the "
        "arm up first."
    )


def _lowest(arm: ArmPoints, q: Float64, gripper: float) -> tuple[float, str]:
    return min((float(point[2]), name) for name, point in arm.points(q, gripper).items())
