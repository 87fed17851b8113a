"""Noise belongs to the sample: position in the batch and number of processes do not change it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from robot_pt import noise

KEYS = torch.arange(4096)


def splitmix64(x: int) -> int:
    """Finaliser as published, in Python integers: an implementation of its own."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
    return x ^ (x >> 31)


@given(x=st.integers(-(2**63), 2**63 - 1))
@settings(max_examples=200, deadline=None)
def test_hash_is_splitmix64_in_wrapping_int64(x: int) -> None:
    got = int(noise._mix(torch.tensor([x]))[0])
    assert got % 2**64 == splitmix64(x % 2**64)
    assert noise._mix_int(x) == splitmix64(x % 2**64)


def test_splitmix64_known_sequence() -> None:
    """First outputs of SplitMix64 seeded with 0, as its reference implementation prints them."""
    assert [splitmix64(k * 0x9E3779B97F4A7C15 % 2**64) for k in (1, 2, 3)] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]


@given(order=st.permutations(list(range(16))), step=st.integers(0, 10**7), stream=st.integers(0, 300))
@settings(max_examples=30, deadline=None)
def test_value_depends_on_key_not_on_place_in_batch(order: list[int], step: int, stream: int) -> None:
    whole = noise.uniform(KEYS[:16], step, stream, (3, 2))
    shuffled = noise.uniform(torch.tensor(order), step, stream, (3, 2))
    assert torch.equal(shuffled, whole[order])
    halves = [noise.uniform(part, step, stream, (3, 2)) for part in KEYS[:16].split(5)]
    assert torch.equal(torch.cat(halves), whole)


def test_step_may_be_a_tensor() -> None:
    for step in (0, 1, 12345, 10**9):
        assert torch.equal(
            noise.normal(KEYS[:8], step, 2, (4,), seed=5), noise.normal(KEYS[:8], torch.tensor(step), 2, (4,), seed=5)
        )


@pytest.mark.parametrize("change", ["key", "step", "stream", "seed"])
def test_any_part_of_the_key_gives_other_independent_numbers(change: str) -> None:
    base = noise.uniform(KEYS, 7, 1, (4,), seed=3).flatten()
    other = {
        "key": noise.uniform(KEYS + 4096, 7, 1, (4,), seed=3),
        "step": noise.uniform(KEYS, 8, 1, (4,), seed=3),
        "stream": noise.uniform(KEYS, 7, 2, (4,), seed=3),
        "seed": noise.uniform(KEYS, 7, 1, (4,), seed=4),
    }[change].flatten()
    assert (base == other).float().mean() < 1e-3
    assert abs(np.corrcoef(base, other)[0, 1]) < 4 / np.sqrt(len(base))


def test_uniform_distribution() -> None:
    value = noise.uniform(KEYS, 3, 0, (16,)).numpy()
    assert value.dtype == np.float32
    assert value.min() > 0
    assert value.max() < 1
    assert stats.kstest(value.flatten(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(value[:, 0], value[:, 1])[0, 1]) < 0.06
    assert abs(np.corrcoef(value[:-1, 0], value[1:, 0])[0, 1]) < 0.06


def test_normal_distribution() -> None:
    value = noise.normal(KEYS, 3, 1, (16,)).numpy().flatten()
    assert np.isfinite(value).all()
    assert stats.kstest(value, "norm").pvalue > 1e-3
    assert abs(stats.kurtosis(value)) < 0.1


def test_extreme_bits_stay_inside_the_open_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    for bits in (0, -1):
        monkeypatch.setattr(noise, "_hash", lambda key_B, *_, bits=bits: torch.full((len(key_B), 1), bits))
        value = noise.uniform(KEYS[:1], 0, 0, (1,))
        assert 0 < float(value) < 1
        assert torch.isfinite(noise.normal(KEYS[:1], 0, 0, (1,))).all()


def test_shape_of_nothing_is_one_number_per_sample() -> None:
    assert noise.uniform(KEYS[:5], 0, 0, ()).shape == (5,)
