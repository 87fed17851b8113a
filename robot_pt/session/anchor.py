"""What the next action is relative to: the previous commanded target, corrected by what the gate made of it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from robot_pt.commands import Float64, JointCommand, PoseTarget
from robot_pt.rotations import angle_between
from robot_pt.session.rings import FUTURE_NS

Origin = Literal["target", "applied", "executed", "measured"]


class CommandedTarget:
    """The previous commanded target of the tool, so that it neither drifts nor winds up.

    `anchor` gives the pose that the next action adds to:

    1. The gate has commanded something before, but nothing for `max_age_ns`: the measured pose, for nobody drives the arm.
    2. At a start or restart: the newest command of the gate, or without one the measured pose. In lock-step always the measured
       pose, for a reset of the simulator moves the arm without a command.
    3. The gate answered the previous target, by an applied target or (in lock-step) a command of the same stamp: that answer,
       exactly. Where nothing was clipped it is the previous target itself.
    4. There is no gate in the loop, nothing was ever fed back: the previous target.
    5. Only commands of other stamps came. As near to the previous target as they must be when nothing was clipped: the previous
       target, so that what inverse kinematics leaves over never adds up. Otherwise the gate clipped, held or was under another
       hand: the pose it executed, exactly. Position and rotation are judged apart. "Near" is `same` plus the share lag / period
       of the last step, for the gate may still be on its way by one of its own ticks and the transport.

    So a target is never further from what was executed than the gate lets a goal lead, or rule 5 allows, plus one action.
    """

    def __init__(
        self, *, period_ns: int, lag_ns: int, max_age_ns: int, same_m: float, same_rad: float, lockstep: bool = False
    ):  # fmt: skip
        self._lockstep = lockstep
        self._share = lag_ns / period_ns
        self._max_age, self._same = max_age_ns, (same_m, same_rad)
        self.refused = 0
        self._executed: JointCommand | None = None
        self._answer: PoseTarget | JointCommand | None = None
        self._target: PoseTarget | None = None
        self._step = (0.0, 0.0)  # [m], [rad] from the anchor to the target

    def restart(self) -> None:
        """Forget the previous target: the next anchor is where the arm is held or stands."""
        self._target = self._answer = None

    def forget_executed(self) -> None:
        """Forget what was executed too, as after a step back of the clock."""
        self._executed = None
        self.restart()

    def executed(self, command: JointCommand) -> bool:
        """Take what the gate sent; False and a count in `refused` where it is not newer than the last or not finite."""
        last = self._executed.stamp_ns if self._executed else 0
        if command.stamp_ns <= last or not _is_finite_pose(command.T_base_tool):
            self.refused += 1
            return False
        self._executed = command
        if self._lockstep:  # elsewhere two nodes may stamp by one tick of /clock without having heard each other
            self._note_answer(command)
        return True

    def applied(self, target: PoseTarget) -> bool:
        """Take what the gate made of a request, under the request's stamp; False where it answers no target of ours."""
        if not _is_finite_pose(target.T_base_tool):
            self.refused += 1
            return False
        return self._note_answer(target)

    def advance(self, anchor: Float64, target: PoseTarget) -> None:
        """`target` was published, made from `anchor` (4, 4)."""
        pose = target.T_base_tool
        self._step = (float(np.linalg.norm(pose[:3, 3] - anchor[:3, 3])), angle_between(anchor[:3, :3], pose[:3, :3]))
        self._target = target

    def anchor(self, measured: Float64, now_ns: int) -> tuple[Float64, Origin]:
        """(T_base_tool (4, 4), which of them it is) by the rule above; `measured` is the tool's pose as read (4, 4)."""
        self._drop_future(now_ns)
        executed, target, answer = self._executed, self._target, self._answer
        if executed is not None and now_ns - executed.stamp_ns > self._max_age:
            return measured, "measured"
        if target is None:
            held = None if self._lockstep else executed
            return (measured, "measured") if held is None else (held.T_base_tool, "executed")
        if answer is not None and answer.stamp_ns == target.stamp_ns:
            return answer.T_base_tool, "applied"
        if executed is None:
            return target.T_base_tool, "target"
        return self._corrected(target.T_base_tool, executed.T_base_tool)

    def _drop_future(self, now_ns: int) -> None:
        if self._executed is not None and self._executed.stamp_ns > now_ns + FUTURE_NS:
            self._executed = None
            self.refused += 1

    def _note_answer(self, answer: PoseTarget | JointCommand) -> bool:
        if self._target is None or answer.stamp_ns != self._target.stamp_ns:
            return False
        self._answer = answer
        return True

    def _corrected(self, target: Float64, executed: Float64) -> tuple[Float64, Origin]:
        allowed_m, allowed_rad = (s + self._share * step for s, step in zip(self._same, self._step, strict=True))
        moved = float(np.linalg.norm(target[:3, 3] - executed[:3, 3])) > allowed_m
        turned = angle_between(target[:3, :3], executed[:3, :3]) > allowed_rad
        if not moved and not turned:
            return target, "target"
        pose = target.copy()
        if moved:
            pose[:3, 3] = executed[:3, 3]
        if turned:
            pose[:3, :3] = executed[:3, :3]
        return pose, "executed"


def _is_finite_pose(pose: Float64) -> bool:
    return np.shape(pose) == (4, 4) and bool(np.isfinite(pose).all())
