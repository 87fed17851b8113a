"""What we write as RLDS is accepted by the `rlds` package's transformations, in an environment of its own."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from robot_pt.schema import Episode, Spec
from robot_pt.store import DemoStore
from robot_pt_data.export import export

PYTHON = os.environ.get("ROBOT_PT_RLDS_PYTHON", "")
needs_rlds = pytest.mark.skipif(
    not PYTHON, reason="ROBOT_PT_RLDS_PYTHON names no Python with tests/envs/rlds.txt installed"
)

READER = """
import json, sys
import numpy as np, rlds, tensorflow as tf, tensorflow_datasets as tfds
from rlds import rlds_types, transformations as t

data = tfds.builder_from_directory(sys.argv[1]).as_dataset("train", shuffle_files=False)
episode = next(iter(data))
core = sorted(rlds_types.CORE_STEP_FIELDS)
built = rlds_types.build_step(**{k: v for k, v in next(iter(episode["steps"])).items() if k in core})
batched = [b for b in t.batch(episode["steps"], size=2, shift=1, drop_remainder=True)]
truncated = t.truncate_after_condition(episode["steps"], lambda s: s["reward"] > 0)
shifted = list(t.shift_keys(episode["steps"], ["action"], shift=-1))
mapped = t.map_nested_steps(data, lambda s: {**s, "observation": s["observation"]["state"]})
mean, std = t.mean_and_std(mapped, t.sar_fields_mask)
other = list(data)[1]
joined = t.concatenate(episode["steps"], other["steps"])
total = t.sum_nested_steps(data, lambda s: s["reward"])
pattern = t.pattern_map_from_transform(mapped, lambda s: {"o": s["observation"][-2], "a": s["action"][-2], "n": s["observation"][-1]})
found = {
    "step_fields": sorted(episode["steps"].element_spec),
    "core": core,
    "built": sorted(built),
    "batched_actions": [b["action"].numpy().tolist() for b in batched],
    "truncated": int(t.episode_length(truncated)),
    "lengths": [int(t.episode_length(e["steps"])) for e in data],
    "final_is_last": bool(t.final_step(episode["steps"])["is_last"]),
    "shifted": [s["action"].numpy().tolist() for s in shifted],
    "mean": np.asarray(mean["action"]).tolist(),
    "std": np.asarray(std["action"]).tolist(),
    "joined": int(t.episode_length(joined)),
    "total": float(total),
    "pattern": [[p["o"].numpy().tolist(), p["n"].numpy().tolist()] for p in pattern.take(3)],
}
print(json.dumps(found))
"""


@pytest.mark.slow
@needs_rlds
def test_the_transformations_accept_our_episodes(tmp_path: Path) -> None:
    spec = Spec(cameras={"primary": (16, 16)}, embodiment="widowx250s")
    store, rng = DemoStore.create(tmp_path / "s", spec), np.random.default_rng(0)
    for seed in range(3):
        steps = 5 + seed
        store.append(
            Episode(
                spec=spec,
                images={"primary": rng.integers(0, 256, (steps, 16, 16, 3), np.uint8)},
                proprio=rng.normal(size=(steps, 7)).astype(np.float32),
                actions=rng.normal(size=(steps, 7)).astype(np.float32),
                rewards=np.float32(np.arange(steps) == steps - 2),
                terminated=np.arange(steps) == steps - 1,
                truncated=np.zeros(steps, bool),
                instruction="lift",
                requested_actions=rng.normal(size=(steps, 7)).astype(np.float32),
                joint_positions=rng.normal(size=(steps, 6)).astype(np.float32),
                capture_time_ns=1_700_000_000_000_000_000 + np.arange(steps),
                operator=["teleop"] * steps,
            )
        )
    folder = export(store.source(), tmp_path / "toy")
    (tmp_path / "read.py").write_text(READER)
    command = [PYTHON, str(tmp_path / "read.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found, source = json.loads(done.stdout.splitlines()[-1]), store.source()
    actions = source.actions[:5]
    assert set(found["core"]) <= set(found["step_fields"])
    assert {"requested_action", "operator"} <= set(found["step_fields"])
    assert found["built"] == found["core"]
    np.testing.assert_array_equal(np.float32(found["batched_actions"]), [actions[i : i + 2] for i in range(4)])
    assert found["lengths"] == [5, 6, 7]
    assert found["truncated"] == 4, "up to the first positive reward"
    assert found["final_is_last"]
    np.testing.assert_array_equal(np.float32(found["shifted"]), actions[:-1], "each step with the action before it")
    not_last = np.concatenate([np.arange(n) < n - 1 for n in (5, 6, 7)])
    np.testing.assert_allclose(found["mean"], source.actions[not_last].mean(0), atol=1e-5)
    np.testing.assert_allclose(found["std"], source.actions[not_last].std(0, ddof=1), atol=1e-4)
    assert found["joined"] == 11
    assert found["total"] == 3.0
    for i, (now, after) in enumerate(found["pattern"]):
        np.testing.assert_array_equal(np.float32(now), source.proprio[i])
        np.testing.assert_array_equal(np.float32(after), source.proprio[i + 1])
