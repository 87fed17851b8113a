"""What gamepad and SpaceMouse share: dead zones, pressed edges of buttons, and a deadman that must be seen open before it counts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from robot_pt.commands import Float64
from robot_pt.teleop.device import Request, TeleopSettings


def deflection(values: Float64, dead_zone: float) -> Float64:
    """Deflections in [-1, 1] with the dead zone cut out and the rest stretched to the full range, so motion begins gently."""
    beyond = np.clip(np.abs(values), 0.0, 1.0) - dead_zone
    return np.asarray(np.sign(values) * np.maximum(beyond, 0.0) / (1.0 - dead_zone))


def travelled(sticks: Float64, dt_s: float, settings: TeleopSettings) -> Float64:
    """(6,) displacement of six deflections held for `dt_s`; never faster than the settings allow, diagonals included."""
    out = np.zeros(6)
    for part, speed in ((slice(0, 3), settings.max_speed_m_s), (slice(3, 6), settings.max_speed_rad_s)):
        length = float(np.linalg.norm(sticks[part]))
        out[part] = sticks[part] * speed * dt_s / max(1.0, length)
    return out


class Deadman:
    """A button that is held, from a device that repeats its state.

    After a silence the button must first be seen released: a driver may repeat what was pressed before a cable was pulled.
    """

    def __init__(self, timeout_s: float):
        self._timeout_ns = round(timeout_s * 1e9)
        self._heard_ns: int | None = None
        self._pressed, self._seen_open = False, False

    def hear(self, pressed: bool, now_ns: int) -> None:
        """One message of the device."""
        if self._heard_ns is None or not 0 <= now_ns - self._heard_ns <= self._timeout_ns:
            self._seen_open = False
        self._heard_ns, self._pressed = now_ns, pressed
        self._seen_open = self._seen_open or not pressed

    def release(self) -> None:
        """Open it now; it must be pressed anew."""
        self._pressed = self._seen_open = False

    def held(self, now_ns: int) -> bool:
        """Pressed since it was seen open, and heard within the timeout."""
        fresh = self._heard_ns is not None and 0 <= now_ns - self._heard_ns <= self._timeout_ns
        return fresh and self._pressed and self._seen_open


class Presses:
    """Requests from buttons: one for each time a button goes down, none for those that were down at first sight."""

    def __init__(self, bindings: Mapping[str, Request]):
        self._bindings = dict(bindings)
        self._down: dict[str, bool] = {}
        self._requests: list[Request] = []

    def see(self, states: Mapping[str, bool]) -> None:
        """Buttons as one message has them; those it lacks stay as they were."""
        for name, down in states.items():
            if down and self._down.get(name) is False and name in self._bindings:
                self._requests.append(self._bindings[name])
            self._down[name] = down

    def take(self) -> tuple[Request, ...]:
        """Requests since the last call."""
        taken, self._requests = tuple(self._requests), []
        return taken
