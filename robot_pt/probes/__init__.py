"""What frozen features hold, read off without a robot: minutes on a CPU.

Where the object and the tool are, how open the gripper is (ridge regression on held-out episodes), which of two frames of an episode
is the later one (logistic regression), which frame of another camera shows the same moment (retrieval), how many directions the
features use (RankMe) and how many units are dormant. A random encoder is the control: nothing here means anything without it.
"""

from robot_pt.probes.data import ProbeData, probe_data
from robot_pt.probes.measures import Measure
from robot_pt.probes.suite import MEASURES, Info, run_probes

__all__ = ["MEASURES", "Info", "Measure", "ProbeData", "probe_data", "run_probes"]
