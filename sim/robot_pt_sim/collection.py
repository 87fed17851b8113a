"""Scripted demonstrations: rollouts of experts in parallel processes, whole episodes to a store in the order of seeds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from robot_pt.errors import UserError
from robot_pt.schema import OBJECT_POSITIONS, Episode, Float, Observation
from robot_pt_sim import maze_play
from robot_pt_sim.experts import UnreachableTarget
from robot_pt_sim.kitchen.twin import KitchenSimulator
from robot_pt_sim.point_maze import MAZES, PointMaze
from robot_pt_sim.processes import default_workers, run_jobs
from robot_pt_sim.recording import DATASET, EpisodeRecorder
from robot_pt_sim.simulators import AnySimulator, build, camera_roles, check_variant, spec_of
from robot_pt_sim.styles import Demonstrator, draw_style, mixture

IDLE_STEPS = 2
"""Control steps recorded after an expert that failed has ended its script."""
Progress = Callable[[int, int], None]
"""Called with (episodes done, episodes in all)."""


@runtime_checkable
class EpisodeStore(Protocol):
    """Anything episodes can be appended to, e.g. robot_pt.store.DemoStore."""

    def append(self, episode: Episode, /) -> object: ...


@dataclass
class CollectReport:
    """What `collect` did."""

    episodes: int = 0
    successes: int = 0
    steps: int = 0
    seconds: float = 0.0
    styles: Counter[str] = field(default_factory=Counter)
    """Episodes per style."""
    unreachable: list[str] = field(default_factory=list)
    """Starts that were not recorded as the expert could not get where it had to, one sentence each."""
    successes_by_style: Counter[str] = field(default_factory=Counter)
    rejected_starts: int = 0
    """Arrangements that kitchens drew again, as something in them was in the way."""

    @property
    def episodes_per_minute(self) -> float:
        return 60 * self.episodes / self.seconds if self.seconds else 0.0


def collect(
    task: str,
    episodes: int,
    out: Callable[[Episode], object] | EpisodeStore,
    *,
    workers: int | None = None,
    noise: str | Mapping[str, float] = "none",
    strength: float = 1.0,
    seed: int = 0,
    camera: str | Sequence[str] = "primary",
    image_size: tuple[int, int] = (64, 64),
    progress: Progress | None = None,
    apart: bool = False,
    **variant: Any,
) -> CollectReport:
    """Record `episodes` scripted episodes of `task` with seeds `seed`, `seed` + 1, ... and hand each to `out`, in order.

    `noise`: a preset of `styles.MIXTURES` (of `maze_play.MIXTURES` for a maze) or style -> share; `strength` scales it. `apart`: a process of its own
    for one worker too, as in `rollouts`. `variant`: fields of the task to change (`placement_m`, `yaw_rad`, `horizon`). Ctrl-C keeps every episode already handed over, and so does a renderer that fails. A start
    whose targets are out of reach gives no episode. Raises UserError for an unknown task, noise, camera or variant before
    anything runs, and for a renderer that fails.
    """
    if episodes < 1:
        raise UserError(f"{episodes} episodes were asked for; give at least 1.")
    check_variant(task, variant)
    shares = mixture(noise, maze_play.MIXTURES, maze_play.STYLES) if task in MAZES else mixture(noise)
    setup = CollectSetup(task, shares, strength, camera_roles(camera), image_size, variant)
    spec_of(task, setup.cameras, image_size)
    hand_over = out.append if isinstance(out, EpisodeStore) else out
    report, start = CollectReport(), time.monotonic()
    jobs, count = range(seed, seed + episodes), default_workers() if workers is None else workers
    with closing(run_jobs(setup, jobs, count, what=f"{task} from seed", apart=apart)) as recorded:
        for done, found in enumerate(recorded, 1):
            if isinstance(found, Unreachable):
                report.unreachable.append(f"seed {found.seed}: {found.sentence}")
            else:
                hand_over(found)
                _count(report, found)
            report.seconds = time.monotonic() - start
            if progress is not None:
                progress(done, episodes)
    return report


class Unreachable(NamedTuple):
    """Instead of an episode."""

    seed: int
    sentence: str


def _count(report: CollectReport, episode: Episode) -> None:
    style = str(episode.metadata["style"])
    report.episodes += 1
    report.successes += bool(episode.success)
    report.steps += len(episode)
    report.styles[style] += 1
    report.rejected_starts += int(episode.metadata["initial_conditions"].get("rejected_starts", 0))
    report.successes_by_style[style] += bool(episode.success)


@dataclass(frozen=True)
class CollectSetup:
    """Builds the worker of one process."""

    task: str
    shares: Mapping[str, float]
    strength: float
    cameras: tuple[str, ...]
    image_size: tuple[int, int]
    variant: Mapping[str, Any]

    def __call__(self) -> _Collector:
        simulator = build(self.task, cameras=self.cameras, image_size=self.image_size, variant=self.variant)
        return _Collector(simulator, self.shares, self.strength)


class _Collector:
    """Records one episode per seed."""

    def __init__(self, simulator: AnySimulator, shares: Mapping[str, float], strength: float):
        self._simulator, self._shares, self._strength = simulator, shares, strength

    def __call__(self, seed: int) -> Episode | Unreachable:
        try:
            return self._record(seed)
        except UnreachableTarget as error:
            return Unreachable(seed, str(error))

    def _record(self, seed: int) -> Episode:
        simulator = self._simulator
        rng = np.random.default_rng([seed, 1])  # apart from the stream that places the objects
        style = draw_style(self._shares, rng)
        observation, expert, act = _begin(simulator, style, rng, self._strength, seed)
        recorder = recorder_of(simulator)
        seen: list[dict[str, list[float]]] = []
        idle = 0
        while idle < IDLE_STEPS:
            action = act()
            seen.append(object_positions(simulator))
            result = simulator.step(action)
            recorder.add(observation, action, result)
            observation = result.observation
            if result.terminated or result.truncated:
                break
            idle += expert.finished
        noise: dict[str, Any] = {"style": style, "flaw": expert.flaw, "strength": self._strength}
        if isinstance(expert, Demonstrator):
            noise["expert"] = expert.drawn
        paths = {name: [step[name] for step in seen] for name in seen[0]}
        metadata = {**noise, **({OBJECT_POSITIONS: paths} if paths else {}), **describe(simulator)}
        return recorder.episode(operator="scripted", metadata=metadata)

    def close(self) -> None:
        self._simulator.close()


def _begin(
    simulator: AnySimulator, style: str, rng: np.random.Generator, strength: float, seed: int
) -> tuple[Observation, Demonstrator | maze_play.Walker, Callable[[], Float]]:
    """(first observation, the expert, what gives its next action)."""
    if isinstance(simulator, PointMaze):
        observation, maze = simulator.reset(seed, anywhere=style == "play"), simulator
        walker = maze_play.Walker(maze.definition, style, rng, maze.batch.position[0], strength=strength)
        return observation, walker, lambda: walker(maze.batch.position[0])
    robot = simulator
    demonstrator = Demonstrator(robot.definition, style, rng, strength=strength)
    return robot.reset(seed), demonstrator, lambda: demonstrator(robot.state())


def object_positions(simulator: AnySimulator) -> dict[str, list[float]]:
    """Name -> x, y, z [m, base frame] of the task's objects as they are now, to 0.1 mm, the main one first; none in a maze."""
    if isinstance(simulator, PointMaze):
        return {}
    poses = simulator.state().objects
    return {name: poses[name].position.round(4).tolist() for name in simulator.definition.places}


def recorder_of(simulator: AnySimulator) -> EpisodeRecorder:
    """For one episode of it."""
    dataset = _DATASETS.get(type(simulator), DATASET)
    return EpisodeRecorder(simulator.spec, task=simulator.task, instruction=simulator.instruction, dataset=dataset)


_DATASETS = {PointMaze: "point-maze", KitchenSimulator: "kitchen"}


def describe(simulator: AnySimulator) -> dict[str, Any]:
    """What is needed to run the same episode again: start, versions and controller."""
    start = simulator.initial_conditions()
    return {
        "seed": start["seed"],
        "initial_conditions": start,
        **simulator.about(),
    }
