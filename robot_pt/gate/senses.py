"""What the gate knows of the world: joints, hold-to-run switch, cameras. Messages are checked here, ages watched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from math import inf, isfinite

import numpy as np

from robot_pt.commands import ArmState
from robot_pt.gate.inbox import as_array
from robot_pt.gate.kinematics import Manipulator
from robot_pt.gate.limits import GateLimits
from robot_pt.gate.reasons import Reason
from robot_pt.gate.watchdogs import NS, Deadman, FrameWatch, RestMonitor, Watchdog

BEYOND_LIMITS_RAD = 0.5
"""A measured joint this far beyond its limits is a wrong message, not an arm."""
FUTURE_NS = NS
"""How far ahead of the last tick's clock a reading may be: a simulator's clock moves in steps, and a tick may read it before."""


class Senses:
    """Newest believable state of everything around the gate."""

    def __init__(self, arm: Manipulator, limits: GateLimits, counts: Counter[Reason]):
        self._names, self._limits, self._counts = tuple(arm.joint_names), limits, counts
        self._low = np.asarray(arm.lower_rad) - BEYOND_LIMITS_RAD
        self._high = np.asarray(arm.upper_rad) + BEYOND_LIMITS_RAD
        timeout_s = limits.joint_state_timeout_s or limits.timeout_s
        self.deadman = Deadman(round(limits.switch_s * NS))
        self.estop = Watchdog(round(limits.estop_timeout_s * NS))
        """Fed by everything that who may stop the arm says."""
        self.rest = RestMonitor()
        self.arm_state: ArmState | None = None
        self.malformed_in_a_row = 0
        self._states = Watchdog(round(timeout_s * NS))
        self._oldest_frame_ns = round(max(limits.timeout_s, limits.max_observation_age_s) * NS)
        self._cameras = {
            name: FrameWatch(
                round(limits.timeout_s * NS), inf if limits.lockstep else limits.frozen_image_s * NS,
                limits.frozen_motion_rad,
            )
            for name in limits.cameras
        }  # fmt: skip

    def joint_state(
        self, now_ns: int, clock_ns: int, stamp_ns: int, names: Sequence[str], positions: Sequence[float],
        effort: Sequence[float], gripper: float,
    ) -> None:  # fmt: skip
        """By name. A joint that is missing or named twice makes the whole message malformed."""
        listed = list(names)
        once = all(listed.count(name) == 1 for name in self._names)
        if not once or len(positions) != len(listed) or len(effort) not in (0, len(listed)):
            self._reject()
            return
        order = [listed.index(name) for name in self._names]
        q = as_array([positions[i] for i in order])
        efforts = as_array([effort[i] for i in order]) if len(effort) else None
        if q is None or (len(effort) and efforts is None):
            self._reject()
            return
        self.state(now_ns, clock_ns, ArmState(stamp_ns, q, gripper, efforts))

    def state(self, now_ns: int, clock_ns: int, state: ArmState) -> None:
        """In arm order. An old or repeated reading is no news and does not feed the watchdog."""
        q, gripper = as_array(state.q), as_array(state.gripper)
        effort = None if state.effort is None else as_array(state.effort)
        shape = (len(self._names),)
        if (
            q is None or gripper is None or q.shape != shape or gripper.shape != ()
            or (state.effort is not None and (effort is None or effort.shape != shape))
            or (q < self._low).any() or (q > self._high).any() or not isinstance(state.stamp_ns, int | np.integer)
        ):  # fmt: skip
            self._reject()
            return
        self.malformed_in_a_row = 0
        age_ns = clock_ns - int(state.stamp_ns)
        if not -FUTURE_NS <= age_ns <= self._states.timeout_ns:
            return
        if self.arm_state is not None and state.stamp_ns <= self.arm_state.stamp_ns:
            return
        self.arm_state = ArmState(int(state.stamp_ns), q.copy(), float(gripper), effort)
        self.rest.add(now_ns, self.arm_state.q)
        self._states.feed(now_ns - max(age_ns, 0))

    def _reject(self) -> None:
        self._counts["malformed"] += 1
        self.malformed_in_a_row += 1

    def frame(self, now_ns: int, clock_ns: int, camera: str, stamp_ns: int, digest: Hashable) -> None:
        """Of a camera that is watched. A frame that no policy may decide on any more, or from the future, is no news."""
        watch = self._cameras.get(camera)
        if watch is None or not isinstance(stamp_ns, int | np.integer):
            return
        in_time = -FUTURE_NS <= clock_ns - int(stamp_ns) <= self._oldest_frame_ns
        if in_time or self._limits.lockstep:  # there a frame may come before the joint state that moves the clock
            watch.add(now_ns, int(stamp_ns), digest, None if self.arm_state is None else self.arm_state.q)

    def estop_heard(self, now_ns: int) -> bool:
        """Whoever may stop the arm is there, or need not be."""
        return not self._limits.require_estop_heartbeat or self.estop.fresh(now_ns)

    def estop_lost(self, now_ns: int) -> bool:
        """Asked while armed, which began with a heartbeat: it stopped. Where the clock was set back since, it has its time again."""
        if self.estop.fed_ns is None:
            self.estop.feed(now_ns)
        return not self.estop_heard(now_ns)

    def states_fresh(self, now_ns: int) -> bool:
        return self._states.fresh(now_ns)

    def at_rest(self) -> bool:
        """In lock-step always: time stands still until the next command, and what moved before it was commanded or a reset."""
        speed = self.rest.speed_rad_s()
        if self._limits.lockstep:
            return self.arm_state is not None
        return speed is not None and isfinite(speed) and speed < self._limits.rest_rad_s

    def camera_trouble(self, now_ns: int) -> Reason | None:
        q = None if self.arm_state is None else self.arm_state.q
        if not all(watch.fresh(now_ns) for watch in self._cameras.values()):
            return "camera_stale"
        return "camera_frozen" if any(watch.frozen(now_ns, q) for watch in self._cameras.values()) else None

    def ages_s(self, now_ns: int) -> dict[str, float | None]:
        """Since the newest of each, for the operator."""
        return {"joint_state": self._states.age_s(now_ns), "deadman": self.deadman.age_s(now_ns)}

    def forget(self) -> None:
        """The clock was set back: whatever was heard, was heard never. The last joints stay known, not fresh."""
        self._states.forget()
        self.deadman.forget()
        self.estop.forget()
        self.rest.forget()
        for watch in self._cameras.values():
            watch.forget()
        self.forget_stamps()

    def forget_stamps(self) -> None:
        """The clock of the stamps jumped: the next reading is new whatever its stamp."""
        if self.arm_state is not None:
            self.arm_state = self.arm_state._replace(stamp_ns=-1)
        for watch in self._cameras.values():
            watch.forget()
