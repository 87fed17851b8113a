"""From an accepted target to the joints that are sent: pose limits, pacing, inverse kinematics, joint limits.

What was sent last is the start of everything: `q` (J,), `T_base_tool` and `gripper`. A goal is a target after the limits of
step, workspace and orientation. Every pose on the way from the one to the other lies in the workspace, because the workspace is
convex and the way straight; its joints come from inverse kinematics and are checked before they are sent. Where the start is
already outside a limit (the arm was armed there), nothing is allowed that leads further out.
"""

from __future__ import annotations

from math import isfinite
from typing import NamedTuple

import numpy as np

from robot_pt.commands import ArmState, Float64, PoseTarget
from robot_pt.gate.kinematics import Manipulator, Solution
from robot_pt.gate.limits import GateLimits
from robot_pt.gate.poses import SLACK, RotationBox, Way, action_angle, farthest, step_position
from robot_pt.gate.reasons import Reason
from robot_pt.rotations import matrix_to_rpy, rpy_to_matrix

LEAD_STEPS = 1.5
"""How many steps a goal may be ahead of what was sent: targets that outrun the speed limits do not pile up."""
SAME = 1e-9
"""Poses nearer than this [m], [rad] are one: what numbers lose on their way through messages."""
SLOWEST_RAMP = 0.1
"""Share of full speed a ramp begins with."""
SAG_M, SAG_RAD = 0.02, 0.1
"""By so much an arm may hang below where it is held [m], [rad]."""
UNCLIPPED = np.zeros(7)
UNCLIPPED.setflags(write=False)


class Sent(NamedTuple):
    """What the arm was told last."""

    q: Float64  # (J,) [rad]
    T_base_tool: Float64  # (4, 4)
    gripper: float


class _Reached(NamedTuple):
    """A `Solution` whose pose is that of its joints."""

    q: Float64
    position_error_m: float = 0.0
    rotation_error_rad: float = 0.0


class Pace(NamedTuple):
    """How far one call of `advance` may go."""

    dt_s: float
    """Time since the last command."""
    left_s: float
    """Time from the last command until the goal should be reached."""
    ramp: float
    """0..1 of every speed limit."""


def ramp(limits: GateLimits, moving_s: float) -> float:
    """Share of full speed so long after a start or a pause."""
    share = 1.0 if limits.lockstep or limits.ramp_in_s <= 0 else moving_s / limits.ramp_in_s
    return min(max(share, SLOWEST_RAMP), 1.0)


