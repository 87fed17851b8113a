import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.augment import AugmentConfig
from robot_pt.errors import UserError
from robot_pt.objectives.views import frames_of, over_frames, resized_crop, view
from tests.objectives.clip_batch import clips, noise_frames

CROP = AugmentConfig(jitter_probability=0)
KEY = torch.tensor([5, 6, 7])


def still(batch=3, count=4, side=24, seed=0):
    """Clips in which nothing moves: frames of a clip differ by their view alone."""
    return noise_frames(batch, 1, side, seed).repeat(1, count, 1, 1, 1)


@pytest.mark.parametrize("shared", [True, False])
def test_a_shared_view_crops_a_clip_as_a_whole_and_another_each_frame(shared):
    out = view(still(), KEY, 3, 0, AugmentConfig(), seed=1, shared=shared)
    same = (out == out[:, :1]).flatten(2).all(2)
    assert out.shape == (3, 4, 24, 24, 3)
    assert out.dtype == torch.uint8
    assert bool(same.all()) == shared
    assert not (out[0] == out[1]).flatten(1).all(1).any(), "two clips had one crop"


@pytest.mark.parametrize("look", [
    lambda frames, key, step, stream: view(frames, key, step, stream, AugmentConfig(), seed=0, shared=False),
    lambda frames, key, step, stream: resized_crop(frames, key, step, stream, seed=0, shared=False),
])  # fmt: skip
def test_a_view_is_a_function_of_key_step_and_stream(look):
    frames = still()
    whole = look(frames, KEY, 3, 1)
    assert torch.equal(whole, look(frames, KEY, 3, 1))
    assert torch.equal(whole[1:], look(frames[1:], KEY[1:], 3, 1)), "a sample's view depends on its batch"
    assert not torch.equal(whole, look(frames, KEY, 4, 1))
    assert not torch.equal(whole, look(frames, KEY, 3, 2))


def test_every_crop_offset_is_drawn_equally_often():
    """A frame whose pixels say their column: the shift can be read off its middle."""
    frames = torch.arange(24, dtype=torch.uint8).view(1, 1, 1, 24, 1).expand(2000, 1, 24, 24, 3)
    out = view(frames, torch.arange(2000), 0, 0, AugmentConfig(pad=2, jitter_probability=0), seed=0)
    shift = out[:, 0, 12, 12, 0].long() - 12
    assert torch.allclose(torch.bincount(shift + 2) / 2000, torch.full((5,), 0.2), atol=0.05)


def test_no_config_gives_the_frames_themselves():
    frames = still()
    assert view(frames, KEY, 0, 0, None, seed=0) is frames


@settings(max_examples=25)
@given(st.integers(0, 1 << 40), st.floats(0.05, 1), st.floats(0.3, 1))
def test_a_resized_crop_lies_within_the_frame_and_has_the_scale_asked_for(step, low, span):
    """Frames whose red is the column and green the row: the corners of a crop say where it was cut."""
    side, high = 64, min(1.0, low + span * (1 - low))
    ramp = torch.linspace(0, 255, side)
    frame = torch.stack([ramp.expand(side, side), ramp[:, None].expand(side, side), torch.zeros(side, side)], -1).to(
        torch.uint8
    )
    out = resized_crop(
        frame.expand(1, 2, side, side, 3), KEY[:1], step, 0, seed=0, scale=(low, high), ratio=(1, 1)
    ).float()
    assert torch.equal(out[0, 0], out[0, 1])
    wide, tall = (
        out[0, 0, side // 2, -1, 0] - out[0, 0, side // 2, 0, 0],
        out[0, 0, -1, side // 2, 1] - out[0, 0, 0, side // 2, 1],
    )
    for extent in (wide / 255, tall / 255):
        assert low**0.5 - 0.05 <= float(extent) + 1 / side <= high**0.5 + 0.05


def test_the_whole_frame_comes_back_as_it_was_and_mirrored_when_asked():
    frames = still()
    assert torch.equal(resized_crop(frames, KEY, 0, 0, seed=0, scale=(1, 1), ratio=(1, 1)), frames)
    assert torch.equal(resized_crop(frames, KEY, 0, 0, seed=0, scale=(1, 1), ratio=(1, 1), flip=1.0), frames.flip(3))
    with pytest.raises(UserError, match="scale of a resized crop"):
        resized_crop(frames, KEY, 0, 0, seed=0, scale=(0.8, 0.2))
    with pytest.raises(UserError, match="scale of a resized crop"):
        resized_crop(frames, KEY, 0, 0, seed=0, scale=(0, 0.2))


def test_one_camera_and_all_its_frames_in_one_pass():
    batch = clips(noise_frames(3, 2))
    assert frames_of(batch) is batch.images["primary"]
    mean = over_frames(lambda x: x.float().mean((1, 2, 3)), frames_of(batch))
    torch.testing.assert_close(mean, frames_of(batch).float().mean((2, 3, 4)))
    with pytest.raises(UserError, match="looks at one camera"):
        frames_of(batch._replace(images={}))
    with pytest.raises(UserError, match="'primary', 'wrist'"):
        frames_of(batch._replace(images={"primary": 0, "wrist": 0}))
