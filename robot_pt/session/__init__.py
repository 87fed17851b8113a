"""The policy side of acting: phases, observation ages, history, chunk playout by time. Pure, its clock passed in; no ROS, no torch.

session = Session(Policy.load(run), robot_spec, robots.load("wx250s"), task="lift")
session.warm_up()
session.observe_arm(state); session.observe_image("primary", stamp_ns, frame)       # as they come
session.start(now_ns)
target = session.tick(now_ns)           # every control period; a PoseTarget for the gate, or None
session.executed(command)               # what the gate made of it
"""

from robot_pt.session.anchor import CommandedTarget
from robot_pt.session.machine import DrivingPolicy, InferenceRequest, Kinematics, Phase, Session
from robot_pt.session.monitor import StepInfo
from robot_pt.session.readiness import StepLimits, WarmUp, step_lengths
from robot_pt.session.settings import SessionSettings

__all__ = [
    "CommandedTarget",
    "DrivingPolicy",
    "InferenceRequest",
    "Kinematics",
    "Phase",
    "Session",
    "SessionSettings",
    "StepInfo",
    "StepLimits",
    "WarmUp",
    "step_lengths",
]
