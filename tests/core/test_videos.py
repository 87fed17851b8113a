"""MP4s open in a browser's codec with the pixels that went in; grids hold every clip with its outcome."""

import sys
from itertools import pairwise

import numpy as np
import pytest

from robot_pt.errors import DataError, MissingExtraError
from robot_pt.results import EpisodeResult
from robot_pt.videos import FAILURE_RGB, SUCCESS_RGB, ClipWriter, bordered, clip_path, enlarge, grid, write_mp4

av = pytest.importorskip("av", reason="PyAV, the video extra, is not installed")


def gradient(steps=7, height=48, width=64):
    """Smooth frames that darken with time: survive lossy compression nearly unchanged."""
    x = np.linspace(0, 120, width)[None, None, :, None]
    t = np.linspace(100, 0, steps)[:, None, None, None]
    return np.broadcast_to(x + t, (steps, height, width, 3)).astype(np.uint8)


def decode(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(stream)])
        return frames, stream.codec_context.pix_fmt, stream.codec_context.name, float(stream.average_rate)


@pytest.mark.parametrize("fps", [5, 10.0, 12.5])
def test_mp4_holds_the_frames_at_the_rate(tmp_path, fps):
    frames = gradient()
    write_mp4(tmp_path / "new" / "a.mp4", frames, fps)
    read, pixels, codec, rate = decode(tmp_path / "new" / "a.mp4")
    assert (pixels, codec) == ("yuv420p", "h264")
    assert rate == pytest.approx(fps)
    assert read.shape == frames.shape
    assert np.abs(read.astype(int) - frames).mean() < 3
    assert all(a.mean() > b.mean() for a, b in pairwise(read))


def test_odd_sizes_lose_a_row_and_a_column(tmp_path):
    write_mp4(tmp_path / "a.mp4", gradient(height=33, width=45))
    assert decode(tmp_path / "a.mp4")[0].shape == (7, 32, 44, 3)


def test_mp4_is_reproducible_and_leaves_nothing_else(tmp_path):
    for name in "ab":
        write_mp4(tmp_path / f"{name}.mp4", gradient())
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_mp4_starts_playing_before_it_is_read_whole(tmp_path):
    write_mp4(tmp_path / "a.mp4", gradient())
    raw = (tmp_path / "a.mp4").read_bytes()
    assert raw.index(b"moov") < raw.index(b"mdat")


@pytest.mark.parametrize(
    "frames",
    [np.zeros((0, 4, 4, 3), np.uint8), np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4, 3)), np.zeros((2, 4, 4, 4), np.uint8)],
)  # fmt: skip
def test_frames_of_another_kind_are_refused(tmp_path, frames):
    with pytest.raises(DataError, match="a video needs"):
        write_mp4(tmp_path / "a.mp4", frames)
    assert not list(tmp_path.iterdir())


def test_rate_must_be_positive(tmp_path):
    with pytest.raises(DataError, match="frame rate above 0"):
        write_mp4(tmp_path / "a.mp4", gradient(), fps=0)


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"robot-pt\[video\]"):
        write_mp4(tmp_path / "a.mp4", gradient())


@pytest.mark.parametrize(("size", "factor"), [(64, 3), (84, 2), (128, 2), (256, 1), (640, 1)])
def test_enlarging_repeats_pixels(size, factor):
    frames = np.random.default_rng(0).integers(0, 255, (2, size // 2, size, 3), np.uint8)
    big = enlarge(frames)
    assert big.shape == (2, size // 2 * factor, size * factor, 3)
    np.testing.assert_array_equal(big[:, ::factor, ::factor], frames)


def test_borders_tell_the_outcome_by_colour_and_by_shape():
    frames = gradient()
    good, bad = bordered(frames, True, width=4), bordered(frames, False, width=4)
    assert good.shape == (7, 56, 72, 3)
    np.testing.assert_array_equal(good[:, 4:-4, 4:-4], frames)
    assert (good[:, 0] == SUCCESS_RGB).all()
    assert (bad[:, -1] == FAILURE_RGB).all()
    assert (bad[:, 8, 8] == FAILURE_RGB).all()
    assert (good[:, 8, 8] == frames[:, 4, 4]).all()


def test_grid_shows_every_clip_and_holds_the_last_frame_of_short_ones():
    clips = [gradient(3), gradient(7), gradient(5)]
    out = grid(clips, [True, False, True], columns=2, gap=4)
    assert out.shape == (7, 2 * 60 + 4, 2 * 76 + 4, 3)
    np.testing.assert_array_equal(out[6, :60, :76], bordered(clips[0], True)[-1])
    np.testing.assert_array_equal(out[:, :60, 80:], bordered(clips[1], False))
    np.testing.assert_array_equal(out[4, 64:, :76], bordered(clips[2], True)[4])


def test_grid_is_no_wider_than_its_clips():
    assert grid([gradient()], [True], columns=9).shape == (7, 60, 76, 3)


def test_grids_of_nothing_or_of_unequal_clips():
    with pytest.raises(DataError, match="0 clips"):
        grid([], [])
    with pytest.raises(DataError, match="1 clips and 2 outcomes"):
        grid([gradient()], [True, False])
    with pytest.raises(DataError, match="one frame size"):
        grid([gradient(), gradient(width=32)], [True, True])


def test_clip_writer_writes_what_has_frames(tmp_path):
    writer = ClipWriter(tmp_path, fps=5)
    writer(EpisodeResult(seed=7, success=True, steps=7, frames=gradient(height=64, width=64)))
    writer(EpisodeResult(seed=8, success=True, steps=7))
    assert [p.name for p in tmp_path.iterdir()] == ["seed-7.mp4"]
    assert decode(clip_path(tmp_path, 7))[0].shape == (7, 192, 192, 3)
