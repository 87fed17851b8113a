import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from robot_pt.errors import UserError
from robot_pt.schema import FAILURE, OBJECT_POSITIONS, SUCCESS
from robot_pt.simulated import version_in
from robot_pt.store import DemoStore
from robot_pt_sim import collect, make
from robot_pt_sim.collection import object_positions
from robot_pt_sim.simulators import version_of


@pytest.fixture(scope="module")
def recorded(backend):
    """Eight mixed episodes collected in this process, with the report and the progress it gave."""
    episodes, seen = [], []
    noise = {"clean": 1, "failed": 1}
    report = collect(
        "lift-red",
        8,
        episodes,
        workers=1,
        noise=noise,
        seed=20,
        image_size=(32, 40),
        progress=lambda *n: seen.append(n),
    )
    return episodes, report, seen


def test_episodes_are_whole_and_say_what_happened(recorded):
    episodes, report, seen = recorded
    assert seen == [(k, 8) for k in range(1, 9)]
    assert [episode.metadata["seed"] for episode in episodes] == list(range(20, 28))
    for episode in episodes:
        episode.validate()
        assert episode.images["primary"].shape == (len(episode), 32, 40, 3)
        assert episode.operator == ["scripted"] * len(episode)
        assert (episode.task, episode.instruction) == ("lift-red", "lift the red cube")
        assert episode.rewards.sum() == float(episode.success)
        assert episode.terminated[-1] == episode.success != episode.truncated[-1]
        assert not episode.success or episode.metadata["style"] == "clean"
        details = json.loads(json.dumps(dict(episode.metadata)))
        assert details["versions"]["robosuite"] == "1.5.2"
        assert version_in("", details) == version_of("lift-red")
        assert details["controller"]["control_hz"] == 5
        assert details["initial_conditions"]["objects"]["cube"]["position"]
    assert {episode.metadata["style"] for episode in episodes} == {"clean", "failed"}
    assert report.episodes == 8
    assert report.successes == sum(bool(episode.success) for episode in episodes) == report.successes_by_style["clean"]
    assert report.steps == sum(map(len, episodes))
    assert report.episodes_per_minute > 0


def test_the_last_three_observations_of_a_success_are_successful_states(recorded):
    """PTR rewards the last three steps of an episode: there the cube must be up, and the gripper holding it."""
    for episode in recorded[0]:
        if episode.success:
            assert (episode.proprio[-3:, 2] > -0.112 + 0.04).all()
            assert (episode.proprio[-3:, 6] > 0.3).all()
            assert (episode.proprio[-3:, 6] < 0.8).all()


def test_recorded_actions_replay_to_the_same_end(recorded):
    """Same seed, same sent actions, same success: the episode holds all that determined it."""
    simulator = make("lift-red", render=False)
    for episode in recorded[0][:4]:
        simulator.reset(episode.metadata["seed"])
        result = [simulator.step(action) for action in episode.actions][-1]
        assert result.success == episode.success
        np.testing.assert_allclose(simulator.initial_conditions()["tool_position"], episode.proprio[0, :3], atol=1e-4)
    simulator.close()


def test_processes_record_the_same_episodes_into_a_store(backend, recorded, tmp_path):
    store = DemoStore.create(tmp_path / "demos", recorded[0][0].spec)
    report = collect("lift-red", 4, store, workers=2, noise={"clean": 1, "failed": 1}, seed=20, image_size=(32, 40))
    source = DemoStore(tmp_path / "demos").source()
    assert report.episodes == len(source.episodes) == 4
    for row, expected in enumerate(recorded[0][:4]):
        steps = source.episodes.start[row] + np.arange(source.episodes.length[row])
        np.testing.assert_allclose(source.actions[steps], expected.actions, atol=1e-6)
        np.testing.assert_allclose(source.proprio[steps], expected.proprio, atol=1e-6)
        assert source.episodes.success[row] == (SUCCESS if expected.success else FAILURE)
        assert source.episodes.instruction[row] == "lift the red cube"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task": "knit"}, "no task"),
        ({"episodes": 0}, "at least 1"),
        ({"noise": "loud"}, "noise is 'loud'"),
        ({"camera": "overhead"}, "camera roles"),
        ({"workers": 0}, "workers"),
        ({"weather": "rain"}, "weather cannot be changed"),
    ],
)
def test_what_cannot_be_collected_is_said_first(change, words):
    def untouched(episode):
        pytest.fail("an episode was recorded")

    with pytest.raises(UserError, match=words):
        collect(**{"task": "lift", "episodes": 2, "out": untouched, **change})


def test_a_full_disk_keeps_what_was_handed_over(backend):
    kept = []

    def full(episode):
        if len(kept) == 1:
            raise OSError(28, "No space left on device")
        kept.append(episode)

    with pytest.raises(OSError, match="No space"):
        collect("lift", 5, full, workers=1, image_size=(16, 16))
    assert len(kept) == 1


INTERRUPTED = """
from robot_pt_sim import collect
if __name__ == "__main__":
    print("ready", flush=True)
    try:
        collect("lift", 500, lambda e: print("episode", flush=True), workers=2, image_size=(16, 16))
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def test_ctrl_c_ends_soon_and_leaves_no_process(backend, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(INTERRUPTED)
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        for line in run.stdout:
            if line == "episode\n":
                break
        os.killpg(run.pid, signal.SIGINT)  # what a terminal does: every process of the group gets it
        start = time.monotonic()
        rest, complaints = run.communicate(timeout=60)
    assert rest.endswith("interrupted\n")
    assert "Traceback" not in complaints
    while time.monotonic() - start < 30:  # multiprocessing's resource tracker follows its parent within moments
        try:
            os.killpg(run.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("a process of the group is still there")


def test_where_objects_were_is_recorded_with_every_observation(recorded):
    """The same episode stepped again: each recorded place is where the cube stands when that observation is made."""
    simulator = make("lift-red", render=False)
    for episode in recorded[0][:2]:
        path = np.array(episode.metadata[OBJECT_POSITIONS]["cube"])
        assert path.shape == (len(episode), 3)
        simulator.reset(episode.metadata["seed"])
        for step, action in enumerate(episode.actions):
            np.testing.assert_allclose(simulator.state().objects["cube"].position, path[step], atol=1e-3)
            simulator.step(action)
    simulator.close()


def test_the_main_object_comes_first_and_a_maze_has_none():
    door, maze = make("door", render=False, seed=0), make("maze-u", camera=())
    assert list(object_positions(door)) == ["handle", "door", "latch"]  # places of the task, marks among them
    assert object_positions(maze) == {}
    door.close()