class Motion:
    """The goal and the last command of one arm; `advance` moves the second towards the first."""

    def __init__(self, arm: Manipulator, limits: GateLimits):
        self._arm, self._limits = arm, limits
        low, high = np.asarray(arm.lower_rad), np.asarray(arm.upper_rad)
        self._low: list[float] = (low + limits.joint_margin_rad).tolist()
        self._high: list[float] = (high - limits.joint_margin_rad).tolist()
        self._speed: list[float] = np.minimum(limits.max_joint_velocity_rad_s, arm.max_velocity_rad_s).tolist()
        self._effort = None if limits.effort_limit is None else np.asarray(limits.effort_limit)
        self._walls = np.asarray(limits.workspace.low), np.asarray(limits.workspace.high)
        self._rotations = RotationBox(
            rpy_to_matrix(limits.reference_rpy), np.asarray(limits.rotation_low), np.asarray(limits.rotation_high)
        )
        self._watched = tuple(limits.watch)
        self._boxes = (
            np.array([box.low for box in limits.watch.values()]),
            np.array([box.high for box in limits.watch.values()]),
        )
        self._attempts = 4 if limits.lockstep else 2
        self.sent: Sent | None = None
        self.goal: Float64 | None = None
        self.ik_failures = 0
        """Targets in a row on whose way inverse kinematics failed."""
        self._failed = False

    def anchor(self, state: ArmState) -> None:
        """Take the measured arm as what was sent last: on arming, when nothing was sent before."""
        self.sent = Sent(state.q.copy(), self._arm.fk(state.q), min(1.0, max(0.0, state.gripper)))
        self.goal = None

    def start(self, state: ArmState, at_rest: bool) -> None:
        """Before the first target after a pause: go on from the last command, or from the measured arm where it rests elsewhere.

        A position-controlled arm sags a little below its command; going on from there at every start would let it sink. An
        arm that still moves is on its way to the last command.
        """
        assert self.sent is not None
        self.goal = None
        self._follow(state)
        apart = farthest(self.sent.q, state.q) > self._limits.start_tolerance_rad
        if self._limits.lockstep or (apart and at_rest):
            self.sent = Sent(state.q.copy(), self._arm.fk(state.q), self.sent.gripper)

    def held_at(self, state: ArmState) -> Sent:
        """Where an arm that nobody moves is held while time stands still: at its last command, or where it is if that is farther than sag.

        A simulator that was reset stands elsewhere, and must not go back to where the episode before ended.
        """
        assert self.sent is not None
        way = Way(self.sent.T_base_tool, self._arm.fk(state.q))
        if way.metres > SAG_M or way.radians > SAG_RAD:
            self.anchor(state)
        return self.sent

    def release(self) -> None:
        """Forget the last command: nobody holds the arm there any more."""
        self.sent = self.goal = None

    def displaced(self, state: ArmState) -> bool:
        """The arm is so far from its command that repeating it would be a motion."""
        if self.sent is None or self._limits.follows == "pose":
            return False
        return farthest(self.sent.q, state.q) > self._limits.max_tracking_error_rad

    def applied(self, requested: PoseTarget) -> tuple[PoseTarget | None, Float64]:
        """What became of a target after the limits of a pose, or where the arm is held; and (7,) by how much less that is."""
        sent = self.sent
        if sent is None:
            return None, UNCLIPPED
        pose = sent.T_base_tool if self.goal is None else self.goal
        turned = matrix_to_rpy(requested.T_base_tool[:3, :3] @ pose[:3, :3].T)
        moved = requested.T_base_tool[:3, 3] - pose[:3, 3]
        clipped = np.array([*moved.tolist(), *turned.tolist(), requested.gripper - sent.gripper])
        return requested._replace(T_base_tool=pose.copy(), gripper=sent.gripper), clipped

    def stop(self) -> None:
        """Stay where the last command is."""
        self.goal = None

    def accept(self, target: PoseTarget) -> tuple[Reason, ...]:
        """Make the target, within the limits of a pose, the new goal. The gripper is sent with the next command."""
        assert self.sent is not None
        if not self._failed:
            self.ik_failures = 0
        self._failed = False
        base = self.sent.T_base_tool if self.goal is None else self.goal
        goal = target.T_base_tool.copy()
        reasons: list[Reason] = []
        goal[:3, 3] = self._position(target.T_base_tool[:3, 3], base[:3, 3], reasons)
        goal[:3, :3] = self._rotation(target.T_base_tool[:3, :3], base[:3, :3], reasons)
        gripper = min(1.0, max(0.0, target.gripper))
        if gripper != target.gripper:
            reasons.append("gripper")
        if gripper != self.sent.gripper and self._leaves_box(self.sent.q, gripper):
            gripper = self.sent.gripper
            reasons.append("watch_point")
        self.goal, self.sent = goal, self.sent._replace(gripper=gripper)
        return tuple(dict.fromkeys(reasons))

    def _position(self, wanted: Float64, base: Float64, reasons: list[Reason]) -> Float64:
        assert self.sent is not None
        longest = self._limits.max_step_m
        stepped = step_position(wanted, base, longest)
        walled = np.minimum(np.maximum(stepped, self._walls[0]), self._walls[1])
        goal = step_position(walled, base, longest)  # shortens only where `base` is outside
        followed = step_position(goal, self.sent.T_base_tool[:3, 3], LEAD_STEPS * longest)
        if stepped is not wanted or goal is not walled:
            reasons.append("step")
        if walled.tolist() != stepped.tolist():
            reasons.append("workspace")
        if followed is not goal:
            reasons.append("lead")
        return followed

    def _rotation(self, wanted: Float64, base: Float64, reasons: list[Reason]) -> Float64:
        assert self.sent is not None
        longest = self._limits.max_step_rad
        goal = self._rotations.step(wanted, base, longest)
        sent, lead = self.sent.T_base_tool[:3, :3], LEAD_STEPS * longest
        # only ever shortened: a step taken from outside the box would be clipped onto it once more, and reach farther than a step may
        followed = goal if action_angle(goal, sent) <= lead * (1 + SLACK) else self._rotations.step(goal, sent, lead)
        if self._rotations.excess(wanted) > SLACK:
            reasons.append("orientation")
        elif goal is not wanted:
            reasons.append("step")
        if followed is not goal:
            reasons.append("lead")
        return followed

    def advance(self, pace: Pace, state: ArmState) -> tuple[Reason, ...]:
        """Send the next part of the way to the goal, as far as every limit allows.

        Where no part of it is allowed the goal is dropped and the last command stays.
        """
        if self.goal is None:
            return ()
        assert self.sent is not None
        way = Way(self.sent.T_base_tool, self.goal)
        if way.metres < SAME and way.radians < SAME:
            return self._stay(state)
        self._follow(state)
        reasons: list[Reason] = []
        fraction = self._pace(way, pace, reasons)
        for _ in range(self._attempts):
            pose = self._part(way, fraction)
            solution = self._arm.ik(pose, self.sent.q)
            if not self._limits.check_joints:
                return self._send(solution.q, pose, fraction, reasons)
            excess = self._speed_share(solution.q, pace)
            refusal = self._refusal(solution, state)
            if refusal == "ik":
                self.ik_failures, self._failed = self.ik_failures + 1, True
            if refusal in ("ik", "tracking", "effort"):
                reasons.append(refusal)
                break
            if refusal is None and excess <= 1 + SLACK:
                return self._send(solution.q, pose, fraction, reasons)
            reasons.append(refusal or "joint_speed")
            fraction *= 0.5 if refusal else 0.98 / excess
        else:
            if set(reasons) <= {"joint_speed", "cartesian_speed"} and not self._limits.lockstep:
                self._creep(solution.q, 0.98 / excess, pace, state)
                return tuple(dict.fromkeys(reasons))  # near a singularity: the goal stays for the next tick
        self.goal = None
        return tuple(dict.fromkeys(reasons))

    def rehearse(self, target: PoseTarget | None, pace: Pace, state: ArmState) -> None:
        """`accept`, where there is a target, and `advance`; nothing of it is kept."""
        kept = self.sent, self.goal, self.ik_failures, self._failed
        try:
            if target is not None:
                self.accept(target)
            self.advance(pace, state)
        finally:
            self.sent, self.goal, self.ik_failures, self._failed = kept

    def _stay(self, state: ArmState) -> tuple[Reason, ...]:
        """Asked to be where the last command is: that one stays, bit by bit. Solved again it would move by what the solver leaves over."""
        self.goal = None
        blocked = self._blocked(state) if self._limits.check_joints and self._limits.follows == "joints" else None
        return () if blocked is None else (blocked,)

    def _creep(self, q: Float64, share: float, pace: Pace, state: ArmState) -> None:
        """Send a part of the joints' own way to `q`, where the tool's way is too fast for them however little of it is taken.

        Near a singularity the joints of the last command may lie a fraction of a radian from those of the very same pose: they go there
        first. What the tool does meanwhile is bound by the same speeds and walls.
        """
        assert self.sent is not None
        between = self.sent.q + share * (q - self.sent.q)
        pose = self._arm.fk(between)
        at, before, seconds = pose[:3, 3], self.sent.T_base_tool[:3, 3], pace.dt_s * pace.ramp * self._limits.control_hz
        way = Way(self.sent.T_base_tool, pose)
        slow = way.metres <= seconds * self._limits.max_step_m and way.radians <= seconds * self._limits.max_step_rad
        low, high = self._walls
        within = bool(((at >= np.minimum(low, before)) & (at <= np.maximum(high, before))).all())
        turned = self._rotations.excess(pose[:3, :3])
        upright = turned <= max(SLACK, self._rotations.excess(self.sent.T_base_tool[:3, :3]))
        if slow and within and upright and self._refusal(_Reached(between), state) is None:
            self.sent = Sent(between, pose, self.sent.gripper)

    def _send(self, q: Float64, pose: Float64, fraction: float, reasons: list[Reason]) -> tuple[Reason, ...]:
        assert self.sent is not None
        self.sent = Sent(q, pose, self.sent.gripper)
        if fraction >= 1 or self._limits.lockstep:
            self.goal = None
        return tuple(dict.fromkeys(reasons))

    def _pace(self, way: Way, pace: Pace, reasons: list[Reason]) -> float:
        """The part of what is left to send now."""
        if self._limits.lockstep:
            return 1.0
        seconds = pace.dt_s * pace.ramp * self._limits.control_hz
        limit = min(
            seconds * self._limits.max_step_m / max(way.metres, 1e-12),
            seconds * self._limits.max_step_rad / max(way.radians, 1e-12),
        )
        even = pace.dt_s / max(pace.left_s, pace.dt_s)
        if limit < even * (1 - SLACK):
            reasons.append("cartesian_speed")
        return min(1.0, even, limit)

    def _part(self, way: Way, fraction: float) -> Float64:
        pose = way.pose(fraction)
        assert self.sent is not None
        if fraction < 1 and self._rotations.excess(self.sent.T_base_tool[:3, :3]) <= SLACK:
            pose[:3, :3] = self._rotations.clip(pose[:3, :3])  # a shortest turn may bulge out of the box
        return pose

    def _speed_share(self, q: Float64, pace: Pace) -> float:
        """How fast the fastest joint goes on its way to `q`, of what it may."""
        assert self.sent is not None
        steps = zip(q.tolist(), self.sent.q.tolist(), self._speed, strict=True)
        return float(max(abs(to - at) / speed for to, at, speed in steps)) / (pace.ramp * pace.dt_s)

    def _refusal(self, solution: Solution, state: ArmState) -> Reason | None:
        """The first limit of the arm itself that these joints break."""
        assert self.sent is not None
        limits, q, sent = self._limits, solution.q, self.sent.q
        if not all(map(isfinite, q.tolist())):
            return "ik"
        if solution.position_error_m > limits.ik_position_tolerance_m:
            return "ik"
        if solution.rotation_error_rad > limits.ik_rotation_tolerance_rad:
            return "ik"
        rows = zip(q.tolist(), sent.tolist(), self._low, self._high, strict=True)
        if not all(min(low, at) - SLACK <= to <= max(high, at) + SLACK for to, at, low, high in rows):
            return "joint_limit"
        blocked = self._blocked(state)
        if blocked and farthest(q, state.q) >= farthest(sent, state.q):
            return blocked
        return "watch_point" if self._leaves_box(q, self.sent.gripper) else None

    def _blocked(self, state: ArmState) -> Reason | None:
        assert self.sent is not None
        if farthest(self.sent.q, state.q) > self._limits.max_tracking_error_rad:
            return "tracking"
        if self._effort is not None and state.effort is not None and (np.abs(state.effort) > self._effort).any():
            return "effort"
        return None

    def _leaves_box(self, q: Float64, gripper: float) -> bool:
        """Whether a watched point is outside its box, and further than it already is."""
        if not self._watched:
            return False
        assert self.sent is not None
        excess = self._excess(q, gripper)
        if excess.max() <= SLACK:
            return False
        before = self._excess(self.sent.q, self.sent.gripper)
        return not bool((excess <= np.maximum(before, SLACK)).all())  # which NaN is not

    def _excess(self, q: Float64, gripper: float) -> Float64:
        """By how much each watched point is outside its box [m], below 0 inside. All at once, for a tick has little time."""
        points = self._arm.points(q, gripper)
        at = np.array([points[name] for name in self._watched])  # (points, 3)
        low, high = self._boxes
        return np.asarray(np.maximum(low - at, at - high).max(axis=1))

    def _follow(self, state: ArmState) -> None:
        """An arm that follows poses chooses its joints itself: start from those it has."""
        if self._limits.follows == "joints" or self.sent is None:
            return
        solution = self._arm.ik(self.sent.T_base_tool, state.q)
        if (
            solution.position_error_m <= self._limits.ik_position_tolerance_m
            and solution.rotation_error_rad <= self._limits.ik_rotation_tolerance_rad
        ):
            self.sent = self.sent._replace(q=solution.q)
