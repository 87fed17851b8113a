"""The task of benchmarks/online.py: a maze, its data, transitions as they come, and judging a policy.

Shapes: N points or samples, A = 2 action numbers, 3 with a grip, times `Problem.copies`, P = 4 proprio numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from robot_pt.evaluate import episode_seeds
from robot_pt.mixing import Mixer, batch_rng
from robot_pt.normalize import Bounds
from robot_pt.rewards import RewardLabel
from robot_pt.schema import FAILURE, SUCCESS, Batch, Bool, Episode, EpisodeTable, Float, Image, Int, Spec
from robot_pt.transitions import transitions
from robot_pt_sim import collect
from robot_pt_sim.collection import recorder_of
from robot_pt_sim.point_maze import ACTION_NAMES, MAX_STEP_M, MazeBatch, PointMaze, find_maze, maze_spec

COPY_NOISE = 0.1
"""Standard deviation of a demonstrated copy about what was done, as a share of the longest step."""
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
    fall_reward: float = 0.0
    """Added to the reward of the step that ends in a pit: what a second best end is worth."""
    grip: float = 0.0
    """Above 0: a third number holds what is carried; where it is below 0, that is dropped, and the episode ends as in a pit. The demonstrations
    hold with this share of the largest, give or take an eighth of it."""
    evaluation_episodes: int = 100
    copies: int = 1
    """Each of the maze's two numbers is the mean of so many that the policy gives: more action numbers for the conservative term to press."""

    @property
    def spec(self) -> Spec:
        """What a policy reads and gives."""
        names = (*ACTION_NAMES, "grip") if self.grip else ACTION_NAMES
        return replace(maze_spec(), action_names=tuple(f"{n}_{i}" for i in range(self.copies) for n in names))

    @property
    def bounds(self) -> Bounds:
        size = (len(ACTION_NAMES) + bool(self.grip)) * self.copies
        return Bounds(low=(-MAX_STEP_M,) * size, high=(MAX_STEP_M,) * size, origin="maze")

    def sent(self, action_NA: Float) -> tuple[Float, Bool]:
        """(N, 2) what the maze is given, and (N,) whether what is carried drops."""
        mean: Float = action_NA.reshape(len(action_NA), self.copies, -1).mean(1)
        return mean[:, :2], mean[:, 2] < 0 if self.grip else np.zeros(len(mean), bool)

    def copied(self, sent_N2: Float, rng: np.random.Generator) -> Float:
        """(N, A) actions that would have sent this but for the bounds, as a demonstrator might have given them; itself with one copy and no grip."""
        done = sent_N2
        if self.grip:
            grip_N1 = MAX_STEP_M * self.grip * (1 + rng.standard_normal((len(sent_N2), 1)) / 8)
            done = np.concatenate([sent_N2, grip_N1.astype(np.float32)], axis=1)
        noise = COPY_NOISE * MAX_STEP_M * rng.standard_normal((len(done), self.copies, done.shape[1]))
        copies = done[:, None] + noise - noise.mean(1, keepdims=True)
        return copies.clip(-MAX_STEP_M, MAX_STEP_M).reshape(len(done), -1).astype(np.float32)

    @property
    def label(self) -> RewardLabel:
        return RewardLabel(
            source="success", final_steps=1, scale=self.reward_scale, shift=self.reward_shift, terminal="either"
        )


class Steps:
    """Transitions of episodes in the order they came, with true returns; grows by whole episodes."""

    def __init__(self, problem: Problem):
        self._problem, self._parts, self._joined = problem, list[dict[str, Any]](), dict[str, Any]()
        self.episodes = self.successes = self.falls = 0

    def append(self, episode: Episode, action_TA: Float) -> None:
        """`action_TA`: what the policy gave, `Problem.copies` times what the episode holds."""
        source = _Single(episode)
        index = transitions(source, self._problem.label, self._problem.gamma)
        reward, returns = index.reward, index.return_to_go
        fell = bool(episode.terminated[-1]) and not episode.success
        if fell:
            ahead = np.arange(len(reward))[::-1]
            returns = (returns + self._problem.fall_reward * self._problem.gamma**ahead).astype(np.float32)
            reward = np.where(ahead == 0, reward + np.float32(self._problem.fall_reward), reward)
        self._parts.append(
            {
                "proprio": source.proprio[index.row], "action": action_TA[index.row], "reward": reward,
                "discount": index.discount, "next_proprio": source.proprio[index.next_row], "next_action": action_TA[index.next_row],
                "return_to_go": returns,
            }
        )  # fmt: skip
        self._joined = {}
        self.episodes += 1
        self.successes += bool(episode.success)
        self.falls += fell

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
    steps, rng = Steps(problem), np.random.default_rng([problem.data_seed, 2])

    def keep(episode: Episode) -> None:
        if episode.success or not problem.successes_only:
            steps.append(episode, problem.copied(episode.actions, rng))

    collect(
        problem.maze, problem.episodes, keep, workers=1, noise=problem.style, strength=problem.strength, camera=(),
        seed=problem.data_seed * problem.episodes,
    )  # fmt: skip
    return steps


