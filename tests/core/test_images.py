"""Decoding, resizing and encoding: parity with plain OpenCV, with the serving path, and one sentence per damaged buffer."""

import os
import struct
import zlib
from contextlib import suppress
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.errors import DataError
from robot_pt.images import decode, decode_one, encode_jpeg, encode_png, image_size, resize


def natural(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 with the 1/f amplitude spectrum and the weak colour of photographs, full contrast."""
    rng = np.random.default_rng(seed)
    f = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.fftfreq(width)[None] * width)
    noise = rng.normal(size=(height, width, 1)) + 0.3 * rng.normal(size=(height, width, 3))
    spectrum = np.fft.fft2(noise, axes=(0, 1)) / np.maximum(f, 1)[..., None]
    field = np.fft.ifft2(spectrum, axes=(0, 1)).real
    return np.uint8(255 * (field - field.min()) / np.ptp(field))


def test_png_round_trip_is_exact() -> None:
    frames = [natural(31, 17, s) for s in range(12)]
    np.testing.assert_array_equal(decode([encode_png(f) for f in frames]), frames)


def test_full_size_jpeg_equals_opencv_with_channels_swapped() -> None:
    buffer = encode_jpeg(natural(48, 64))
    expected = cv2.imdecode(np.frombuffer(buffer, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(decode_one(buffer), expected)


def test_channels_are_rgb() -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    for buffer in (encode_jpeg(red), encode_png(red)):
        assert (decode_one(buffer)[..., 0] > 250).all()
        assert (decode_one(buffer)[..., 1:] < 5).all()


@pytest.mark.parametrize(
    ("stored", "size"),
    [
        ((128, 128), (64, 64)),
        ((256, 256), (64, 64)),
        ((256, 256), (128, 128)),
        ((480, 640), (64, 64)),
        ((480, 640), (128, 128)),
        ((200, 150), (64, 64)),
        ((512, 1024), (128, 128)),
        ((481, 643), (128, 128)),
    ],
)
def test_training_pixels_match_serving_pixels(stored: tuple[int, int], size: tuple[int, int]) -> None:
    """Scaled decode of a quality-95 JPEG against resizing the raw frame: mean under 1 %, 99.9 % under 16 levels."""
    raw = natural(*stored)
    trained, served = decode_one(encode_jpeg(raw, 95), size), resize(raw, size)
    difference = np.abs(trained.astype(int) - served)
    assert trained.shape == served.shape == (*size, 3)
    assert difference.mean() < 2.55
    assert np.quantile(difference, 0.999) < 16
    np.testing.assert_array_equal(decode_one(encode_png(raw), size), served)


def test_resize_of_a_constant_is_that_constant_and_the_mean_is_kept() -> None:
    assert (resize(np.full((50, 70, 3), 93, np.uint8), (16, 24)) == 93).all()
    raw = natural(128, 128)
    assert abs(resize(raw, (32, 32)).mean() - raw.mean()) < 0.6
    block_means = raw.reshape(32, 4, 32, 4, 3).mean((1, 3))
    assert np.abs(resize(raw, (64, 64)) - raw.reshape(64, 2, 64, 2, 3).mean((1, 3))).max() <= 0.5 + 1e-6
    assert np.abs(resize(raw, (32, 32)) - block_means).max() <= 1.0 + 1e-6  # halved twice, rounded twice


def test_resize_takes_stacks_and_leaves_the_right_size_alone() -> None:
    frames = np.stack([natural(20, 30, s) for s in range(4)]).reshape(2, 2, 20, 30, 3)
    out = resize(frames, (10, 40))
    assert out.shape == (2, 2, 10, 40, 3)
    np.testing.assert_array_equal(out[1, 0], resize(frames[1, 0], (10, 40)))
    assert resize(frames, (20, 30)) is frames


def test_threads_and_out_change_nothing() -> None:
    buffers = [encode_jpeg(natural(60, 80, s)) for s in range(33)]
    alone = decode(buffers, (32, 32), threads=1)
    np.testing.assert_array_equal(decode(buffers, (32, 32), threads=4), alone)
    out = np.zeros((33, 32, 32, 3), np.uint8)
    assert decode(buffers, out=out, threads=2) is out
    np.testing.assert_array_equal(out, alone)


def test_views_into_a_memory_map_decode(tmp_path) -> None:
    buffers = [encode_jpeg(natural(40, 40, s)) for s in range(3)]
    path = tmp_path / "frames.bin"
    path.write_bytes(b"".join(buffers))
    flat, at = np.memmap(path, np.uint8, "r"), np.cumsum([0, *map(len, buffers)])
    views = [flat[a:b] for a, b in pairwise(at)]
    np.testing.assert_array_equal(decode(views), decode(buffers))
    np.testing.assert_array_equal(decode([memoryview(b) for b in buffers]), decode(buffers))


def test_grey_alpha_and_deep_pngs_become_rgb() -> None:
    raw = natural(9, 12)
    for frame in (raw[..., 0], np.dstack([raw, raw[..., :1]]), raw.astype(np.uint16) * 257):
        image = decode_one(bytes(cv2.imencode(".png", frame)[1]))
        assert image.shape == (9, 12, 3)
        assert image.dtype == np.uint8


def test_exif_orientation_is_ignored() -> None:
    jpeg = encode_jpeg(natural(16, 32))
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + b"\0\0\0\0"
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    np.testing.assert_array_equal(decode_one(turned), decode_one(jpeg))


def test_sizes_are_read_from_headers() -> None:
    assert image_size(encode_jpeg(natural(7, 300))) == (7, 300, "jpeg")
    assert image_size(encode_png(natural(300, 7))) == (300, 7, "png")


def test_no_buffers_give_no_frames() -> None:
    assert decode([], (8, 9)).shape == (0, 8, 9, 3)
    assert decode([]).shape[0] == 0


@pytest.mark.parametrize("keep", [0, 1, 3, 10, 200, 0.5, 0.9])
@pytest.mark.parametrize("encode", [encode_jpeg, encode_png])
def test_truncated_buffers_are_named(keep: float, encode) -> None:
    good = encode(natural(64, 64))
    bad = good[: int(keep if keep >= 1 or keep == 0 else keep * len(good))]
    with pytest.raises(DataError, match="image 5 "):
        decode([*[good] * 5, bad, *[good] * 20], (32, 32), threads=2)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_bit_flips_decode_or_say_so(data: st.DataObject) -> None:
    encode = data.draw(st.sampled_from([encode_jpeg, encode_png]))
    buffer = bytearray(encode(natural(24, 24)))
    for _ in range(data.draw(st.integers(1, 4))):
        buffer[data.draw(st.integers(0, len(buffer) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(DataError):  # any other error, or a crash, fails
        assert decode_one(bytes(buffer), (12, 12)).shape == (12, 12, 3)


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]))
def test_any_bytes_decode_or_say_so(tail: bytes, head: bytes) -> None:
    with pytest.raises(DataError, match="image 0 "):
        decode_one(head + tail)


def test_a_huge_header_is_refused_before_allocating() -> None:
    body = b"IHDR" + struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    with pytest.raises(DataError, match="claims 2147483647x2147483647"):
        decode_one(png)


def test_mixed_sizes_need_a_size() -> None:
    buffers = [encode_png(natural(8, 8)), encode_png(natural(8, 10))]
    with pytest.raises(DataError, match="image 1 is 8x10, the others are 8x8"):
        decode(buffers)
    assert decode(buffers, (4, 4)).shape == (2, 4, 4, 3)


@pytest.mark.parametrize("size", [None, (4, 4), (8, 8)])
def test_a_stored_size_is_required_of_every_buffer_whatever_it_is_resized_to(size: tuple[int, int] | None) -> None:
    good = [encode_png(natural(8, 8))] * 20
    np.testing.assert_array_equal(decode(good, size, stored=(8, 8)), decode(good, size))
    with pytest.raises(DataError, match="image 17 is 8x10, the others are 8x8"):
        decode([*good[:17], encode_png(natural(8, 10)), *good[:2]], size, threads=2, stored=(8, 8))
    with pytest.raises(DataError, match="image 0 is 8x8, the others are 16x8"):
        decode(good, size, stored=(16, 8))


def test_wrong_out_and_wrong_input_are_refused() -> None:
    with pytest.raises(DataError, match="out is uint8"):
        decode([encode_png(natural(8, 8))], (8, 8), out=np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="quality is 0"):
        encode_jpeg(natural(8, 8), 0)
    with pytest.raises(DataError, match=r"give uint8 \(H, W, 3\)"):
        encode_png(np.zeros((4, 4), np.uint8))


def test_decoding_works_in_a_forked_child() -> None:
    buffers = [encode_png(natural(8, 8))] * 16
    decode(buffers, threads=2)
    child = os.fork()
    if child == 0:
        os._exit(0 if decode(buffers, threads=2).shape == (16, 8, 8, 3) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
