"""GripperLoop: opening and closing a PWM-driven gripper without cooking its motor. Pure, the clock passed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from robot_pt.errors import UserError

NS = 1_000_000_000
MAX_PWM = 350.0
"""What the stock driver's users have found safe for a WidowX gripper; more wears it out."""


@dataclass(frozen=True, kw_only=True)
class GripperLoopSettings:
    """Raises UserError for a number that cannot be meant."""

    gain: float = 900.0
    """PWM per unit of opening."""
    max_pwm: float = MAX_PWM
    """Strongest push while moving."""
    min_pwm: float = 120.0
    """Weakest push that still moves the fingers against friction."""
    grasp_pwm: float = 180.0
    """Push kept on something between the fingers."""
    in_place: float = 0.03
    """Distance from the target, in units of opening, that counts as there: nothing is sent."""
    stalled_s: float = 0.4
    """Fingers that do not move for so long have met something."""

    def __post_init__(self) -> None:
        pushes = (self.min_pwm, self.grasp_pwm, self.max_pwm)
        if not all(0 <= push <= self.max_pwm <= MAX_PWM for push in pushes):
            raise UserError(
                f"gripper PWM is {pushes} (weakest, grasp, strongest); give numbers from 0 to {MAX_PWM:g}, the strongest last."
            )
        if not (0 < self.gain < 1e5 and 0 < self.in_place < 0.5 and 0 < self.stalled_s < 10):
            raise UserError(
                f"gripper gain {self.gain}, in_place {self.in_place}, stalled_s {self.stalled_s}; give numbers above 0, "
                "in_place below 0.5 and stalled_s below 10."
            )


@final
class GripperLoop:
    """PWM from the wanted and the measured opening, 0 closed .. 1 open; positive opens.

    In place it sends 0. Fingers that stop short while closing hold something: the push drops to `grasp_pwm`; while opening they are
    at their stop or jammed: 0.
    """

    def __init__(self, settings: GripperLoopSettings | None = None):
        self.settings = settings or GripperLoopSettings()
        self.target: float | None = None
        self._anchor, self._anchor_ns, self._stalled = 0.0, 0, False

    def aim(self, opening: float) -> None:
        """Want this opening, clipped to [0, 1]; NaN is ignored."""
        wanted = float(np.clip(opening, 0.0, 1.0))
        if not np.isfinite(wanted):
            return
        if self.target is None or abs(wanted - self.target) > self.settings.in_place:
            self._stalled, self._anchor_ns = False, 0
        self.target = wanted

    def step(self, now_ns: int, measured: float) -> float:
        """The PWM to send now; 0 where nothing is wanted or `measured` is not finite."""
        if self.target is None or not np.isfinite(measured):
            return 0.0
        s, error = self.settings, self.target - measured
        if abs(error) <= s.in_place:
            self._stalled, self._anchor_ns = False, 0
            return 0.0
        self._watch(now_ns, measured)
        if self._stalled:
            return 0.0 if error > 0 else -s.grasp_pwm
        return float(np.sign(error) * np.clip(abs(error) * s.gain, s.min_pwm, s.max_pwm))

    def _watch(self, now_ns: int, measured: float) -> None:
        """Notice fingers that stay where they are, and fingers that move again."""
        moved = abs(measured - self._anchor) > self.settings.in_place
        if moved or not self._anchor_ns or now_ns < self._anchor_ns:
            self._anchor, self._anchor_ns = measured, max(now_ns, 1)
            self._stalled = False
        elif now_ns - self._anchor_ns > self.settings.stalled_s * NS:
            self._stalled = True
