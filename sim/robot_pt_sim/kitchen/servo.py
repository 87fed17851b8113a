"""How the WidowX follows its targets: joint set points along the servos' own profile, fingers pushed by a limited force.

A Dynamixel in time-based profile mode spreads a new goal over a fixed time, its speed a trapezoid. BridgeData's controller asks for
1.25 control periods, 0.5 of one each for speeding up and slowing down. Goals come faster than they are reached, so profiles overlap: here
they add up, which keeps the set point's speed continuous and reaches the last goal exactly.
"""

from __future__ import annotations

from typing import final
from xml.etree.ElementTree import Element

import numpy as np

from robot_pt.rotations import Array

FINGERS = ("left_finger", "right_finger")
PROFILE_PERIODS, RAMP_PERIODS = 1.25, 0.5
"""Duration of one profile and of its ramp up and down, in control periods."""
PEAK = 1 / (PROFILE_PERIODS - RAMP_PERIODS)
"""Highest speed of a profile, in distances per control period."""
FINGER_FORCE_N = 5.0
"""Largest push on the finger pair: the URDF's effort."""
FINGER_SPEED_M_S = 0.08
"""Of one finger pushed by all of it: the whole travel in 0.3 s, as the toy grasps of BridgeData take one to two steps."""
FINGER_GAIN_N_M = 2000.0
"""Push per metre of error: all of it from 2.5 mm on, so the fingers are driven by force and not by distance."""


def travelled(time: Array | float) -> Array:
    """Share of a goal's distance covered `time` control periods after it was given: 0 before, 1 from 1.25 on."""
    t = np.clip(np.asarray(time, np.float64), 0.0, PROFILE_PERIODS)
    ramp = RAMP_PERIODS
    rising = np.minimum(t, ramp) ** 2 / (2 * ramp)
    level = np.clip(t - ramp, 0.0, PROFILE_PERIODS - 2 * ramp)
    falling = np.clip(t - (PROFILE_PERIODS - ramp), 0.0, ramp)
    covered: Array = PEAK * (rising + level + falling - falling**2 / (2 * ramp))
    return covered


@final
class JointProfile:
    """Set points of J joints between goals that come once per control period."""

    def __init__(self, pieces: int):
        """`pieces`: set points per control period."""
        times = np.arange(1, pieces + 1) / pieces
        self._first, self._second = travelled(times)[:, None], travelled(times + 1)[:, None]

    def reset(self, q: Array) -> None:
        """At rest at `q` (J,) [rad]."""
        self._before = self._goal = q.copy()

    def towards(self, goal: Array) -> Array:
        """(pieces, J) set points [rad] of the control period that begins with this goal (J,)."""
        points: Array = self._before + (self._goal - self._before) * self._second + (goal - self._goal) * self._first
        self._before, self._goal = self._goal, goal.copy()
        return points


def drive(root: Element) -> None:
    """Give an arm's MJCF its motors: links held against gravity as gears with friction hold them, fingers driven by force."""
    for body in root.iter("body"):
        body.set("gravcomp", "1")
    fingers = next(one for one in root.iter("position") if one.get("name") == "gripper")
    fingers.attrib.update(
        kp=f"{FINGER_GAIN_N_M:g}", dampratio="0", inheritrange="0", forcerange=f"{-FINGER_FORCE_N:g} {FINGER_FORCE_N:g}"
    )
    for joint in root.iter("joint"):
        if joint.get("name") in FINGERS and joint.get("range"):
            # half of what brakes the pair on either finger
            braking = FINGER_FORCE_N / FINGER_SPEED_M_S / 2
            joint.attrib.update(damping=f"{braking:g}", armature="0.02", frictionloss="0")


def finger_goal(opening: float, closed_m: float, open_m: float) -> float:
    """Set point of the finger servo [m] for an opening 0..1; fully closed and fully open push with all the force."""
    slack = FINGER_FORCE_N / FINGER_GAIN_N_M
    goal = closed_m + opening * (open_m - closed_m)
    return goal - slack if opening <= 0.0 else goal + slack if opening >= 1.0 else goal
