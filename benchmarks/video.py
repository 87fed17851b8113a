"""Frames of long videos: `VideoReader` beside bare PyAV, torchcodec and OpenCV on the same files, in turn.

Run: ``python benchmarks/video.py [--quick] [--folder DIR]``. Prints a table, then one JSON object on the last line. A clip is 5 random
frames inside 2 s of a 10-minute 640x480 30 fps H.264 file with B-frames, as RGB at full size. Every method reads the same clip before
the next one is drawn, so that a busy machine is busy for all. torchcodec is read where it is installed. "kept": the file stays open.
`VideoReader` decodes in one thread, as torchcodec does by default and PyAV in effect, unless it says "all cores", as OpenCV uses them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from robot_pt_data.video.reader import VideoReader

HEIGHT, WIDTH, FPS, SECONDS = 480, 640, 30, 600
SPAN, FRAMES = 60, 5
CALL = 20  # frames that a sequential read asks for at a time
CORES = len(os.sched_getaffinity(0))
TARGETS = {
    "clips, GOP 30 / best of torchcodec and PyAV": 0.95,
    "clips, GOP 250 / best of torchcodec and PyAV": 0.95,
    "clips, GOP 30 / OpenCV": 5.0,
    "clips, GOP 250 / OpenCV": 5.0,
    "sequential / PyAV": 0.9,
}
Read = Callable[[list[int]], None]  # the frames of these numbers, ascending


def write(path: Path, gop: int, seconds: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Path:
    """A texture that moves, with noise, at `gop` frames from start to start."""
    if path.exists():
        return path
    part = path.with_name(f"{path.stem}.part.mp4")
    rng = np.random.default_rng(0)
    texture = cv2.resize(rng.integers(0, 256, (60, 80, 3), np.uint8), (2 * size[1], 2 * size[0]))
    noise = rng.integers(0, 12, (8, *size, 3), np.uint8)
    with av.open(str(part), "w") as container:
        options = {"g": str(gop), "keyint_min": str(gop), "preset": "veryfast", "x264-params": "scenecut=0", "bf": "3"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for n in range(seconds * FPS):
            y, x = n * 2 % size[0], n * 3 % size[1]
            image = cv2.add(texture[y : y + size[0], x : x + size[1]], noise[n % 8])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return part.replace(path)


def pyav_open_and_seek(path: Path) -> Read:
    """Open, seek to the start before the first frame, decode forward, close: the loop of PyAV's documentation."""

    def read(numbers: list[int]) -> None:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            tick = float(stream.time_base)
            wanted = {round(n / FPS / tick) for n in numbers}
            container.seek(min(wanted), stream=stream)
            for frame in container.decode(stream):
                if frame.pts in wanted:
                    frame.to_ndarray(format="rgb24")
                    wanted.discard(frame.pts)
                    if not wanted:
                        return
        sys.exit(f"PyAV did not find the frames {numbers}")

    return read


def torchcodec_methods(path: Path) -> dict[str, Read]:
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, RuntimeError, OSError):
        return {}
    kept = VideoDecoder(str(path), dimension_order="NHWC")
    return {
        "torchcodec, kept": lambda numbers: kept.get_frames_at(numbers) and None,
        "torchcodec, opened per clip": lambda numbers: (
            VideoDecoder(str(path), dimension_order="NHWC", seek_mode="approximate").get_frames_at(numbers) and None
        ),
    }


def opencv_positions(path: Path) -> Read:
    """`CAP_PROP_POS_FRAMES` for every frame, file kept open."""
    capture = cv2.VideoCapture(str(path))

    def read(numbers: list[int]) -> None:
        for number in numbers:
            capture.set(cv2.CAP_PROP_POS_FRAMES, number)
            done, image = capture.read()
            assert done
            cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    return read


def clips(path: Path, count: int) -> dict[str, tuple[float, float]]:
    """Method -> (seconds, processor seconds) per clip."""
    reader, wide = VideoReader(path.parent), VideoReader(path.parent, threads=CORES)
    methods: dict[str, Read] = {
        "VideoReader": lambda numbers: reader.frames(path, numbers) and None,
        "VideoReader, all cores": lambda numbers: wide.frames(path, numbers) and None,
        "PyAV, opened per clip": pyav_open_and_seek(path),
        **torchcodec_methods(path),
        "OpenCV, position per frame": opencv_positions(path),
    }
    rng = np.random.default_rng(1)
    spent = {name: np.zeros(2) for name in methods}
    for clip in range(-1, count):  # the first one is not counted
        first = int(rng.integers(0, SECONDS * FPS - SPAN))
        numbers = sorted((first + rng.choice(SPAN, FRAMES, replace=False)).tolist())
        for name, read in methods.items():
            begun = np.array([time.perf_counter(), time.process_time()])
            read(numbers)
            if clip >= 0:
                spent[name] += np.array([time.perf_counter(), time.process_time()]) - begun
    return {name: (float(s[0]) / count, float(s[1]) / count) for name, s in spent.items()}


