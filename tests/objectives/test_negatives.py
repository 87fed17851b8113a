import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from robot_pt.errors import UserError
from robot_pt.objectives.negatives import other_rows


@given(batch=st.integers(2, 40), count=st.integers(1, 12), step=st.integers(0, 10**6), stream=st.integers(0, 9))
@settings(max_examples=150, deadline=None)
def test_no_clip_is_its_own_negative_and_none_comes_twice(batch: int, count: int, step: int, stream: int) -> None:
    rows_NB = other_rows(torch.arange(batch) + 17 * step, step, stream, count, seed=3)
    assert rows_NB.shape == (count, batch)
    assert not (rows_NB == torch.arange(batch)).any()
    for row in rows_NB:
        assert sorted(row.tolist()) == list(range(batch))
    distinct = min(count, batch - 1)
    for column in rows_NB[:distinct].T:
        assert len(set(column.tolist())) == distinct


def test_a_random_permutation_fails_what_other_rows_passes() -> None:
    """The original's `torch.randperm`: about one clip of every batch stays in its place."""
    generator = torch.Generator().manual_seed(0)
    fixed = [int((torch.randperm(16, generator=generator) == torch.arange(16)).sum()) for _ in range(200)]
    assert np.mean(fixed) == pytest.approx(1, abs=0.25)


def test_every_other_clip_is_as_likely() -> None:
    seen = np.zeros((6, 6))
    for step in range(3000):
        for row in other_rows(torch.arange(6), step, 2, 2, seed=0).numpy():
            seen[np.arange(6), row] += 1
    for clip in range(6):
        assert stats.chisquare(np.delete(seen[clip], clip)).pvalue > 1e-4


def test_rows_follow_from_keys_step_stream_and_seed() -> None:
    key = torch.arange(100, 132)
    first = other_rows(key, 5, 2, 3, seed=1)
    assert torch.equal(first, other_rows(key, 5, 2, 3, seed=1))
    for changed in (
        other_rows(key, 6, 2, 3, seed=1), other_rows(key, 5, 3, 3, seed=1), other_rows(key, 5, 2, 3, seed=2),
        other_rows(key + 1000, 5, 2, 3, seed=1),
    ):  # fmt: skip
        assert not torch.equal(first, changed)


def test_one_clip_has_no_others() -> None:
    with pytest.raises(UserError, match="a batch of 1 has none: give at least 2"):
        other_rows(torch.arange(1), 0, 0, 3, seed=0)
