"""What the critic of a cell knows: does it tell a grasp from its opposite at the moment of the grasp, on demonstrations nobody trained on?"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robot_pt import checkpoint
from robot_pt.errors import UserError
from robot_pt.policy_record import PolicyRecord
from robot_pt.recipes import runs
from robot_pt.replay import episode_batches, to_device
from robot_pt.safe_files import read_json
from robot_pt.schema import Float, Int
from robot_pt.selection import rise
from robot_pt.sources import EpisodeSource

GRIPPER = 6
NEAR = 1
"""Steps around a change of the gripper that count as grasp or release."""


def accuracy(run: Path, settings: runs.RunSettings, demos: EpisodeSource) -> dict[str, Any] | None:
    """Of the newest checkpoint, None where it has no critic: how Q of the demonstrations' actions rises (Spearman), and how often it lies
    above Q of the same action with the gripper's order turned round, near grasps and releases and elsewhere."""
    folder = checkpoint.start_of(checkpoint.folder_of(run, checkpoint.steps(run)[-1]))
    agent = settings.build(demos.spec, "cpu")
    checkpoint.load_agent(folder, agent)
    tasks = PolicyRecord.from_json(read_json(folder / "policy.json")).tasks
    batches = episode_batches(
        demos, cameras=(), image_size=(0, 0), reward=settings.reward, gamma=settings.gamma, task_table=tasks
    )
    right: dict[bool, list[bool]] = {True: [], False: []}
    rises = []
    for batch in batches:
        turned = np.array(batch.action)
        turned[:, GRIPPER] = 1 - turned[:, GRIPPER]
        with torch.no_grad():
            try:
                q, other = (agent.values(to_device(b, "cpu")).numpy() for b in (batch, batch._replace(action=turned)))
            except UserError:  # imitation says so in this way
                return None
        rises.append(rise(q))
        near = np.isin(np.arange(len(q)), near_changes(batch.action[:, GRIPPER]))
        for which in right:
            right[which] += (q > other)[near == which].tolist()
    shares = {
        name: float(np.mean(right[which])) if right[which] else None
        for which, name in ((True, "at_grasp"), (False, "elsewhere"))
    }
    return {"rise": float(np.mean(rises)), **shares, "steps_at_grasp": len(right[True])}


def near_changes(gripper_T: Float) -> Int:
    """Steps within `NEAR` of one that orders the gripper otherwise than the step before: 1 is open."""
    closed = np.asarray(gripper_T) < 0.5
    changes = np.flatnonzero(closed[1:] != closed[:-1]) + 1
    around = (changes[:, None] + np.arange(-NEAR, NEAR + 1)).ravel()
    return np.unique(around[(around >= 0) & (around < len(closed))])


def commit() -> str:
    """Of the checkout, with "+" where files differ from it; "unknown" where git does not say."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty=+"], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said.stdout.strip()
