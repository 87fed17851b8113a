"""A SpaceMouse by the topics of the spacenav driver: hold the left button and move the cap.

Facts of that driver (ros-drivers/joystick_drivers, spacenav.cpp): twist is the cap's deflection, each component about -1..1, x
forward, y left, z up; it goes on being sent, as zeros, while the cap rests and after the device is unplugged; a Joy message names
buttons only in the moment one changes, and only up to the one that did. So a button's state is known by its last mention, and a
cap at rest releases after a while.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robot_pt.commands import Float64
from robot_pt.errors import UserError
from robot_pt.teleop.device import MEANINGS, STILL, Request, TeleopSettings
from robot_pt.teleop.sticks import Deadman, Presses, deflection, travelled

BUTTONS = ("left", "right")
REQUESTS: dict[str, Request] = {"right": "gripper"}


class SpaceMouse:
    """Feed it twists and Joy messages; read it with the `Device` methods. Its two buttons are deadman and gripper."""

    hold_to_run = False  # its driver cannot tell a hand that holds still from a pulled cable

    def __init__(self, settings: TeleopSettings | None = None):
        self._settings = settings or TeleopSettings()
        self.malformed = 0
        """Messages with NaN or Inf."""
        self._deadman, self._presses = Deadman(self._settings.spacemouse_timeout_s), Presses(REQUESTS)
        self._presses.see(dict.fromkeys(BUTTONS, False))  # its first mention of a button is a press
        self._deadman_down = False
        self._sticks = STILL
        self._touched_ns: int | None = None

    def twist(self, linear: Sequence[float], angular: Sequence[float], now_ns: int) -> None:
        """Take one deflection of the cap, (3,) and (3,). NaN or Inf releases. Raises UserError on another size."""
        values = np.array([*linear, *angular], np.float64)
        if values.shape != (6,):
            self._let_go()
            raise UserError(f"the SpaceMouse sends {values.shape} numbers; expected 3 linear and 3 angular ones.")
        if not np.isfinite(values).all():
            self.malformed += 1
            self._let_go()
            return
        self._sticks = deflection(values, self._settings.dead_zone)
        if self._sticks.any():
            self._touched_ns = now_ns
        self._deadman.hear(self._deadman_down, now_ns)

    def joy(self, buttons: Sequence[int], now_ns: int) -> None:
        """Take the buttons of one Joy message; those it does not mention stay as they were."""
        states = {name: bool(state) for name, state in zip(BUTTONS, buttons, strict=False)}
        self._presses.see(states)
        if states:
            self._touched_ns = now_ns
        if states.get("left", self._deadman_down) != self._deadman_down:
            self._deadman_down = states["left"]
            self._deadman.hear(self._deadman_down, now_ns)

    def held(self, now_ns: int) -> bool:
        """The left button is held, the driver is heard and the device was touched within `idle_release_s`."""
        touched = self._touched_ns is not None and now_ns - self._touched_ns <= self._settings.idle_release_s * 1e9
        return touched and self._deadman.held(now_ns)

    def motion(self, now_ns: int, dt_s: float) -> Float64:
        """What the cap asks for in `dt_s`."""
        return travelled(self._sticks, dt_s, self._settings) if self.held(now_ns) else STILL

    def requests(self) -> tuple[Request, ...]:
        return self._presses.take()

    def legend(self) -> str:
        """Which button does what, in lines."""
        return "\n".join(
            [
                "hold the left button and move the cap; let go to hold still",
                f"right button {MEANINGS['gripper']}",
                "start, keep, label and stop episodes with the keyboard or the services.",
            ]
        )

    def _let_go(self) -> None:
        self._sticks, self._deadman_down = STILL, False
        self._deadman.release()