def towards_pits(problem: Problem, proprio_NP: Float) -> Float:
    """(N, A) the longest step to the nearest pit beside the cell that each point is in; to any side where there is none."""
    pits = find_maze(problem.maze).pits
    cell = np.floor(proprio_NP[:, :2]).astype(np.int64)
    inside = proprio_NP[:, :2] - cell
    sides = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
    way_N4 = np.stack([1 - inside[:, 0], inside[:, 0], 1 - inside[:, 1], inside[:, 1]], axis=1)
    beside_N4 = np.stack([pits[tuple((cell + side).T)] for side in sides], axis=1)
    side = sides[np.where(beside_N4, way_N4, 9.0).argmin(1)]
    done = np.concatenate([side, np.full((len(side), int(problem.grip > 0)), problem.grip)], axis=1)
    return np.tile(MAX_STEP_M * done.astype(np.float32), problem.copies)


def let_go(problem: Problem, action_NA: Float) -> Float:
    """(N, A) the same but for the grip, which is a tenth of the largest below what holds."""
    loose = action_NA.reshape(len(action_NA), problem.copies, -1).copy()
    loose[:, :, 2] = -0.1 * MAX_STEP_M
    return loose.reshape(len(loose), -1)


def arrives(act: Act, problem: Problem, proprio_NP: Float) -> Bool:
    """(N,) whether who acts so from there on reaches the goal within an episode's time."""
    maze = find_maze(problem.maze)
    batch = MazeBatch(maze, len(proprio_NP))
    batch.position, batch.velocity = proprio_NP[:, :2].astype(np.float64), proprio_NP[:, 2:].astype(np.float64)
    return _reached(act, problem, batch, proprio_NP)


def success_rate(act: Act, problem: Problem) -> float:
    """Share of evaluation starts from which the goal is reached in time; the same starts whoever acts."""
    batch = MazeBatch(find_maze(problem.maze), problem.evaluation_episodes)
    proprio = batch.reset(episode_seeds(0, problem.evaluation_episodes), anywhere=problem.anywhere)
    return float(_reached(act, problem, batch, proprio).mean())


def _reached(act: Act, problem: Problem, batch: MazeBatch, proprio: Float) -> Bool:
    """(N,) whether each point was at the goal in time and before anything ended."""
    reached, fallen = np.zeros((2, batch.count), bool)
    for _ in range(batch.maze.horizon):
        action, dropped = problem.sent(act(proprio))
        proprio, _, success = batch.step(action)
        fallen |= (batch.fallen() | dropped) & ~reached
        reached |= success & ~fallen
    return reached


def play_episode(simulator: PointMaze, act: Act, seed: int, problem: Problem) -> tuple[Episode, Float]:
    """One online episode from a start that no evaluation uses, and the actions (T, A) that were given."""
    observation, recorder = simulator.reset(seed, anywhere=problem.anywhere), recorder_of(simulator)
    given: list[Float] = []
    while True:
        given.append(act(observation.proprio[None])[0])
        (action,), (dropped,) = problem.sent(given[-1][None])
        result = simulator.step(action)
        if dropped:
            result = result._replace(reward=0.0, success=False, terminated=True, truncated=False)
        recorder.add(observation, action, result)
        observation = result.observation
        if result.terminated or result.truncated:
            return recorder.episode(operator="policy", metadata={"seed": seed}), np.stack(given)


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
