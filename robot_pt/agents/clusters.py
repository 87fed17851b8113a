"""k-means: Lloyd's iterations (1982) from k-means++ centres (Arthur and Vassilvitskii, SODA 2007), a function of its arguments alone.

Shapes: N points, K centres, D numbers each, all float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def kmeans(points_ND: Points, count: int, *, iterations: int = 50, seed: int = 0) -> Points:
    """(K, D) centres. Fewer distinct points than `count` leave centres that coincide."""
    return lloyd(points_ND, spread(points_ND, count, np.random.default_rng(seed)), iterations)


def spread(points_ND: Points, count: int, rng: np.random.Generator) -> Points:
    """(K, D) of the points: each drawn in proportion to its squared distance from the nearest of those before it."""
    chosen = [int(rng.integers(len(points_ND)))]
    far_N = _squared_distance(points_ND, points_ND[chosen])[:, 0]
    for _ in range(count - 1):
        total = far_N.sum()
        where = int(rng.choice(len(points_ND), p=far_N / total)) if total > 0 else int(rng.integers(len(points_ND)))
        chosen.append(where)
        far_N = np.minimum(far_N, _squared_distance(points_ND, points_ND[where : where + 1])[:, 0])
    return points_ND[chosen]


def lloyd(points_ND: Points, centre_KD: Points, iterations: int) -> Points:
    """(K, D) each centre moved to the mean of the points nearest to it, so many times; one without points stays."""
    for _ in range(iterations):
        nearest_N = _squared_distance(points_ND, centre_KD).argmin(1)
        count_K = np.bincount(nearest_N, minlength=len(centre_KD))
        total_KD = np.zeros_like(centre_KD)
        np.add.at(total_KD, nearest_N, points_ND)
        moved_KD = np.where(count_K[:, None] > 0, total_KD / np.maximum(count_K, 1)[:, None], centre_KD)
        if (moved_KD == centre_KD).all():
            break
        centre_KD = moved_KD
    return centre_KD


def _squared_distance(points_ND: Points, centre_KD: Points) -> Points:
    """(N, K), differences first: exact where a point is a centre."""
    out = np.zeros((len(points_ND), len(centre_KD)))
    for d in range(points_ND.shape[1]):
        out += (points_ND[:, d : d + 1] - centre_KD[:, d]) ** 2
    return out
