"""What objectives that learn from rewards are told: labels, and the range of returns, by what the data has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from robot_pt.clips import episode_returns
from robot_pt.rewards import RewardLabel
from robot_pt.sources import EpisodeSource

STORED = RewardLabel(source="stored", scale=1.0, shift=0.0, terminal="stored")
"""The data's own rewards as they are."""


def fitted(config: Any, sources: Sequence[EpisodeSource], assume_success: bool) -> Any:
    """`config` with labels for this data; configs without a `reward` as they are.

    Its own labels where an episode is known, or assumed, to be a success; otherwise the rewards the data stores, and then the range and
    scale of returns, where the config has such fields, from the data too.
    """
    if not hasattr(config, "reward"):
        return config
    own = replace(config.reward, assume_success=assume_success)
    if any(own.counts_as_success(int(s)) for source in sources for s in set(source.episodes.success.tolist())):
        return replace(config, reward=own)
    low, high = extent(sources, STORED, config.gamma)
    config = replace(config, reward=STORED)
    if hasattr(config, "return_scale"):
        config = replace(config, return_scale=max(abs(low), abs(high)) or 1.0)
    return replace(config, returns=(low, high if high > low else low + 1.0)) if hasattr(config, "returns") else config


def extent(sources: Sequence[EpisodeSource], label: RewardLabel, gamma: float) -> tuple[float, float]:
    """(least, largest) return to go of any step."""
    told = [
        episode_returns(source, e, label, gamma)[2]
        for source in sources
        for e in range(len(source.episodes))
        if source.episodes.length[e]
    ]
    return min(float(t.min()) for t in told), max(float(t.max()) for t in told)
