"""What passes between sensors, policy, gate and arm: one vocabulary for ROS nodes and simulation. Imports numpy only.

Times are int nanoseconds of one clock (simulated time in lock-step); a pair of messages on the wire with the same stamp is one
of these records. J is the number of arm joints, in the order of the robot's ``joint_names``; the gripper is no joint here.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

Source = Literal["policy", "teleop"]
"""Who asks for a pose; which of the two is heard is decided by the gate's mode."""


class ArmState(NamedTuple):
    """The arm as measured."""

    stamp_ns: int
    """When the joints were read, not when the message was sent."""
    q: Float64  # (J,) [rad]
    gripper: float
    """0 closed .. 1 open."""
    effort: Float64 | None = None  # (J,) [N m]; None where the driver gives none


class PoseTarget(NamedTuple):
    """What a policy or an operator asks for; on the wire a PoseStamped and a gripper JointTrajectory of the same stamp."""

    stamp_ns: int
    T_base_tool: Float64  # (4, 4) absolute target of the tool frame in the robot base frame
    gripper: float
    """Absolute desired opening, 1 = open."""
    observation_ns: int = 0
    """Capture time of the oldest observation behind the decision; 0 = none, as in teleoperation."""


class JointCommand(NamedTuple):
    """What the gate sends; on the wire a JointTrajectory (arm joints and "gripper", one point) and the pose of the same stamp."""

    stamp_ns: int
    q: Float64  # (J,) [rad]
    gripper: float
    T_base_tool: Float64  # (4, 4) the pose that q reaches, which is recorded as executed


class Answer(NamedTuple):
    """What a request gets back, from whichever state machine; on the wire the success and message of a Trigger or SetBool."""

    ok: bool
    sentence: str
    """For the operator: what happened, or why not and what to do."""
