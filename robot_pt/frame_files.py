"""Frame files of stored episodes: mapped where the system allows, read where it does not.

A map keeps a file handle, so only as many episodes are mapped as the process may open files by a quarter; frames of further
ones are read by ``pread`` in the decoding threads (3.5 us instead of 1, where mapping anew would take 16).
"""

from __future__ import annotations

import mmap
import os
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robot_pt import store_episode
from robot_pt.errors import DataError
from robot_pt.schema import Image


class FrameFiles:
    """The frame files of all episodes, memory-mapped when first asked for, up to a quarter of the open-file limit."""

    def __init__(self, root: Path):
        self._root, self._maps = root, dict[tuple[str, str], Image]()
        self._limit = max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4, 16)

    def get(self, name: str, camera: str) -> Image | str:
        """The file as a flat uint8 array, or its path where it cannot be mapped."""
        found = self._maps.get((name, camera))
        if found is not None:
            return found
        path = store_episode.frame_file(self._root, name, camera)
        if len(self._maps) >= self._limit:
            return path
        try:
            with open(path, "rb") as file:
                mapped = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        except (OSError, ValueError):  # absent or empty: reading it says so
            return path
        self._maps[name, camera] = mapped
        return mapped


class Frames(Sequence[Any]):
    """Encoded frames of some steps; those that are not mapped are read when indexed, by whichever thread decodes them."""

    def __init__(self, files: dict[int, Image | str], owner: list[int], first: list[int], last: list[int]):
        self._files, self._owner, self._first, self._last = files, owner, first, last

    def __len__(self) -> int:
        return len(self._owner)

    def __getitem__(self, i: Any) -> Any:
        file, first, last = self._files[self._owner[i]], self._first[i], self._last[i]
        if not isinstance(file, str):
            return file[first:last]
        try:
            handle = os.open(file, os.O_RDONLY)
            try:
                return os.pread(handle, last - first, first)
            finally:
                os.close(handle)
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror}.") from None
