import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.errors import DataError, UserError
from robot_pt.mixing import Draw, Mixer, batch_rng, rank_slots


def test_ptr_mix_of_64_is_57_and_7():
    assert Mixer([0.9, 0.1], 64).counts(0) == [57, 7]
    assert Mixer([0.9, 0.1], 64).counts(12345) == [57, 7]
    assert Mixer([0.9, 0.1], 8).counts(0) == [7, 1]


def test_shares_that_are_whole_numbers_are_not_lost_to_floating_point():
    assert int(0.29 * 100) == 28  # why fractions are used
    assert Mixer([0.29, 0.71], 100).counts(0) == [29, 71]
    assert Mixer([0.29, 0.71], 100, "long_run").counts(7) == [29, 71]


def test_a_source_without_a_share_is_never_drawn():
    for rounding in ("floor", "long_run"):
        mixer = Mixer([1.0, 0.0], 7, rounding)
        assert {tuple(mixer.counts(k)) for k in range(20)} == {(7, 0)}
        mixer = Mixer([0.0, 0.5, 0.5, 0.0], 7, rounding)
        assert all(mixer.counts(k)[0] == mixer.counts(k)[3] == 0 for k in range(20))


@given(st.lists(st.integers(0, 20), min_size=1, max_size=5).filter(any), st.integers(1, 70), st.integers(1, 200))
def test_long_run_counts_are_exact_to_a_few_samples(shares, size, batches):
    ratios = [s / sum(shares) for s in shares]
    mixer = Mixer(ratios, size, "long_run")
    counts = np.array([mixer.counts(k) for k in range(batches)])
    assert (counts >= 0).all()
    np.testing.assert_array_equal(counts.sum(axis=1), size)
    assert np.abs(counts.sum(axis=0) - batches * size * np.array(ratios)).max() < len(ratios) + 1e-3 * batches


def test_long_run_gives_the_tenth_that_floor_loses():
    mixer = Mixer([0.9, 0.1], 64, "long_run")
    assert sum(mixer.counts(k)[0] for k in range(1000)) == 57_600


@pytest.mark.parametrize("ratios", [[], [0.5, 0.4], [-0.1, 1.1], [float("nan"), 1]])
def test_ratios_must_add_up_to_one(ratios):
    with pytest.raises(UserError, match="add up to 1"):
        Mixer(ratios, 8)


def test_batch_size_must_be_positive():
    with pytest.raises(UserError, match="batch size"):
        Mixer([1.0], 0)


def test_weighted_draw_follows_the_weights_and_never_takes_weight_zero():
    weights = np.array([0, 1, 3, 0, 6, 0], float)
    drawn = Draw(6, weights)(np.random.default_rng(0), 100_000)
    share = np.bincount(drawn, minlength=6) / 100_000
    np.testing.assert_allclose(share, weights / 10, atol=0.01)
    assert share[[0, 3, 5]].sum() == 0


def test_uniform_draw_covers_everything():
    drawn = Draw(5)(np.random.default_rng(0), 50_000)
    np.testing.assert_allclose(np.bincount(drawn) / 50_000, 0.2, atol=0.01)


def test_bad_weights_are_refused():
    for weights in ([0, 0], [-1, 2], [np.nan, 1]):
        with pytest.raises(DataError, match="weights"):
            Draw(2, np.array(weights, float))
    with pytest.raises(UserError, match="one number for each"):
        Draw(3, np.ones(2))


def test_batches_have_their_own_random_numbers():
    first = [batch_rng(3, k).integers(0, 1 << 30, 4).tolist() for k in range(50)]
    assert len({tuple(f) for f in first}) == 50
    assert batch_rng(3, 7).integers(0, 1 << 30, 4).tolist() == first[7]
    assert batch_rng(4, 7).integers(0, 1 << 30, 4).tolist() != first[7]
    assert batch_rng(3, 7, stream=1).integers(0, 1 << 30, 4).tolist() != first[7]


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_ranks_share_the_batch_without_overlap(world):
    slots = [rank_slots(64, r, world) for r in range(world)]
    np.testing.assert_array_equal(np.sort(np.concatenate(slots)), np.arange(64))


def test_unequal_shares_are_refused():
    with pytest.raises(UserError, match="multiple of 3"):
        rank_slots(64, 0, 3)
    with pytest.raises(UserError, match="ranks run from 0 to 1"):
        rank_slots(64, 2, 2)
