"""The operator's hand on the arm: a device's motion, integrated to absolute targets from where the arm is held."""

from __future__ import annotations

from collections import deque

import numpy as np

from robot_pt.commands import ArmState, Float64, JointCommand, PoseTarget
from robot_pt.session.anchor import CommandedTarget
from robot_pt.targets import moved
from robot_pt.teleop.device import Device, Request, TeleopSettings

MAX_DT_S = 0.1
"""Motion is made for at most this much time per tick: a pause is no leap."""
MAX_STATE_AGE_S = 0.1
"""Older joint states are nothing to build on."""


class Hand:
    """Asks for a pose only while the deadman is held and something moves; every engagement starts where the arm is held.

    A press that holds still asks for nothing, so a deadman may be held to let a policy run without taking over from it.
    Times: `now_ns` is the monotonic clock of the device's events, `stamp_ns` the clock that messages are stamped with.

    What targets build on is the rule of `CommandedTarget`: what the gate made of the last one, at an engagement its newest
    command, and the measured pose where there is none. (From the measured pose alone the arm would sink by its sag each time.)
    """

    def __init__(self, device: Device, settings: TeleopSettings | None = None, *, rate_hz: float = 20.0):
        self.device, self._settings = device, settings or TeleopSettings()
        period_ns = round(1e9 / rate_hz)
        self._commanded = CommandedTarget(
            period_ns=period_ns, lag_ns=period_ns, max_age_ns=500_000_000, same_m=1e-5, same_rad=1e-4
        )
        self._held_since: int | None = None
        self._last_tick = self._stamp = 0
        self._sent: JointCommand | None = None
        self._gripper: float | None = None
        self._toggle = False
        self._requests: deque[Request] = deque()

    def executed(self, command: JointCommand) -> bool:
        """Take what the gate sent; False where it is not newer than the last or not finite."""
        accepted = self._commanded.executed(command)
        if accepted:
            self._sent = command
        return accepted

    def applied(self, target: PoseTarget) -> bool:
        """Take what the gate made of a target of ours, under its stamp."""
        return self._commanded.applied(target)

    def deadman(self, now_ns: int) -> bool:
        """What the heartbeat says: operator input alone."""
        return self.device.held(now_ns)

    def requests(self) -> tuple[Request, ...]:
        """What was asked for besides motion and gripper, since the last call; e-stops first."""
        self._listen()
        taken = sorted(self._requests, key=lambda request: request != "estop")
        self._requests.clear()
        return tuple(taken)

    def tick(self, now_ns: int, stamp_ns: int, state: ArmState, T_base_tool: Float64) -> PoseTarget | None:
        """The next target, or None where nothing is asked for; `T_base_tool` (4, 4) is the measured pose of `state`."""
        self._listen()
        dt_s = min(max((now_ns - self._last_tick) / 1e9, 0.0), MAX_DT_S) if self._last_tick else 0.0
        self._last_tick = now_ns
        if not self._engaged(now_ns):
            return None
        fresh = abs(stamp_ns - state.stamp_ns) <= MAX_STATE_AGE_S * 1e9
        motion = self.device.motion(now_ns, dt_s)
        if not fresh or not np.isfinite(T_base_tool).all() or not (motion.any() or self._toggle):
            return None
        anchor, _ = self._commanded.anchor(T_base_tool, stamp_ns)
        if self._gripper is None:
            held = self._sent is not None and abs(stamp_ns - self._sent.stamp_ns) < 500_000_000
            self._gripper = self._sent.gripper if self._sent is not None and held else min(max(state.gripper, 0.0), 1.0)
        if self._toggle:
            self._gripper, self._toggle = (0.0 if self._gripper > 0.5 else 1.0), False
        self._stamp = stamp_ns if stamp_ns > self._stamp or stamp_ns < self._stamp - 1_000_000_000 else self._stamp + 1
        target = PoseTarget(self._stamp, moved(anchor, np.array([*motion, self._gripper])), self._gripper)
        self._commanded.advance(anchor, target)
        return target

    def _listen(self) -> None:
        for request in self.device.requests():
            if request == "gripper":
                self._toggle = not self._toggle
            else:
                self._requests.append(request)

    def _engaged(self, now_ns: int) -> bool:
        """Held, and for long enough that the gate has heard it."""
        if not self.device.held(now_ns):
            self._held_since, self._gripper, self._toggle = None, None, False
            self._commanded.restart()
            return False
        if self._held_since is None:
            self._held_since = now_ns
        return now_ns - self._held_since >= self._settings.lead_s * 1e9
