"""A scripted operator beside a policy, who takes over when it is stuck: what a person with a teleoperation device does on the job.

It knows the true state of the scene, which a person sees; its steps are recorded as interventions.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from robot_pt.errors import UserError
from robot_pt.schema import Float
from robot_pt_sim import maze_play
from robot_pt_sim.experts import OPEN, Goal, Phase, UnreachableTarget, frozen, phases_for
from robot_pt_sim.point_maze import PointMaze
from robot_pt_sim.scene import SceneState
from robot_pt_sim.simulators import AnySimulator
from robot_pt_sim.styles import Demonstrator
from robot_pt_sim.tasks import Task

CLEAR_M = 0.05
"""An operator first opens the gripper and goes up so far, so that a second approach does not push what was missed."""
NEAR_M = 0.035
"""With the gripper open and the tool this close to where it grasps, an operator does not go back: it goes there and closes.
Where demonstrations close, somebody who opens and goes up instead teaches a policy with one action per view to stay in between."""


class Operator(Protocol):
    """Who may take a policy's place at any step."""

    def begin(self, seed: int) -> None:
        """A new episode, from the start that `seed` makes."""
        ...

    def __call__(self, step: int) -> Float | None:
        """The action in place of the policy's at this step of the episode, from 0; None leaves it to the policy."""
        ...


class StuckHelper:
    """Takes over for the rest of the episode from the first step after `after_s` at which the robot holds nothing: opens, goes up, and
    does the task as the clean demonstrations do, or from where it grasps on where the open gripper is there already (`NEAR_M`); in a maze,
    goes to the goal. Where its way leads out of reach it gives the policy back.

    Raises UserError for a time below 0 or not finite.
    """

    def __init__(self, simulator: AnySimulator, after_s: float):
        if not 0 <= after_s < np.inf:
            raise UserError(
                f"help comes after {after_s} s; give a time from 0 in seconds, counted from an episode's start."
            )
        self._simulator, self._first = simulator, round(after_s * simulator.spec.control_hz)
        self._rng = np.random.default_rng(0)
        self._expert: Demonstrator | maze_play.Walker | None = None
        self._lost = False

    def begin(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 11])  # apart from the streams that place the objects and that explore
        self._expert, self._lost = None, False

    def __call__(self, step: int) -> Float | None:
        if step < self._first or self._lost:
            return None
        simulator = self._simulator
        if isinstance(simulator, PointMaze):
            return self._walk(simulator)
        state = simulator.state()
        if self._expert is None and state.grasped(next(iter(simulator.definition.places))):
            return None
        if self._expert is None:
            done = approached(simulator.definition, state) if isinstance(simulator.definition, Task) else 0
            first = () if done else (clear_phase(),)
            self._expert = Demonstrator(simulator.definition, "clean", self._rng, first=first, skipped=done)
        assert isinstance(self._expert, Demonstrator)
        try:
            return self._expert(state)
        except UnreachableTarget:
            self._lost = True
            return None

    def _walk(self, maze: PointMaze) -> Float:
        position = maze.batch.position[0]
        if not isinstance(self._expert, maze_play.Walker):
            self._expert = maze_play.Walker(maze.definition, "clean", self._rng, position)
        return self._expert(position)


def approached(task: Task, state: SceneState) -> int:
    """How many of the task's phases lie behind an open gripper that is where it grasps: all but the last of the first ones that reach."""
    phases = phases_for(task)
    last = next(i for i, phase in enumerate(phases) if phase.kind != "reach") - 1
    away = np.linalg.norm(phases[last].goal(state).position - state.tool.position)
    return last if last > 0 and state.gripper > 0.8 and away < NEAR_M else 0


def clear_phase() -> Phase:
    """Open the gripper and go straight up `CLEAR_M` from where the tool is."""

    def goal(state: SceneState) -> Goal:
        return Goal(state.target.position + np.array([0.0, 0.0, CLEAR_M]), 0.0, OPEN)

    return Phase(kind="reach", goal=frozen(goal), reached_m=0.02, most_steps=5)
