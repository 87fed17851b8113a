"""GateLimits: every number the gate holds an arm to, with its unit, checked when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import inf, isfinite, isnan, pi
from typing import Any, Literal

import numpy as np

from robot_pt.errors import UserError
from robot_pt.gate.kinematics import Manipulator

Vector = tuple[float, float, float]

_DEFAULT_WORKSPACES: dict[str, tuple[Vector, Vector]] = {
    "wx250s": ((0.10, -0.15, -0.10), (0.45, 0.25, 0.25)),  # BridgeData's set-up, as the simulated kitchens
    "panda": ((0.15, -0.55, -0.25), (0.95, 0.75, 0.75)),  # around every simulated task
}


@dataclass(frozen=True)
class Box:
    """An axis-aligned box in the robot base frame. Sides at +-inf are open."""

    low: Vector
    """Lowest x, y, z [m]."""
    high: Vector
    """Highest x, y, z [m]."""

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            corner = tuple(float(v) for v in getattr(self, name))
            if len(corner) != 3 or any(isnan(v) for v in corner):
                raise UserError(f"a box corner is {corner}; give three numbers x, y, z [m].")
            object.__setattr__(self, name, corner)
        if not all(a < b for a, b in zip(self.low, self.high, strict=True)):
            raise UserError(f"a box reaches from {self.low} to {self.high}; every low must be below its high [m].")

    @property
    def bounded(self) -> bool:
        return all(isfinite(v) for v in (*self.low, *self.high))


@dataclass(frozen=True, kw_only=True)
class GateLimits:
    """What one arm in one place may do. Raises UserError, in one sentence, for any number that cannot be meant.

    `for_robot` gives the usual values. With `hardware` nothing that protects a real arm may be left out or switched off.
    """

    workspace: Box
    """Where the tool may be commanded [m], base frame."""
    hardware: bool = False
    """A real arm: hold-to-run is required, and no check below may be off."""
    lockstep: bool = False
    """Simulation that waits for commands: one accepted target gives one command that reaches it; no ramp, no jitter."""
    follows: Literal["joints", "pose"] = "joints"
    """What the arm is sent: joint positions, or tool poses for a controller that chooses the joints itself."""
    control_hz: float = 5.0
    """Targets per second [Hz] that the step limits belong to."""
    tick_hz: float = 50.0
    """How often `tick` is called [Hz]."""

    max_step_m: float = 0.05
    """Longest translation of one control step [m]; times control_hz it is the tool's speed limit."""
    max_step_rad: float = 0.25
    """Longest rotation of one control step [rad], as length of (droll, dpitch, dyaw); times control_hz the turning speed."""
    reference_rpy: Vector = (0.0, 0.0, 0.0)
    """Tool rotation from which orientation limits count [rad], R = Rz Ry Rx."""
    rotation_low: Vector = (-pi, -pi, -pi)
    """Lowest rotation vector from the reference [rad], base axes; -pi to pi everywhere is no limit."""
    rotation_high: Vector = (pi, pi, pi)
    """Highest rotation vector from the reference [rad], base axes."""

    check_joints: bool = True
    """Off, poses alone are limited, and joints are sent as near as they get: for simulation that follows poses."""
    joint_margin_rad: float = 0.05
    """How far inside its limits every joint stays [rad]."""
    max_joint_velocity_rad_s: float = 0.5
    """Fastest any joint may be commanded [rad/s]; the arm's own limit holds too."""
    max_tracking_error_rad: float = 0.35
    """Largest distance of a measured joint from its command [rad]; beyond it only motion that lessens it. inf = off."""
    start_tolerance_rad: float = 0.05
    """On a start, commands go on from the last one while no joint is farther from it [rad] (sag), else from the resting arm."""
    effort_limit: tuple[float, ...] | None = None
    """Largest |effort| per joint, in the unit of the measured one [N m]; None = not checked."""
    watch: Mapping[str, Box] = field(default_factory=dict)
    """Where named points of the arm (elbow, wrist, left_finger, right_finger) may be [m], base frame."""

    ik_position_tolerance_m: float = 5e-4
    """Joints that miss the target by more [m] are an IK failure."""
    ik_rotation_tolerance_rad: float = 5e-3
    """Joints that miss the target by more [rad] are an IK failure."""
    ik_failures_to_fault: int = 10
    """Targets in a row without IK that end in FAULT."""
    malformed_to_fault: int = 3
    """Messages in a row with NaN, Inf, wrong shape or names that end in FAULT."""

    max_command_age_s: float = 0.3
    """Oldest target that is still followed [s]."""
    max_future_s: float = 0.05
    """How far ahead of the clock a stamp may be [s]."""
    max_observation_age_s: float = 0.15
    """Oldest observation a policy may decide on [s], at the target's stamp."""
    pair_timeout_s: float = 0.1
    """How long a pose waits for the gripper opening of its stamp, and the reverse [s]."""
    timeout_periods: float = 2.5
    """Silence of policy or cameras that ends in hold [control periods]."""
    joint_state_timeout_s: float | None = None
    """Silence of joint states that ends in hold [s]; None = timeout_periods."""
    deadman_timeout_s: float = 0.08
    """A deadman heartbeat older than this is a release [s]; on a real arm this and a tick take at most 0.1."""
    require_deadman: bool = False
    """A policy moves only while the deadman is held; teleoperation always needs it."""
    require_estop_heartbeat: bool = False
    """Whoever may stop the arm must keep saying that it is there: silence is an e-stop, and without it nothing is armed."""
    estop_timeout_s: float = 0.5
    """A heartbeat of the e-stop older than this is silence [s]."""
    cameras: tuple[str, ...] = ()
    """Cameras whose frames are reported to the gate; silence or a frozen image of one holds the policy."""
    frozen_image_s: float = 1.0
    """One image repeated for longer is a frozen camera [s]: a real sensor's noise never repeats. inf, and in lock-step: not checked."""
    frozen_motion_rad: float = 0.0
    """... if a joint moved by more meanwhile [rad]; above 0 for simulated cameras without noise, whose images of rest are equal."""

    ramp_in_s: float = 0.5
    """Time from a start or a pause to full speed [s]."""
    rest_rad_s: float = 0.05
    """An arm whose joints all move slower is at rest [rad/s]."""
    jitter_warn_s: float = 0.04
    """A tick later than this is counted [s]: 20 % of a control period at 5 Hz."""
    jitter_fault_s: float = 0.2
    """A tick later than this is a FAULT [s]: a control period. inf = off."""

    def __post_init__(self) -> None:
        for name, least, most in _RANGES:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise UserError(f"gate limit {name} is {value!r}; give a number from {least:g} to {most:g}.")
        for name in ("reference_rpy", "rotation_low", "rotation_high"):
            object.__setattr__(self, name, _angles(name, getattr(self, name)))
        if not all(a < b for a, b in zip(self.rotation_low, self.rotation_high, strict=True)):
            raise UserError(
                f"rotation limits are {self.rotation_low} to {self.rotation_high}; every low must be below its high."
            )
        if self.follows not in ("joints", "pose"):
            raise UserError(f"follows is {self.follows!r}; give 'joints' or 'pose'.")
        if not self.workspace.bounded or max(np.subtract(self.workspace.high, self.workspace.low)) > 4:
            raise UserError(f"the workspace is {self.workspace}; give finite walls [m], at most 4 m apart.")
        if self.effort_limit is not None and not all(v > 0 for v in self.effort_limit):
            raise UserError(f"effort_limit is {self.effort_limit}; give a number above 0 per joint, or None.")
        timeout = self.joint_state_timeout_s
        if timeout is not None and not 0 < timeout <= self.timeout_s:
            raise UserError(
                f"joint_state_timeout_s is {timeout}; give above 0 and at most {self.timeout_s:g} ({self.timeout_periods:g} control periods)."
            )
        if self.hardware:
            self._require_protection()

    def _require_protection(self) -> None:
        if self.lockstep:
            raise UserError("lockstep is for simulation; a real arm does not wait, so leave it off with hardware.")
        if not self.check_joints:
            raise UserError("check_joints is off; on a real arm joints are always checked: turn it on.")
        if not self.require_deadman:
            raise UserError(
                "require_deadman is off; a policy on a real arm runs only while its switch is held: turn it on."
            )
        off = [name for name in ("max_tracking_error_rad", "jitter_fault_s") if not isfinite(getattr(self, name))]
        if off:
            raise UserError(f"{off[0]} is switched off; on a real arm give a finite number.")
        if self.frozen_image_s > LONGEST_FROZEN_S:
            raise UserError(
                f"frozen_image_s is {self.frozen_image_s:g}; on a real arm give at most {LONGEST_FROZEN_S:g} seconds."
            )
        longest_s = DEADMAN_TO_HOLD_S - 1 / self.tick_hz
        if longest_s < 0.02 - 1e-9:
            raise UserError(
                f"tick_hz is {self.tick_hz:g}; a real arm holds {DEADMAN_TO_HOLD_S:g} s after the last heartbeat of its switch: give at least "
                "12.5, better 50 or more."
            )
        if self.timeout_periods > 2.5 or self.deadman_timeout_s > longest_s + 1e-9:
            raise UserError(
                f"timeouts are {self.timeout_periods:g} control periods and {self.deadman_timeout_s:g} s (deadman); on a real arm "
                f"give at most 2.5 and {longest_s:g} ({DEADMAN_TO_HOLD_S:g} s to hold, less a tick)."
            )

    @property
    def period_s(self) -> float:
        return 1 / self.control_hz

    @property
    def timeout_s(self) -> float:
        return self.timeout_periods / self.control_hz

    @property
    def switch_s(self) -> float:
        """How long a heartbeat of the deadman counts [s]; in lock-step, whose steps pass faster than a hand beats, as long as other sources."""
        return max(self.deadman_timeout_s, self.timeout_s) if self.lockstep else self.deadman_timeout_s

    @classmethod
    def for_robot(
        cls, arm: Manipulator, *, workspace: Box | None = None, hardware: bool = False, **changes: Any
    ) -> GateLimits:
        """Limits for this arm; `changes` are fields by name.

        Simulation starts from a box around its tasks and the arm's own joint speeds, and checks no joints where it follows
        poses; hardware starts from slow joints, and a workspace that its user must declare. Points of the arm are kept above
        the lowest the tool may go.

        Raises UserError: no workspace on hardware or for an unknown robot, an unknown field, a number out of range.
        """
        unknown = sorted(set(changes) - {f.name for f in fields(cls)})
        if unknown:
            raise UserError(
                f"there is no gate limit {unknown[0]!r}; choose from {', '.join(f.name for f in fields(cls))}."
            )
        if workspace is None:
            workspace = _default_workspace(arm.name, hardware)
        values: dict[str, Any] = {"workspace": workspace, "hardware": hardware, "require_deadman": hardware}
        values["watch"] = _above(workspace.low[2] - FINGER_CLEARANCE_M, arm)
        if hardware:
            values["effort_limit"] = tuple(float(v) for v in arm.effort_limit)
        else:
            values |= _SIMULATION | {"max_joint_velocity_rad_s": float(max(arm.max_velocity_rad_s))}
            values["check_joints"] = changes.get("follows", "joints") == "joints"
        limits = cls(**(values | changes))
        limits.check_arm(arm)
        return limits

    def check_arm(self, arm: Manipulator) -> None:
        """Raise UserError where these numbers and this arm cannot go together."""
        joints = len(arm.joint_names)
        if self.effort_limit is not None and len(self.effort_limit) != joints:
            raise UserError(f"effort_limit has {len(self.effort_limit)} numbers; {arm.name} has {joints} joints.")
        room = np.asarray(arm.upper_rad) - np.asarray(arm.lower_rad)
        if 2 * self.joint_margin_rad >= float(room.min()):
            raise UserError(
                f"joint_margin_rad {self.joint_margin_rad} leaves a joint of {arm.name} no room; give less."
            )
        known = _points(arm)
        if set(self.watch) - known:
            raise UserError(
                f"{arm.name} has no point {sorted(set(self.watch) - known)[0]!r} to watch; choose from {sorted(known)}."
            )


