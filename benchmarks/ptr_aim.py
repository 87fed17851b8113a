"""Aimed actions: where the arm's target is to be, seen from where the arm is; of benchmarks/ptr.py.

The robot takes deltas of its last target, which the arm follows a step late. An expert whose target lies over the plate orders nothing until the arm
is there, and who sees the arm alone learns to order nothing two centimetres before the plate, where it then stands for ever. Seen from the arm, the
same order is two centimetres towards the plate, until it is there. Nothing but the arm's reading and the policy's own orders is needed to go back.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import final

import numpy as np
import torch

from robot_pt.evaluate import ActingPolicy, PolicyFactory
from robot_pt.normalize import BRIDGE_BOUNDS
from robot_pt.policy import Policy
from robot_pt.schema import Float, Image, Int, Observation, window_of
from robot_pt.sources import EpisodeSource

AXES = 3
"""x, y, z; angles and gripper stay what they are."""
LOW_M, HIGH_M = (np.array(ends[:AXES], np.float32) for ends in (BRIDGE_BOUNDS.low, BRIDGE_BOUNDS.high))
AHEAD_M = 0.08
"""Farther from the arm a target is not believed to be: the robot's limits may have held it back."""


def aimed(proprio_TP: Float, action_TA: Float) -> Float:
    """(T, A) one episode's actions with the translation seen from the arm [m], within the bounds of an action; it begins at rest."""
    target_T3 = proprio_TP[0, :AXES] + np.cumsum(action_TA[:, :AXES], axis=0)
    out: Float = action_TA.copy()
    out[:, :AXES] = np.clip(target_T3 - proprio_TP[:, :AXES], LOW_M, HIGH_M)
    return out


@final
class AimedSource:
    """`source` as an EpisodeSource, its actions aimed."""

    def __init__(self, source: EpisodeSource):
        self._source, self.spec, self.episodes = source, source.spec, source.episodes
        self.actions = source.actions.copy()
        for start, length in zip(source.episodes.start, source.episodes.length, strict=True):
            rows = slice(start, start + length)
            self.actions[rows] = aimed(source.proprio[rows], source.actions[rows])
        self.proprio, self.rewards = source.proprio, source.rewards
        self.terminated, self.truncated = source.terminated, source.truncated

    def images(self, steps: Int, camera: str, size: tuple[int, int] | None = None) -> Image:
        """Those of `source`."""
        return self._source.images(steps, camera, size)


@final
class AimedPolicy:
    """Deltas of the last target, as the robot takes them, from a policy that aims."""

    def __init__(self, policy: ActingPolicy):
        self.version, self.window = f"{policy.version}+aimed", window_of(policy)
        self._policy = policy
        self._target: Float | None = None

    def reset(self, task: str | None) -> None:
        """The next observation's arm is at rest."""
        self._policy.reset(task)
        self._target = None

    def act(self, history: Sequence[Observation]) -> Float:
        """(1, A); as `robot_pt.policy.Policy.act`, of which one action is played."""
        now = history[-1]
        tool: Float = now.proprio[:AXES]
        before = tool if self._target is None else np.clip(self._target, tool - AHEAD_M, tool + AHEAD_M)
        action = self._policy.act(history)[:1].copy()
        action[0, :AXES] = np.clip(tool + action[0, :AXES] - before, LOW_M, HIGH_M)
        self._target = before + action[0, :AXES]
        return action


def acting(folder: Path) -> PolicyFactory:
    """Picklable: the policy in `folder`, which aims."""
    return partial(_load, folder)


def _load(folder: Path) -> ActingPolicy:
    torch.set_num_threads(1)
    return AimedPolicy(Policy.load(folder))
