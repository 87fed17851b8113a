"""Demonstrations as robots produce them: clean, noisy, hesitant, repaired and failed, drawn per episode from a mixture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from robot_pt.errors import UserError
from robot_pt.rotations import Array, matrix_to_rpy
from robot_pt.schema import Float
from robot_pt_sim.experts import OPEN, Goal, Phase, ScriptedExpert, frozen, phases_for
from robot_pt_sim.kitchen.experts import draw_habit, kitchen_phases
from robot_pt_sim.kitchen.tasks import PREFIX, KitchenTask, find_kitchen
from robot_pt_sim.scene import SceneState
from robot_pt_sim.tasks import Task, find_task

STYLES = ("clean", "noisy", "hesitant", "recover", "failed")
"""clean: the script; noisy: correlated noise on every action; hesitant: slow, with pauses; recover: a missed grasp, then
a second try; failed: a grasp beside or above the object, a drop, a wrong place, or giving up."""

MIXTURES: Mapping[str, Mapping[str, float]] = {
    "none": {"clean": 1.0},
    "mixed": {"clean": 0.25, "noisy": 0.20, "hesitant": 0.15, "recover": 0.10, "failed": 0.30},
    **{style: {style: 1.0} for style in STYLES[1:]},
}
Generator = np.random.Generator


class Spoilt(NamedTuple):
    """A script with a flaw."""

    phases: list[Phase]
    drawn: dict[str, Any]
    """What of the flaw was random, as JSON values."""


Spoiler = Callable[[list[Phase], Generator], Spoilt]


class Demonstrator:
    """A scripted expert with the habits of one style. Deterministic given `rng`.

    Attributes:
        flaw: what a failed one does wrong, or "".
        drawn: all that was drawn for the episode so far but for the noise on the actions, of which it has the deviation [m]: JSON values.
    """

    def __init__(
        self, task: Task | KitchenTask, style: str, rng: Generator, *, strength: float = 1.0, first: Sequence[Phase] = (),
        skipped: int = 0,
    ):  # fmt: skip
        """`strength` scales noise and pauses; 1 = 1 cm standard deviation of the noise on each axis. `first`: what comes before the task,
        `skipped`: so many of its first phases are left out."""
        self._rng = rng
        self.flaw = ""
        self.drawn: dict[str, Any] = {}
        phases = self._script(task)
        if style == "failed":
            self.flaw, (phases, self.drawn["flaw"]) = _spoil(phases, rng)
        elif style == "recover":
            phases, self.drawn["miss"] = _second_try(phases, rng)
        speed = {"clean": 0.8, "hesitant": rng.uniform(0.35, 0.6)}.get(style, rng.uniform(0.55, 0.9))
        self._expert = ScriptedExpert(
            [*first, *phases[skipped:]], max_step_m=task.limits.max_step_m, speed=float(speed)
        )
        scale = strength * {"noisy": 1.0, "failed": 0.3, "recover": 0.3, "hesitant": 0.2}.get(style, 0.0)
        self._noise = _CorrelatedNoise(scale, rng)
        self.drawn |= {
            "speed": round(float(speed), 4),
            "noise_m": round(float(self._noise.deviation[0]), 5),
            "pauses": [],
        }
        self._pause_chance = 0.12 * strength if style == "hesitant" else 0.0
        self._pause = self._steps = 0

    def _script(self, task: Task | KitchenTask) -> list[Phase]:
        if not isinstance(task, KitchenTask):
            return phases_for(task)
        habit = draw_habit(self._rng)
        self.drawn["habit"] = {name: np.round(value, 4).tolist() for name, value in habit._asdict().items()}
        return kitchen_phases(task, habit)

    @property
    def finished(self) -> bool:
        return self._expert.finished

    def __call__(self, state: SceneState) -> Float:
        """The next canonical action (7,)."""
        if self._pause == 0 and self._rng.random() < self._pause_chance:
            self._pause = int(self._rng.integers(1, 5))
            self.drawn["pauses"].append([self._steps, self._pause])  # when and for how long [control steps]
        action = self._expert(state) if self._pause == 0 else _hold(state)
        self._pause = max(0, self._pause - 1)
        action[:6] += self._noise.next()
        self._steps += 1
        return action


def expert(
    task: str, *, noise: str | Mapping[str, float] = "none", strength: float = 1.0, seed: int = 0
) -> Demonstrator:
    """A demonstrator for one episode of `task`, called with `PandaSimulator.state()` at every control step.

    Its style is drawn from `noise` (see `mixture`) with `seed`. Raises UserError for an unknown task or noise.
    """
    rng = np.random.default_rng([seed, 1])  # apart from the stream that places the objects
    found = find_kitchen(task) if task.startswith(PREFIX) else find_task(task)
    return Demonstrator(found, draw_style(mixture(noise), rng), rng, strength=strength)


def mixture(
    noise: str | Mapping[str, float],
    presets: Mapping[str, Mapping[str, float]] = MIXTURES,
    styles: Sequence[str] = STYLES,
) -> dict[str, float]:
    """Shares of the styles, summing to 1, from a preset's name or a mapping. Raises UserError for unknown names."""
    if isinstance(noise, str):
        if noise not in presets:
            raise UserError(
                f"noise is {noise!r}; choose one of {', '.join(presets)}, or give a mapping style -> share."
            )
        return dict(presets[noise])
    total = sum(noise.values())
    if set(noise) - set(styles) or not total > 0 or min(noise.values()) < 0:
        raise UserError(f"noise shares are {dict(noise)}; give shares of at least 0 for styles of {', '.join(styles)}.")
    return {style: share / total for style, share in noise.items()}


