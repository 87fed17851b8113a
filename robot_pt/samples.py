"""Stamped samples: what sensors, policy, gate and operator said, each with its own time. Imports numpy only.

All stamps are int nanoseconds of one clock (simulated time in lock-step). Frames, joints and poses carry the time they were
captured, commands the time they were made; modes, versions and rewards, whose messages carry no time, the time of arrival.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_pt.commands import Float64, JointCommand, PoseTarget, Source


class Frame(NamedTuple):
    """One camera frame: a JPEG or PNG as it came, or (H, W, 3) uint8 RGB."""

    stamp_ns: int
    camera: str
    """Role in the Spec."""
    image: bytes | memoryview | NDArray[np.uint8]


class Joints(NamedTuple):
    stamp_ns: int
    q: Float64  # (J,) [rad] in the order of the arm's joint_names


class Gripper(NamedTuple):
    stamp_ns: int
    opening: float
    """0 closed .. 1 open."""


class ToolPose(NamedTuple):
    """The tool as measured."""

    stamp_ns: int
    T_base_tool: Float64  # (4, 4)


class Request(NamedTuple):
    """What a policy or an operator asked the gate for."""

    target: PoseTarget
    source: Source

    @property
    def stamp_ns(self) -> int:
        return self.target.stamp_ns


class PolicyStep(NamedTuple):
    """What a policy says about one decision."""

    stamp_ns: int
    """Of the request that came out."""
    observation_ns: int
    """Oldest observation behind it."""
    inference_ms: float = 0.0
    tick_interval_ms: float = 0.0
    action: Float64 | None = None  # (7,) as the policy gave it


class Mode(NamedTuple):
    """The gate's mode from `stamp_ns` on: policy, teleop, hold, ..."""

    stamp_ns: int
    name: str


class Version(NamedTuple):
    """The policy in force from `stamp_ns` on."""

    stamp_ns: int
    version: str


class Reward(NamedTuple):
    stamp_ns: int
    value: float


Sample = Frame | Joints | Gripper | ToolPose | Request | JointCommand | PolicyStep | Mode | Version | Reward


def fault(sample: Sample) -> str | None:
    """Why a sample cannot be used (a shape, NaN or Inf, a stamp of zero), in a few words; None when it can."""
    if sample.stamp_ns <= 0:
        return "no stamp"
    match sample:
        case Joints(_, q):
            return None if np.ndim(q) == 1 and np.isfinite(q).all() else "joints are not finite (J,)"
        case Gripper(_, opening):
            return None if np.isfinite(opening) else "the gripper is not finite"
        case ToolPose(_, pose):
            return _pose_fault(pose)
        case Request(target, _):
            return _pose_fault(target.T_base_tool) or (None if np.isfinite(target.gripper) else "gripper not finite")
        case JointCommand():
            if not (np.isfinite(sample.q).all() and np.isfinite(sample.gripper)):
                return "the command is not finite"
            return _pose_fault(sample.T_base_tool)
        case PolicyStep(_, _, inference_ms, interval_ms, action):
            fine = action is None or (np.shape(action) == (7,) and np.isfinite(action).all())
            return (
                None if fine and np.isfinite([inference_ms, interval_ms]).all() else "the policy's step is not finite"
            )
        case Reward(_, value):
            return None if np.isfinite(value) else "the reward is not finite"
    return None


def _pose_fault(pose: Any) -> str | None:
    return None if np.shape(pose) == (4, 4) and np.isfinite(pose).all() else "the pose is not a finite (4, 4)"
