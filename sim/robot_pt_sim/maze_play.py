"""Scripted walks through a maze, good and bad: what a maze's demonstrations are made of.

"clean" goes from a start to the goal the shortest way. "play" is AntMaze-like data: from anywhere towards some cell nearby, at
its own pace, with correlated noise, giving up after a while, whatever the task's goal is. Where there are no pits no play walk joins
start and goal, so only an algorithm that puts pieces together finds the way; and since walks go both ways, imitating them goes nowhere.
"detour" is
narrow data of an operator who means well: from a start to the goal by way of somewhere else, nearly without noise, and often out
of time; what it did in a corridor depends on where it had been, which no policy sees.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from robot_pt.schema import Float, Int
from robot_pt_sim.point_maze import MAX_STEP_M, Maze

Generator = np.random.Generator
STYLES = ("clean", "play", "detour")
MIXTURES: Mapping[str, Mapping[str, float]] = {
    "none": {"clean": 1.0}, "mixed": {"play": 0.5, "detour": 0.5}, "play": {"play": 1.0}, "detour": {"detour": 1.0},
}  # fmt: skip
NEARBY_CELLS = 4
"""Longest way of a play walk in cells."""
NEAR_M = 0.3
"""A detour's first aim is reached so near to it [m]."""
PATIENCE = (10, 25)
"""A play walk is given up after so many control steps, drawn uniformly."""
NOISE_MEMORY = 0.8
"""Correlation of the noise from one control step to the next."""
NOISE_SHARE = 0.5
"""Standard deviation of the noise at strength 1, as a share of the longest step."""
WANDER = 0.15
"""Share of play walks that follow no way: noise alone."""
DETOUR_NOISE_SHARE = 0.1
"""As `NOISE_SHARE`, of detours."""


class Walker:
    """Follows the shortest way through cell centres to `goal`, with noise. Deterministic given `rng`.

    Attributes:
        flaw: "" for a clean walk, else what makes it a bad one.
    """

    def __init__(self, maze: Maze, style: str, rng: Generator, position: NDArray[np.float64], *, strength: float = 1.0):
        """`position` (2,) [m] of the start; `strength` scales the noise of play, 1 = half the longest step."""
        assert style in STYLES, style
        self._rng, self._noise = rng, np.zeros(2)
        self._elapsed = 0
        here = (int(position[0]), int(position[1]))
        self._then: list[tuple[int, int]] = []
        if style == "clean":
            self.flaw, goal = "", maze.goal
            self._pace, self._scale, self._patience = 1.0, 0.0, maze.horizon
        elif style == "detour":
            cells = np.argwhere(maze.free)
            self.flaw, goal = "detour", tuple(cells[rng.integers(len(cells))].tolist())
            self._then = [maze.goal]
            self._pace, self._patience = (
                float(rng.uniform(0.4, 0.9)),
                int(rng.integers(maze.horizon // 3, maze.horizon)),
            )
            self._scale = strength * DETOUR_NOISE_SHARE * MAX_STEP_M
        else:
            away = distances(maze, here)
            near = np.argwhere((away > 0) & (away <= NEARBY_CELLS))
            goal = tuple(near[rng.integers(len(near))].tolist())
            self.flaw = "wandering" if rng.random() < WANDER else "playing"
            self._pace = 0.0 if self.flaw == "wandering" else float(rng.uniform(0.4, 1.0))
            self._scale = strength * NOISE_SHARE * MAX_STEP_M * (2.0 if self.flaw == "wandering" else 1.0)
            self._patience = int(rng.integers(*PATIENCE))
        self._maze = maze
        self._head_for(goal)

    @property
    def finished(self) -> bool:
        return self._elapsed >= self._patience

    def __call__(self, position: NDArray[np.float64]) -> Float:
        """The next action (2,) [m] at `position` (2,) [m]."""
        self._elapsed += 1
        if self._then and float(np.abs(self._goal - position).max()) < NEAR_M:
            self._head_for(self._then.pop(0))
        away = self._next_centre(position) - position
        towards = away / max(float(np.abs(away).max()), MAX_STEP_M) * MAX_STEP_M * self._pace
        fresh = np.sqrt(1 - NOISE_MEMORY**2) * self._rng.standard_normal(2)
        self._noise = NOISE_MEMORY * self._noise + fresh
        action: Float = (towards + self._scale * self._noise).clip(-MAX_STEP_M, MAX_STEP_M).astype(np.float32)
        return action

    def _head_for(self, cell: tuple[int, int]) -> None:
        self._left, self._goal = distances(self._maze, cell), np.array(cell) + 0.5

    def _next_centre(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        i, j = int(position[0]), int(position[1])
        if self._left[i, j] == 0:
            return self._goal
        ways = [(i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)]
        following = min((way for way in ways if self._left[way] >= 0), key=lambda way: int(self._left[way]))
        return np.array(following) + 0.5


def distances(maze: Maze, cell: tuple[int, int]) -> Int:
    """(columns, rows) cells to go from each free cell to `cell`, by breadth-first search; -1 in walls."""
    free = maze.free
    out = np.full(free.shape, -1, np.int64)
    out[cell] = 0
    waiting = deque([cell])
    while waiting:
        i, j = waiting.popleft()
        for way in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
            if free[way] and out[way] < 0:
                out[way] = out[i, j] + 1
                waiting.append(way)
    return out
