"""Encoded camera frames to RGB arrays and back: the one place where pixels are decoded, resized and encoded.

Training decodes JPEGs at 1/2, 1/4 or 1/8 scale (the codec leaves out the high frequencies) and area-resizes the rest;
serving area-resizes raw frames by the same two factors with `resize`. On photograph-like frames stored at quality 95 the
two agree to a mean of 1 % of the range (2.5 of 255 levels), 99.9 % of values to 16 levels: ``tests/core/test_images.py``
holds that. A lossless PNG gives the same pixels on both. All images are uint8 RGB, (H, W, 3).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import DataError
from robot_pt.schema import Image

Buffer: TypeAlias = bytes | memoryview | NDArray[np.uint8]
"""One encoded image: bytes, or a flat uint8 view into a memory map."""

MAX_PIXELS = 1 << 26
"""Larger headers are refused as damaged before anything is allocated (64 megapixels)."""

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_NO_SIZE = frozenset({0x01, *range(0xD0, 0xD9)})  # JPEG markers without a length field
_NOT_A_FRAME = frozenset({0xC4, 0xC8, 0xCC})  # DHT, JPG, DAC lie among the start-of-frame markers C0-CF
_RGB = int(cv2.IMREAD_COLOR_RGB) | int(cv2.IMREAD_IGNORE_ORIENTATION)  # as TensorFlow: EXIF never turns a frame
_REDUCED = {1: _RGB, 2: 16 | _RGB, 4: 32 | _RGB, 8: 64 | _RGB}  # bits of IMREAD_REDUCED_*, less their BGR bit
_INLINE = 8  # below this many frames handing work to threads costs more than it saves


def decode(
    buffers: Sequence[Buffer],
    size: tuple[int, int] | None = None,
    out: Image | None = None,
    threads: int | None = None,
    stored: tuple[int, int] | None = None,
) -> Image:
    """Decode JPEG or PNG buffers to (N, H, W, 3) uint8 RGB.

    Args:
        size: (H, W) to resize to, aspect not kept; None keeps the stored size, which all buffers must then share.
        out: written and returned when given, (N, H, W, 3) uint8; its size decides where `size` is None.
        threads: None uses all cores; 1 decodes in the calling thread. The codecs release the GIL.
        stored: (H, W) that every buffer must have as stored, whatever it is resized to; None takes any.
    Raises:
        DataError: naming the first buffer that is not an image or is of another size.
    """
    if size is None and out is None:
        size = stored = stored or (image_size(buffers[0])[:2] if len(buffers) else (0, 0))
    if out is None:
        assert size is not None
        out = np.empty((len(buffers), *size, 3), np.uint8)
    target = (int(out.shape[1]), int(out.shape[2]))
    if out.shape != (len(buffers), *target, 3) or out.dtype != np.uint8 or (size or target) != target:
        raise DataError(f"out is {out.dtype} {out.shape}; give uint8 {(len(buffers), *(size or target), 3)}.")
    workers = min(threads or os.cpu_count() or 1, max(len(buffers) // 4, 1))
    if workers <= 1 or len(buffers) < _INLINE:
        _decode_range(buffers, 0, len(buffers), out, stored)
        return out
    pieces = max(
        min(4 * workers, len(buffers) // _INLINE), workers
    )  # several each: a busy core holds nobody up for long
    edges = np.linspace(0, len(buffers), pieces + 1).astype(int).tolist()
    done = [_pool(workers).submit(_decode_range, buffers, a, b, out, stored) for a, b in pairwise(edges)]
    for job in done:
        job.exception()  # wait for all: nobody may write to `out` after this returns
    for job in done:
        job.result()
    return out


def decode_one(buffer: Buffer, size: tuple[int, int] | None = None) -> Image:
    """Decode one JPEG or PNG to (H, W, 3) uint8 RGB; raises DataError as `decode` does."""
    return cast(Image, decode([buffer], size)[0])


def resize(image: Image, size: tuple[int, int]) -> Image:
    """Resize (..., H, W, 3) to `size` = (H, W): area averages when shrinking, bilinear when growing.

    Beyond a factor of 2 it shrinks by 2, 4 or 8 first, as the scaled decode of `decode` does.
    """
    if image.shape[-3:-1] == tuple(size):
        return image
    if image.ndim == 3:
        return _resize_into(image, np.empty((*size, 3), np.uint8))
    frames = image.reshape(-1, *image.shape[-3:])
    out = np.empty((len(frames), *size, 3), np.uint8)
    for frame, target in zip(frames, out, strict=True):
        _resize_into(frame, target)
    return out.reshape(*image.shape[:-3], *size, 3)


def encode_jpeg(image: Image, quality: int = 95) -> bytes:
    """(H, W, 3) uint8 RGB to JPEG with 4:2:0 chroma; `quality` 1 to 100."""
    if not 1 <= quality <= 100:
        raise DataError(f"the JPEG quality is {quality}; give 1 to 100.")
    return _encode(".jpg", image, [int(cv2.IMWRITE_JPEG_QUALITY), int(quality)])


def encode_png(image: Image) -> bytes:
    """(H, W, 3) uint8 RGB to PNG, lossless, at the fastest compression level."""
    return _encode(".png", image, [int(cv2.IMWRITE_PNG_COMPRESSION), 1])


def image_size(buffer: Buffer, name: str = "image 0") -> tuple[int, int, str]:
    """(height, width, "jpeg" or "png") from the header alone; raises DataError naming `name`."""
    head = memoryview(cast(bytes, buffer)).cast("B") if len(buffer) else memoryview(b"")
    found = _png_size(head) if head[:8] == _PNG else _jpeg_size(head) if head[:3] == _JPEG else None
    if found is None:
        raise DataError(
            f"{name} is neither a JPEG nor a PNG ({len(head)} bytes, starting {bytes(head[:4]).hex(' ')!r}); "
            "the file is damaged or holds another encoding."
        )
    height, width, codec = found
    if not 0 < height * width <= MAX_PIXELS:
        raise DataError(f"{name} claims {height}x{width} pixels; at most {MAX_PIXELS} are allowed, it is damaged.")
    return height, width, codec


def _png_size(head: memoryview) -> tuple[int, int, str] | None:
    if len(head) < 24:
        return None
    return int.from_bytes(head[20:24], "big"), int.from_bytes(head[16:20], "big"), "png"


def _jpeg_size(head: memoryview) -> tuple[int, int, str] | None:
    at, end = 2, len(head)
    while at + 9 <= end:
        if head[at] != 0xFF:
            return None
        marker = head[at + 1]
        if marker == 0xFF or marker in _NO_SIZE:
            at += 1 if marker == 0xFF else 2
        elif 0xC0 <= marker <= 0xCF and marker not in _NOT_A_FRAME:
            return head[at + 5] << 8 | head[at + 6], head[at + 7] << 8 | head[at + 8], "jpeg"
        else:
            at += 2 + (head[at + 2] << 8 | head[at + 3])
    return None


def _decode_range(buffers: Sequence[Buffer], first: int, last: int, out: Image, stored: tuple[int, int] | None) -> None:
    target = (int(out.shape[1]), int(out.shape[2]))
    for i in range(first, last):
        buffer = buffers[i]  # once: reading it may cost a system call
        height, width, codec = image_size(buffer, f"image {i}")
        if stored is not None and (height, width) != stored:
            raise DataError(
                f"image {i} is {height}x{width}, the others are {stored[0]}x{stored[1]}; one camera has one size, mend what was stored."
            )
        _resize_into(_decode_reduced(buffer, height, width, codec, target, i), out[i])


def _decode_reduced(buffer: Buffer, height: int, width: int, codec: str, target: tuple[int, int], i: int) -> Image:
    # Only JPEG can leave out frequencies; the 1/2, 1/4, 1/8 of other codecs is a resize of lower quality than ours.
    scale = max(
        s for s in _REDUCED if s == 1 or (codec == "jpeg" and height >= s * target[0] and width >= s * target[1])
    )
    try:
        image = cv2.imdecode(np.frombuffer(buffer, np.uint8), _REDUCED[scale])
    except cv2.error as error:
        raise DataError(f"image {i} ({codec}, {len(buffer)} bytes) cannot be decoded: {error.err}.") from None
    if image is None or image.shape[:2] != (-(-height // scale), -(-width // scale)):
        raise DataError(f"image {i} ({codec}, {len(buffer)} bytes) is truncated or damaged.")
    return cast(Image, image)


def _scale(height: int, width: int, target: tuple[int, int]) -> int:
    """The largest of 1, 2, 4, 8 by which the image still covers the target."""
    return max(s for s in _REDUCED if s == 1 or (height >= s * target[0] and width >= s * target[1]))


def _resize_into(image: Image, out: Image) -> Image:
    if image.shape == out.shape:
        out[...] = image
        return out
    height, width = image.shape[:2]
    scale = _scale(height, width, out.shape[:2])
    # By halves: OpenCV averages 2x2 blocks three times as fast as 4x4; each rounding moves a value by at most 1.
    while scale > 1:
        half = (-(-image.shape[1] // 2), -(-image.shape[0] // 2))
        image = cast(Image, cv2.resize(image, half, interpolation=cv2.INTER_AREA))
        scale //= 2
    if image.shape == out.shape:
        out[...] = image
        return out
    shrinks = out.shape[0] <= height and out.shape[1] <= width
    cv2.resize(image, out.shape[1::-1], dst=out, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return out


def _encode(suffix: str, image: Image, options: list[int]) -> bytes:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise DataError(f"an image to encode is {image.dtype} {image.shape}; give uint8 (H, W, 3) RGB.")
    done, buffer = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    assert done, "encoding a well-formed image"
    return bytes(buffer)


@lru_cache(maxsize=4)
def _pool(workers: int) -> Any:
    return ThreadPoolExecutor(workers, thread_name_prefix="decode")


os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked child has none of its parent's threads
