"""A gamepad by the axes and buttons of a sensor_msgs/Joy: hold the shoulder button and move the sticks.

Signs are those of the ROS joy drivers: up and left are positive. Triggers are not used: their rest reads 0, 1 or -1 by driver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robot_pt.commands import Float64
from robot_pt.errors import UserError
from robot_pt.teleop.device import MEANINGS, STILL, Request, TeleopSettings
from robot_pt.teleop.sticks import Deadman, Presses, deflection, travelled


@dataclass(frozen=True, kw_only=True)
class GamepadLayout:
    """Where a driver puts what; indices into Joy.axes and Joy.buttons."""

    name: str
    left: tuple[int, int]
    """Axes of the left stick: sideways, up."""
    right: tuple[int, int]
    buttons: Mapping[str, int]
    hat: tuple[int, int] | None = None
    """Axes of the cross where it is no buttons: sideways, up."""

    @property
    def needs(self) -> tuple[int, int]:
        """How many axes and buttons a message must have."""
        axes = [*self.left, *self.right, *(self.hat or ())]
        return max(axes) + 1, max(self.buttons.values()) + 1


LAYOUTS: Mapping[str, GamepadLayout] = {
    # `ros2 run joy game_controller_node`: one order for all controllers
    "game_controller": GamepadLayout(
        name="game_controller", left=(0, 1), right=(2, 3),
        buttons={
            "A": 0, "B": 1, "X": 2, "Y": 3, "BACK": 4, "START": 6, "left stick": 7, "right stick": 8, "LB": 9, "RB": 10,
            "up": 11, "down": 12, "left": 13, "right": 14,
        },
    ),
    # `ros2 run joy joy_node` with the Linux driver of Xbox controllers
    "xbox": GamepadLayout(
        name="xbox", left=(0, 1), right=(3, 4), hat=(6, 7),
        buttons={"A": 0, "B": 1, "X": 2, "Y": 3, "LB": 4, "RB": 5, "BACK": 6, "START": 7, "left stick": 9, "right stick": 10},
    ),
}  # fmt: skip

DEADMAN, TURN = "RB", "LB"
REQUESTS: Mapping[str, Request] = {
    "A": "gripper", "B": "estop", "START": "start", "BACK": "stop", "Y": "success", "X": "failure", "up": "keep",
    "down": "discard", "left": "redo", "left stick": "takeover", "right stick": "release", "right": "confirm",
}  # fmt: skip


class Gamepad:
    """Feed it Joy messages; read it with the `Device` methods. Speeds scale with the sticks, only while RB is held."""

    hold_to_run = True

    def __init__(self, layout: str = "game_controller", settings: TeleopSettings | None = None):
        """Raises UserError for a layout that is not known."""
        if layout not in LAYOUTS:
            raise UserError(f"there is no gamepad layout {layout!r}; choose one of {', '.join(LAYOUTS)}.")
        self.layout, self._settings = LAYOUTS[layout], settings or TeleopSettings()
        self.malformed = 0
        """Messages with NaN or Inf."""
        self._deadman, self._presses = Deadman(self._settings.timeout_s), Presses(REQUESTS)
        self._sticks = STILL

    def joy(self, axes: Sequence[float], buttons: Sequence[int], now_ns: int) -> None:
        """Take one message. One with NaN or Inf releases.

        Raises UserError, after releasing, where it has fewer axes or buttons than the layout.
        """
        values = np.asarray(axes, np.float64)
        need_axes, need_buttons = self.layout.needs
        if values.ndim != 1 or len(values) < need_axes or len(buttons) < need_buttons:
            self._let_go()
            raise UserError(
                f"the gamepad sends {values.size} axes and {len(buttons)} buttons, layout {self.layout.name!r} needs {need_axes} and "
                f"{need_buttons}; set gamepad_layout to one of {', '.join(LAYOUTS)}, or start joy's game_controller_node."
            )
        if not np.isfinite(values).all():
            self.malformed += 1
            self._let_go()
            return
        down = {name: bool(buttons[index]) for name, index in self.layout.buttons.items()}
        if self.layout.hat is not None:
            sideways, up = (values[index] for index in self.layout.hat)
            down |= {
                "up": bool(up > 0.5),
                "down": bool(up < -0.5),
                "left": bool(sideways > 0.5),
                "right": bool(sideways < -0.5),
            }
        self._presses.see(down)
        self._deadman.hear(down[DEADMAN], now_ns)
        self._sticks = self._six(values, down[TURN])

    def _six(self, values: Float64, turning: bool) -> Float64:
        """Deflections in the order of an action; with LB the left stick tilts."""
        (left_y, left_x), (yaw, z) = ((values[a], values[b]) for a, b in (self.layout.left, self.layout.right))
        six = [0, 0, z, -left_y, left_x, yaw] if turning else [left_x, left_y, z, 0, 0, yaw]
        return deflection(np.array(six, np.float64), self._settings.dead_zone)

    def _let_go(self) -> None:
        self._sticks = STILL
        self._deadman.release()

    def held(self, now_ns: int) -> bool:
        """RB is held and the gamepad is heard."""
        return self._deadman.held(now_ns)

    def motion(self, now_ns: int, dt_s: float) -> Float64:
        """What the sticks ask for in `dt_s`."""
        return travelled(self._sticks, dt_s, self._settings) if self.held(now_ns) else STILL

    def requests(self) -> tuple[Request, ...]:
        return self._presses.take()

    def legend(self) -> str:
        """Which button does what, in lines."""
        return "\n".join(
            [
                "hold RB to move (and to let a policy run); let go to hold still",
                "left stick   forward/back, left/right; with LB: tilt",
                "right stick  up/down, turn",
                *(f"{name:12} {MEANINGS[request]}" for name, request in REQUESTS.items()),
            ]
        )
