"""How long a training step of each representation objective waits for its clips, on two cores at 64x64.

Run: ``python benchmarks/objectives_loader.py [--quick] [--encoder small] [--data PATH]``. Prints a table, then one JSON object on the last line.
Data wait is the share of the wall-clock time of the training loop that passes between asking for a batch and having it, the number
``pretrain`` shows; asked for are less than 5 %. Training and decoding share the cores here, so it also says what they take from
each other: "bare" is an update on a batch that is there already, "slower" what an update takes more beside the loader. "clips" is
processor time, of all threads together, that a batch takes to read and decode: above "bare" times the cores, training has to wait.

The data is generated unless named: JPEG frames of 128x128 pixels in a demo store, decoded to 64x64 for every clip.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import robot_pt_data
from robot_pt.distributed import Ranks
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.recipes import objectives, represent, trajectories
from robot_pt.replay import to_device
from robot_pt.schema import Episode, Spec
from robot_pt.store import DemoStore
from robot_pt.tasks import TaskTable

SIZE, STORED, BATCH, ASKED = 64, 128, 64, 0.05
SPEC = Spec(cameras={"primary": (STORED, STORED)}, embodiment="widowx250s")


def generate(folder: Path, episodes: int = 20, steps: int = 40) -> Path:
    """A demo store of frames with structure, as JPEG: noise would decode more slowly than any camera's picture."""
    rng = np.random.default_rng(0)
    world = np.kron(rng.integers(0, 255, (40, 40, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    demos = DemoStore.create(folder, SPEC)
    for _ in range(episodes):
        y, x = rng.integers(0, len(world) - STORED - steps, 2)
        last = np.arange(steps) == steps - 1
        demos.append(
            Episode(
                spec=SPEC, images={"primary": np.stack([world[y + t : y + t + STORED, x : x + STORED] for t in range(steps)])},
                proprio=rng.normal(0, 0.1, (steps, 7)).astype(np.float32), rewards=last.astype(np.float32), terminated=last,
                actions=rng.uniform(-0.04, 0.04, (steps, 7)).astype(np.float32), truncated=np.zeros(steps, bool),
                instruction="lift the cube", task="lift", success=True,
            )
        )  # fmt: skip
    return folder


def measure(name: str, source: Any, encoder: str, updates: int) -> dict[str, float]:
    """Data wait, and milliseconds per update with and without the loader."""
    config = trajectories.fitted(objectives.config_for(name, steps=updates, bf16=False), [source], assume_success=True)
    settings = represent.RepresentSettings(
        objective=name, config=config, encoder=EncoderConfig(name=encoder), camera="primary", image_size=(SIZE, SIZE),  # type: ignore[arg-type]
        task_slots=TaskTable.of(source.episodes.task).slots, batch_size=BATCH,
    )  # fmt: skip
    learner = settings.build(source.spec, "cpu")
    with represent.clips_of(settings, learner, [source], Ranks(0, 1, torch.device("cpu"))) as batches:
        began = time.process_time()
        for number in range(3):
            batches.batch(number)
        clips = (time.process_time() - began) / 3
        for step in range(3):
            ready = to_device(next(batches), "cpu")
            learner.update(ready, step)
        bare = [seconds(lambda step=step: learner.update(ready, step)) for step in range(max(3, updates // 3))]
        waits, steps = [], []
        for step in range(updates):
            began = time.perf_counter()
            batch = to_device(next(batches), "cpu")
            waits.append(time.perf_counter() - began)
            steps.append(seconds(lambda batch=batch, step=step: learner.update(batch, step)))
            del batch  # as in `robot_pt.train`: the tensors of an update are gone before the next batch is asked for
    alone, beside = statistics.median(bare), statistics.median(steps)
    return {
        "data wait": sum(waits) / (sum(waits) + sum(steps)), "update [ms]": 1000 * beside, "bare [ms]": 1000 * alone,
        "slower": beside / alone - 1, "clips [ms]": 1000 * clips, "frames": BATCH * len(getattr(learner.plan, "pictures", range(learner.plan.frames))),
    }  # fmt: skip


def seconds(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a few updates of each")
    parser.add_argument("--encoder", default="small")
    parser.add_argument("--data", type=Path, help="a data set in place of the generated one")
    parser.add_argument("--only", nargs="*", default=list(objectives.OBJECTIVES), choices=list(objectives.OBJECTIVES))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = robot_pt_data.open(asked.data or generate(Path(folder) / "demos"))
        rows = {name: measure(name, source, asked.encoder, 6 if asked.quick else 60) for name in asked.only}
    columns = list(itertools.chain(next(iter(rows.values()))))
    print(f"{'objective':22}" + "".join(f"{c:>14}" for c in columns))
    for name, row in rows.items():
        print(
            f"{name:22}{row['data wait']:>14.1%}{row['update [ms]']:>14.1f}{row['bare [ms]']:>14.1f}{row['slower']:>14.0%}"
            f"{row['clips [ms]']:>14.1f}{row['frames']:>14}"
        )
    worst = max(row["data wait"] for row in rows.values())
    print(f"largest data wait {worst:.1%}, asked for less than {ASKED:.0%}: {'met' if worst < ASKED else 'NOT met'}")
    told = {"encoder": asked.encoder, "size": SIZE, "batch": BATCH, "threads": torch.get_num_threads(), "rows": rows}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
