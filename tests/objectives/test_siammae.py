"""SiamMAE: what the loss counts, what the decoder sees, and that a later frame is reconstructed from the earlier one."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from robot_pt.errors import UserError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.objectives.mae import patchify
from robot_pt.objectives.siammae import SiamMAE, SiamMAEConfig
from robot_pt.objectives.stepper import StepConfig
from robot_pt.objectives.views import frames_of
from tests.objectives.clip_batch import clips, noise_frames
from tests.objectives.toy_moves import SPEC

SIDE, FEW = 32, 24
SMALL, VIT = EncoderConfig(name="small"), EncoderConfig(name="vit_tiny")
FAST = StepConfig(learning_rate=1e-3, weight_decay=0.0, clip_norm=0.0)


def build(encoder: EncoderConfig = SMALL, side: int = SIDE, **options: Any) -> SiamMAE:
    config = SiamMAEConfig(
        **({"crop_scale": None, "optim": FAST, "decoder_width": 96, "decoder_blocks": 1, "decoder_heads": 4} | options)
    )
    return SiamMAE.build(SPEC, image_size=(side, side), task_slots=1, encoder=encoder, config=config)


def moving(count: int, seed: int, side: int = SIDE) -> Tensor:
    """uint8 (B, 2, side, side, 3): a square that moved over a background of random tiles, each clip its own; nothing repeats."""
    generator = torch.Generator().manual_seed(seed)
    tiles = torch.randint(0, 200, (count, 1, side // 8, side // 8, 3), generator=generator, dtype=torch.uint8)
    frames = tiles.repeat_interleave(8, 2).repeat_interleave(8, 3).repeat(1, 2, 1, 1, 1)
    place = torch.randint(0, side - 8, (count, 2), generator=generator)
    move = torch.randint(-6, 7, (count, 2), generator=generator)
    for b in range(count):
        for i, (x, y) in enumerate((place[b], (place[b] + move[b]).clamp(0, side - 8))):
            frames[b, i, y : y + 8, x : x + 8] = 255
    return frames


@torch.no_grad()
def error(objective: SiamMAE, past: Tensor, future: Tensor) -> float:
    keep, place = objective.mask(torch.arange(len(future)) + 10**6, 0)
    found = objective.predict(past, future, keep, place)
    return float(objective.loss(found, future, place >= objective.kept))


@cache
def trained(kind: str, blind: bool = False) -> SiamMAE:
    """blind: of a past frame from another clip, so that nothing is to be learned from it."""
    objective = build(SMALL if kind == "conv" else VIT, side=FEW)
    for step in range(240 if kind == "conv" else 600):
        frames = moving(24, seed=step, side=FEW)
        if blind:
            frames[:, 0] = frames[:, 0].roll(1, 0)
        objective.update(clips(frames, key=100 * step), step)
    return objective


def of_the_past(objective: SiamMAE) -> tuple[float, float]:
    """Errors with the true past, and with that of another clip."""
    frames = moving(60, seed=10**6, side=FEW)
    return error(objective, frames[:, 0], frames[:, 1]), error(objective, frames[:, 0].roll(1, 0), frames[:, 1])


@pytest.mark.parametrize(
    "kind", ["conv", pytest.param("transformer", marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_the_past_frame_is_what_the_future_is_made_of(kind: str) -> None:
    true, shuffled = of_the_past(trained(kind))
    assert true < 0.7 * shuffled


@pytest.mark.slow
def test_one_that_ignores_the_past_fails_the_same_test() -> None:
    true, shuffled = of_the_past(trained("conv", blind=True))
    assert true > 0.9 * shuffled


@pytest.mark.parametrize("encoder", [SMALL, VIT], ids=["conv", "transformer"])
def test_both_frames_go_through_one_encoder_and_nothing_else_of_the_future_is_seen(encoder: EncoderConfig) -> None:
    objective, frames = build(encoder), noise_frames(2, 2, SIDE)
    keep, place = objective.mask(torch.arange(2), 0)
    removed = (place >= objective.kept).unflatten(1, objective.encoder.grid)
    pixels = removed.repeat_interleave(objective.patch, 1).repeat_interleave(objective.patch, 2)[..., None]
    unseen = torch.where(pixels, 255 - frames[:, 1], frames[:, 1])
    seen = torch.where(pixels, frames[:, 1], 255 - frames[:, 1])
    with torch.no_grad():
        found = objective.predict(frames[:, 0], frames[:, 1], keep, place)
        assert torch.equal(objective.predict(frames[:, 0], unseen, keep, place), found)
        assert not torch.equal(objective.predict(frames[:, 0], seen, keep, place), found)
        assert not torch.equal(objective.predict(255 - frames[:, 0], frames[:, 1], keep, place), found)


def test_masking_the_map_alone_shows_what_lies_around_a_kept_cell() -> None:
    """Atari-PB's form: the picture of the future leaks through receptive fields."""
    objective, frames = build(hide_pixels=False), noise_frames(2, 2, SIDE)
    keep, place = objective.mask(torch.arange(2), 0)
    removed = (place >= objective.kept).unflatten(1, objective.encoder.grid)
    pixels = removed.repeat_interleave(objective.patch, 1).repeat_interleave(objective.patch, 2)[..., None]
    unseen = torch.where(pixels, 255 - frames[:, 1], frames[:, 1])
    with torch.no_grad():
        assert not torch.equal(
            objective.predict(frames[:, 0], unseen, keep, place),
            objective.predict(frames[:, 0], frames[:, 1], keep, place),
        )


