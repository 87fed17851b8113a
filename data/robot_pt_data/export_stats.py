"""Statistics as LeRobot keeps them: min, max, mean, std, count and five quantiles per feature; images in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_pt.schema import Image, Int

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
_FRAMES = 16  # per episode and camera, evenly spaced, are counted


def array_stats(column: NDArray[Any]) -> dict[str, list[Any]]:
    """Per-value statistics of a (T,) or (T, D) column, as JSON lists of length 1 or D."""
    values = np.asarray(column, np.float64).reshape(len(column), -1)  # (T, D)
    out = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    levels = np.quantile(values, list(QUANTILES.values()), axis=0)
    out |= dict(zip(QUANTILES, levels, strict=True))
    return {**{key: value.tolist() for key, value in out.items()}, "count": [len(values)]}


@dataclass(frozen=True)
class Histogram:
    """How often each of 256 levels occurs per colour channel: every statistic follows, and histograms add."""

    counts: Int  # (3, 256)
    frames: int

    @classmethod
    def of(cls, frames: Image) -> Histogram:
        """Count some evenly spaced frames of (T, H, W, 3)."""
        chosen = frames[np.unique(np.linspace(0, len(frames) - 1, _FRAMES).round().astype(int))]
        counts = [np.bincount(chosen[..., channel].ravel(), minlength=256) for channel in range(3)]
        return cls(np.array(counts, np.int64), len(chosen))

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(self.counts + other.counts, self.frames + other.frames)

    def stats(self) -> dict[str, list[Any]]:
        """Per-channel statistics of values in [0, 1], shaped (3, 1, 1)."""
        level = np.arange(256) / 255
        share = self.counts / self.counts.sum(1, keepdims=True)
        mean = share @ level
        there = self.counts > 0
        out = {
            "min": level[there.argmax(1)],
            "max": level[255 - there[:, ::-1].argmax(1)],
            "mean": mean,
            "std": np.sqrt(np.maximum(share @ level**2 - mean**2, 0)),
        }
        below = share.cumsum(1)
        for name, q in QUANTILES.items():
            out[name] = level[(below >= q - 1e-12).argmax(1)]
        return {**{key: value.reshape(3, 1, 1).tolist() for key, value in out.items()}, "count": [self.frames]}
