"""What every teleoperation device is asked for, and the words operators and episode manager share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, Protocol

import numpy as np

from robot_pt.commands import Float64
from robot_pt.errors import UserError

Request = Literal[
    "start", "stop", "success", "failure", "keep", "discard", "redo", "takeover", "release", "gripper", "estop",
    "confirm",
]  # fmt: skip
"""What a key or button asks for besides motion. start .. redo: see `robot_pt.episodes`; takeover, release: who moves the arm;
gripper: open or close; estop: trip the software e-stop; confirm: act with the new policy that online learning offers."""

MEANINGS: dict[Request, str] = {
    "start": "start an episode",
    "stop": "end the episode, label it next",
    "success": "it succeeded",
    "failure": "it failed",
    "keep": "keep the episode",
    "discard": "throw it away",
    "redo": "throw it away and start again",
    "takeover": "take over from the policy",
    "release": "give back to the policy",
    "gripper": "open / close the gripper",
    "estop": "STOP (latches)",
    "confirm": "act with the new policy",
}


@dataclass(frozen=True, kw_only=True)
class TeleopSettings:
    """Raises UserError on a value that cannot be meant."""

    max_speed_m_s: float = 0.1
    """Of the tool, at full deflection."""
    max_speed_rad_s: float = 0.5
    step_m: float = 0.01
    """Of one key press."""
    step_rad: float = 0.05
    key_interval_s: float = 0.1
    """Key presses closer together than this (auto-repeat, a burst after a hang-up of the line) count once."""
    key_held_s: float = 0.5
    """How long one key press counts as the deadman held: the time its step takes."""
    dead_zone: float = 0.1
    """Share of a stick's range around its rest that is no motion."""
    timeout_s: float = 0.07
    """A gamepad that says nothing for so long is released: with the heartbeat after it, the arm holds within 0.1 s."""
    spacemouse_timeout_s: float = 0.2
    """The same for a SpaceMouse, whose driver says less; it is no hold-to-run switch."""
    lead_s: float = 0.1
    """A target follows the deadman by this, so that the deadman is heard first."""
    idle_release_s: float = 1.0
    """A SpaceMouse whose cap rests for so long is released: its driver goes on sending when it is unplugged."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value, most = getattr(self, each.name), 0.9 if each.name == "dead_zone" else 10.0
            may_be_zero = each.name in ("dead_zone", "lead_s")
            if not 0 <= value <= most or (value == 0 and not may_be_zero):
                raise UserError(
                    f"{each.name} is {value}; give a number {'of at least' if may_be_zero else 'above'} 0, at most {most:g}."
                )
        if self.lead_s >= self.key_held_s:
            raise UserError(
                f"lead_s is {self.lead_s} and key_held_s {self.key_held_s}; a step must begin while its key counts as held."
            )


class Device(Protocol):
    """A keyboard, gamepad or SpaceMouse behind plain events. Times are int ns of one monotonic clock.

    Attributes:
        hold_to_run: it can prove that a hand is on it for as long as it is: only then may it let a policy run.
    """

    hold_to_run: bool

    def held(self, now_ns: int) -> bool:
        """The deadman, by operator input alone: False as soon as the device is silent, unplugged or hung up."""
        ...

    def motion(self, now_ns: int, dt_s: float) -> Float64:
        """(6,) dx dy dz [m], droll dpitch dyaw [rad] in the base frame for the `dt_s` before now; zero while not held."""
        ...

    def requests(self) -> tuple[Request, ...]:
        """What was asked for since the last call, in order; each once."""
        ...

    def legend(self) -> str:
        """Lines that tell the operator which key or button does what."""
        ...


STILL: Float64 = np.zeros(6)
STILL.flags.writeable = False
