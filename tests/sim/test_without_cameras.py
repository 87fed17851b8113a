"""Collecting, recording and rolling out without a camera: mazes, and scenes whose objects' positions join the proprio."""

import os
import subprocess
import sys

import numpy as np
import pytest

from robot_pt.errors import MismatchError, UserError
from robot_pt.schema import PROPRIO_NAMES
from robot_pt.store import DemoStore
from robot_pt_sim import collect, make, rollouts
from robot_pt_sim.maze_play import PATIENCE
from robot_pt_sim.panda import state_spec
from robot_pt_sim.point_maze import maze_spec
from robot_pt_sim.simulators import spec_of
from robot_pt_sim.tasks import find_task


class Towards:
    """Plays the clean walk: knows the maze, sees only the proprio."""

    version = "clean"

    def reset(self, task):
        self.walker = None

    def act(self, history):
        from robot_pt_sim.maze_play import Walker
        from robot_pt_sim.point_maze import find_maze

        position = history[-1].proprio[:2].astype(np.float64)
        if self.walker is None:
            self.walker = Walker(find_maze("maze-u"), "clean", np.random.default_rng(0), position)
        return self.walker(position)[None]


def test_play_is_recorded_with_its_seed_and_flaw():
    episodes = []
    report = collect("maze-medium", 30, episodes, workers=1, noise="play", camera=(), seed=7)
    assert report.styles == {"play": 30}
    assert [e.metadata["seed"] for e in episodes] == list(range(7, 37))
    assert {e.metadata["flaw"] for e in episodes} == {"playing", "wandering"}
    for episode in episodes:
        episode.validate()
        assert (episode.images, episode.dataset, episode.operator[0]) == ({}, "point-maze", "scripted")
        assert len(episode) <= PATIENCE[1] + 2
        assert episode.terminated[-1] == episode.success != episode.truncated[-1]
        assert episode.metadata["controller"]["control_hz"] == 5


def test_recorded_actions_lead_to_the_same_end():
    episodes = []
    collect("maze-u", 6, episodes, workers=1, noise={"clean": 1, "play": 1}, camera=())
    assert {e.metadata["style"] for e in episodes} == {"clean", "play"}
    simulator = make("maze-u", camera=())
    for episode in episodes:
        seen = [simulator.reset(episode.metadata["seed"], anywhere=episode.metadata["initial_conditions"]["anywhere"])]
        results = [simulator.step(action) for action in episode.actions]
        seen += [r.observation for r in results]
        np.testing.assert_allclose([o.proprio for o in seen[:-1]], episode.proprio, atol=1e-5)
        assert results[-1].success == episode.success
        assert episode.success or episode.metadata["style"] == "play"


def test_clean_walks_go_to_a_store_from_processes(tmp_path):
    store = DemoStore.create(tmp_path / "demos", spec_of("maze-u", (), (0, 0)))
    report = collect("maze-u", 3, store, workers=2, camera=())
    assert report.successes == 3
    assert store.source().episodes.success.tolist() == [1, 1, 1]


@pytest.mark.parametrize("camera", [(), "primary"])
def test_a_maze_is_rolled_out_like_any_task(camera):
    kept = []
    results = list(rollouts(Towards, "maze-u", [3, 4], workers=1, camera=camera, keep_frames=True, out=kept))
    assert [r.success for r in results] == [True, True]
    for result, episode in zip(results, kept, strict=True):
        assert result.steps == len(episode)
        assert (result.frames is None) == (camera == ())
    assert kept[0].policy_version == "clean"


def test_a_scene_without_cameras_sees_its_objects(robosuite):
    simulator = make("lift-red", camera=(), seed=3)
    assert simulator.spec == state_spec(find_task("lift-red")) == spec_of("lift-red", (), (64, 64))
    assert simulator.spec.proprio_names == (*PROPRIO_NAMES, "cube_x", "cube_y", "cube_z")
    observation = simulator.step(np.array([0, 0, -0.02, 0, 0, 0, 1], np.float32)).observation
    assert observation.images == {}
    np.testing.assert_allclose(observation.proprio[7:], simulator.state().objects["cube"].position, atol=1e-6)
    pictured = make("lift-red", render=False, seed=3)
    again = pictured.step(np.array([0, 0, -0.02, 0, 0, 0, 1], np.float32)).observation
    np.testing.assert_array_equal(observation.proprio[:7], again.proprio)  # physics knows nothing of cameras
    simulator.close()
    pictured.close()


def test_experts_lift_without_a_picture(robosuite):
    episodes = []
    report = collect("lift-green", 2, episodes, workers=1, camera=(), seed=5)
    assert report.successes == 2
    heights = [episode.proprio[-1, 9] for episode in episodes]
    assert all(height > -0.112 + 0.04 for height in heights)


def test_no_renderer_is_made(robosuite):
    """A machine without OpenGL can learn from the state."""
    code = (
        "from robot_pt_sim import make\nimport numpy as np\n"
        "s = make('lift', camera=(), seed=0)\ns.step(np.zeros(7, np.float32))\nprint(s._renderer)"
    )
    environment = {**os.environ, "MUJOCO_GL": "disable"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip().endswith("None"), done.stderr


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: collect("maze-u", 1, [], noise="failed"), "none, mixed, play"),
        (lambda: collect("maze-u", 1, [], noise={"noisy": 1.0}), "clean, play"),
        (lambda: collect("maze-z", 1, []), "no task 'maze-z'"),
        (lambda: spec_of("maze-u", ("wrist",), (64, 64)), "'primary', or none"),
        (lambda: list(rollouts(Towards, "maze-u", [1], camera="wrist")), "'primary', or none"),
    ],
)
def test_what_a_maze_has_not_is_said(call, words):
    with pytest.raises(UserError, match=words):
        call()


def test_a_store_of_a_maze_takes_no_scene(tmp_path):
    store = DemoStore.create(tmp_path / "demos", maze_spec())
    with pytest.raises(MismatchError, match="embodiment point"):
        collect("lift", 1, store, workers=1, camera=())
