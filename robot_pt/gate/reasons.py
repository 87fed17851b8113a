"""Why the gate held, shortened or refused: one word per check, counted and published, with a sentence for the operator."""

from __future__ import annotations

from typing import Literal, get_args

Reason = Literal[
    "estop", "fault", "disarmed",
    "deadman", "joint_state", "policy_silent", "camera_stale", "camera_frozen",
    "malformed", "half_pair", "command_old", "command_future", "sequence", "superseded",
    "observation_missing", "observation_old", "not_in_control",
    "step", "lead", "workspace", "orientation", "gripper", "cartesian_speed", "joint_speed",
    "ik", "joint_limit", "watch_point", "tracking", "effort",
    "clock_jump", "jitter", "tick_late", "ramp", "estop_silent",
]  # fmt: skip

SENTENCES: dict[Reason, str] = {
    "estop": "the software e-stop is latched; clear it with the arm at rest and the deadman released.",
    "fault": "a fault is latched; remove its cause, then reset it with the arm at rest and the deadman released.",
    "disarmed": "the gate is not armed; nothing is sent.",
    "deadman": "the hold-to-run switch is released or its heartbeat stopped.",
    "joint_state": "joint states stopped, are old, or never came.",
    "policy_silent": "the policy has sent no usable target for too long.",
    "camera_stale": "a camera the policy needs sends nothing new.",
    "camera_frozen": "a camera the policy needs repeats one image.",
    "malformed": "a message held NaN, Inf, a wrong shape, a wrong name or no pose.",
    "half_pair": "a pose came without a gripper opening of the same stamp, or the reverse.",
    "command_old": "a target was older than max_command_age_s on arrival.",
    "command_future": "a target was stamped in the future; compare the clocks of both machines.",
    "sequence": "a target was not newer than the last one.",
    "superseded": "a newer target arrived before this one was looked at.",
    "observation_missing": "a policy's target did not say which observation it follows from.",
    "observation_old": "a policy's target follows from images that were too old, or newer than itself.",
    "not_in_control": "a target came from a source that is not in control.",
    "step": "the target was further away than one step allows.",
    "lead": "targets ran ahead of what speed limits let the arm follow.",
    "workspace": "the target was outside the workspace.",
    "orientation": "the target was turned beyond the orientation limits.",
    "gripper": "the opening was outside 0 to 1.",
    "cartesian_speed": "the tool was slowed to its speed limit.",
    "joint_speed": "a joint was slowed to its speed limit.",
    "ik": "no joint positions reach the target; the last good ones are held.",
    "joint_limit": "the target needs a joint beyond its limit less the margin.",
    "watch_point": "the elbow, wrist or a finger would leave its box.",
    "tracking": "the arm does not follow its commands: stalled or touching something.",
    "effort": "a joint's effort is above its limit.",
    "clock_jump": "the clock jumped; what was stamped before is dropped.",
    "jitter": "a tick came late by more than jitter_warn_s.",
    "tick_late": "a tick came late by more than jitter_fault_s.",
    "ramp": "speed is still rising after a start or a pause.",
    "estop_silent": "the e-stop's heartbeat stopped, which is an e-stop.",
}

assert set(SENTENCES) == set(get_args(Reason))

PASSING: frozenset[Reason] = frozenset(
    ("step", "lead", "workspace", "orientation", "gripper", "cartesian_speed", "joint_speed", "ramp", "half_pair", "superseded")
)  # fmt: skip
"""These shorten or replace one target; the others stop something, and the operator is told at once."""
