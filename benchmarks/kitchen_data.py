"""How long the set of demonstrations takes that a kitchen policy is pretrained on: 24 tasks, 50 mixed episodes each, 64x64, on this machine.

    python benchmarks/kitchen_data.py [--quick] [--tasks 24] [--episodes 50] [--workers 0]

As a user makes it, `robot-pt collect` task by task into one store; the clock on the wall, everything included. --quick: two episodes each.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from robot_pt.machine import describe, versions
from robot_pt.recipes.collect import collect
from robot_pt.store import DemoStore
from robot_pt_sim.simulators import task_names

LIMIT_MIN, SIZE = 30.0, 64


def kitchens(count: int) -> list[str]:
    """Task k in kitchen k mod 6, the first `count` of them."""
    named = [task for task in task_names() if task.startswith("kitchen/")]
    return [f"{task}@{1 + k % 6}" for k, task in enumerate(named[:count])]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tasks", type=int, default=24)
    parser.add_argument("--episodes", type=int, default=50, help="per task")
    parser.add_argument("--workers", type=int, default=0, help="0: one per core")
    options = parser.parse_args()
    episodes, before, found = 2 if options.quick else options.episodes, describe(), []
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        for task in kitchens(options.tasks):
            found.append(
                collect(
                    task, episodes, Path(folder) / "demos", quality="mixed", image_size=SIZE, workers=options.workers
                )
            )
        minutes = (time.monotonic() - begun) / 60
        table = DemoStore(Path(folder) / "demos").source().episodes
        steps, stored = int(table.length.sum()), len(table)
        megabytes = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file()) / 1e6
    print(
        f"{stored} episodes of {len(found)} tasks, {steps} steps, {megabytes:.0f} MB: {minutes:.1f} min "
        f"({stored / minutes:.0f} episodes per minute; asked: {LIMIT_MIN:g} min)"
    )
    results = {"minutes": minutes, "episodes": stored, "steps": steps, "megabytes": megabytes}
    print(json.dumps({"benchmark": "kitchen_data", "results": results, "limit_min": LIMIT_MIN, "machine": before, "load_after": describe()["load"], "versions": versions()}))  # fmt: skip


if __name__ == "__main__":
    main()
