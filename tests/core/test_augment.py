"""The batched augmentation against a per-image one in numpy and the standard library's colour conversions."""

import colorsys
import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from robot_pt.augment import AugmentConfig, _stations, augment, crop, jitter
from robot_pt.errors import UserError

GEN = torch.Generator().manual_seed(0)
ORDERS = torch.tensor(list(itertools.permutations(range(4))))


def images(count: int, height: int = 9, width: int = 11) -> torch.Tensor:
    return torch.randint(0, 256, (count, height, width, 3), generator=GEN, dtype=torch.uint8)


def hsv_map(image: np.ndarray, change) -> np.ndarray:
    out = np.empty_like(image)
    for place in np.ndindex(image.shape[:2]):
        out[place] = colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*image[place])))
    return out


def reference_jitter(image: np.ndarray, amount: np.ndarray, order: list[int]) -> np.ndarray:
    """One image, one operation after the other, clipped to [0, 1] after each; float64."""
    x = image.astype(np.float64) / 255
    for operation in order:
        a = float(amount[operation])
        if operation == 0:
            x = x + a
        elif operation == 1:
            mean = x.mean((0, 1))
            x = (1 + a) * (x - mean) + mean
        elif operation == 2:
            x = hsv_map(x, lambda h, s, v, a=a: (h, min(max(s * (1 + a), 0), 1), v))
        else:
            x = hsv_map(x, lambda h, s, v, a=a: ((h + a) % 1, s, v))
        x = x.clip(0, 1)
    return x * 255


def test_jitter_matches_a_per_image_implementation_in_all_24_orders() -> None:
    batch = images(24)
    batch[:, 0, 0] = 128  # grey, black, white and pure colours are where HSV is singular
    batch[:, 0, 1], batch[:, 0, 2] = 0, 255
    batch[:, 0, 3] = torch.tensor([255, 0, 0], dtype=torch.uint8)
    amount = (torch.rand(24, 4, generator=GEN) * 2 - 1) * torch.tensor([0.5, 0.6, 0.8, 0.4])
    got = jitter(batch, amount, ORDERS).numpy().astype(np.float64)
    for i in range(24):
        expected = reference_jitter(batch[i].numpy(), amount[i].numpy(), ORDERS[i].tolist())
        # truncation to uint8: one step off where the exact value lies within float32 error of an integer
        assert np.abs(got[i] - np.floor(expected)).max() <= 1
        assert (got[i] != np.floor(expected + 1e-3)).mean() < 0.02


def test_hue_turns_red_to_green_to_blue() -> None:
    red = torch.tensor([200, 0, 0], dtype=torch.uint8).expand(2, 2, 2, 3)
    amount = torch.tensor([[0, 0, 0, 1 / 3], [0, 0, 0, 2 / 3]], dtype=torch.float32)
    out = jitter(red, amount, ORDERS[:2])
    assert (out[0].to(int) - torch.tensor([0, 200, 0])).abs().max() <= 1
    assert (out[1].to(int) - torch.tensor([0, 0, 200])).abs().max() <= 1


@pytest.mark.parametrize("row", range(24))
def test_stations_visit_each_operation_once_in_order(row: int) -> None:
    order = ORDERS[row].tolist()
    plan = [set(torch.nonzero(station[0]).flatten().tolist()) for station in _stations(ORDERS[row : row + 1])]
    assert all(len(s) <= 2 and s <= ({2, 3} if i in (2, 5) else {0, 1}) for i, s in enumerate(plan))
    assert all(len(s) <= 1 for i, s in enumerate(plan) if i not in (2, 5))
    visits = {operation: i for i, station in enumerate(plan) for operation in station}
    assert sum(map(len, plan)) == 4
    for earlier, later in itertools.pairwise(order):
        together = {earlier, later} == {2, 3}  # saturation and hue commute
        assert visits[earlier] < visits[later] or (together and visits[earlier] == visits[later])


