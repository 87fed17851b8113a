"""Scripted experts: one short list of phases per task family, driven by the true state of the scene.

An expert is called with a `SceneState` once per control step and returns a canonical action; it is `finished` when its
last phase is done. It corrects the *commanded* target, so noise added to its actions is noticed and repaired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from robot_pt.errors import UserError
from robot_pt.rotations import Array, matrix_to_rpy, rpy_to_matrix, wrap_angle
from robot_pt.schema import Float
from robot_pt_sim.scene import Pose, SceneState
from robot_pt_sim.tasks import TABLE_TOP, Task

OPEN, CLOSED = 1.0, 0.0
UNREACHED_M, PATIENCE = 0.005, 3
"""Distance [m] that inverse kinematics may stay from a target, and control steps in a row that it may stay farther."""


class UnreachableTarget(UserError):
    """An expert's way leads to where its arm cannot go."""


class Grip(NamedTuple):
    """How one object is taken."""

    height: float
    """Tool over the object's centre [m]."""
    carry: float
    """Tool over the bins' floor while carrying [m]: the walls are 10 cm high."""
    nearer: tuple[float, float] = (0.0, 0.0)
    """Released this far in x and y from the centre of its bin [m]: the can's is at the end of the arm's reach."""


GRIPS: Mapping[str, Grip] = {
    "pick-place-milk": Grip(0.055, 0.27),
    "pick-place-cereal": Grip(0.04, 0.26),
    "pick-place-bread": Grip(0.0, 0.18),
    "pick-place-can": Grip(0.01, 0.20, (-0.05, -0.06)),
}


