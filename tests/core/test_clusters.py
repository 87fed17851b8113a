"""k-means against scipy's, from the same centres, and where there is little to cluster."""

import itertools

import numpy as np
import pytest
import scipy.cluster.vq
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.agents.clusters import kmeans, lloyd, spread


def blobs(seed: int = 0, count: int = 400) -> np.ndarray:
    rng = np.random.default_rng(seed)
    middles = rng.uniform(-1, 1, (6, 3))
    return middles[rng.integers(0, 6, count)] + 0.05 * rng.normal(size=(count, 3))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("iterations", [1, 7, 50])
def test_lloyd_is_scipys_from_the_same_centres(seed: int, iterations: int) -> None:
    points = blobs(seed)
    start = spread(points, 6, np.random.default_rng(seed))
    ours = lloyd(points, start, iterations)
    theirs, _ = scipy.cluster.vq.kmeans2(points, start.copy(), iter=iterations, minit="matrix")
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 8))
def test_every_iteration_brings_points_nearer(seed: int, count: int) -> None:
    points = np.random.default_rng(seed).normal(size=(60, 2))
    centres = spread(points, count, np.random.default_rng(seed))

    def error(c: np.ndarray) -> float:
        return float(((points[:, None] - c) ** 2).sum(2).min(1).sum())

    errors = [error(lloyd(points, centres, i)) for i in range(6)]
    assert all(b <= a + 1e-9 for a, b in itertools.pairwise(errors))


def test_spread_centres_are_points_and_find_every_blob() -> None:
    points = np.concatenate([np.full((100, 2), -1.0), np.full((3, 2), 1.0), np.full((1, 2), 9.0)])
    for seed in range(20):
        found = spread(points, 3, np.random.default_rng(seed))
        assert {tuple(row) for row in found} == {(-1.0, -1.0), (1.0, 1.0), (9.0, 9.0)}


def test_fewer_points_than_centres_leave_some_that_coincide() -> None:
    points = np.array([[0.0, 1.0], [2.0, 3.0]])
    centres = kmeans(points, 5)
    assert centres.shape == (5, 2)
    assert {tuple(row) for row in centres} == {(0.0, 1.0), (2.0, 3.0)}


def test_a_centre_without_points_stays() -> None:
    moved = lloyd(np.array([[0.0], [1.0]]), np.array([[0.4], [50.0]]), 10)
    np.testing.assert_allclose(moved, [[0.5], [50.0]])


def test_the_same_seed_gives_the_same_centres() -> None:
    points = blobs()
    np.testing.assert_array_equal(kmeans(points, 4, seed=3), kmeans(points, 4, seed=3))
    assert not np.array_equal(kmeans(points, 4, seed=3), kmeans(points, 4, seed=4))
