"""ArmGuard: the last check before the arm, beside it and independent of the gate. A pure state machine, the clock passed in.

The gate decides what may move; the guard only refuses: what is not one supervisor's, not fresh, not finite, beyond a joint limit or
far from where the arm is. It clips and ramps nothing. Refused or silent, it holds: nothing new is sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, Protocol, final

import numpy as np
from numpy.typing import ArrayLike

from robot_pt.commands import Float64, JointCommand
from robot_pt.errors import UserError

NS = 1_000_000_000
ROUNDING = 1e-6
"""What a limit may be missed by: commands cross the wire as decimal or single-precision numbers."""

Refusal = Literal[
    "stopped", "rival", "joint_state", "malformed", "old", "future", "sequence", "joint_limit", "opening", "jump", "speed",
]  # fmt: skip
SENTENCES: dict[str, str] = {
    "silent": "no command has come; holding the last position.",
    "stopped": "the adapter does not follow commands now.",
    "rival": "somebody besides the supervisor publishes commands; stop that program.",
    "joint_state": "the driver's joint states stopped or never came; look at the driver.",
    "malformed": "a command was not finite or not one number per joint.",
    "old": "a command was older than max_command_age_s; compare the clocks of both machines.",
    "future": "a command was stamped in the future; compare the clocks of both machines.",
    "sequence": "a command was not newer than the last one.",
    "joint_limit": "a command was beyond a joint limit.",
    "opening": "a gripper command was outside 0 to 1.",
    "jump": "a command was too far from where the arm is.",
    "speed": "a command asked a joint to be faster than the arm can.",
}


class GuardedArm(Protocol):
    """What the guard asks of an arm; `robot_pt.robots.load` gives one."""

    @property
    def lower_rad(self) -> Float64: ...
    @property
    def upper_rad(self) -> Float64: ...
    @property
    def max_velocity_rad_s(self) -> Float64: ...


@dataclass(frozen=True, kw_only=True)
class GuardSettings:
    """Raises UserError for a number that cannot be meant."""

    timeout_s: float = 0.25
    """Silence that ends in hold [s]. The supervisor streams: ten commands are missing by then."""
    max_age_s: float = 0.3
    """Oldest command that is followed [s]."""
    max_future_s: float = 0.05
    """How far ahead of this machine's clock a command may be stamped [s]."""
    state_timeout_s: float = 0.5
    """Silence of the driver's joint states that ends in hold [s]."""
    max_jump_rad: float = 0.5
    """Largest distance of a commanded joint from the measured one [rad]."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value <= 5:
                raise UserError(f"{field.name} is {value!r}; give a number above 0 and at most 5.")


@final
class ArmGuard:
    """Offer commands as they come, `take` what may be sent. Two clocks: `now_ns` is steady and counts silence, `clock_ns` made the stamps.

    Attributes:
        counts: refused commands by reason.
        rival: who else publishes commands, "" where nobody does.
    """

    def __init__(self, arm: GuardedArm, settings: GuardSettings | None = None):
        self._arm, self.settings = arm, settings or GuardSettings()
        self.counts: Counter[str] = Counter()
        self.rival = ""
        self._stopped = ""
        self._last_refusal = ""
        self._q: Float64 | None = None
        self._state_ns = self._accepted_ns = 0
        self._last: JointCommand | None = None
        self._fresh: JointCommand | None = None

    def state(self, now_ns: int, q: Float64) -> None:
        """Measured joints (J,), finite."""
        self._q, self._state_ns = q, now_ns

    def publishers(self, names: Sequence[str], expected: str) -> None:
        """Who publishes commands at this moment; a name that is not known yet is empty. Only one that is `expected` is followed."""
        strangers = [name for name in names if name and name != expected]
        if strangers:
            self.rival = strangers[0]
        else:
            self.rival = "" if len(names) <= 1 else f"{len(names)} times {expected}"
        if self.rival:
            self._fresh = None

    def stop(self, why: str) -> None:
        """Follow nothing until `resume`; `why` is for the operator."""
        self._stopped, self._fresh = why or "stopped", None

    def resume(self) -> None:
        """Follow again what is offered from now on."""
        self._stopped = ""

    def offer(self, now_ns: int, clock_ns: int, command: JointCommand) -> Refusal | None:
        """Take a command, or say why not; refused, it changes nothing."""
        self._forget_after_silence(now_ns)
        refusal = self._refusal(now_ns, clock_ns, command)
        if refusal is not None:
            self.counts[refusal] += 1
            self._last_refusal = refusal
            return refusal
        self._last = self._fresh = command
        self._accepted_ns, self._last_refusal = now_ns, ""
        return None

    def take(self, now_ns: int) -> JointCommand | None:
        """What to send now, once; None where there is nothing new, that is hold."""
        fresh, self._fresh = self._fresh, None
        return None if fresh is None or self.holds(now_ns) else fresh

    def holds(self, now_ns: int) -> str:
        """Why the arm is held, a key of SENTENCES; "" while commands are followed."""
        if self._stopped or self.rival:
            return "rival" if self.rival else "stopped"
        if not self._state_fresh(now_ns):
            return "joint_state"
        if self._last is None or not 0 <= now_ns - self._accepted_ns <= self.settings.timeout_s * NS:
            return self._last_refusal or "silent"
        return ""

    def sentence(self, now_ns: int) -> str:
        """`holds` for the operator."""
        reason = self.holds(now_ns)
        if reason == "stopped":
            return self._stopped
        return f"{SENTENCES[reason]} ({self.rival})" if reason == "rival" else SENTENCES.get(reason, "following.")

    @property
    def last(self) -> JointCommand | None:
        """The last command that was accepted; None after silence."""
        return self._last

    def _forget_after_silence(self, now_ns: int) -> None:
        """Stamps begin anew: whoever sends after a silence is looked at as at the first start."""
        if self._last is not None and not 0 <= now_ns - self._accepted_ns <= self.settings.timeout_s * NS:
            self._last = self._fresh = None

    def _refusal(self, now_ns: int, clock_ns: int, command: JointCommand) -> Refusal | None:
        if self._stopped or self.rival:
            return "rival" if self.rival else "stopped"
        if not self._state_fresh(now_ns):
            return "joint_state"
        q = _finite(command.q, self._arm.lower_rad.shape)
        if q is None or _finite(command.T_base_tool, (4, 4)) is None or _finite(command.gripper, ()) is None:
            return "malformed"
        age_s = (clock_ns - command.stamp_ns) / NS
        if age_s > self.settings.max_age_s or age_s < -self.settings.max_future_s:
            return "old" if age_s > 0 else "future"
        if self._last is not None and command.stamp_ns <= self._last.stamp_ns:
            return "sequence"
        if (q < self._arm.lower_rad - ROUNDING).any() or (q > self._arm.upper_rad + ROUNDING).any():
            return "joint_limit"
        if not -ROUNDING <= command.gripper <= 1 + ROUNDING:
            return "opening"
        assert self._q is not None
        if np.abs(q - self._q).max() > self.settings.max_jump_rad:
            return "jump"
        return "speed" if self._too_fast(command.stamp_ns, q) else None

    def _too_fast(self, stamp_ns: int, q: Float64) -> bool:
        """Against the arm's own speeds, generously: time stamps jitter, and the gate keeps much slower ones."""
        if self._last is None:
            return False
        time_s = max((stamp_ns - self._last.stamp_ns) / NS, 0.02)
        return bool((np.abs(q - self._last.q) > 1.2 * self._arm.max_velocity_rad_s * time_s + 0.02).any())

    def _state_fresh(self, now_ns: int) -> bool:
        return self._q is not None and 0 <= now_ns - self._state_ns <= self.settings.state_timeout_s * NS


def _finite(values: ArrayLike, shape: tuple[int, ...]) -> Float64 | None:
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        return None
    return array if array.shape == shape and np.isfinite(array).all() else None
