"""Exact frames of many video files: a bounded set of open decoders, each used by one thread at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import DataError
from robot_pt.schema import Image, Int
from robot_pt_data.video import decoders, forking
from robot_pt_data.video.decoders import Backend, Decoder, Put
from robot_pt_data.video.index import VideoIndex
from robot_pt_data.video.index_cache import IndexCache
from robot_pt_data.video.sharing import parts
from robot_pt_data.video.upright import Fit, picture

OPEN_FILES = 16
"""Decoders that stay open, per process."""


class Frames(NamedTuple):
    """Frames and when they are really shown."""

    images: Image  # (n, H, W, 3) uint8 RGB
    times_s: NDArray[np.float64]  # (n,) presentation times on the file's own clock [s]
    numbers: Int  # (n,) in the order they are shown, from 0


class VideoReader:
    """Frames by number and by time of the videos under one folder; may be pickled, forked and used in threads.

    Args:
        root: folder that the files' indexes are kept for (`index_cache.places`).
        backend: "auto", "pyav", "torchcodec" or "opencv".
        open_files: decoders that stay open, per process; the one unused for longest is closed.
        threads: decoding threads of one file; frames here and there are read by so many decoders of one thread each, at a time.
            1 is best where several files are decoded at a time, and in worker processes.
    """

    def __init__(self, root: Path, backend: Backend = "auto", open_files: int = OPEN_FILES, threads: int = 1):
        if open_files < 1 or threads < 1:
            raise DataError(
                f"a video reader needs at least 1 open file and 1 thread; {open_files} and {threads} were given."
            )
        self.backend = decoders.backend(backend)
        self.indexes = IndexCache(root)
        self._open_files, self._threads = open_files, threads
        self._idle = _Idle()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_idle"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._idle = _Idle()

    def index(self, path: Path) -> VideoIndex:
        """The index of a file. Raises DataError where it is no sound video."""
        return self.indexes.of(path)

    def frames(
        self, path: Path, numbers: Sequence[int] | Int, size: tuple[int, int] | None = None, fit: Fit = "crop"
    ) -> Frames:
        """The frames of these numbers, in the order asked for, upright and with square pixels.

        Args:
            numbers: (n,) of 0 to len(index) - 1, in any order, also several times the same.
            size: (H, W) to cut and resize to (`upright.picture`); None keeps the file's own.
        Raises:
            DataError: a number that the file does not have; a frame that cannot be decoded.
        """
        index = self.index(path)
        asked = index.check(np.asarray(numbers, np.int64), path)
        target = size or index.size
        out = np.empty((len(asked), *target, 3), np.uint8)
        unique, place = np.unique(asked, return_inverse=True)
        rows = np.split(np.argsort(place, kind="stable"), np.cumsum(np.bincount(place, minlength=1))[:-1])
        rows_of = dict(zip(unique.tolist(), rows, strict=False))

        def put(number: int, frame: Image) -> None:
            mine = rows_of[number]
            out[mine[0]] = picture(frame, index, target, fit)
            out[mine[1:]] = out[mine[0]]

        self._read(path, index, unique.tolist(), put)
        return Frames(out, index.times_s[asked], asked)

    def frames_at(
        self,
        path: Path,
        times_s: Sequence[float] | NDArray[np.float64],
        size: tuple[int, int] | None = None,
        fit: Fit = "crop",
    ) -> Frames:
        """The frames shown at these times [s] of the file's own clock; as `frames`.

        Raises DataError also where no frame is shown within half a frame of a time.
        """
        index = self.index(path)
        return self.frames(path, index.at(np.asarray(times_s, np.float64), path), size, fit)

    def close(self) -> None:
        """Close all files; reading opens them again."""
        for decoder in self._idle.take_all():
            decoder.close()

    def _read(self, path: Path, index: VideoIndex, numbers: Sequence[int], put: Put) -> None:
        """`put` every frame; where they can be shared out, from several threads at a time, each with frames of its own."""
        shared = parts(index, numbers, self._threads)
        if len(shared) == 1:
            return self._read_part(path, index, numbers, put, self._threads)
        # made anew for every call: a thread that stays would not be in a forked child
        with ThreadPoolExecutor(len(shared) - 1) as beside:
            others = [beside.submit(self._read_part, path, index, part, put, 1) for part in shared[1:]]
            self._read_part(path, index, shared[0], put, 1)
            for other in others:
                other.result()

    def _read_part(self, path: Path, index: VideoIndex, numbers: Sequence[int], put: Put, threads: int) -> None:
        with self._decoder(path, index, threads) as decoder:
            decoder.read(numbers, put)

    @contextmanager
    def _decoder(self, path: Path, index: VideoIndex, threads: int) -> Iterator[Decoder]:
        kind = (path, threads)
        decoder = self._idle.take(kind) or decoders.opener(self.backend)(path, index, threads)
        usable = False
        try:
            yield decoder
            usable = True
        except DataError:
            usable = True
            raise
        finally:
            for old in self._idle.put(kind, decoder, self._open_files) if usable else [decoder]:
                old.close()


_Kind = tuple[Path, int]
"""File and decoding threads."""


class _Idle:
    """Decoders that nobody uses just now, the one used last at the end. A forked child starts with none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: OrderedDict[int, tuple[_Kind, Decoder]] = OrderedDict()
        self._inherited: list[Any] = []
        forking.tell(self)

    def take(self, kind: _Kind) -> Decoder | None:
        with self._lock:
            for key in reversed(self._held):
                if self._held[key][0] == kind:
                    return self._held.pop(key)[1]
        return None

    def put(self, kind: _Kind, decoder: Decoder, keep: int) -> list[Decoder]:
        """Keep a decoder; returns those to close instead."""
        with self._lock:
            self._held[id(decoder)] = (kind, decoder)
            return [self._held.popitem(last=False)[1][1] for _ in range(len(self._held) - keep)]

    def take_all(self) -> list[Decoder]:
        with self._lock:
            held, self._held = self._held, OrderedDict()
        return [decoder for _, decoder in held.values()]

    def after_fork(self) -> None:
        """Never used nor freed here: a thread of the parent may have been inside a decoder, and the lock be held for ever."""
        self._inherited.append(self._held)
        self._held, self._lock = OrderedDict(), threading.Lock()