def sequential(path: Path, frames: int, rounds: int = 3) -> dict[str, float]:
    """Frames per second from the beginning, the best of `rounds` in turn."""

    def bare() -> None:
        with av.open(str(path)) as container:
            for n, frame in enumerate(container.decode(video=0)):
                if n == frames:
                    return
                frame.to_ndarray(format="rgb24")

    def ours() -> None:
        reader = VideoReader(path.parent, threads=CORES)
        for first in range(0, frames, CALL):
            reader.frames(path, range(first, first + CALL))

    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, read in (("PyAV", bare), ("VideoReader", ours)):
            for clock, unit in ((time.perf_counter, "frames/s"), (time.process_time, "frames per processor second")):
                begun = clock()
                read()
                key = f"{name}, {unit}"
                best[key] = max(best.get(key, 0.0), frames / (clock() - begun))
    return best


def leaks(folder: Path, clip_count: int, file_count: int) -> dict[str, float]:
    """Growth of anonymous memory [MB] over `clip_count` clips, and of open files over `file_count` files."""
    small = write(folder / "small.mp4", 30, 4, (120, 160))
    reader = VideoReader(folder, open_files=8)
    rng = np.random.default_rng(2)
    many = folder / "many"
    many.mkdir(exist_ok=True)
    for n in range(file_count):
        if not (many / f"{n}.mp4").exists():
            os.link(small, many / f"{n}.mp4")

    def read(path: Path) -> None:
        reader.frames(path, rng.integers(0, 4 * FPS, FRAMES), (64, 64))

    for _ in range(clip_count // 10):
        read(many / f"{int(rng.integers(16))}.mp4")
    memory = _anonymous_mb()
    for _ in range(clip_count):
        read(many / f"{int(rng.integers(16))}.mp4")
    grown = _anonymous_mb() - memory
    handles = len(os.listdir("/proc/self/fd"))
    for n in range(file_count):
        read(many / f"{n}.mp4")
    return {
        f"RssAnon growth over {clip_count} clips, MB": grown,
        f"open files more after {file_count} files": float(len(os.listdir("/proc/self/fd")) - handles),
    }


def _anonymous_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:"))


def main() -> None:
    """Read everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the clips, files and frames")
    parser.add_argument("--folder", type=Path, default=None, help="keep the generated videos here")
    arguments = parser.parse_args()
    scale = 10 if arguments.quick else 1
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="robot_pt_video_"))
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for gop in (30, 250):
        path = write(folder / f"gop{gop}.mp4", gop, SECONDS)
        costs = clips(path, 60 // scale)
        for clock, (unit, suffix) in enumerate((("ms", ""), ("processor ms", ", processor time"))):
            found |= {f"GOP {gop}, {name}, {unit} per clip": 1e3 * cost[clock] for name, cost in costs.items()}
            peers = [cost[clock] for name, cost in costs.items() if name.startswith(("PyAV", "torchcodec"))]
            ours, opencv = costs["VideoReader"][clock], costs["OpenCV, position per frame"][clock]
            wide = min(ours, costs["VideoReader, all cores"][clock])
            found[f"clips, GOP {gop} / best of torchcodec and PyAV{suffix}"] = min(peers) / ours
            found[f"clips, GOP {gop} / OpenCV{suffix}"] = opencv / wide
    rates = sequential(folder / "gop250.mp4", 3000 // scale)
    found |= {f"sequential, {name}": rate for name, rate in rates.items()}
    for unit, name in (
        ("frames/s", "sequential / PyAV"),
        ("frames per processor second", "sequential / PyAV, processor time"),
    ):
        found[name] = rates[f"VideoReader, {unit}"] / rates[f"PyAV, {unit}"]
    found |= leaks(folder, 10_000 // scale, 5_000 // scale)
    for name, value in found.items():
        asked = f"  (asked: at least {TARGETS[name]})" if name in TARGETS else ""
        print(f"{name:64}{value:10.2f}{asked}")
    print(json.dumps({"benchmark": "video", "results": found, "targets": TARGETS}))


if __name__ == "__main__":
    main()
