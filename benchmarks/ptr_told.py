"""Frames whose "actions" are where things are, so that a clone of one camera becomes an encoder that tells places; of benchmarks/ptr_look.py.

The places come from the simulator's state, of the robot data alone: what a detector that was trained elsewhere would bring along. Who looks
through such an encoder sees frames and nothing of the state.
"""

from __future__ import annotations

from dataclasses import replace
from typing import final

import numpy as np

from robot_pt.schema import Float, Image, Int
from robot_pt.sources import EpisodeSource

NAMES = (
    "thing_x", "thing_y", "thing_z", "goal_x", "goal_y", "thing_ahead", "thing_aside", "goal_ahead", "goal_aside", "yaw_cos", "yaw_sin",
)  # fmt: skip
"""What is moved and where to, in the base frame [m] and seen from the hand [m]; twice the thing's yaw seen from the hand, as most things look
the same from behind."""
STATE = ("x", "y", "yaw", "thing_x", "thing_y", "thing_z", "thing_cos", "thing_sin", "goal_x", "goal_y")


def places(proprio_NP: Float, names: tuple[str, ...]) -> Float:
    """(N, len(NAMES)) of states whose columns are called `names`."""
    x, y, yaw, thing_x, thing_y, thing_z, cos, sin, goal_x, goal_y = proprio_NP[:, [names.index(n) for n in STATE]].T
    turn = 2 * (np.arctan2(sin, cos) - yaw)
    told = [thing_x, thing_y, thing_z, goal_x, goal_y]
    told += [*_from_hand(thing_x - x, thing_y - y, yaw), *_from_hand(goal_x - x, goal_y - y, yaw)]
    out: Float = np.stack([*told, np.cos(turn), np.sin(turn)], axis=1).astype(np.float32)
    return out


def _from_hand(dx: Float, dy: Float, yaw: Float) -> tuple[Float, Float]:
    return np.cos(yaw) * dx + np.sin(yaw) * dy, np.cos(yaw) * dy - np.sin(yaw) * dx


@final
class ToldSource:
    """`frames` as an EpisodeSource whose actions are places; `state` holds the same episodes."""

    def __init__(self, frames: EpisodeSource, state: EpisodeSource):
        self._frames, self.episodes = frames, frames.episodes
        self.spec = replace(frames.spec, action_names=NAMES, action_unit="normalized")
        self.actions: Float = np.zeros((len(frames.actions), len(NAMES)), np.float32)
        self.actions[rows(frames)] = places(state.proprio[rows(state)], state.spec.proprio_names)
        self.proprio, self.rewards = frames.proprio, frames.rewards
        self.terminated, self.truncated = frames.terminated, frames.truncated

    def images(self, steps: Int, camera: str, size: tuple[int, int] | None = None) -> Image:
        """Those of `frames`."""
        return self._frames.images(steps, camera, size)


def rows(source: EpisodeSource) -> Int:
    """Of all steps of its episodes, in their order."""
    table = source.episodes
    return np.concatenate([np.arange(s, s + n) for s, n in zip(table.start, table.length, strict=True)])
