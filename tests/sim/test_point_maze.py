import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.errors import UserError
from robot_pt_sim import make, task_names
from robot_pt_sim.maze_pictures import GOAL, PIT, POINT, WALL
from robot_pt_sim.maze_play import NEARBY_CELLS, Walker, distances
from robot_pt_sim.point_maze import (
    CONTROL_HZ,
    MAX_STEP_M,
    MAZES,
    RADIUS_M,
    Maze,
    MazeBatch,
    PointMaze,
    find_maze,
    maze_spec,
)

ROOM = Maze(name="room", rows=("######", "#S..G#", "######"), horizon=40)


@pytest.fixture(params=MAZES)
def maze(request):
    return MAZES[request.param]


def test_the_drawing_is_read_with_y_up():
    maze = Maze(name="corner", rows=("####", "#G##", "#.S#", "####"), horizon=9)
    assert maze.starts.tolist() == [[2, 1]]
    assert maze.goal == (1, 2)
    np.testing.assert_array_equal(np.argwhere(maze.free), [[1, 1], [1, 2], [2, 1]])


def test_a_pit_ends_the_episode_without_success_when_the_middle_is_over_it() -> None:
    ledge = Maze(name="ledge", rows=("#######", "#S.x.G#", "#######"), horizon=60)
    assert np.argwhere(ledge.pits).tolist() == [[3, 1]]
    assert not (ledge.pits & (ledge.free | ledge.walls)).any()
    np.testing.assert_array_equal(ledge.pits | ledge.free | ledge.walls, np.ones((7, 3), bool))
    simulator = PointMaze(ledge)
    simulator.reset(0)
    while True:
        result = simulator.step(np.array([0.2, 0.0], np.float32))
        x = simulator.batch.position[0, 0]
        assert (x >= 3) == bool(simulator.batch.fallen()[0]) == result.terminated
        if result.terminated:
            break
    assert (result.success, result.reward, result.truncated) == (False, 0.0, False)
    assert 3 <= x < 3.5


@pytest.mark.parametrize("rows", [("###", "#S#"), ("####", "#SG", "####"), ("#####", "#S.G.", "#####")])
def test_a_maze_with_a_hole_or_ragged_rows_is_no_maze(rows):
    with pytest.raises(AssertionError):
        Maze(name="leaky", rows=rows, horizon=9)


def test_free_motion_follows_the_closed_form():
    """v approaches the asked speed geometrically: x_n = n a - a (1 - 0.5**n), from rest with response 0.5."""
    batch = MazeBatch(ROOM, 1)
    batch.reset([3])
    x0, y0 = batch.position[0]
    for n in range(1, 11):
        batch.step(np.array([[0.1, 0.0]], np.float32))
        a = float(np.float32(0.1))
        assert batch.position[0, 0] - x0 == pytest.approx(n * a - a * (1 - 0.5**n), rel=1e-9)
        assert batch.velocity[0, 0] == pytest.approx(a * (1 - 0.5**n) * CONTROL_HZ)
        assert batch.position[0, 1] == y0


def test_a_wall_stops_its_axis_and_the_other_slides():
    batch = MazeBatch(ROOM, 1)
    batch.reset([0])
    for _ in range(12):
        batch.step(np.array([[0.05, 0.25]], np.float32))
    x, y = batch.position[0]
    assert y == pytest.approx(2 - RADIUS_M, abs=1e-6)
    assert batch.velocity[0, 1] == pytest.approx(0, abs=1e-6)
    assert batch.velocity[0, 0] == pytest.approx(0.05 * CONTROL_HZ, rel=1e-3)
    assert x > 1.75


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(sorted(MAZES)), st.floats(0.1, 50))
def test_no_action_leads_into_a_wall(seed, name, size):
    """The four corners of every point stay out of walls, whatever is asked for."""
    batch = MazeBatch(MAZES[name], 8)
    batch.reset(range(seed, seed + 8), anywhere=True)
    rng = np.random.default_rng(seed)
    before = batch.position.copy()
    for _ in range(60):
        batch.step(rng.normal(0, size, (8, 2)).astype(np.float32))
        for corner in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            i, j = np.floor(batch.position + RADIUS_M * np.array(corner)).astype(int).T
            assert not batch.maze.walls[i, j].any()
        assert (np.abs(batch.position - before) <= MAX_STEP_M + 1e-9).all()
        before = batch.position.copy()


