"""The gate between whoever asks for motion and the arm: modes, every limit down to the joints, watchdogs. No torch, no ROS."""

from robot_pt.gate.gate import Gate, GateOutput
from robot_pt.gate.limits import Box, GateLimits
from robot_pt.gate.modes import Mode, Reply
from robot_pt.gate.reasons import SENTENCES, Reason

__all__ = ["SENTENCES", "Box", "Gate", "GateLimits", "GateOutput", "Mode", "Reason", "Reply"]
