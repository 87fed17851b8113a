"""What we write as LeRobot is opened by LeRobot's own dataset class, in an environment of its own."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from robot_pt.schema import Episode, Spec
from robot_pt.store import DemoStore
from robot_pt_data.export import export

PYTHON = os.environ.get("ROBOT_PT_LEROBOT_PYTHON", "")
needs_lerobot = pytest.mark.skipif(
    not PYTHON, reason="ROBOT_PT_LEROBOT_PYTHON names no Python with tests/envs/lerobot.txt installed"
)

READER = """
import json, sys
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

root, out = sys.argv[1:]
data = LeRobotDataset("local/toy", root=root, video_backend="pyav", tolerance_s=1e-4)
window = LeRobotDataset(
    "local/toy", root=root, video_backend="pyav", episodes=[1], delta_timestamps={"action": [0.0, 0.2, 0.4]}
)
items = [data[i] for i in range(len(data))]
found = {
    "episodes": data.num_episodes,
    "fps": data.fps,
    "robot": data.meta.robot_type,
    "tasks": [item["task"] for item in items],
    "episode_index": [int(item["episode_index"]) for item in items],
    "mean": data.meta.stats["action"]["mean"].tolist(),
    "window_length": len(window),
    "pad": window[len(window) - 1]["action_is_pad"].tolist(),
}
print(json.dumps(found))
np.savez(
    out,
    action=np.stack([item["action"].numpy() for item in items]),
    state=np.stack([item["observation.state"].numpy() for item in items]),
    reward=np.array([float(item["next.reward"]) for item in items]),
    primary=np.stack([item["observation.images.primary"].numpy() for item in items]),
    window=window[1]["action"].numpy(),
    requested=np.stack([item["requested_action"].numpy() for item in items]),
    joints=np.stack([item["observation.joint_position"].numpy() for item in items]),
    times=np.array([int(item["observation.capture_time_ns"]) for item in items]),
    operator=np.array([item["operator"] for item in items]),
)
"""


@pytest.mark.slow
@needs_lerobot
def test_lerobot_reads_every_frame(tmp_path: Path) -> None:
    spec = Spec(cameras={"primary": (64, 96)}, embodiment="widowx250s")
    store, rng = DemoStore.create(tmp_path / "s", spec, codec="png"), np.random.default_rng(0)
    frames = []
    for seed in range(4):
        steps = 5 + seed
        ramp = np.linspace(0, 120, 64)[:, None, None] + np.linspace(0, 80, 96)[None, :, None] + np.zeros(3)
        frames.append(np.uint8(ramp + 40 * (seed % 2) + np.arange(steps)[:, None, None, None]))
        store.append(
            Episode(
                spec=spec,
                images={"primary": frames[-1]},
                proprio=rng.normal(size=(steps, 7)).astype(np.float32),
                actions=rng.normal(size=(steps, 7)).astype(np.float32),
                rewards=rng.normal(size=steps).astype(np.float32),
                terminated=np.arange(steps) == steps - 1,
                truncated=np.zeros(steps, bool),
                instruction=["lift", "push"][seed % 2],
                requested_actions=rng.normal(size=(steps, 7)).astype(np.float32),
                joint_positions=rng.normal(size=(steps, 6)).astype(np.float32),
                capture_time_ns=1_700_000_000_000_000_000 + np.arange(steps) * 200_000_001,
                operator=["teleop", *["policy"] * (steps - 1)],
            )
        )
    folder = export(store.source(), tmp_path / "toy", format="lerobot")
    (tmp_path / "read.py").write_text(READER)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "CUDA_VISIBLE_DEVICES": ""}
    command = [PYTHON, str(tmp_path / "read.py"), str(folder), str(tmp_path / "out.npz")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found, source = json.loads(done.stdout.splitlines()[-1]), store.source()
    arrays = np.load(tmp_path / "out.npz")
    assert (found["episodes"], found["fps"], found["robot"]) == (4, 5, "widowx250s")
    assert found["episode_index"] == [e for e in range(4) for _ in range(5 + e)]
    assert found["tasks"] == [["lift", "push"][e % 2] for e in found["episode_index"]]
    np.testing.assert_array_equal(arrays["action"], source.actions)
    np.testing.assert_array_equal(arrays["state"], source.proprio)
    np.testing.assert_array_equal(arrays["reward"].astype(np.float32), source.rewards)
    np.testing.assert_allclose(found["mean"], source.actions.astype(np.float64).mean(0))
    shown = arrays["primary"].transpose(0, 2, 3, 1) * 255
    assert np.abs(shown - np.concatenate(frames)).mean() < 3
    assert found["window_length"] == 6
    assert found["pad"] == [False, True, True]
    np.testing.assert_array_equal(arrays["window"], source.actions[5 + 1 : 5 + 4])
    recorded = [store.read(name) for name in store.episodes]
    np.testing.assert_array_equal(arrays["requested"], np.concatenate([e.requested_actions for e in recorded]))
    np.testing.assert_array_equal(arrays["joints"], np.concatenate([e.joint_positions for e in recorded]))
    np.testing.assert_array_equal(arrays["times"], np.concatenate([e.capture_time_ns for e in recorded]))
    assert arrays["operator"].tolist() == [name for e in recorded for name in e.operator]
