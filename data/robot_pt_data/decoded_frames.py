"""The frames of a decoded cache: raw arrays in a memory map, or JPEGs end to end in one file."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import numpy as np

from robot_pt.errors import DataError
from robot_pt.images import decode, encode_jpeg, resize
from robot_pt.schema import Image, Int

Encoding = Literal["raw", "jpeg"]
"""raw: (n, H, W, 3) uint8, read at memory speed; jpeg: about a tenth of the disk, decoded when read."""

QUALITY = 95
_GATHER = 1 << 22  # bytes of a batch from which copying it is shared out to threads


class Frames(Protocol):
    """All frames of one camera."""

    def __len__(self) -> int: ...

    def take(self, steps: Int, size: tuple[int, int] | None) -> Image:
        """(n, H, W, 3) uint8 RGB of steps that exist; `size` None = as stored."""
        ...


class RawFrames:
    """``<role>.npy``. Raises OSError or ValueError where it is absent or damaged."""

    def __init__(self, folder: Path, role: str, threads: int | None):
        self._frames = load(folder / f"{role}.npy")
        self._workers = threads or os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="gather")

    def __len__(self) -> int:
        return len(self._frames)

    def take(self, steps: Int, size: tuple[int, int] | None) -> Image:
        frames = self._frames
        out = np.empty((len(steps), *frames.shape[1:]), np.uint8)
        if out.nbytes < _GATHER or self._workers == 1:
            np.take(frames, steps, axis=0, out=out, mode="clip")  # clip: no buffering; the range was checked
        else:
            parts = np.array_split(np.arange(len(steps)), self._workers)
            jobs = [
                self._pool.submit(np.take, frames, steps[p], 0, out[p[0] : p[-1] + 1], "clip") for p in parts if len(p)
            ]
            for job in jobs:
                job.result()
        return out if size is None else resize(out, size)


class JpegFrames:
    """``<role>.jpegs`` and ``<role>.offsets.npy`` (n + 1,). Raises OSError or ValueError where they are absent or damaged."""

    def __init__(self, folder: Path, role: str, threads: int | None):
        self._path, self._threads = folder / f"{role}.jpegs", threads
        self._offsets = load(folder / f"{role}.offsets.npy").astype(np.int64)
        size = self._path.stat().st_size
        if (
            self._offsets.ndim != 1
            or not len(self._offsets)
            or int(self._offsets[-1]) != size
            or (np.diff(self._offsets) < 1).any()
        ):
            raise ValueError(f"{self._path.name} and its offsets do not belong together")
        self._bytes = np.memmap(self._path, np.uint8, "r") if size else np.zeros(0, np.uint8)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def take(self, steps: Int, size: tuple[int, int] | None) -> Image:
        try:
            return decode(self._encoded(steps), size, threads=self._threads)
        except DataError as error:
            raise DataError(f"{self._path}: {error}") from None

    def _encoded(self, steps: Int) -> list[Any]:
        return [self._bytes[self._offsets[s] : self._offsets[s + 1]] for s in steps.tolist()]


def open_frames(folder: Path, role: str, encoding: str, threads: int | None = None) -> Frames:
    """Raises ValueError on an unknown encoding, and as the frames do."""
    if encoding not in ("raw", "jpeg"):
        raise ValueError(f"frames are stored as {encoding!r}")
    return (RawFrames if encoding == "raw" else JpegFrames)(folder, role, threads)


class Writer:
    """Writes the frames of one camera, `count` in all, (H, W) = `size`, in the order they come. Raises OSError as the disk does."""

    def __init__(
        self, folder: Path, role: str, encoding: Encoding, count: int, size: tuple[int, int], quality: int = QUALITY
    ):
        self._folder, self._role, self._encoding, self._quality = folder, role, encoding, quality
        self._lengths: list[int] = []
        # no map: on a full disk writing to one kills the process
        self._file: BinaryIO = (folder / f"{role}.{'npy' if encoding == 'raw' else 'jpegs'}").open("wb")
        if encoding == "raw":
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, *size, 3)}
            np.lib.format.write_array_header_1_0(self._file, header)  # type: ignore[arg-type]

    def write(self, frames: Image) -> None:
        """Append (n, H, W, 3)."""
        if self._encoding == "raw":
            self._file.write(np.ascontiguousarray(frames).data)
            return
        for frame in frames:
            content = encode_jpeg(frame, self._quality)
            self._file.write(content)
            self._lengths.append(len(content))

    def close(self) -> None:
        """Put what was written on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if self._encoding == "jpeg":
            np.save(self._folder / f"{self._role}.offsets.npy", np.cumsum([0, *self._lengths], dtype=np.int64))


def load(path: Path) -> Any:
    """An array, mapped where that pays."""
    return np.asarray(np.load(path, mmap_mode="r" if path.stat().st_size > 4096 else None))
