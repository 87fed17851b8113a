"""All probes of one encoder's features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_pt.probes.data import FOLDS, ProbeData, folds_of, judges_of
from robot_pt.probes.linear import Array, RidgePath, Scale, best_later, floored
from robot_pt.probes.measures import Measure, dormant, rank_me, ratio, recall_at_1, spectrum
from robot_pt.schema import Bool, Float, Int

GALLERY = 64
"""Frames that the right one is found among: chance is 1 in so many."""
SPECTRUM_ROWS = 800
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
    shared = Folds(x, data.episode, data.task, seed)
    for target in data.targets:
        known = target.known
        folds = shared if known.all() else Folds(x[known], data.episode[known], data.task[known], seed)
        out |= regression(target.name, target.values[known], folds, target.factor)
    if len(data.pairs):
        out["order"] = order(features(data.pairs[:, 1]) - features(data.pairs[:, 0]), data.pair_episode, seed)
    if other is not None:
        found = retrieval(other(data.rows), shared)
        out |= {} if found is None else {"retrieval": found}
    some = np.unique(np.linspace(0, len(x) - 1, min(len(x), SPECTRUM_ROWS)).astype(np.int64))
    rows, whose = x[some], data.episode[some]
    out["rank"] = spectrum("rank", lambda weight: rank_me(rows, weight), whose, seed)
    out["dormant"] = spectrum("dormant", lambda weight: dormant(rows, units, weight), whose, seed)
    return {name: out[name] for name in MEASURES if name in out}


class Fold(NamedTuple):
    """One fold: weights are fitted on `train`, judged by episodes of it, and never see the rest."""

    train: Bool  # (n,)
    path: RidgePath
    held: Array  # (n - train, D) features of the others, scaled alike


class Folds:
    """Features (n, D) as every regression on them sees them: deviations from their task's mean, scaled, fold by fold."""

    def __init__(self, x_nD: Float, episode_n: Int, task_n: Int, seed: int = 0):
        self.episode, self.task, self.seed = episode_n, task_n, seed
        self._x, self._fold = x_nD, folds_of(episode_n, seed)
        self._made: dict[int, Fold] = {}

    def __iter__(self) -> Iterator[Fold]:
        for k in range(FOLDS):
            if k not in self._made:
                train = self._fold != k
                near, far = self.around(self._x, train)
                scale = Scale.of(near)
                judge = judges_of(self.episode[train], self.seed)
                self._made[k] = Fold(train, RidgePath(scale(near), judge), scale(far))
            yield self._made[k]

    def around(self, values_nK: NDArray[np.floating], train: Bool) -> tuple[Array, Array]:
        """(training rows, others) as deviations from the mean of their task's training rows."""
        means = [_task_means(values_nK[train], self.task[train], self.task[part]) for part in (train, ~train)]
        return values_nK[train] - means[0], values_nK[~train] - means[1]


def regression(name: str, y_nK: Array, folds: Folds, factor: float = 1.0) -> dict[str, Measure]:
    """R² and mean error of a ridge regression, every episode predicted by weights that never saw it.

    Positions and features are deviations from their task's mean, so R² is the share of the variance *within a task* that is
    explained: telling tasks apart is worth nothing, and not needed. The error is times `factor`.
    """
    wrong, spread = np.zeros_like(y_nK), np.zeros_like(y_nK)
    for fold in folds:
        near, far = folds.around(y_nK, fold.train)
        weights, offset = fold.path.best(near)
        wrong[~fold.train], spread[~fold.train] = far - fold.held @ weights - offset, far
    distance, counts = np.linalg.norm(wrong, axis=1) * factor, np.ones(len(y_nK))
    out = {f"{name} error": _ratio(f"{name} error", distance, counts, lambda share: share, folds)}
    if (spread**2).sum() > 1e-9 * len(y_nK):  # what never moves has no variance to explain
        squares = ((wrong**2).sum(1), (spread**2).sum(1))
        out[f"{name} R2"] = _ratio(f"{name} R2", *squares, lambda share: 1 - share, folds)
    return out


def order(difference_mD: Float, episode_m: Int, seed: int = 0) -> Measure:
    """Share of pairs whose later frame is told, by logistic regression that never saw the episode."""
    right, fold = np.zeros(len(episode_m)), folds_of(episode_m, seed)
    for k in range(FOLDS):
        train = fold != k
        x = difference_mD / floored(np.sqrt((difference_mD[train].astype(np.float64) ** 2).mean(0)), 1.0)
        weights = best_later(x[train], judges_of(episode_m[train], seed))
        right[~train] = x[~train] @ weights > 0
    return ratio("order", _per(episode_m, right), _per(episode_m, np.ones(len(right))), lambda share: share, seed)


def retrieval(other_nD: Float, folds: Folds) -> Measure | None:
    """Share of frames whose counterpart in the other camera is the nearest of `GALLERY` held-out ones; None for too few frames.

    A ridge regression from one camera's features to the other's, fitted on other episodes, lays the two side by side.
    """
    rng = np.random.default_rng(folds.seed)
    hit, asked = np.zeros(len(other_nD)), np.zeros(len(other_nD))
    for fold in folds:
        near, far = folds.around(other_nD, fold.train)
        scale = Scale.of(near)
        weights, offset = fold.path.best(scale(near))
        found, there, rows = fold.held @ weights + offset, scale(far), np.flatnonzero(~fold.train)
        drawn = rng.permutation(len(rows))
        for i in range(0, len(rows) - GALLERY + 1, GALLERY):
            group = drawn[i : i + GALLERY]
            hit[rows[group]] = recall_at_1(found[group], there[group])
            asked[rows[group]] = 1
    return _ratio("retrieval", hit, asked, lambda share: share, folds) if asked.any() else None


def _task_means(y_nK: NDArray[np.floating], task_n: Int, wanted_m: Int) -> Array:
    """(m, K) mean of `y` over its rows of each wanted task; over all rows for a task that has none."""
    out = np.tile(y_nK.mean(0, dtype=np.float64), (len(wanted_m), 1))
    for t in np.unique(task_n):
        out[wanted_m == t] = y_nK[task_n == t].mean(0, dtype=np.float64)
    return out


def _ratio(name: str, above_n: Array, below_n: Array, value: Callable[[Array], Array], folds: Folds) -> Measure:
    return ratio(name, _per(folds.episode, above_n), _per(folds.episode, below_n), value, folds.seed)


def _per(episode_n: Int, values_n: Array) -> Array:
    """(E,) sums over the rows of each episode."""
    names, place = np.unique(episode_n, return_inverse=True)
    sums: Array = np.bincount(place, weights=values_n, minlength=len(names)).astype(np.float64)
    return sums
