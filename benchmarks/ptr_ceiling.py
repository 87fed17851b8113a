"""What cells of benchmarks/ptr.py come to under another ceiling of the kitchens' workspace: their kept policies act again from the same starts.

    python benchmarks/ptr_ceiling.py RUN... --ceilings 0.18 0.25

prints a line per cell: successes under both, starts that end otherwise, and episodes in which a target met the first ceiling. Only these are
played again: all others never hear of the second.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import ptr_data
import torch

from robot_pt import checkpoint
from robot_pt.evaluate import ActingPolicy, episode_seeds
from robot_pt.recipes.evaluate import policy_factory
from robot_pt.schema import Observation
from robot_pt_sim.kitchen.tasks import find_kitchen
from robot_pt_sim.kitchen.twin import KitchenSimulator

MET_M = 1e-6
"""A target nearer to the ceiling met it [m]."""


def under(task: str, ceiling: float) -> KitchenSimulator:
    """`task` without a camera, its workspace `ceiling` [m] high."""
    found = find_kitchen(task)
    x, y, _, *angles = found.limits.high
    return KitchenSimulator(replace(found, limits=replace(found.limits, high=(x, y, ceiling, *angles))), cameras=())


def played(simulator: KitchenSimulator, policy: ActingPolicy, seed: int) -> tuple[bool, float]:
    """Whether it succeeded, and its highest target [m]; one observation and one action at a time, as `play_episode` where a policy looks back at none."""
    policy.reset(simulator.task)
    seen: list[Observation] = [simulator.reset(seed)]
    highest = 0.0
    while True:
        result = simulator.step(policy.act(seen[-16:])[0])
        highest = max(highest, float(simulator.state().target.position[2]))
        seen.append(result.observation)
        if result.terminated or result.truncated:
            return bool(result.success), highest


def compared(run: Path, ceilings: tuple[float, float], episodes: int) -> dict[str, Any]:
    """One cell."""
    version, (_, task, seed) = run.parent.name, run.name.split("--")
    name, began = f"kitchen/{task}", time.process_time()
    make = (
        ptr_data.VIEWS[version][1](checkpoint.resolve(run)) if version in ptr_data.VIEWS else policy_factory(run, name)
    )
    policy, low, high = make(), *(under(name, ceiling) for ceiling in ceilings)
    before, after, met = [], [], 0
    for start in episode_seeds(int(seed), episodes):
        success, highest = played(low, policy, start)
        again = highest > ceilings[0] - MET_M
        before.append(success)
        after.append(played(high, policy, start)[0] if again else success)
        met += again
    return {
        "version": version, "cell": run.name, "successes": [sum(before), sum(after)], "met": met,
        "otherwise": sum(a != b for a, b in zip(before, after, strict=True)), "seconds": round(time.process_time() - began, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="of cells, VERSION/METHOD--TASK--SEED")
    parser.add_argument("--ceilings", type=float, nargs=2, default=(0.18, 0.25), help="[m]")
    parser.add_argument("--episodes", type=int, default=50)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for run in options.runs:
        print(json.dumps(compared(run, tuple(options.ceilings), options.episodes)), flush=True)


if __name__ == "__main__":
    main()
