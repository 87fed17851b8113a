"""A point mass in a maze with a sparse reward: seconds instead of hours for whatever has to be learned from bad data.

What AntMaze asks (D4RL, arXiv 2004.07219) without an ant: walls to get around, a reward at the goal only, and data of short
walks to elsewhere (`maze_play`). numpy only; `MazeBatch` steps any number of independent points at once, and `PointMaze` is one
of them behind the `Simulator` protocol, with the very same numbers.

Frame: x to the right, y up, origin at the lower left corner of the drawing, one cell = 1 m. Shapes: N points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import UserError
from robot_pt.schema import Bool, Float, Int, Observation, Spec
from robot_pt.simulator import StepResult
from robot_pt_sim.installation import about
from robot_pt_sim.maze_pictures import draw

Points = NDArray[np.float64]  # (N, 2)

CONTROL_HZ = 5.0
MAX_STEP_M = 0.4
"""Longest displacement one action may ask for along each axis [m]."""
RESPONSE = 0.5
"""Share of the difference between asked and present displacement that one control step makes up for: the point has inertia."""
RADIUS_M = 0.15
"""Half the side of the square that collides with walls [m]."""
GOAL_RADIUS_M = 0.5
START_SPREAD_M = 0.25
"""Half-range of the start within its cell [m]."""
ACTION_NAMES = ("dx", "dy")
PROPRIO_NAMES = ("x", "y", "vx", "vy")
_GAP = 1e-9  # between the point and a wall it leans on


@dataclass(frozen=True, kw_only=True)
class Maze:
    """One task: '#' wall, '.' free, 'x' pit, 'S' starts, 'G' goal; the first row is the top one.

    A point whose middle comes over a pit has fallen: the episode ends there without success, as one does whose cup is dropped.
    """

    name: str
    rows: tuple[str, ...]
    horizon: int
    """Control steps before truncation."""
    instruction: str = "go to the goal"

    def __post_init__(self) -> None:
        assert len({len(row) for row in self.rows}) == 1, f"rows of {self.name} have different lengths"
        assert {*self.rows[0], *self.rows[-1]} | {row[i] for row in self.rows for i in (0, -1)} == {"#"}, "open border"

    @property
    def free(self) -> Bool:
        """(columns, rows) cells to be in: no wall, no pit. Cell [i, j] covers i <= x < i + 1 and j <= y < j + 1."""
        return self._drawn(lambda c: c not in "#x")

    @property
    def walls(self) -> Bool:
        """(columns, rows)."""
        return self._drawn(lambda c: c == "#")

    @property
    def pits(self) -> Bool:
        """(columns, rows)."""
        return self._drawn(lambda c: c == "x")

    @property
    def starts(self) -> Int:
        """(starts, 2) column and row, counted from the lower left."""
        return self._marked("S")

    @property
    def goal(self) -> tuple[int, int]:
        """Column and row, counted from the lower left."""
        ((column, row),) = self._marked("G").tolist()
        return column, row

    def _marked(self, mark: str) -> Int:
        found: Int = np.argwhere(self._drawn(lambda c: c == mark))
        return found

    def _drawn(self, wanted: Callable[[str], bool]) -> Bool:
        cells: Bool = np.array([[wanted(c) for c in row] for row in reversed(self.rows)]).T
        return cells


MAZES: Mapping[str, Maze] = {
    maze.name: maze
    for maze in (
        Maze(name="maze-u", rows=("#####", "#G..#", "###.#", "#S..#", "#####"), horizon=40),
        Maze(
            name="maze-medium",
            rows=(
                "#########",
                "#S..#..S#",
                "#.#.#.#.#",
                "#.#...#.#",
                "#.###.#.#",
                "#S..#.#.#",
                "###.#.#.#",
                "#S..#..G#",
                "#########",
            ),
            horizon=80,
        ),
        Maze(
            name="maze-pits",
            rows=("#######", "#S...S#", "#.#x#.#", "#.....#", "#.#x#.#", "#S...G#", "#######"),
            horizon=60,
        ),
        Maze(  # the ways of maze-pits with a wall on one side of them and a fall on the other
            name="maze-shelves",
            rows=("#######", "#S...S#", "#.xxx.#", "#.....#", "#.xxx.#", "#S...G#", "#######"),
            horizon=60,
        ),
        Maze(  # the same ways with a fall on every side of them
            name="maze-ledges",
            rows=(
                "#########",
                "#xxxxxxx#",
                "#xS...Sx#",
                "#x.xxx.x#",
                "#x.....x#",
                "#x.xxx.x#",
                "#xS...Gx#",
                "#xxxxxxx#",
                "#########",
            ),
            horizon=60,
        ),
    )
}


class MazeBatch:
    """N points in one maze, each deterministic given its own seed, whatever the others do. No point disturbs another.

    Attributes:
        position: (N, 2) [m]. velocity: (N, 2) [m/s].
        steps: (N,) control steps since each point's reset.
    """

    def __init__(self, maze: Maze, count: int):
        self.maze, self.count = maze, count
        self._free, self._walls, self._pits = maze.free, maze.walls, maze.pits
        self._goal = np.array(maze.goal) + 0.5
        self.position: Points = np.tile(maze.starts[0] + 0.5, (count, 1))
        self.velocity: Points = np.zeros((count, 2))
        self.steps: Int = np.zeros(count, np.int64)

    def reset(self, seeds: Sequence[int], which: Sequence[int] | Int | None = None, *, anywhere: bool = False) -> Float:
        """Place points `which` (default all) at rest, one seed each, and return all proprio (N, 4).

        `anywhere`: in a free cell drawn uniformly, instead of one of the starts.
        """
        rows = np.arange(self.count) if which is None else np.asarray(which, np.int64)
        assert len(rows) == len(seeds), f"{len(seeds)} seeds for {len(rows)} points"
        for row, seed in zip(rows, seeds, strict=True):
            rng = np.random.default_rng(seed)
            cells = np.argwhere(self._free) if anywhere else self.maze.starts
            centre = cells[rng.integers(len(cells))] + 0.5
            self.position[row] = centre + rng.uniform(-START_SPREAD_M, START_SPREAD_M, 2)
        self.velocity[rows], self.steps[rows] = 0.0, 0
        return self.proprio()

    def step(self, action_NA: Float) -> tuple[Float, Float, Bool]:
        """(proprio (N, 4), sent actions (N, 2), success (N,)) after one control step of every point.

        Raises UserError on a wrong shape, NaN or Inf, and then nothing moves.
        """
        sent = self._checked(action_NA)
        displacement = self.velocity / CONTROL_HZ
        displacement += RESPONSE * (sent - displacement)
        for axis in (0, 1):  # one after the other, so a point slides along a wall
            displacement[:, axis] = self._slide(axis, displacement[:, axis])
        self.velocity = displacement * CONTROL_HZ
        self.steps += 1
        return self.proprio(), sent.astype(np.float32), self.success()

    def success(self) -> Bool:
        """(N,) the point is at the goal."""
        reached: Bool = np.square(self.position - self._goal).sum(1) < GOAL_RADIUS_M**2
        return reached

    def fallen(self) -> Bool:
        """(N,) the point's middle is over a pit."""
        over: Bool = self._pits[tuple(np.floor(self.position).astype(np.int64).T)]
        return over

    def proprio(self) -> Float:
        """(N, 4) x, y [m], vx, vy [m/s]."""
        return np.concatenate([self.position, self.velocity], axis=1).astype(np.float32)

    def _checked(self, action_NA: Float) -> Points:
        action = np.asarray(action_NA, np.float64)
        if action.shape != (self.count, 2) or not np.isfinite(action).all():
            raise UserError(
                f"the maze takes {self.count} x 2 finite numbers {ACTION_NAMES}; it was given {action.shape} with "
                f"{int((~np.isfinite(action)).sum())} NaN or Inf, and nothing was moved."
            )
        return action.clip(-MAX_STEP_M, MAX_STEP_M)

    def _slide(self, axis: int, wanted_N: NDArray[np.float64]) -> NDArray[np.float64]:
        """Move along one axis up to the first wall; the displacement (N,) that was possible."""
        here = self.position[:, axis].copy()
        edge = here + wanted_N + np.sign(wanted_N) * RADIUS_M
        beside = self.position[:, 1 - axis, None] + np.array([-RADIUS_M, RADIUS_M])
        ahead_N2 = np.repeat(np.floor(edge).astype(np.int64)[:, None], 2, axis=1)
        beside_N2 = np.floor(beside).astype(np.int64)
        cells = (ahead_N2, beside_N2) if axis == 0 else (beside_N2, ahead_N2)
        blocked = self._walls[cells].any(1)
        wall = np.where(wanted_N > 0, np.floor(edge) - RADIUS_M - _GAP, np.floor(edge) + 1 + RADIUS_M + _GAP)
        there = np.where(blocked, wall, here + wanted_N)
        self.position[:, axis] = there
        return there - here


