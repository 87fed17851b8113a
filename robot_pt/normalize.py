"""Physical units <-> the [-1, 1] box the networks work in. Encode and decode stand side by side and live in the module.

PTR rescales every action dimension from its bounds to [-1, 1] and clips to +-0.99, so that the inverse tanh of a data
action stays finite (arXiv 2210.05178; Asap7772/PTR jaxrl2/wrappers/rescale_actions_wrapper.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robot_pt.errors import DataError
from robot_pt.schema import Float
from robot_pt.sources import EpisodeSource

CLIP = 0.99
"""Encoded actions stay within +-CLIP unless an algorithm says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Range of every action dimension that maps to [-1, 1], in physical units."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    origin: str
    """Where the numbers come from, for the run record: "bridge", or the data they were fitted to."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", tuple(float(x) for x in self.low))
        object.__setattr__(self, "high", tuple(float(x) for x in self.high))
        if len(self.low) != len(self.high):
            raise DataError(f"action bounds need as many lows as highs; given {len(self.low)} and {len(self.high)}.")
        if not all(np.isfinite([*self.low, *self.high])) or not all(
            a < b for a, b in zip(self.low, self.high, strict=True)
        ):
            raise DataError(f"action bounds need low < high, both finite; given low {self.low}, high {self.high}.")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Bounds:
        """Raises DataError on missing or unknown fields."""
        known = {f.name for f in fields(cls)}
        if set(values) != known:
            raise DataError(f"action bounds have the fields {sorted(known)}; the file gives {sorted(values)}.")
        return cls(**dict(values))


BRIDGE_BOUNDS = Bounds(
    low=(-0.05, -0.05, -0.05, -0.25, -0.25, -0.25, 0.0),
    high=(0.05, 0.05, 0.05, 0.25, 0.25, 0.25, 1.0),
    origin="bridge",
)
"""What PTR uses on BridgeData: metres, radians, gripper opening."""


def fit_bounds(source: EpisodeSource, *, quantiles: tuple[float, float] = (0.0, 1.0), origin: str = "data") -> Bounds:
    """Bounds of the actions of `source`, per dimension; the gripper keeps [0, 1], its range by convention.

    quantiles: (0, 1) is min-max; (0.01, 0.99) ignores the outermost percents, which are then clipped.
    A dimension that never moves gets a tiny interval around its value. Raises DataError where there is no finite action.
    """
    if not 0 <= quantiles[0] < quantiles[1] <= 1:
        raise DataError(f"bounds quantiles are {quantiles}; give two rising numbers within [0, 1].")
    actions_NA = source.actions[source.episodes.rows()]
    actions_NA = actions_NA[np.isfinite(actions_NA).all(1)]
    if not len(actions_NA):
        raise DataError("action bounds need at least one step with finite actions; this source has none.")
    low, high = np.quantile(actions_NA.astype(np.float64), quantiles, axis=0)
    room = 1e-4 * np.maximum(np.abs(low), 1.0)
    still = high - low < room
    low, high = np.where(still, low - room, low), np.where(still, high + room, high)
    for i, name in enumerate(source.spec.action_names):
        if name == "gripper":
            low[i], high[i] = 0.0, 1.0
    return Bounds(low=tuple(low), high=tuple(high), origin=origin)


def share_clipped(source: EpisodeSource, bounds: Bounds) -> Float:
    """(A,) share of the source's steps whose action lies outside `bounds` by more than 1 % of the range: what training cannot see."""
    actions_NA = source.actions[source.episodes.rows()]
    low, high = np.array(bounds.low, np.float32), np.array(bounds.high, np.float32)
    room = 0.01 * (high - low)
    outside_NA = (actions_NA < low - room) | (actions_NA > high + room)
    return outside_NA.mean(0, dtype=np.float32) if len(outside_NA) else np.zeros(len(low), np.float32)


def proprio_statistics(source: EpisodeSource) -> tuple[Float, Float]:
    """(mean, standard deviation) of every proprio dimension of `source`, each (P,), the deviation at least 1e-3."""
    rows = source.proprio[source.episodes.rows()].astype(np.float64)
    if not len(rows):
        raise DataError("proprio statistics need at least one step; this source has none.")
    return rows.mean(0).astype(np.float32), np.maximum(rows.std(0), 1e-3).astype(np.float32)


class ActionNormalizer(nn.Module):
    """Physical action <-> [-1, 1]; the bounds are buffers, so they travel with the weights."""

    low: Tensor  # (A,)
    high: Tensor  # (A,)

    def __init__(self, bounds: Bounds, clip: float = CLIP):
        super().__init__()
        self._clip = clip
        self.register_buffer("low", torch.tensor(bounds.low, dtype=torch.float32))
        self.register_buffer("high", torch.tensor(bounds.high, dtype=torch.float32))

    def encode(self, action: Tensor) -> Tensor:
        """(..., A) physical -> (..., A) within +-clip."""
        return self.scaled(action).clamp(-self._clip, self._clip)

    def scaled(self, action: Tensor) -> Tensor:
        """(..., A) physical -> (..., A), [-1, 1] within the bounds and beyond it outside them."""
        return (action - self.low) / (self.high - self.low) * 2 - 1

    @staticmethod
    def outside(scaled: Tensor) -> Tensor:
        """(..., A) True where scaled numbers lie beyond the bounds, by more than float32 rounds."""
        return scaled.abs() > 1 + 1e-5

    def decode(self, encoded: Tensor) -> Tensor:
        """(..., A) in [-1, 1] -> (..., A) physical; the inverse of `encode` within the clip."""
        return self.low + (encoded.clamp(-1, 1) + 1) * 0.5 * (self.high - self.low)


class ProprioNormalizer(nn.Module):
    """(proprio - mean) / std. PTR feeds the state as it is: the default, mean 0 and std 1."""

    mean: Tensor  # (P,)
    std: Tensor  # (P,)

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        if len(mean) != len(std) or not all(s > 0 for s in std):
            raise DataError(f"proprio statistics need one positive std per mean; given mean {mean}, std {std}.")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def forward(self, proprio: Tensor) -> Tensor:
        return (proprio - self.mean) / self.std
