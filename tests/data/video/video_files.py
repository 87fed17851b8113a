"""Real video files for tests, written through PyAV: every frame carries its number as a bar code, so that it can be told apart."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

BITS = 12
"""Frames are numbered modulo 4096."""

Picture = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What a test video is like. The defaults are an ordinary H.264 file of two seconds."""

    frames: int = 60
    size: tuple[int, int] = (48, 96)  # (height, width) as coded
    fps: int = 30
    gop: int = 250
    b_frames: int = 3
    start_s: float = 0.0
    ticks: Sequence[int] | None = None  # presentation times in 1/1000 s; None: even at `fps`, after `start_s`
    rotation: int = 0  # degrees that a player turns the picture, as `set_display_rotation` takes them
    sample_aspect: Fraction | None = None
    pixels: str = "yuv420p"
    codec: str = "libx264"
    open_gop: bool = False
    audio: bool = False
    crf: int = 18


def picture(number: int, size: tuple[int, int] = (48, 96)) -> Picture:
    """(H, W, 3) uint8 RGB: the bar code of `number` above, a pattern that moves with it below."""
    height, width = size
    out = np.empty((height, width, 3), np.uint8)
    edges = np.linspace(0, width, BITS + 1).astype(int)
    for bit in range(BITS):
        out[: height // 2, edges[bit] : edges[bit + 1]] = 235 if number >> bit & 1 else 20
    x, y = np.meshgrid(np.arange(width), np.arange(height - height // 2))
    below = out[height // 2 :]
    below[..., 0] = (x * 2 + number * 3) % 160 + 40
    below[..., 1] = (y * 3 + number * 2) % 120 + 60
    below[..., 2] = 128
    return out


def number_of(image: Picture) -> int:
    """The number that an upright frame carries."""
    height, width = image.shape[:2]
    edges = np.linspace(0, width, BITS + 1).astype(int)
    rows = image[height // 8 : 3 * height // 8]
    found = 0
    for bit in range(BITS):
        a, b = edges[bit], edges[bit + 1]
        quarter = max((b - a) // 4, 1)
        found |= int(rows[:, a + quarter : max(b - quarter, a + quarter + 1)].mean() > 127) << bit
    return found


def numbers_of(images: Picture) -> list[int]:
    """`number_of` each of (n, H, W, 3)."""
    return [number_of(image) for image in images]


def write_video(path: Path, clip: Clip, first: int = 0) -> Path:
    """Encode `clip` to `path`, its frames numbered from `first`; returns `path`."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    time_base = Fraction(1, 1000) if clip.ticks is not None else Fraction(1, clip.fps * 512)
    ticks = clip.ticks
    if ticks is None:
        offset = round(clip.start_s / time_base)
        ticks = [offset + 512 * n for n in range(clip.frames)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(clip.codec, rate=clip.fps, options=_options(clip))
        stream.height, stream.width = clip.size
        stream.pix_fmt = clip.pixels
        stream.codec_context.time_base = time_base
        stream.thread_count = 1
        if clip.sample_aspect is not None:
            stream.codec_context.sample_aspect_ratio = clip.sample_aspect
        if clip.rotation:
            stream.set_display_rotation(clip.rotation)
        sound = container.add_stream("aac", rate=16000) if clip.audio else None
        if sound is not None:
            _mux_silence(container, sound, len(ticks) / clip.fps)
        for n, pts in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(picture(first + n, clip.size), format="rgb24")
            frame.pts, frame.time_base = int(pts), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path, seconds: float = 1.0) -> Path:
    """An MP4 without pictures."""
    import av

    with av.open(str(path), "w") as container:
        _mux_silence(container, container.add_stream("aac", rate=16000), seconds)
    return path


def cut_off(path: Path, share: float) -> Path:
    """Drop the end of a file, as a broken download does: only `share` of its bytes stay."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def with_table_first(path: Path) -> Path:
    """Write an MP4 again with its table of frames before the frames, so that one that is cut off still opens."""
    import av

    moved = path.with_name(f"moved-{path.name}")
    with av.open(str(path)) as source, av.open(str(moved), "w", options={"movflags": "faststart"}) as target:
        stream = source.streams.video[0]
        out = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                packet.stream = out
                target.mux(packet)
    return moved.replace(path)


def with_matrix(path: Path, a: float, b: float, c: float, d: float) -> Path:
    """Change an MP4's track header: a player takes a pixel at (x, y) to (a x + c y, b x + d y), y downwards."""
    content = path.read_bytes()
    at = (
        content.index(b"tkhd") + 4 + 40
    )  # version 0: flags, two times, id, reserved, duration, reserved, layer, group, volume, reserved
    old = struct.unpack(">9i", content[at : at + 36])
    assert old[8] == 1 << 30, "the matrix ends with 1 in 2.30 fixed point"
    one = 1 << 16
    new = struct.pack(">9i", round(a * one), round(b * one), 0, round(c * one), round(d * one), 0, 0, 0, 1 << 30)
    path.write_bytes(content[:at] + new + content[at + 36 :])
    return path


def begun_later(path: Path, ticks: int) -> Path:
    """Write an MP4 again as an editor cuts it without encoding: its list of edits hides what is shown in the first `ticks`."""
    import av

    moved = path.with_name(f"later-{path.name}")
    with av.open(str(path)) as source, av.open(str(moved), "w", options={"avoid_negative_ts": "disabled"}) as target:
        stream = source.streams.video[0]
        out = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks
                packet.stream = out
                target.mux(packet)
    return moved.replace(path)


def _options(clip: Clip) -> dict[str, str]:
    if clip.codec == "mpeg4":
        return {"g": str(clip.gop), "bf": str(clip.b_frames)}
    if clip.codec != "libx264":
        return {"g": str(clip.gop), "b": "2000000", "deadline": "realtime", "cpu-used": "8"}
    parameters = f"scenecut=0:open-gop={int(clip.open_gop)}:threads=1"
    return {
        "g": str(clip.gop), "keyint_min": str(clip.gop), "bf": str(clip.b_frames), "crf": str(clip.crf), "preset": "veryfast",
        "x264-params": parameters,
    }  # fmt: skip


def _mux_silence(container: Any, stream: Any, seconds: float) -> None:
    import av

    for n in range(max(1, int(seconds * 16000 / 1024))):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, 1024 * n, Fraction(1, 16000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