def test_one_point_alone_and_among_others_moves_the_same(maze):
    seeds, rng = [5, 6, 7], np.random.default_rng(0)
    batch = MazeBatch(maze, 3)
    singles = [PointMaze(maze) for _ in seeds]
    together = batch.reset(seeds)
    apart = [single.reset(seed).proprio for single, seed in zip(singles, seeds, strict=True)]
    np.testing.assert_array_equal(together, apart)
    for _ in range(50):
        action = rng.uniform(-0.4, 0.4, (3, 2)).astype(np.float32)
        together, sent, success = batch.step(action)
        for n, single in enumerate(singles):
            result = single.step(action[n])
            np.testing.assert_array_equal(result.observation.proprio, together[n])
            np.testing.assert_array_equal(result.sent_action, sent[n])
            assert result.success == success[n]
    assert np.abs(sent).max() <= MAX_STEP_M


def test_resetting_one_point_leaves_the_others():
    batch = MazeBatch(ROOM, 3)
    batch.reset([0, 1, 2])
    batch.step(np.full((3, 2), 0.2, np.float32))
    kept = batch.position[[0, 2]].copy()
    proprio = batch.reset([9], [1])
    np.testing.assert_array_equal(batch.position[[0, 2]], kept)
    assert batch.steps.tolist() == [1, 0, 1]
    fresh = MazeBatch(ROOM, 1).reset([9])
    np.testing.assert_array_equal(proprio[1], fresh[0])


@pytest.mark.parametrize(
    "action", [np.full((2, 2), np.nan), np.array([[0.0, np.inf], [0, 0]]), np.zeros((3, 2)), np.zeros(2)]
)
def test_a_bad_action_moves_nothing(action):
    batch = MazeBatch(ROOM, 2)
    before = batch.reset([0, 1])
    with pytest.raises(UserError, match="nothing was moved"):
        batch.step(action)
    np.testing.assert_array_equal(batch.proprio(), before)
    assert batch.steps.tolist() == [0, 0]


def test_the_simulator_ends_at_the_goal_or_in_time():
    simulator = PointMaze(ROOM)
    with pytest.raises(UserError, match="reset"):
        simulator.step(np.zeros(2, np.float32))
    simulator.reset(4)
    results = [simulator.step(np.array([0.25, 0.0], np.float32))]
    while not results[-1].terminated:
        results.append(simulator.step(np.array([0.25, 0.0], np.float32)))
    assert [r.reward for r in results[:-1]] == [0.0] * (len(results) - 1)
    assert (results[-1].reward, results[-1].success, results[-1].truncated) == (1.0, True, False)
    assert simulator.truth()["success"] is True
    simulator.reset(4)
    ends = [simulator.step(np.zeros(2, np.float32)) for _ in range(ROOM.horizon)]
    assert [r.truncated for r in ends] == [False] * (ROOM.horizon - 1) + [True]
    assert not any(r.terminated or r.success for r in ends)


def test_a_seed_fixes_the_start_and_another_moves_it(maze):
    simulator = PointMaze(maze)
    starts = [simulator.reset(seed).proprio for seed in (1, 2, 1)]
    np.testing.assert_array_equal(starts[0], starts[2])
    assert np.abs(starts[0] - starts[1]).max() > 1e-3
    placed = {tuple(np.floor(simulator.reset(seed).proprio[:2]).astype(int)) for seed in range(60)}
    assert placed == {tuple(start) for start in maze.starts}
    assert json.loads(json.dumps(simulator.initial_conditions()))["seed"] == 59
    assert json.loads(json.dumps(simulator.controller_config()))["control_hz"] == CONTROL_HZ
    cells = {tuple(np.floor(simulator.reset(s, anywhere=True).proprio[:2]).astype(int)) for s in range(300)}
    assert cells == {tuple(cell) for cell in np.argwhere(maze.free)}


def test_clean_walks_reach_the_goal_and_no_play_walk_spans_the_maze(maze):
    seeds = range(40)
    batch = MazeBatch(maze, len(seeds))
    batch.reset(list(seeds))
    walkers = [Walker(maze, "clean", np.random.default_rng(s), p) for s, p in zip(seeds, batch.position, strict=True)]
    reached = np.zeros(len(seeds), bool)
    for _ in range(maze.horizon):
        reached |= batch.step(np.stack([w(p) for w, p in zip(walkers, batch.position, strict=True)]))[2]
    assert reached.all()
    if not maze.pits.any():  # the data for that one is of detours
        assert all(distances(maze, maze.goal)[tuple(start)] > NEARBY_CELLS for start in maze.starts)