def test_no_amount_keeps_every_value() -> None:
    batch = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(24, 16, 16, 3)
    out = jitter(batch, torch.zeros(24, 4), ORDERS)
    assert (out.to(int) - batch.to(int)).abs().max() <= 1  # x / 255 * 255 truncates some values down, as published


def test_crop_matches_numpy_padding() -> None:
    batch, pad = images(81), 4
    offsets = torch.cartesian_prod(torch.arange(9), torch.arange(9))
    got = crop(batch, offsets, pad)
    for image, (dy, dx), out in zip(batch.numpy(), offsets.tolist(), got.numpy(), strict=True):
        padded = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
        np.testing.assert_array_equal(out, padded[dy : dy + 9, dx : dx + 11])


def column_images(count: int) -> torch.Tensor:
    """Every pixel tells its own row and column, so the crop can be read off."""
    y, x = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    return torch.stack([y, x, 0 * x], -1).to(torch.uint8).expand(count, 16, 16, 3)


def test_crop_offsets_are_uniform_and_independent() -> None:
    count = 8100
    out = augment(column_images(count), torch.arange(count), 0, 0, AugmentConfig(jitter_probability=0))
    centre = out[:, 8, 8].to(int) - 8 + 4
    table = np.histogram2d(centre[:, 0], centre[:, 1], bins=9, range=[(0, 9), (0, 9)])[0]
    assert table.min() > 0
    assert stats.chisquare(table.flatten()).pvalue > 1e-3


def test_share_of_jittered_images_and_untouched_bytes() -> None:
    count = 4000
    batch = images(1, 4, 4).expand(count, 4, 4, 3)
    out = augment(batch, torch.arange(count), 0, 0, AugmentConfig(pad=0))
    changed = (out != batch).flatten(1).any(1).float().mean()
    assert 0.78 < changed < 0.82


@pytest.mark.parametrize(
    ("field", "low", "high"), [("brightness", -0.2, 0.2), ("contrast", 0.9, 1.1), ("saturation", 0.9, 1.1)]
)
def test_range_of_each_amount(field: str, low: float, high: float) -> None:
    off = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "pad": 0, "jitter_probability": 1.0}
    config = AugmentConfig(**{**off, field: {"brightness": 0.2}.get(field, 0.1)})
    two = torch.tensor([[140, 100, 100], [100, 100, 100]], dtype=torch.uint8).view(1, 1, 2, 3).expand(6000, 1, 2, 3)
    out = augment(two, torch.arange(6000), 5, 0, config).double()
    amount = {
        "brightness": (out[:, 0, 1, 0] - 100) / 255,
        "contrast": (out[:, 0, 0, 0] - out[:, 0, 1, 0]) / 40,
        "saturation": (1 - out[:, 0, 0, 1] / out[:, 0, 0, 0]) / (1 - 100 / 140),
    }[field].numpy()
    slack = 0.06 if field != "brightness" else 0.005  # uint8 steps
    assert low - slack < amount.min() < low + slack
    assert high - slack < amount.max() < high + slack
    assert amount.mean() == pytest.approx((low + high) / 2, abs=0.02)


def test_views_of_two_streams_differ_and_repeat() -> None:
    batch, keys = images(32, 16, 16), torch.arange(32)
    first, second = (augment(batch, keys, 3, stream, AugmentConfig()) for stream in (16, 32))
    assert (first != second).flatten(1).any(1).float().mean() > 0.9
    assert torch.equal(first, augment(batch, keys, 3, 16, AugmentConfig()))
    assert torch.equal(first[10:20], augment(batch[10:20], keys[10:20], 3, 16, AugmentConfig()))
    assert first.dtype == torch.uint8


def test_refuses_nonsense() -> None:
    with pytest.raises(UserError, match="pad"):
        AugmentConfig(pad=-1)
    with pytest.raises(UserError, match="probability"):
        AugmentConfig(jitter_probability=1.5)
