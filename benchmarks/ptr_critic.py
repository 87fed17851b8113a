"""What the critic of a cell knows, on demonstrations nobody trained on: a grasp from its opposite, and what a lost step costs.

    python benchmarks/ptr_critic.py RUN... --task kitchen/put-carrot-on-plate@5 --data runs/ptr --seed 0

prints `accuracy` and `costs` of each run's newest checkpoint.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import ptr_data
import torch

from robot_pt import checkpoint
from robot_pt.agents import Agent
from robot_pt.errors import UserError
from robot_pt.policy_record import PolicyRecord
from robot_pt.recipes import runs
from robot_pt.replay import episode_batches, to_device
from robot_pt.safe_files import read_json
from robot_pt.schema import Batch, Float, Int
from robot_pt.selection import rise
from robot_pt.sources import EpisodeSource

GRIPPER = 6
NEAR = 1
"""Steps around a change of the gripper that count as grasp or release."""


MOVING_M = 0.02
"""A step that is ordered to go at least so far is one that moves [m]."""


def accuracy(run: Path, settings: runs.RunSettings, demos: EpisodeSource) -> dict[str, Any] | None:
    """Of the newest checkpoint, None where it has no critic: how Q of the demonstrations' actions rises (Spearman), and how often it lies
    above Q of the same action with the gripper's order turned round, near grasps and releases and elsewhere."""
    agent, batches = _judge(run, settings, demos)
    right: dict[bool, list[bool]] = {True: [], False: []}
    rises = []
    for batch in batches:
        try:
            q, other = values(agent, batch, batch.action), values(agent, batch, turned(batch.action))
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


def costs(run: Path, settings: runs.RunSettings, demos: EpisodeSource) -> dict[str, Any]:
    """Of the newest checkpoint, in units of Q: how far Q of the demonstrations' actions lies over their returns, and how much less it gives
    for standing or half a step where they move, and for not turning the gripper where they turn it. A step lost in fact costs
    1 + 0.04 Q, so 0.4 to 1.4 from Q = -15 to 10. Raises UserError of a run without a critic."""
    agent, batches = _judge(run, settings, demos)
    over: list[float] = []
    lost: dict[str, list[float]] = {"standing": [], "half_step": [], "no_grasp": [], "no_release": []}
    for batch in batches:
        action = batch.action
        q = values(agent, batch, action)
        over += (q - batch.return_to_go).tolist()
        moving = (batch.discount > 0) & (np.linalg.norm(action[:, :3], axis=1) > MOVING_M)
        for name, share in (("standing", 0.0), ("half_step", 0.5)):
            lost[name] += (q - values(agent, batch, slowed(action, share)))[moving].tolist()
        unturned = q - values(agent, batch, turned(action))
        opened = action[:, GRIPPER] > 0.5
        turns = np.append(False, opened[1:] != opened[:-1])
        for name, which in (("no_grasp", turns & ~opened), ("no_release", turns & opened)):
            lost[name] += unturned[which].tolist()
    told = {
        name: {"mean": float(np.mean(d)), "right": float(np.mean(np.array(d) > 0)), "steps": len(d)} if d else None
        for name, d in lost.items()
    }
    return {"over_return": float(np.mean(over)), "over_return_rms": float(np.sqrt(np.mean(np.square(over)))), **told}


def _judge(run: Path, settings: runs.RunSettings, demos: EpisodeSource) -> tuple[Agent, Iterator[Batch]]:
    """The newest checkpoint's agent and an episode of `demos` per batch."""
    folder = checkpoint.start_of(checkpoint.folder_of(run, checkpoint.steps(run)[-1]))
    agent = settings.build(demos.spec, "cpu")
    checkpoint.load_agent(folder, agent)
    tasks = PolicyRecord.from_json(read_json(folder / "policy.json")).tasks
    batches = episode_batches(
        demos, cameras=settings.cameras, image_size=settings.image_size, reward=settings.reward, gamma=settings.gamma, task_table=tasks
    )  # fmt: skip
    return agent, batches


def values(agent: Agent, batch: Batch, action_BA: Float) -> Float:
    """(B,) Q of these actions in the batch's states. Raises UserError where there is no critic."""
    with torch.no_grad():
        found: Float = agent.values(to_device(batch._replace(action=action_BA), "cpu")).numpy()
    return found


def turned(action_BA: Float) -> Float:
    """The gripper is ordered to do the opposite."""
    other = np.array(action_BA)
    other[:, GRIPPER] = 1 - other[:, GRIPPER]
    return other


def slowed(action_BA: Float, share: float) -> Float:
    """So much of the motion, the gripper as it was."""
    other = np.array(action_BA)
    other[:, :GRIPPER] *= share
    return other


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


def main() -> None:
    torch.set_num_threads(1)
    looked_at, demos = ptr_data.asked(__doc__ or "")
    for run in looked_at:
        settings, _ = runs.read_settings(run)
        try:
            told = {**(accuracy(run, settings, demos) or {}), **costs(run, settings, demos)}
        except UserError as error:
            raise SystemExit(f"{run}: {error}") from None
        print(json.dumps({"run": str(run), "step": checkpoint.steps(run)[-1], **told}))


if __name__ == "__main__":
    main()
