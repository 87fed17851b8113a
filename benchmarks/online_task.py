"""The task of benchmarks/online.py: a maze, its data, transitions as they come, and judging a policy.

Shapes: N points or samples, A = 2 action numbers, P = 4 proprio numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from robot_pt.evaluate import episode_seeds
from robot_pt.mixing import Mixer, batch_rng
from robot_pt.normalize import Bounds
from robot_pt.rewards import RewardLabel
from robot_pt.schema import FAILURE, SUCCESS, Batch, Episode, EpisodeTable, Float, Image, Int
from robot_pt.transitions import transitions
from robot_pt_sim import collect
from robot_pt_sim.collection import recorder_of
from robot_pt_sim.point_maze import MAX_STEP_M, MazeBatch, PointMaze, find_maze

BOUNDS = Bounds(low=(-MAX_STEP_M,) * 2, high=(MAX_STEP_M,) * 2, origin="maze")
Act = Callable[[Float], Float]
"""Proprio (N, P) -> actions (N, A) [m]."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What every cell of one table has in common."""

    maze: str = "maze-medium"
    episodes: int = 60
    """Walks tried for the data."""
    style: str = "detour"
    """Of the walks, see `robot_pt_sim.maze_play`."""
    strength: float = 1.0
    """Of the walks' noise."""
    successes_only: bool = True
    """Keep the walks that reached the goal, as Adroit's binary tasks do; where most fail, their return is the lowest there is and bounds nothing."""
    anywhere: bool = True
    """Online and evaluation start in any free cell; the data starts where the maze says."""
    data_seed: int = 0
    gamma: float = 0.97
    reward_scale: float = 10.0
    reward_shift: float = -5.0
    """AntMaze's: -5, and +5 at the goal, which ends the return; an episode that runs out of time is worth -5 / (1 - gamma). With 0 it is
    worth 0, as is one that ends in a pit."""
    evaluation_episodes: int = 100

    @property
    def label(self) -> RewardLabel:
        return RewardLabel(
            source="success", final_steps=1, scale=self.reward_scale, shift=self.reward_shift, terminal="either"
        )


class Steps:
    """Transitions of episodes in the order they came, with true returns; grows by whole episodes."""

    def __init__(self, problem: Problem):
        self._problem, self._parts, self._joined = problem, list[dict[str, Any]](), dict[str, Any]()
        self.episodes = self.successes = 0

    def append(self, episode: Episode) -> None:
        source = _Single(episode)
        index = transitions(source, self._problem.label, self._problem.gamma)
        self._parts.append(
            {
                "proprio": source.proprio[index.row], "action": source.actions[index.row], "reward": index.reward,
                "discount": index.discount, "next_proprio": source.proprio[index.next_row], "next_action": source.actions[index.next_row],
                "return_to_go": index.return_to_go,
            }
        )  # fmt: skip
        self._joined = {}
        self.episodes += 1
        self.successes += bool(episode.success)

    @property
    def columns(self) -> dict[str, Any]:
        if not self._joined:
            self._joined = {name: np.concatenate([p[name] for p in self._parts]) for name in self._parts[0]}
            self._parts = [self._joined]
        return self._joined

    def __len__(self) -> int:
        return len(self.columns["reward"]) if self._parts else 0


def batches(offline: Steps, online: Steps, share: float, size: int, seed: int) -> Iterator[Batch]:
    """For ever: of each batch exactly `share` from `offline` (rounded down) once there are online steps; numpy."""
    mixer, number = Mixer([share, 1 - share], size), 0
    while True:
        rng = batch_rng(seed, number)
        counts = mixer.counts(number) if len(online) else [size, 0]
        parts = [s.columns for s, n in zip((offline, online), counts, strict=True) if n]
        drawn = [rng.integers(0, len(p["reward"]), n) for p, n in zip(parts, [n for n in counts if n], strict=True)]
        columns = {name: np.concatenate([p[name][i] for p, i in zip(parts, drawn, strict=True)]) for name in parts[0]}
        yield Batch(
            images={}, next_images={}, task=np.zeros(size, np.int64), language=np.zeros((size, 0), np.float32),
            sample_key=number * size + np.arange(size, dtype=np.int64), source=np.repeat([0, 1], counts), **columns,
        )  # fmt: skip
        number += 1


def offline_data(problem: Problem) -> Steps:
    """The walks that are kept, in the order of their seeds."""
    steps = Steps(problem)

    def keep(episode: Episode) -> None:
        if episode.success or not problem.successes_only:
            steps.append(episode)

    collect(
        problem.maze, problem.episodes, keep, workers=1, noise=problem.style, strength=problem.strength, camera=(),
        seed=problem.data_seed * problem.episodes,
    )  # fmt: skip
    return steps


def success_rate(act: Act, problem: Problem) -> float:
    """Share of evaluation starts from which the goal is reached in time; the same starts whoever acts."""
    maze = find_maze(problem.maze)
    batch = MazeBatch(maze, problem.evaluation_episodes)
    proprio = batch.reset(episode_seeds(0, problem.evaluation_episodes), anywhere=problem.anywhere)
    reached, fallen = np.zeros((2, problem.evaluation_episodes), bool)
    for _ in range(maze.horizon):
        proprio, _, success = batch.step(act(proprio))
        fallen |= batch.fallen() & ~reached
        reached |= success & ~fallen
    return float(reached.mean())


def play_episode(simulator: PointMaze, act: Act, seed: int, problem: Problem) -> Episode:
    """One online episode from a start that no evaluation uses."""
    observation, recorder = simulator.reset(seed, anywhere=problem.anywhere), recorder_of(simulator)
    while True:
        action = act(observation.proprio[None])[0]
        result = simulator.step(action)
        recorder.add(observation, action, result)
        observation = result.observation
        if result.terminated or result.truncated:
            return recorder.episode(operator="policy", metadata={"seed": seed})


class _Single:
    """One episode as an EpisodeSource."""

    def __init__(self, episode: Episode):
        self.spec = episode.spec
        self.proprio, self.actions, self.rewards = episode.proprio, episode.actions, episode.rewards
        self.terminated, self.truncated = episode.terminated, episode.truncated
        self.episodes = EpisodeTable(
            start=np.zeros(1, np.int64), length=np.array([len(episode)]), instruction=[episode.instruction],
            task=[episode.task], success=np.array([SUCCESS if episode.success else FAILURE], np.int8),
            dataset=[episode.dataset], split=["train"], operator=["policy"],
        )  # fmt: skip

    def images(self, steps: Int, camera: str, size: tuple[int, int] | None = None) -> Image:
        raise AssertionError("the mazes are learned without cameras here")
