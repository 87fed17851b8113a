"""Columns that grow: appending an episode costs its own length, and what was there before is never copied under a reader.

Shapes: N steps of all episodes so far, T of one, M items (usable transitions), P proprio, A action, L sentence features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_pt import images
from robot_pt.errors import DataError
from robot_pt.frame_files import FrameFiles, Frames
from robot_pt.schema import Episode, Float, Image, Int, Spec

_FIRST_CAPACITY = 1024


class Column:
    """An array that is appended to. Readers in other threads may hold `values`: what they see never changes."""

    def __init__(self, width: tuple[int, ...], dtype: type):
        self._data: NDArray[Any] = np.zeros((_FIRST_CAPACITY, *width), dtype)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def values(self) -> NDArray[Any]:
        return self._data[: self._length]

    def extend(self, values: NDArray[Any]) -> None:
        """Append rows; amortised O(len(values)), as the capacity doubles."""
        needed = self._length + len(values)
        if needed > len(self._data):
            larger = np.zeros((max(needed, 2 * len(self._data)), *self._data.shape[1:]), self._data.dtype)
            larger[: self._length] = self._data[: self._length]
            self._data = larger
        self._data[self._length : needed] = values
        self._length = needed


class EpisodeRows:
    """Steps of stored episodes, end to end: proprio and actions in memory, frames where they lie on disk."""

    def __init__(self, spec: Spec):
        self.spec = spec
        self._proprio = Column((len(spec.proprio_names),), np.float32)
        self._actions = Column((len(spec.action_names),), np.float32)
        self._ends = Column((), np.int64)
        self._offsets = {camera: Column((), np.int64) for camera in spec.cameras}
        self._folders: list[str] = []
        self._files = FrameFiles(Path("/"))

    def __len__(self) -> int:
        return len(self._actions)

    @property
    def proprio(self) -> Float:
        """(N, P)"""
        return self._proprio.values

    @property
    def actions(self) -> Float:
        """(N, A)"""
        return self._actions.values

    def append(self, episode: Episode, folder: Path) -> int:
        """Take in an episode stored in `folder` (frames encoded, as `DemoStore.read` gives it); returns its first row."""
        first = len(self)
        for camera, offsets in self._offsets.items():
            frames = episode.images[camera]
            assert not isinstance(frames, np.ndarray), "frames as they were read from a store"
            offsets.extend(np.cumsum([0, *map(len, frames)], dtype=np.int64))
        self._folders.append(str(folder.absolute()))
        self._ends.extend(np.array([first + len(episode)]))
        self._proprio.extend(np.asarray(episode.proprio, np.float32))
        self._actions.extend(np.asarray(episode.actions, np.float32))
        return first

    def last(self, rows: Int) -> Int:
        """Row of the last step of the episode that each row is of."""
        ends = self._ends.values
        out: Int = ends[np.searchsorted(ends, rows, side="right")] - 1
        return out

    def images(self, rows: Int, camera: str, size: tuple[int, int]) -> Image:
        """Decode (len(rows), H, W, 3) uint8 RGB. Raises DataError naming the episode with a damaged frame."""
        owner = np.searchsorted(self._ends.values, rows, side="right")
        at = rows + owner  # offsets have one entry more than steps in every episode
        offsets = self._offsets[camera].values
        files = {e: self._files.get(self._folders[e], camera) for e in np.unique(owner).tolist()}
        frames = Frames(files, owner.tolist(), offsets[at].tolist(), offsets[at + 1].tolist())
        try:
            return images.decode(frames, size)
        except DataError as error:
            names = sorted({self._folders[e] for e in owner.tolist()})
            raise DataError(f"a frame of {', '.join(names[:4])} (camera {camera!r}) is damaged: {error}") from None


class GrowingPart:
    """Items over `rows`: a `robot_pt.gathering.Part` that grows by whole episodes."""

    def __init__(self, rows: EpisodeRows, language_dim: int = 0):
        self.spec = rows.spec
        self._rows = rows
        floats = ("reward", "discount", "return_to_go")
        self._columns = {name: Column((), np.float32) for name in floats}
        self._columns |= {name: Column((), np.int64) for name in ("row", "next_row", "task")}
        if language_dim:
            self._columns["language"] = Column((language_dim,), np.float32)
        self._counts = [0]

    def size(self, episodes: int) -> int:
        """Items of the first `episodes` episodes appended."""
        return self._counts[episodes]

    def extend(self, columns: dict[str, NDArray[Any]]) -> None:
        """The items of one more episode, possibly none: row, next_row, reward, discount, return_to_go, task (M,), language (M, L)."""
        assert set(columns) == set(self._columns), "every column of every episode"
        for name, values in columns.items():
            self._columns[name].extend(values)
        self._counts.append(len(self._columns["row"]))

    def rows(self, item: Int) -> tuple[Int, Int]:
        return self._columns["row"].values[item], self._columns["next_row"].values[item]

    def last(self, item: Int) -> Int:
        return self._rows.last(self.rows(item)[0])

    def steps(self, rows: Int) -> tuple[Float, Float]:
        return self._rows.proprio[rows], self._rows.actions[rows]

    def images(self, rows: Int, camera: str, size: tuple[int, int]) -> Image:
        return self._rows.images(rows, camera, size)

    def columns(self, item: Int) -> dict[str, Float | Int]:
        row, next_row = self.rows(item)
        names = [name for name in self._columns if name not in ("row", "next_row")]
        looked_up: dict[str, Float | Int] = {name: self._columns[name].values[item] for name in names}
        proprio, actions = self._rows.proprio, self._rows.actions
        now = {"proprio": proprio[row], "action": actions[row]}
        return {**now, "next_proprio": proprio[next_row], "next_action": actions[next_row], **looked_up}
