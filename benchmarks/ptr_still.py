"""How often a cell's policy orders next to nothing, shown the readings of demonstrations nobody trained on; beside it, how often the expert does.

    python benchmarks/ptr_still.py RUN... --task kitchen/put-carrot-on-plate@5 --data runs/ptr --seed 0

prints `told` of each run's selected checkpoint. Whose reading does not say where the arm's target is, and who answers with the likeliest
order, stands where the expert waited.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import ptr_data
import torch

from robot_pt.evaluate import ActingPolicy
from robot_pt.policy import Policy
from robot_pt.schema import Float, Observation
from robot_pt.sources import EpisodeSource

STILL_M = 0.006
"""An order that goes less far is one to stand [m]."""


def told(policy: ActingPolicy, demos: EpisodeSource) -> dict[str, float]:
    """Shares of steps ordered to stand, and how far orders lie from the demonstrations' (median) [m]; policies of one observation."""
    ordered = np.concatenate([_answers(policy, demos, e) for e in range(len(demos.episodes))])
    shown = np.concatenate([demos.actions[_rows(demos, e)] for e in range(len(demos.episodes))])
    return {
        "still": _still(ordered), "still_shown": _still(shown),
        "off_m": float(np.median(np.linalg.norm(ordered[:, :3] - shown[:, :3], axis=1))),
    }  # fmt: skip


def _rows(demos: EpisodeSource, episode: int) -> slice:
    start = int(demos.episodes.start[episode])
    return slice(start, start + int(demos.episodes.length[episode]))


def _answers(policy: ActingPolicy, demos: EpisodeSource, episode: int) -> Float:
    """(T, A)"""
    policy.reset(demos.episodes.task[episode])
    return np.concatenate([policy.act([Observation({}, row)])[:1] for row in demos.proprio[_rows(demos, episode)]])


def _still(action_TA: Float) -> float:
    return float((np.linalg.norm(action_TA[:, :3], axis=1) < STILL_M).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--task", required=True)
    parser.add_argument("--data", type=Path, default=Path("runs/ptr"), help="--out of benchmarks/ptr.py")
    parser.add_argument("--version", choices=("state", *ptr_data.VIEWS), default="state", help="of the cells")
    parser.add_argument("--seed", type=int, default=0, help="of the cells, which draws the demonstrations")
    options = parser.parse_args()
    torch.set_num_threads(1)
    demos = ptr_data.target(options.data, "state", options.task, options.seed).judges
    if options.version in ptr_data.VIEWS:
        demos = ptr_data.VIEWS[options.version][0](demos)
    for run in options.runs:
        print(json.dumps({"run": str(run), **told(Policy.load(run), demos)}))


if __name__ == "__main__":
    main()
