"""A keyboard in a terminal, also over SSH: bytes in, single bounded steps out.

A terminal reports no key-up, so nothing here can be held: every press is one step, and the deadman it stands for ends by itself.
"""

from __future__ import annotations

import numpy as np

from robot_pt.commands import Float64
from robot_pt.teleop.device import MEANINGS, STILL, Request, TeleopSettings

MOTIONS: dict[str, tuple[int, int]] = {
    "w": (0, 1), "s": (0, -1), "a": (1, 1), "d": (1, -1), "r": (2, 1), "f": (2, -1),
    "u": (3, 1), "o": (3, -1), "i": (4, 1), "k": (4, -1), "j": (5, 1), "l": (5, -1),
}  # fmt: skip
"""Key -> (index into dx dy dz droll dpitch dyaw, sign)."""
REQUESTS: dict[str, Request] = {
    " ": "estop", "g": "gripper", "1": "start", "2": "stop", "3": "success", "4": "failure", "5": "keep", "6": "discard",
    "7": "redo", "8": "takeover", "9": "release", "0": "confirm",
}  # fmt: skip
SCALES = {"-": 0.5, "=": 2.0, "+": 2.0}
SMALLEST_SCALE = 0.125
HANG_UP = (b"\x03", b"\x04")
"""Ctrl-C where the terminal hands it over, and Ctrl-D."""
LONGEST_SEQUENCE = 8


class Keyboard:
    """Feed it what the terminal gives; read it with the `Device` methods."""

    hold_to_run = False

    def __init__(self, settings: TeleopSettings | None = None):
        self._settings = settings or TeleopSettings()
        self.scale = 1.0
        """Of a step; changed by - and +, at most 1."""
        self.dropped = 0
        """Presses that came too close after another."""
        self.closed = False
        self._requests: list[Request] = []
        self._step = STILL
        self._pressed_ns: int | None = None
        self._escape = ""

    def feed(self, data: bytes, now_ns: int) -> None:
        """Take what was read from the terminal; b"" is its end: hang-up, which releases at once and for good."""
        if not data or any(byte in data for byte in HANG_UP):
            self.hang_up()
            return
        for key in data.decode("utf-8", "ignore"):
            self._key(key, now_ns)

    def hang_up(self) -> None:
        """The terminal is gone: what was not done yet is dropped. Requests already made stay."""
        self.closed, self._pressed_ns, self._step = True, None, STILL

    def held(self, now_ns: int) -> bool:
        """True for `key_held_s` after a key that moves the arm or the gripper."""
        return self._pressed_ns is not None and 0 <= now_ns - self._pressed_ns <= self._settings.key_held_s * 1e9

    def motion(self, now_ns: int, dt_s: float) -> Float64:
        """The step of the last key press, once, while that counts as held; `dt_s` does not matter."""
        step, self._step = self._step, STILL
        return step if self.held(now_ns) else STILL

    def requests(self) -> tuple[Request, ...]:
        taken, self._requests = tuple(self._requests), []
        return taken

    def legend(self) -> str:
        """Which key does what, in lines."""
        lines = [
            "w/s forward/back   a/d left/right   r/f up/down      one step per press",
            "u/o roll           i/k pitch        j/l yaw          -/+ smaller/larger steps",
        ]
        named = {" ": "SPACE"}
        lines += [f"{named.get(key, key):5} {MEANINGS[request]}" for key, request in REQUESTS.items()]
        return "\n".join([*lines, "Ctrl-D or closing the terminal releases the arm."])

    def _key(self, key: str, now_ns: int) -> None:
        if self._in_escape_sequence(key) or self.closed:
            return
        if key in REQUESTS:
            self._requests.append(REQUESTS[key])
            if REQUESTS[key] == "gripper":
                self._press(None, now_ns)
        elif key in SCALES:
            self.scale = min(1.0, max(SMALLEST_SCALE, self.scale * SCALES[key]))
        elif key in MOTIONS:
            index, sign = MOTIONS[key]
            step = np.zeros(6)
            step[index] = sign * self.scale * (self._settings.step_m if index < 3 else self._settings.step_rad)
            self._press(step, now_ns)

    def _press(self, step: Float64 | None, now_ns: int) -> None:
        """Count as held from now on; `step` waits to be taken, None leaves the one that waits."""
        last = self._pressed_ns
        if last is not None and 0 <= now_ns - last < self._settings.key_interval_s * 1e9:
            self.dropped += 1
            return
        waiting = self._step if self.held(now_ns) else STILL
        self._pressed_ns, self._step = now_ns, waiting if step is None else step

    def _in_escape_sequence(self, key: str) -> bool:
        """Arrow and function keys send ESC [ ... letter: their letters are no keys of ours. SPACE always stops."""
        if key == "\x1b":
            self._escape = key
            return True
        if not self._escape or key == " ":
            self._escape = ""
            return False
        self._escape += key
        begun = self._escape[1] in "[O"
        ended = len(self._escape) > 2 and (key.isalpha() or key == "~")
        if ended or not begun or len(self._escape) > LONGEST_SEQUENCE:
            self._escape = ""
        return True
