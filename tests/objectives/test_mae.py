"""Masked autoencoding, and the mistakes its reimplementations make: each check passes on it and fails on the mistake."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.errors import MismatchError, UserError
from robot_pt.networks.encoders import EncoderConfig, floats
from robot_pt.objectives.mae import (
    MAE,
    MAEConfig,
    in_place,
    patch_statistics,
    patchify,
    take,
    unpatchify,
)  # fmt: skip
from robot_pt.objectives.stepper import StepConfig
from tests.objectives.clip_batch import SPEC, clips, noise_frames

VIT, CNN = EncoderConfig(name="vit_tiny", latent=16), EncoderConfig(name="small", latent=16)


def build(encoder=VIT, kind=MAE, side=32, **config):
    return kind.build(SPEC, image_size=(side, side), task_slots=1, encoder=encoder, config=MAEConfig(**config), seed=3)


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(1, 6))
def test_patches_are_taken_apart_and_put_together(batch, rows, columns, patch):
    image = torch.rand(batch, 3, rows * patch, columns * patch)
    patches = patchify(image, patch)
    assert patches.shape == (batch, rows * columns, 3 * patch * patch)
    assert torch.equal(unpatchify(patches, (rows, columns), patch), image)
    last = image[:, :, -patch:, -patch:].permute(0, 2, 3, 1).flatten(1)
    assert torch.equal(patches[:, -1], last)


def check_loss(mae):
    """Exact where patches were kept and off by 0.5 where removed: the error of those removed alone; the other way round: none."""
    frames = noise_frames(4)[:, 0]
    removed = mae.mask(torch.arange(4), 0)[1] >= mae.kept
    exact = patchify(floats(frames), mae.patch)
    wrong = exact + 0.5
    masked = torch.where(removed[..., None], wrong, exact)
    kept = torch.where(removed[..., None], exact, wrong)
    torch.testing.assert_close(mae.loss(masked, frames, removed), torch.tensor(0.25))
    torch.testing.assert_close(mae.loss(kept, frames, removed), torch.tensor(0.0))


class OverAllPatches(MAE):
    def loss(self, prediction, frames, removed):
        return super().loss(prediction, frames, torch.ones_like(removed))


class InvertedMask(MAE):
    def loss(self, prediction, frames, removed):
        return super().loss(prediction, frames, ~removed)


def test_the_loss_is_over_removed_patches():
    check_loss(build(norm_pixels=False))
    for broken in (OverAllPatches, InvertedMask):
        with pytest.raises(AssertionError):
            check_loss(build(kind=broken, norm_pixels=False))


def test_patches_are_normalised_by_their_own_unbiased_statistics():
    frames = noise_frames(2)[:, 0]
    mae = build()
    patches = patchify(floats(frames), mae.patch)
    target = (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, unbiased=True, keepdim=True) + 1e-6).sqrt()
    everywhere = torch.ones(2, 64, dtype=torch.bool)
    torch.testing.assert_close(mae.loss(target, frames, everywhere), torch.tensor(0.0))
    numbers = patches.shape[-1]
    predicting_the_mean = mae.loss(torch.zeros_like(target), frames, everywhere)
    torch.testing.assert_close(predicting_the_mean, torch.tensor((numbers - 1) / numbers), atol=1e-3, rtol=0)
    assert patch_statistics(torch.zeros(1, 1, 12))[1].item() == pytest.approx(1e-3)


def check_places(keep, place):
    """Tokens that are kept come back to where they were taken from; all kept: the sequence itself."""
    tokens = torch.arange(1.0, 65).expand(len(keep), -1)[..., None]
    back = in_place(take(tokens, keep), place, torch.zeros(1, 1, 1))[..., 0]
    removed = place >= keep.shape[1]
    assert (back[removed] == 0).all()
    assert torch.equal(back[~removed], tokens[..., 0][~removed])
    assert (removed.sum(1) == 64 - keep.shape[1]).all()


@pytest.mark.parametrize("share", [0.75, 0.5])
def test_tokens_come_back_to_their_places(share):
    mae = build(mask_share=share)
    keep, place = mae.mask(torch.arange(5), 2)
    assert keep.shape == (5, round(64 * (1 - share)))
    check_places(keep, place)
    order = place.argsort(1)
    check_places(order, place)  # nothing dropped: the decoder gets the encoder's tokens in order
    with pytest.raises(AssertionError):
        check_places(keep, order)  # the drawn order in place of its inverse


def check_mask(mask):
    keep, _ = mask(torch.tensor([4, 5, 4]), 1)
    assert torch.equal(keep[0], keep[2]), "the mask is not the sample's"
    assert not torch.equal(keep[0], keep[1]), "one mask for the whole batch"
    assert not torch.equal(mask(torch.tensor([4]), 2)[0][0], keep[0]), "one mask for all updates"


class SharedMask(MAE):
    def mask(self, key, step):
        return super().mask(torch.zeros_like(key), step)


def test_every_sample_has_a_mask_of_its_own():
    check_mask(build().mask)
    with pytest.raises(AssertionError, match="whole batch"):
        check_mask(build(kind=SharedMask).mask)


class PositionsAfterDropping(MAE):
    def predict(self, frames, keep, place):
        backbone = self.encoder.backbone
        tokens = take(backbone.embed(floats(frames)) - backbone.positions, keep)
        return self.decoder(backbone.encode(tokens + backbone.positions[: keep.shape[1]]), place)


def check_positions(mae):
    """All patches alike: only positions tell which were kept, and the encoder must know."""
    frames = torch.full((1, 32, 32, 3), 90, dtype=torch.uint8)
    seen = []
    real = mae.encoder.backbone.encode
    mae.encoder.backbone.encode = lambda tokens: seen.append(tokens) or real(tokens)
    for key in (1, 2):
        mae.predict(frames, *mae.mask(torch.tensor([key]), 0))
    assert not torch.allclose(seen[0], seen[1], atol=1e-3)


def test_positions_are_added_before_patches_are_dropped():
    check_positions(build())
    with pytest.raises(AssertionError):
        check_positions(build(kind=PositionsAfterDropping))


def leaks(mae):
    """Whether removed pixels change what is predicted."""
    frames = noise_frames(2)[:, 0]
    keep, place = mae.mask(torch.arange(2), 0)
    patches = patchify(floats(frames), mae.patch)
    patches[place >= mae.kept] = 0
    hidden = (unpatchify(patches, mae.encoder.grid, mae.patch) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return not torch.allclose(mae.predict(frames, keep, place), mae.predict(hidden, keep, place), atol=1e-5)


def test_a_transformer_never_sees_what_was_removed_and_convolutions_do():
    assert not leaks(build())
    assert leaks(build(CNN))


@pytest.mark.parametrize("encoder", [VIT, CNN])
def test_an_update_learns_the_backbone_and_leaves_the_rest(encoder):
    mae = build(encoder)
    before = {name: value.clone() for name, value in mae.encoder.state_dict().items()}
    metrics = mae.update(clips(noise_frames(4)), 0)
    assert metrics["objective/loss"].isfinite()
    for name, value in mae.encoder.state_dict().items():
        assert torch.equal(value, before[name]) == (not name.startswith("backbone.")), name
    assert mae.trains == "backbone"
    assert mae.kept == (16 if encoder is VIT else 2)  # a quarter of 64 patches; a tenth of a 4x4 map


@pytest.mark.parametrize("encoder", [VIT, CNN])
def test_the_same_batch_and_step_give_the_same_update_and_a_loaded_state_continues(encoder):
    first, second = build(encoder), build(encoder)
    for step in range(2):
        first.update(clips(noise_frames(4)), step)
        second.update(clips(noise_frames(4)), step)
    fresh = build(encoder)
    fresh.load_state_dict(first.state_dict())
    for mae in (first, second, fresh):
        mae.update(clips(noise_frames(4, seed=1)), 2)
    for other in (second, fresh):
        ours, theirs = first.state_dict(), other.state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    with pytest.raises(MismatchError):
        build(CNN if encoder is VIT else VIT).load_state_dict(first.state_dict())


@pytest.mark.slow
def test_eight_images_are_learned_by_heart():
    """Predicting the mean of each patch has an error of 1."""
    torch.manual_seed(0)
    coarse = torch.randint(0, 256, (8, 3, 4, 4)).float()
    frames = torch.nn.functional.interpolate(coarse, (16, 16), mode="bicubic").clamp(0, 255).to(torch.uint8)
    batch = clips(frames.permute(0, 2, 3, 1)[:, None].contiguous())
    optim = StepConfig(learning_rate=1e-3, betas=(0.9, 0.95), clip_norm=1, total_steps=220)
    mae = build(side=16, crop_scale=None, decoder_blocks=1, optim=optim)
    last = [mae.update(batch, step)["objective/loss"].item() for step in range(220)][-20:]
    assert sum(last) / 20 < 0.3


def test_the_picture_shows_frame_what_was_kept_and_the_whole():
    mae = build()
    shown = mae.picture(clips(noise_frames(3)))
    assert shown.shape == (3, 3, 32, 32, 3)
    assert shown.dtype == torch.uint8
    assert torch.equal(shown[:, 0], noise_frames(3)[:, 0])
    removed = (mae.mask(torch.arange(3), 0)[1] >= mae.kept)[..., None]
    frame, kept, whole = (patchify(floats(shown[:, i]), mae.patch) for i in range(3))
    assert torch.equal(torch.where(removed, 0.0, kept), torch.where(removed, 0.0, frame))
    assert torch.equal(torch.where(removed, 0.0, whole), torch.where(removed, 0.0, frame))
    assert (kept[removed.expand_as(kept)] * 255).round().eq(128).all()


def test_senseless_settings_are_refused():
    for share in (0, 1, -1.0):
        with pytest.raises(UserError, match="mask_share"):
            MAEConfig(mask_share=share)
    for wrong in ({"decoder_width": 190}, {"decoder_blocks": 0}):
        with pytest.raises(UserError, match="MAE's decoder"):
            MAEConfig(**wrong)
    with pytest.raises(UserError, match="tiles with squares"):
        build(CNN, side=36)
