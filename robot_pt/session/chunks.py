"""Action chunks by time: every control period has at most one action, however late the chunk came."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from robot_pt.errors import UserError
from robot_pt.schema import ACTION_NAMES, Float

MOST = math.pi
"""No arm moves 3 m or half a turn in one step: beyond it weights or normalisation are damaged, and nothing may move."""


def checked_chunk(chunk: ArrayLike) -> Float:
    """The chunk as (H, 7) float32, H >= 1. Raises UserError on another shape, NaN, Inf or a step out of all proportion."""
    values = np.asarray(chunk)
    if values.ndim != 2 or values.shape[1] != len(ACTION_NAMES) or not len(values):
        raise UserError(f"the policy gave actions of shape {values.shape}; a chunk is (steps, {len(ACTION_NAMES)}).")
    if values.dtype.kind not in "fiu":
        raise UserError(f"the policy gave actions of type {values.dtype}; a chunk holds numbers.")
    wrong = ~np.isfinite(values) | ~(np.abs(values) <= MOST)
    if wrong.any():
        step, which = np.argwhere(wrong)[0]
        raise UserError(
            f"the policy gave {ACTION_NAMES[which]} = {values[step, which]}: its weights or the observation are damaged; "
            "nothing was published, load another checkpoint."
        )
    return values.astype(np.float32)


class ChunkPlayer:
    """Plays action i of a chunk in the period that starts at first_ns + i periods, each at most once.

    A period without a tick loses its action and a chunk that comes late loses its first ones: actions are never bunched up.
    """

    def __init__(self, period_ns: int, play: int | None = None):
        """`play`: actions of each chunk that are played, None = all."""
        self._period, self._play = period_ns, play
        self.clear()

    def clear(self) -> None:
        """Forget the chunk."""
        self._chunk: Float = np.zeros((0, len(ACTION_NAMES)), np.float32)
        self._first_ns, self._next = 0, 0
        self.observation_ns = 0
        self.inference_ms = 0.0

    def load(self, chunk: Float, first_ns: int, *, observation_ns: int, inference_ms: float) -> None:
        """Play `chunk` (H, 7) instead of what is left of the last one; its first action belongs to the tick at `first_ns`."""
        self._chunk = chunk[: self._play]
        self._next, self._first_ns = 0, first_ns
        self.observation_ns, self.inference_ms = observation_ns, inference_ms

    def used_up(self, now_ns: int) -> bool:
        """Nothing is left for the period of `now_ns` or later."""
        return max(self._index(now_ns), self._next) >= len(self._chunk)

    def take(self, now_ns: int) -> tuple[int, Float] | None:
        """(index, action (7,)) of the period of `now_ns`; None where it was played already or the chunk is used up."""
        index = self._index(now_ns)
        if not self._next <= index < len(self._chunk):
            return None
        self._next = index + 1
        return index, self._chunk[index]

    @property
    def rest(self) -> Float:
        """(n, 7) what is left of the chunk after the last action taken."""
        return self._chunk[self._next :]

    def _index(self, now_ns: int) -> int:
        """The period whose start is nearest: ticks come a little early or late."""
        return (now_ns - self._first_ns + self._period // 2) // self._period