def draw_style(shares: Mapping[str, float], rng: Generator) -> str:
    """One style of the mixture."""
    names = list(shares)
    return names[int(rng.choice(len(names), p=[shares[name] for name in names]))]


class _CorrelatedNoise:
    """Ornstein-Uhlenbeck noise on the six deltas; its stationary deviation is 1 cm and 0.04 rad at scale 1."""

    def __init__(self, scale: float, rng: Generator, memory: float = 0.6):
        self.deviation = scale * np.array([0.01] * 3 + [0.01, 0.01, 0.04])
        self._memory, self._rng = memory, rng
        self._value: Array = np.zeros(6)

    def next(self) -> Array:
        fresh = self._rng.standard_normal(6) * self.deviation * np.sqrt(1 - self._memory**2)
        self._value = self._memory * self._value + fresh
        return self._value


def _hold(state: SceneState) -> Float:
    return np.array([0, 0, 0, 0, 0, 0, round(state.gripper)], np.float32)


def _never(state: SceneState) -> bool:
    return False


def _stay_open() -> Callable[[SceneState], Goal]:
    return frozen(lambda state: Goal(state.target.position, float(matrix_to_rpy(state.target.rotation)[2]), OPEN))


def _spoil(phases: list[Phase], rng: Generator) -> tuple[str, Spoilt]:
    names = ["beside", "above", "drop", "give_up"] + (["misplace"] if any(p.kind == "place" for p in phases) else [])
    name = names[int(rng.integers(len(names)))]
    return name, _SPOILERS[name](phases, rng)


def _beside(phases: list[Phase], rng: Generator) -> Spoilt:
    """Closes the gripper 4 to 7 cm beside the object, lifts it empty and stops."""
    angle, distance = rng.uniform(-np.pi, np.pi), rng.uniform(0.04, 0.07)
    # along x: across y the fingers would straddle the object or hit it
    offset = np.array([np.copysign(distance, np.cos(angle)), 0.3 * distance * np.sin(angle), 0.0])
    return Spoilt(_until_lifted(_shifted(phases, offset, ("reach", "grasp"))), _told(offset))


def _above(phases: list[Phase], rng: Generator) -> Spoilt:
    """Closes the gripper 5 to 8 cm too high, moves on empty and stops."""
    offset = np.array([0.0, 0.0, rng.uniform(0.05, 0.08)])
    return Spoilt(_until_lifted(_shifted(phases, offset, ("reach", "grasp"))), _told(offset))


def _drop(phases: list[Phase], rng: Generator) -> Spoilt:
    """Opens the gripper when the lift has begun, then stops."""
    at = next(i for i, phase in enumerate(phases) if phase.kind == "lift")
    lifted = int(rng.integers(1, 5)) if any(phase.kind == "carry" for phase in phases) else 1
    begun = replace(phases[at], until=_never, most_steps=lifted)
    opened = Phase(kind="release", goal=_stay_open(), until=_never, most_steps=5)
    return Spoilt([*phases[:at], begun, opened], {"lifted_steps": lifted})


def _give_up(phases: list[Phase], rng: Generator) -> Spoilt:
    """Stops before the object is held and stays there."""
    at = int(rng.integers(1, max(2, next(i for i, p in enumerate(phases) if p.kind == "grasp") + 1)))
    stay = frozen(lambda state: Goal(state.target.position, 0.0, OPEN))
    steps = int(rng.integers(5, 11))
    waits = Phase(kind="reach", goal=stay, until=lambda state: False, most_steps=steps)
    return Spoilt([*phases[:at], waits], {"phases": at, "stays_steps": steps})


def _misplace(phases: list[Phase], rng: Generator) -> Spoilt:
    """Puts the object 18 to 22 cm away from where it belongs."""
    angle = rng.choice([0.0, np.pi / 2, np.pi, -np.pi / 2])
    offset = rng.uniform(0.18, 0.22) * np.array([np.cos(angle), np.sin(angle), 0.0])
    return Spoilt(_shifted(phases, offset, ("carry",), "place"), _told(offset))


def _second_try(phases: list[Phase], rng: Generator) -> Spoilt:
    """A miss, a short look, then the whole script again."""
    spoilt = _beside(phases, rng)
    missed = [phase for phase in spoilt.phases if phase.kind != "lift"]
    up = frozen(lambda state: Goal(state.target.position + np.array([0.0, 0.0, 0.05]), 0.0, OPEN))
    return Spoilt([*missed, Phase(kind="reach", goal=up, reached_m=0.02), *phases], spoilt.drawn)


def _told(offset: Array) -> dict[str, Any]:
    return {"offset_m": offset.round(4).tolist()}


def _shifted(phases: Sequence[Phase], offset: Array, kinds: Sequence[str], also: str = "") -> list[Phase]:
    def moved(phase: Phase) -> Phase:
        original = phase.goal

        def goal(state: SceneState) -> Goal:
            wanted = original(state)
            return wanted._replace(position=wanted.position + offset)

        return replace(phase, goal=goal)

    return [moved(p) if p.kind in kinds or (also and p.kind == also) else p for p in phases]


def _until_lifted(phases: list[Phase]) -> list[Phase]:
    last = next(i for i, phase in enumerate(phases) if phase.kind == "lift")
    empty = replace(phases[last], until=None, most_steps=8)
    grasp = [replace(p, until=None, most_steps=4, least_steps=3) if p.kind == "grasp" else p for p in phases[:last]]
    assert any(p.kind == "grasp" for p in grasp), "nothing to miss"
    return [*grasp, empty]


_SPOILERS: Mapping[str, Spoiler] = {
    "beside": _beside,
    "above": _above,
    "drop": _drop,
    "give_up": _give_up,
    "misplace": _misplace,
}