def test_the_loss_is_the_masked_error_of_normalised_patches() -> None:
    objective, frames = build(), noise_frames(3, 1, SIDE)[:, 0]
    _, place = objective.mask(torch.arange(3), 0)
    removed = place >= objective.kept
    patches = patchify(frames.permute(0, 3, 1, 2).double() / 255, objective.patch)
    target = (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()
    wrong = target.float() + removed[..., None] * 2.0 + ~removed[..., None] * 7.0
    assert float(objective.loss(wrong, frames, removed)) == pytest.approx(4.0, rel=1e-4)
    exact = torch.where(removed[..., None], target.float(), torch.full_like(target, 9.0).float())
    assert float(objective.loss(exact, frames, removed)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("encoder", "count", "kept"), [(SMALL, 16, 1), (VIT, 64, 3)], ids=["conv", "transformer"])
def test_nineteen_of_twenty_patches_are_taken_away_each_clip_its_own(
    encoder: EncoderConfig, count: int, kept: int
) -> None:
    objective = build(encoder)
    keep, place = objective.mask(torch.arange(500), 0)
    assert keep.shape == (500, kept)
    assert torch.equal(place.gather(1, keep), torch.arange(kept).expand(500, -1))
    often = torch.bincount(keep.flatten(), minlength=count) / 500
    assert often.max() < 2.2 * kept / count


def test_both_frames_have_one_crop() -> None:
    objective = build(crop_scale=(0.5, 1.0))
    still = clips(noise_frames(5, 1, SIDE).repeat(1, 2, 1, 1, 1))
    past, future = objective.view(still, 0)
    assert torch.equal(past, future)
    assert not torch.equal(past, frames_of(still)[:, 0])


def test_a_pair_of_one_frame_is_not_learned() -> None:
    """An episode's last frame is its own future: reconstructing it is copying."""
    frames = moving(6, seed=0)
    step = torch.tensor([[0, 1]] * 5 + [[4, 4]])
    one, other = build(), build()
    changed = frames.clone()
    changed[5] = 255 - changed[5]
    loss = one.update(clips(frames, step=step), 0)["objective/loss"]
    assert torch.equal(loss, other.update(clips(changed, step=step), 0)["objective/loss"])


def test_gaps_are_times() -> None:
    import numpy as np

    config = SiamMAEConfig()
    for hz, low, high in ((30.0, 4, 48), (5.0, 1, 8)):
        first, second = config.plan(hz).steps(np.random.default_rng(0), np.zeros(4000, np.int64), np.full(4000, 99)).T
        assert (second - first).min() == low
        assert (second - first).max() == high


def test_pictures_show_past_kept_found_and_future() -> None:
    frames = moving(3, seed=0)
    shown = build().picture(clips(frames))
    assert shown.shape == (3, 4, SIDE, SIDE, 3)
    assert torch.equal(shown[:, 0], frames[:, 0])
    assert torch.equal(shown[:, 3], frames[:, 1])
    assert ((shown[:, 1] == 128).all(-1).float().mean((1, 2)) > 0.9).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mask_share": 1.0}, "mask_share is 1.0"), ({"gap_s": (2.0, 1.0)}, r"gap_s is \(2.0, 1.0\)"),
        ({"decoder_heads": 5}, "multiple of 4 x heads"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        SiamMAEConfig(**options)


def test_an_image_that_cells_do_not_tile_is_refused() -> None:
    with pytest.raises(UserError, match="choose an --image-size"):
        SiamMAE.build(SPEC, image_size=(36, 36), task_slots=1, encoder=SMALL)
