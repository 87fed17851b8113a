"""A checkpoint of BridgeData's robot in its simulated twin, without glue: it loads, hears the sentence of the task and acts as it does offline."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from robot_pt import checkpoint, cli
from robot_pt.policy import Policy
from robot_pt.schema import Episode, Observation
from robot_pt.store import DemoStore

pytest.importorskip("mujoco")

SAMPLE = Path(__file__).parents[4] / "shared" / "data" / "bridge_dataset" / "1.0.0"
TASK = "kitchen/put-carrot-on-plate"


def like_bridge(path: Path) -> Path:
    """Six episodes of another task on the same robot: sentences as task names, steps of millimetres."""
    from robot_pt_sim.simulators import spec_of

    spec, rng = spec_of(TASK, ("primary",), (32, 32)), np.random.default_rng(0)
    store = DemoStore.create(path, spec)
    for _ in range(6):
        last = np.arange(8) == 7
        actions = np.concatenate([rng.normal(0, 0.005, (8, 6)), rng.uniform(0, 1, (8, 1))], 1).astype(np.float32)
        store.append(
            Episode(
                spec=spec, images={"primary": rng.integers(0, 255, (8, 32, 32, 3), np.uint8)},
                proprio=rng.normal(0, 0.1, (8, 7)).astype(np.float32), actions=actions, rewards=last.astype(np.float32),
                terminated=last, truncated=last & False, task="put the spoon in the drawer",
                instruction="put the spoon in the drawer", success=True,
            )
        )  # fmt: skip
    return path


@pytest.fixture(scope="module", params=["its own", "the sample of BridgeData V2"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bridge")
    if request.param == "its own":
        data, steps = like_bridge(folder / "data"), "20"
    elif SAMPLE.is_dir():
        data, steps = SAMPLE, "20"
    else:
        pytest.skip(f"put a cut of BridgeData V2 at {SAMPLE}")
    words = ["--language", "--algorithm", "bc", "--encoder", "small", "--steps", steps, "--batch-size", "8"]
    options = ["--image-size", "32", "--assume-success", "--seed", "1"]
    arguments = ["pretrain", "--data", str(data), "--out", str(folder / "run"), *words, *options]
    done = subprocess.run(  # a process of its own: reading RLDS brings what must not meet a renderer
        [sys.executable, "-m", "robot_pt", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "run"


def test_it_is_evaluated_there(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(trained), "--task", TASK, "--scene", "3", "--episodes", "1", "--workers", "1", "--json"]
    assert cli.main(words) == 0
    (found,) = json.loads(capsys.readouterr().out.splitlines()[-1])["evaluations"]
    assert (found["task"], found["n"]) == (f"{TASK}@3", 1)


def test_the_same_observation_gives_the_same_action_as_offline(trained: Path) -> None:
    """Recorded in the twin, asked again of the checkpoint: the same numbers. All finite, 95 % at least within the arm's steps."""
    from robot_pt_sim import make
    from robot_pt_sim.collection import recorder_of
    from robot_pt_sim.kitchen.tasks import find_kitchen
    from robot_pt_sim.rollouts import play_episode

    simulator = make(f"{TASK}@3", image_size=(32, 32))
    recorder = recorder_of(simulator)
    play_episode(simulator, Policy.load(checkpoint.resolve(trained)), 5, recorder)
    simulator.close()
    episode, limits = recorder.episode(operator="policy", metadata={}), find_kitchen(TASK).limits
    offline = Policy.load(checkpoint.resolve(trained))
    offline.reset(TASK, "put the carrot on the plate")
    asked = np.array([offline.act([seen])[0] for seen in observations(episode)])
    assert len(asked) == len(episode) == simulator.horizon
    assert np.isfinite(asked).all()
    within = (np.abs(asked[:, :3]) <= limits.max_step_m).all(1) & (np.abs(asked[:, 3:6]) <= limits.max_step_rad).all(1)
    within &= (asked[:, 6] >= 0) & (asked[:, 6] <= 1)
    assert within.mean() >= 0.95
    unchanged = np.isclose(episode.actions, asked, rtol=0, atol=1e-6).all(1)
    assert unchanged[:5].all()  # later ones are cut off where the workspace ends: it hardly trained and drifts there


def observations(episode: Episode) -> list[Observation]:
    frames = episode.images["primary"]
    assert isinstance(frames, np.ndarray)
    return [
        Observation(images={"primary": frame}, proprio=proprio, time_ns=200_000_000 * number)
        for number, (frame, proprio) in enumerate(zip(frames, episode.proprio, strict=True))
    ]