class PointMaze:
    """One point behind the `Simulator` protocol. Without cameras, which is the default, an observation has no image."""

    def __init__(self, maze: Maze, *, cameras: Sequence[str] = (), image_size: tuple[int, int] = (64, 64)):
        """`cameras`: () or ("primary",), the maze from above with the point and the goal, `image_size` (height, width) [px].

        Raises UserError for another camera role or a silly size.
        """
        self.spec = maze_spec(cameras, image_size)
        self.task, self.instruction, self.horizon = maze.name, maze.instruction, maze.horizon
        self.definition = maze
        self.batch = MazeBatch(maze, 1)
        self._seed: int | None = None
        self._start: dict[str, Any] = {}

    def reset(self, seed: int, *, anywhere: bool = False) -> Observation:
        """Place the point as `seed` says; `anywhere` in the maze instead of at a start."""
        self.batch.reset([seed], anywhere=anywhere)
        self._seed = seed
        where = [round(float(value), 5) for value in self.batch.position[0]]
        self._start = {"seed": seed, "task": self.task, "position": where, "anywhere": anywhere}
        return self._observe()

    def step(self, action: Float) -> StepResult:
        """Apply one action (2,) [m] for one control period. Raises UserError on NaN, Inf, or before the first reset."""
        if self._seed is None:
            raise UserError("the simulator has not been reset; call reset(seed) before step(action).")
        _, sent, success = self.batch.step(np.asarray(action)[None])
        reached = bool(success[0])
        ended = reached or bool(self.batch.fallen()[0])
        return StepResult(
            observation=self._observe(),
            sent_action=sent[0],
            reward=float(reached),
            success=reached,
            terminated=ended,
            truncated=not ended and int(self.batch.steps[0]) >= self.horizon,
        )

    def initial_conditions(self) -> dict[str, Any]:
        return dict(self._start)

    def truth(self) -> dict[str, Any]:
        """Position and goal [m]."""
        goal = np.array(self.definition.goal) + 0.5
        return {
            "position": self.batch.position[0].tolist(),
            "goal": goal.tolist(),
            "success": bool(self.batch.success()[0]),
        }

    def about(self) -> dict[str, Any]:
        return about(None, self.controller_config())

    def controller_config(self) -> dict[str, Any]:
        """JSON values that fix how actions become motion."""
        return {
            "law": "first-order response to the asked displacement, walls stop each axis",
            "control_hz": CONTROL_HZ, "max_step_m": MAX_STEP_M, "response": RESPONSE, "radius_m": RADIUS_M,
        }  # fmt: skip

    def close(self) -> None:
        """Nothing is held."""

    def _observe(self) -> Observation:
        images = {
            role: draw(self.definition.rows, self.batch.position[0], size) for role, size in self.spec.cameras.items()
        }
        time_ns = round(int(self.batch.steps[0]) * 1e9 / CONTROL_HZ)
        return Observation(images=images, proprio=self.batch.proprio()[0], time_ns=time_ns)


def maze_spec(cameras: Sequence[str] = (), image_size: tuple[int, int] = (64, 64)) -> Spec:
    """What episodes of a maze look like. Raises UserError for a camera it does not have or a silly size."""
    if tuple(cameras) not in ((), ("primary",)):
        raise UserError(f"camera roles {list(cameras)} were asked for; a maze has 'primary', or none.")
    if cameras and not 16 <= min(image_size) <= max(image_size) <= 2048:
        raise UserError(f"image_size is {image_size}; give (height, width) between 16 and 2048 pixels.")
    return Spec(
        cameras=dict.fromkeys(cameras, image_size), embodiment="point", control_hz=CONTROL_HZ, action_names=ACTION_NAMES,
        proprio_names=PROPRIO_NAMES,
    )  # fmt: skip


def find_maze(name: str) -> Maze:
    """Raises UserError with the known names."""
    if name not in MAZES:
        raise UserError(f"there is no maze {name!r}; choose one of: {', '.join(MAZES)}.")
    return MAZES[name]