class Goal(NamedTuple):
    """Where the tool should be: position (3,) [m], yaw [rad], gripper opening."""

    position: Array
    yaw: float
    gripper: float


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One intention of an expert."""

    kind: str
    """reach | grasp | lift | carry | place | release | pull: what noise may spoil."""
    goal: Callable[[SceneState], Goal]
    """Asked at every step, so a moved object is followed; see `frozen` for goals that must not move."""
    reached_m: float = 0.015
    """The phase ends when the tool is this close to the goal [m] ..."""
    least_steps: int = 1
    """... and this many control steps have passed."""
    most_steps: int = 25
    """It ends after so many steps whatever happens."""
    until: Callable[[SceneState], bool] | None = None
    """Ends the phase instead of the distance."""


class ScriptedExpert:
    """Walks through phases. `speed` is the share of the step limit it uses for translation, 0 < speed <= 1."""

    def __init__(self, phases: Sequence[Phase], *, max_step_m: float, speed: float = 0.8):
        assert phases, "an expert needs at least one phase"
        assert 0 < speed <= 1, speed
        self._phases, self._step_m = list(phases), max_step_m * speed
        self._at = self._elapsed = self._short = 0

    @property
    def finished(self) -> bool:
        return self._at >= len(self._phases)

    @property
    def phase(self) -> str:
        """Kind of the current phase; of the last one when finished."""
        return self._phases[min(self._at, len(self._phases) - 1)].kind

    def __call__(self, state: SceneState) -> Float:
        """The next canonical action (7,). Raises UnreachableTarget where the arm stays short of its target for `PATIENCE` steps."""
        self._short = self._short + 1 if state.unreached_m > UNREACHED_M else 0
        if self._short >= PATIENCE:
            raise UnreachableTarget(
                f"the arm stays {1000 * state.unreached_m:.0f} mm short of {state.target.position.round(3).tolist()} m, on its way to "
                f"{self.phase}; put nearer what it is to reach."
            )
        while not self.finished and self._done(state):
            self._at, self._elapsed = self._at + 1, 0
        goal = self._phases[min(self._at, len(self._phases) - 1)].goal(state)
        self._elapsed += 1
        return action_towards(state, goal, self._step_m)

    def _done(self, state: SceneState) -> bool:
        phase = self._phases[self._at]
        if self._elapsed < phase.least_steps:
            return False
        if self._elapsed >= phase.most_steps:
            return True
        if phase.until is not None:
            return phase.until(state)
        goal = phase.goal(state)
        turned = abs(float(wrap_angle(goal.yaw - matrix_to_rpy(state.tool.rotation)[2])))
        return bool(np.linalg.norm(goal.position - state.tool.position) < phase.reached_m and turned < 0.1)


def action_towards(state: SceneState, goal: Goal, longest_m: float) -> Float:
    """The canonical action (7,) that moves the commanded target towards the goal, at most `longest_m` [m] of the way."""
    move = goal.position - state.target.position
    length = float(np.linalg.norm(move))
    if length > longest_m:
        move = move * (longest_m / length)
    turn = matrix_to_rpy(rpy_to_matrix([0.0, 0.0, goal.yaw]) @ state.target.rotation.T)
    return np.concatenate([move, turn, [goal.gripper]]).astype(np.float32)


def phases_for(task: Task) -> list[Phase]:
    """Fresh phases for one episode of the task."""
    return FAMILIES[task.family](task)


def frozen(goal: Callable[[SceneState], Goal]) -> Callable[[SceneState], Goal]:
    """The goal as it was when first asked for."""
    first: list[Goal] = []

    def same(state: SceneState) -> Goal:
        if not first:
            first.append(goal(state))
        return first[0]

    return same


def lift_phases(task: Task) -> list[Phase]:
    """Above the cube, down, close, up 12 cm."""
    return [*grasp_phases("cube", above=0.07, height=0.0, symmetry=None), raise_phase("cube", 0.12)]


def stack_phases(task: Task) -> list[Phase]:
    """Grasp the small cube, hold it over the other, lower it until they touch, let go, retreat."""

    def over(height: float, gripper: float) -> Callable[[SceneState], Goal]:
        def goal(state: SceneState) -> Goal:
            # the held cube may sit off the tool's centre: aim the cube, not the tool
            slip = state.tool.position - state.objects["cube"].position
            return Goal(_over(state.objects["base_cube"], 0.045 + height) + slip, _yaw(state.target), gripper)

        return goal

    def upwards(state: SceneState) -> Goal:
        return Goal(_over(state.tool, 0.10), _yaw(state.target), OPEN)

    return [
        *grasp_phases("cube", above=0.07, height=0.0, symmetry=np.pi / 2),
        raise_phase("cube", 0.10),
        Phase(kind="carry", goal=over(0.04, CLOSED), reached_m=0.008, least_steps=2),
        Phase(kind="place", goal=over(0.002, CLOSED), reached_m=0.004, least_steps=2, most_steps=8),
        Phase(kind="release", goal=_stay(OPEN), least_steps=2, until=lambda state: state.gripper > 0.7, most_steps=4),
        Phase(kind="release", goal=frozen(upwards), reached_m=0.02),
    ]


def pick_place_phases(task: Task) -> list[Phase]:
    """Grasp the object by its narrow side, carry it over the walls, let go above its quarter of the second bin."""
    grip = GRIPS[task.name]

    def over_bin(gripper: float) -> Callable[[SceneState], Goal]:
        def goal(state: SceneState) -> Goal:
            x, y, _ = state.objects["bin"].position
            return Goal(np.array([x + grip.nearer[0], y + grip.nearer[1], TABLE_TOP + grip.carry]), 0.0, gripper)

        return goal

    def down(state: SceneState) -> Goal:
        return Goal(_over(state.target, -0.07), _yaw(state.target), CLOSED)

    def up(state: SceneState) -> Goal:
        return Goal(_over(state.tool, 0.12), _yaw(state.target), OPEN)

    return [
        *grasp_phases("object", above=grip.height + 0.11, height=grip.height, symmetry=np.pi),
        raise_phase("object", grip.carry),
        Phase(kind="carry", goal=over_bin(CLOSED), reached_m=0.03),
        Phase(kind="place", goal=frozen(down), reached_m=0.02, most_steps=5),
        Phase(kind="release", goal=_stay(OPEN), least_steps=2, until=lambda state: state.gripper > 0.6, most_steps=4),
        Phase(kind="release", goal=frozen(up), reached_m=0.03),
    ]


def door_phases(task: Task) -> list[Phase]:
    """Take the lever from above, turn it down about the latch, swing the door open about its hinge.

    The tool stays 2 cm in front of the lever, or the palm would hit the door; the rear finger does the pulling.
    """

    def held(state: SceneState, lever: Array, yaw: float, gripper: float) -> Goal:
        return Goal(lever - 0.02 * state.objects["latch"].rotation[:, 1], yaw, gripper)

    def at_lever(height: float, gripper: float) -> Callable[[SceneState], Goal]:
        def goal(state: SceneState) -> Goal:
            return held(state, _over(state.objects["handle"], height), _door_yaw(state), gripper)

        return goal

    def turned_lever(state: SceneState) -> Array:
        latch = state.objects["latch"]
        further = min(0.35, max(0.0, 1.5 - state.joints["latch"]))
        arm = _about(latch.rotation[:, 1], further) @ (state.objects["handle"].position - latch.position)
        return np.asarray(latch.position + arm)

    def turned(state: SceneState) -> Goal:
        return held(state, turned_lever(state), _door_yaw(state), CLOSED)

    def swung(state: SceneState) -> Goal:
        door = state.objects["door"]
        hinge = door.position + door.rotation @ [0.255, 0.0, 0.0]
        arm = _about(np.array([0.0, 0.0, 1.0]), 0.2) @ (turned_lever(state) - hinge)
        return held(state, hinge + arm, _door_yaw(state) + 0.1, CLOSED)

    return [
        Phase(kind="reach", goal=at_lever(0.10, OPEN), reached_m=0.025),
        Phase(kind="reach", goal=at_lever(0.0, OPEN), reached_m=0.015, most_steps=8),
        Phase(kind="grasp", goal=at_lever(0.0, CLOSED), least_steps=2, most_steps=3),
        Phase(kind="lift", goal=turned, until=lambda state: state.joints["latch"] > 1.3, most_steps=15),
        Phase(
            kind="pull", goal=swung, until=lambda state: state.joints["hinge"] > 0.6, most_steps=30
        ),  # beyond where success is told: it must hold
    ]


def grasp_phases(name: str, *, above: float, height: float, symmetry: float | None) -> list[Phase]:
    """To `above` [m] over the object's centre, down to `height` over it, close.

    `symmetry`: the tool takes the object's yaw up to this period [rad]; None leaves the yaw at 0.
    """

    def at(level: float, gripper: float) -> Callable[[SceneState], Goal]:
        def goal(state: SceneState) -> Goal:
            thing = state.objects[name]
            yaw = 0.0 if symmetry is None else float(wrap_angle(_yaw(thing), symmetry))
            return Goal(_over(thing, level), yaw, gripper)

        return goal

    return [
        Phase(kind="reach", goal=at(above, OPEN), reached_m=0.025),
        Phase(kind="reach", goal=at(height, OPEN), reached_m=0.010, least_steps=2),
        Phase(kind="grasp", goal=frozen(at(height, CLOSED)), least_steps=2, most_steps=4, until=_holding(name)),
    ]


def raise_phase(name: str, height: float) -> Phase:
    """Straight up from where the object is [m]."""

    def goal(state: SceneState) -> Goal:
        return Goal(_over(state.target, height), _yaw(state.target), CLOSED)

    return Phase(kind="lift", goal=frozen(goal), reached_m=0.02)


def _holding(name: str) -> Callable[[SceneState], bool]:
    return lambda state: state.grasped(name)


def _stay(gripper: float) -> Callable[[SceneState], Goal]:
    return frozen(lambda state: Goal(state.target.position, _yaw(state.target), gripper))


def _over(pose: Pose, height: float) -> Array:
    """The point `height` [m] above the pose."""
    return np.asarray(pose.position + np.array([0.0, 0.0, height]))


def _yaw(pose: Pose) -> float:
    return float(matrix_to_rpy(pose.rotation)[2])


def _door_yaw(state: SceneState) -> float:
    """Fingers on both faces of the lever."""
    return float(wrap_angle(_yaw(state.objects["door"]), np.pi))


def _about(axis: Array, angle: float) -> Array:
    """Rotation (3, 3) by `angle` [rad] about a unit axis (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


FAMILIES: Mapping[str, Callable[[Task], list[Phase]]] = {
    "lift": lift_phases,
    "stack": stack_phases,
    "pick-place": pick_place_phases,
    "door": door_phases,
}
