"""State and motion: beside what the arm reads now, how far it has come since the step before; of benchmarks/ptr.py.

Actions move the arm's target, which the arm follows a step late. Who sees one reading alone cannot tell an arm that is on its way to a target two
centimetres ahead, where the experts order nothing, from one that has stopped two centimetres short, where they would have gone on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import final

import numpy as np
import torch

from robot_pt.errors import DataError
from robot_pt.evaluate import ActingPolicy, PolicyFactory
from robot_pt.policy import Policy
from robot_pt.rotations import wrap_angle
from robot_pt.schema import PROPRIO_NAMES, Float, Image, Int, Observation, Spec, window_of
from robot_pt.sources import EpisodeSource

ARM = len(PROPRIO_NAMES)
ANGLES = slice(3, 6)


def motion(before: Float, now: Float) -> Float:
    """(..., 7) from two readings (..., P) [m, rad, share of opening], angles the shorter way."""
    moved = np.asarray(now)[..., :ARM] - np.asarray(before)[..., :ARM]
    moved[..., ANGLES] = wrap_angle(moved[..., ANGLES])
    return moved.astype(np.float32)


def motion_spec(spec: Spec) -> Spec:
    return replace(spec, cameras={}, proprio_names=(*spec.proprio_names, *(f"moved_{n}" for n in PROPRIO_NAMES)))


@final
class MotionSource:
    """`source` as an EpisodeSource without cameras, the motion behind its proprio; zero at an episode's first step, where the arm stands."""

    def __init__(self, source: EpisodeSource):
        moved = np.zeros((len(source.proprio), ARM), np.float32)
        for start, length in zip(source.episodes.start, source.episodes.length, strict=True):
            rows = source.proprio[start : start + length]
            moved[start + 1 : start + length] = motion(rows[:-1], rows[1:])
        self.spec, self.episodes = motion_spec(source.spec), source.episodes
        self.proprio = np.concatenate([source.proprio, moved], axis=1)
        self.actions, self.rewards = source.actions, source.rewards
        self.terminated, self.truncated = source.terminated, source.truncated

    def images(self, steps: Int, camera: str, size: tuple[int, int] | None = None) -> Image:
        """Raises DataError: there are none."""
        raise DataError(f"state and motion have no images; camera {camera!r} is in the source they come from.")


@final
class MotionPolicy:
    """A policy of state and motion that is shown the state."""

    def __init__(self, policy: ActingPolicy):
        self.version, self.window = f"{policy.version}+motion", window_of(policy) + 1
        self._policy = policy

    def reset(self, task: str | None) -> None:
        self._policy.reset(task)

    def act(self, history: Sequence[Observation]) -> Float:
        """As `robot_pt.policy.Policy.act`."""
        before = [*history[: len(history) < self.window], *history]  # the first of an episode stands
        return self._policy.act([_shown(*pair) for pair in pairwise(before)])


def _shown(before: Observation, now: Observation) -> Observation:
    seen = np.concatenate([now.proprio, motion(before.proprio, now.proprio)]).astype(np.float32)
    return now._replace(images={}, proprio=seen)


def acting(folder: Path) -> PolicyFactory:
    """Picklable: the policy in `folder`, shown its arm's motion."""
    return partial(_load, folder)


def _load(folder: Path) -> ActingPolicy:
    torch.set_num_threads(1)
    return MotionPolicy(Policy.load(folder))