LONGEST_FROZEN_S = 60.0
DEADMAN_TO_HOLD_S = 0.1
"""From the last heartbeat of a switch to the hold, on a real arm."""
NEVER = 10**9
"""So many failures in a row never come."""
FINGER_CLEARANCE_M = 0.02
"""How far fingers may be below the lowest tool position by default [m]."""
_SIMULATION: dict[str, Any] = {
    "max_step_m": 0.051,  # a first target counts from joints that were measured in float32
    "max_step_rad": 0.3,  # a clipped orientation may turn a little farther than the action that asked for it
    "joint_margin_rad": 0.0,
    "max_tracking_error_rad": 1.0,
    "max_observation_age_s": 0.3,
    "frozen_motion_rad": 0.05,
    "jitter_fault_s": inf,
}
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("control_hz", 0.1, 1000), ("tick_hz", 1, 1000), ("max_step_m", 1e-4, 0.5), ("max_step_rad", 1e-3, 1.5),
    ("joint_margin_rad", 0, 1), ("max_joint_velocity_rad_s", 1e-3, 20), ("max_tracking_error_rad", 1e-3, inf),
    ("start_tolerance_rad", 0, 0.5), ("ik_position_tolerance_m", 1e-6, 0.01), ("ik_rotation_tolerance_rad", 1e-6, 0.1),
    ("ik_failures_to_fault", 1, NEVER), ("malformed_to_fault", 1, 100), ("max_command_age_s", 1e-3, 5),
    ("max_future_s", 0, 1), ("max_observation_age_s", 1e-3, 10), ("pair_timeout_s", 1e-3, 1), ("timeout_periods", 1, 10),
    ("deadman_timeout_s", 0.02, 1), ("estop_timeout_s", 0.02, 5), ("frozen_image_s", 0.01, inf), ("frozen_motion_rad", 0, 1),
    ("ramp_in_s", 0, 10), ("rest_rad_s", 1e-3, 1), ("jitter_warn_s", 1e-3, inf), ("jitter_fault_s", 1e-3, inf),
)  # fmt: skip


