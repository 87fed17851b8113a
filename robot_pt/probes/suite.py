"""All probes of one encoder's features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_pt.probes.data import FOLDS, ProbeData, Target, folds_of, judges_of
from robot_pt.probes.linear import Array, Scale, best_later, best_ridge
from robot_pt.probes.measures import Measure, dormant, rank_me, ratio, recall_at_1, spectrum
from robot_pt.schema import Float, Int

GALLERY = 64
"""Frames that the right one is found among: chance is 1 in so many."""
SPECTRUM_ROWS = 2000
Features = Callable[[Int], Float]
"""Rows of the source's columns (n,) -> their features (n, D)."""


@dataclass(frozen=True, kw_only=True)
class Info:
    """What a measure says, for tables and plots."""

    title: str
    better: int
    """1: more is better, -1: less is, 0: neither by itself."""
    chance: float | None = None
    """What features that hold nothing reach."""


MEASURES: dict[str, Info] = {
    "object R2": Info(title="object position, R²", better=1, chance=0.0),
    "object error": Info(title="object position, error [mm]", better=-1),
    "tool R2": Info(title="tool position, R²", better=1, chance=0.0),
    "tool error": Info(title="tool position, error [mm]", better=-1),
    "gripper R2": Info(title="gripper opening, R²", better=1, chance=0.0),
    "gripper error": Info(title="gripper opening, error [of the opening]", better=-1),
    "order": Info(title="temporal order, accuracy", better=1, chance=0.5),
    "retrieval": Info(title=f"the same moment in another camera, recall@1 of {GALLERY}", better=1, chance=1 / GALLERY),
    "rank": Info(title="RankMe", better=0),
    "dormant": Info(title="dormant units, share", better=-1),
}


def run_probes(
    data: ProbeData, features: Features, *, units: int, other: Features | None = None, seed: int = 0
) -> dict[str, Measure]:
    """Name (of `MEASURES`) -> number, for what the data allows.

    features: of the camera the encoder was trained for; other: of the same steps through another camera.
    units: what dormant units are counted over: channels of a map, or all features.
    """
    x = features(data.rows)
    out: dict[str, Measure] = {}
    for target in data.targets:
        out |= regression(target, x, data, seed)
    if len(data.pairs):
        out["order"] = order(features(data.pairs[:, 1]) - features(data.pairs[:, 0]), data.pair_episode, seed)
    if other is not None:
        found = retrieval(x, other(data.rows), data.episode, seed)
        out |= {} if found is None else {"retrieval": found}
    some = np.unique(np.linspace(0, len(x) - 1, min(len(x), SPECTRUM_ROWS)).astype(np.int64))
    rows, whose = x[some], data.episode[some]
    out["rank"] = spectrum("rank", lambda weight: rank_me(rows, weight), whose, seed)
    out["dormant"] = spectrum("dormant", lambda weight: dormant(rows, units, weight), whose, seed)
    return {name: out[name] for name in MEASURES if name in out}


def regression(target: Target, x_nD: Float, data: ProbeData, seed: int = 0) -> dict[str, Measure]:
    """R² and mean error of a ridge regression, every episode predicted by weights that never saw it.

    Positions and features enter as deviations from their task's mean, so R² is the share of the variance *within a task* that is
    explained: telling tasks apart is worth nothing, and not needed.
    """
    keep = target.known
    x, y, episode, task = x_nD[keep], target.values[keep], data.episode[keep], data.task[keep]
    centre, predicted, fold = np.zeros_like(y), np.zeros_like(y), folds_of(episode, seed)
    for k in range(FOLDS):
        train = fold != k
        around, centre[~train] = (_task_means(y[train], task[train], task[part]) for part in (train, ~train))
        near_x, far_x = (x[part] - _task_means(x[train], task[train], task[part]) for part in (train, ~train))
        scale = Scale.of(near_x)
        weights, offset = best_ridge(scale(near_x), y[train] - around, judges_of(episode[train], seed))
        predicted[~train] = centre[~train] + scale(far_x) @ weights + offset
    wrong, spread = ((y - predicted) ** 2).sum(1), ((y - centre) ** 2).sum(1)
    distance = np.linalg.norm(y - predicted, axis=1) * target.factor
    counts, name = _per(episode, np.ones(len(y))), target.name
    out = {f"{name} error": ratio(f"{name} error", _per(episode, distance), counts, lambda share: share, seed)}
    if spread.sum() > 1e-9 * len(y):  # what never moves has no variance to explain
        out[f"{name} R2"] = ratio(f"{name} R2", _per(episode, wrong), _per(episode, spread), lambda share: 1 - share, seed)
    return out


def _task_means(y_nK: NDArray[np.floating], task_n: Int, wanted_m: Int) -> Array:
    """(m, K) mean of `y` over its rows of each wanted task; over all rows for a task that has none."""
    out = np.tile(y_nK.mean(0, dtype=np.float64), (len(wanted_m), 1))
    for t in np.unique(task_n):
        out[wanted_m == t] = y_nK[task_n == t].mean(0)
    return out


def order(difference_mD: Float, episode_m: Int, seed: int = 0) -> Measure:
    """Share of pairs whose later frame is told, by logistic regression that never saw the episode."""
    right, fold = np.zeros(len(episode_m)), folds_of(episode_m, seed)
    for k in range(FOLDS):
        train = fold != k
        x = difference_mD / np.maximum(np.sqrt((difference_mD[train].astype(np.float64) ** 2).mean(0)), 1e-9)
        weights = best_later(x[train], judges_of(episode_m[train], seed))
        right[~train] = x[~train] @ weights > 0
    return ratio("order", _per(episode_m, right), _per(episode_m, np.ones(len(right))), lambda share: share, seed)


def retrieval(x_nD: Float, other_nD: Float, episode_n: Int, seed: int = 0) -> Measure | None:
    """Share of frames whose counterpart in the other camera is the nearest of `GALLERY` held-out ones; None for too few frames.

    A ridge regression from one camera's features to the other's, fitted on other episodes, lays the two side by side.
    """
    rng, fold = np.random.default_rng(seed), folds_of(episode_n, seed)
    hit, asked = np.zeros(len(episode_n)), np.zeros(len(episode_n))
    for k in range(FOLDS):
        train, held = fold != k, rng.permutation(np.flatnonzero(fold == k))
        one, two = Scale.of(x_nD[train]), Scale.of(other_nD[train])
        weights, offset = best_ridge(one(x_nD[train]), two(other_nD[train]), judges_of(episode_n[train], seed))
        for i in range(0, len(held) - GALLERY + 1, GALLERY):
            group = held[i : i + GALLERY]
            hit[group] = recall_at_1(one(x_nD[group]) @ weights + offset, two(other_nD[group]))
            asked[group] = 1
    if not asked.any():
        return None
    return ratio("retrieval", _per(episode_n, hit), _per(episode_n, asked), lambda share: share, seed)


def _per(episode_n: Int, values_n: Array) -> Array:
    """(E,) sums over the rows of each episode."""
    names, place = np.unique(episode_n, return_inverse=True)
    return np.bincount(place, weights=values_n, minlength=len(names))
