"""robosuite scenes and point mazes behind robot-pt's vocabulary: simulators, scripted experts, demonstrations and rollouts.

Importing this package imports neither robosuite nor mujoco; both are imported when a simulator is made, after a headless
OpenGL has been chosen.
"""

from robot_pt_sim.collection import CollectReport, collect
from robot_pt_sim.rendering import choose_backend
from robot_pt_sim.rollouts import rollouts
from robot_pt_sim.simulators import make, task_names
from robot_pt_sim.styles import expert

__all__ = ["CollectReport", "choose_backend", "collect", "expert", "make", "rollouts", "task_names"]
