"""How often a cell's policy orders next to nothing, shown the readings of demonstrations nobody trained on; beside it, how often the expert does.

    python benchmarks/ptr_still.py RUN... --task kitchen/put-carrot-on-plate@5 --data runs/ptr --seed 0

prints `told` of each run's selected checkpoint. Whose reading does not say where the arm's target is, and who answers with the likeliest
order, stands where the expert waited.
"""

from __future__ import annotations

import json

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
    torch.set_num_threads(1)
    looked_at, demos = ptr_data.asked(__doc__ or "")
    for run in looked_at:
        print(json.dumps({"run": str(run), **told(Policy.load(run), demos)}))


if __name__ == "__main__":
    main()