def _angles(name: str, values: Any) -> Vector:
    try:
        x, y, z = (float(v) for v in values)
    except (TypeError, ValueError):
        raise UserError(f"{name} is {values!r}; give three angles [rad].") from None
    if not all(-pi - 1e-9 <= v <= pi + 1e-9 for v in (x, y, z)):
        raise UserError(f"{name} is {values}; give three angles from -pi to pi [rad].")
    return x, y, z


def _default_workspace(robot: str, hardware: bool) -> Box:
    if hardware:
        raise UserError(
            f"{robot} has no workspace; measure the box its tool may move in and give its corners [m], base frame "
            "(workspace_min, workspace_max): a real arm does not start without it."
        )
    if robot not in _DEFAULT_WORKSPACES:
        raise UserError(f"no default workspace is known for {robot}; give workspace=Box(low, high) [m], base frame.")
    return Box(*_DEFAULT_WORKSPACES[robot])


def _points(arm: Manipulator) -> set[str]:
    return set(arm.points((np.asarray(arm.lower_rad) + np.asarray(arm.upper_rad)) / 2))


def _above(floor: float, arm: Manipulator) -> dict[str, Box]:
    return {name: Box((-inf, -inf, floor), (inf, inf, inf)) for name in sorted(_points(arm) - {"tool"})}