def test_play_goes_both_ways_and_gives_up(maze):
    """Mean action at a cell is small against its size: imitation has nothing to go by."""
    rng = np.random.default_rng(0)
    batch = MazeBatch(maze, 200)
    batch.reset(range(200), anywhere=True)
    walkers = [Walker(maze, "play", rng, p) for p in batch.position]
    actions, last = [], batch.position.copy()
    while not all(w.finished for w in walkers):
        action = np.stack([w(p) for w, p in zip(walkers, batch.position, strict=True)])
        batch.step(action)
        batch.position[batch.fallen()] = last[batch.fallen()]  # an episode would be over; this goes on beside the pit
        last = batch.position.copy()
        actions.append(action)
    assert {w.flaw for w in walkers} == {"playing", "wandering"}
    actions = np.concatenate(actions)
    assert np.abs(actions.mean(0)).max() < 0.2 * actions.std()
    assert np.abs(actions).max() <= np.float32(MAX_STEP_M)


def test_distances_are_those_of_a_matrix_power(maze):
    """Independent of the search: the smallest power of the adjacency matrix that joins two cells."""
    cells = [tuple(c) for c in np.argwhere(maze.free)]
    near = np.array([[abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1 for b in cells] for a in cells])
    away = distances(maze, maze.goal)
    reached, goal = np.eye(len(cells), dtype=bool), cells.index(maze.goal)
    for count in range(len(cells)):
        for k, cell in enumerate(cells):
            assert (reached[goal, k]) == (away[cell] <= count)
        reached = reached | (reached @ near)
    assert (away[~maze.free] == -1).all()


def test_the_picture_shows_walls_goal_and_point(maze):
    size = (16 * len(maze.rows), 16 * len(maze.rows[0]))
    simulator = PointMaze(maze, cameras=("primary",), image_size=size)
    frame = simulator.reset(0).images["primary"]
    assert frame.shape == (*size, 3)
    assert frame.dtype == np.uint8

    def at(x, y):
        return tuple(int(v) for v in frame[size[0] - 1 - int(y * 16), int(x * 16)])

    assert at(*np.add(maze.goal, 0.5)) == GOAL
    assert at(*simulator.batch.position[0]) == POINT
    assert at(0.5, 0.5) == WALL
    walls = (frame == WALL).all(2).mean()
    assert walls == pytest.approx(maze.walls.mean(), abs=0.02)
    assert (frame == PIT).all(2).mean() == pytest.approx(maze.pits.mean(), abs=0.02)
    moved = simulator.step(np.array([0.1, 0.1], np.float32)).observation.images["primary"]
    assert (moved != frame).any()


def test_the_picture_moves_with_less_than_a_pixel():
    simulator = PointMaze(ROOM, cameras=("primary",), image_size=(32, 64))
    first = simulator.reset(0).images["primary"]
    simulator.batch.position[0] += [0.03, 0.0]  # a third of a pixel
    assert (simulator._observe().images["primary"] != first).any()


def test_a_maze_is_made_by_name():
    assert {"maze-u", "maze-medium", "lift"} <= set(task_names())
    assert find_maze("maze-u").horizon == 40
    simulator = make("maze-u", camera=(), seed=3, horizon=7)
    assert (simulator.horizon, simulator.spec.cameras, simulator.spec.embodiment) == (7, {}, "point")
    assert simulator.initial_conditions()["seed"] == 3
    simulator.close()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: find_maze("maze-x"), "maze-u, maze-medium, maze-pits"),
        (lambda: maze_spec(("wrist",)), "'primary', or none"),
        (lambda: maze_spec(("primary",), (8, 64)), "between 16"),
        (lambda: make("maze-u", control_hz=20), "leave control_hz"),
        (lambda: make("maze-u", yaw_rad=1.0), "horizon, instruction"),
        (lambda: make("maze-y"), "no task 'maze-y'"),
    ],
)
def test_what_a_maze_has_not_is_said(call, words):
    with pytest.raises(UserError, match=words):
        call()


def test_detours_often_run_out_of_time_and_are_narrow(maze):
    """From the task's starts; some succeed, some do not; actions hardly scatter about the way."""
    seeds = range(120)
    batch, rng = MazeBatch(maze, len(seeds)), np.random.default_rng(1)
    batch.reset(list(seeds))
    walkers = [Walker(maze, "detour", rng, p) for p in batch.position]
    reached, done = np.zeros(len(seeds), bool), np.zeros(len(seeds), bool)
    for _ in range(maze.horizon):
        success = batch.step(np.stack([w(p) for w, p in zip(walkers, batch.position, strict=True)]))[2]
        reached |= success & ~done
        done |= reached | np.array([w.finished for w in walkers])
    assert done.all()
    assert 0.15 < reached.mean() < (0.85 if maze.pits.any() else 0.75)  # that one is smaller
    assert {w.flaw for w in walkers} == {"detour"}
