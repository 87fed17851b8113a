"""From drawn samples to a `Batch`: columns looked up, frames decoded, only those used.

Shapes: B samples of a batch, S steps of a window, N steps of a source's columns, M items (usable transitions) of a part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robot_pt.buffers import BufferPool
from robot_pt.errors import MismatchError, UserError
from robot_pt.language import sentence_table
from robot_pt.mixing import Draw
from robot_pt.schema import Batch, Float, Image, Int, Spec
from robot_pt.sources import EpisodeSource
from robot_pt.tasks import TaskTable
from robot_pt.transitions import Transitions


class Part(Protocol):
    """One source of a mixture, as transitions that can be looked up by number."""

    @property
    def spec(self) -> Spec: ...

    def rows(self, item: Int) -> tuple[Int, Int]:
        """(row, row to bootstrap from) of these items, each (len(item),), as `images` takes them."""
        ...

    def columns(self, item: Int) -> Mapping[str, Float | Int]:
        """proprio, next_proprio, action, next_action, task, reward, discount, return_to_go, and language where the part has one."""
        ...

    def last(self, item: Int) -> Int:
        """(len(item),) row of the last step of the episode that each item is of."""
        ...

    def steps(self, rows: Int) -> tuple[Float, Float]:
        """Proprio (..., P) and action (..., A) of these rows."""
        ...

    def images(self, rows: Int, camera: str, size: tuple[int, int]) -> NDArray[Any]:
        """(len(rows), H, W, 3) uint8 frames, or (len(rows), N) float32 features of them."""
        ...


class SourcePart:
    """A whole `EpisodeSource` with its index of transitions.

    Raises MismatchError for a task that is missing in the table, UserError for weights of another length than the columns.
    """

    def __init__(
        self, source: EpisodeSource, index: Transitions, tasks: TaskTable, language_dim: int = 0,
        weights: NDArray[Any] | None = None,
    ):  # fmt: skip
        self.source, self.transitions, self.spec = source, index, source.spec
        unknown = sorted(set(source.episodes.task) - set(tasks.names))
        if unknown:
            raise MismatchError(
                f"task {unknown[0]!r} of the {source.spec.embodiment} data has no slot in the run's task table; "
                "fill one before training on it."
            )
        self._task = tasks.lookup(source.episodes.task)
        self._language = sentence_table(source.episodes.instruction, language_dim) if language_dim else None
        if weights is not None and len(weights) != len(source.actions):
            raise UserError(f"{len(weights)} sampling weights for {len(source.actions)} steps; give one for each step.")
        self.draw = Draw(len(index), None if weights is None else np.asarray(weights, np.float64)[index.row])

    def rows(self, item: Int) -> tuple[Int, Int]:
        return self.transitions.row[item], self.transitions.next_row[item]

    def last(self, item: Int) -> Int:
        table = self.source.episodes
        end_E: Int = table.start + table.length - 1
        return end_E[self.transitions.episode[item]]

    def steps(self, rows: Int) -> tuple[Float, Float]:
        return self.source.proprio[rows], self.source.actions[rows]

    def images(self, rows: Int, camera: str, size: tuple[int, int]) -> Image:
        return self.source.images(rows, camera, size)

    def columns(self, item: Int) -> dict[str, Float | Int]:
        index, source = self.transitions, self.source
        row, next_row, episode = index.row[item], index.next_row[item], index.episode[item]
        out: dict[str, Float | Int] = {
            "proprio": source.proprio[row], "next_proprio": source.proprio[next_row],
            "action": source.actions[row], "next_action": source.actions[next_row], "task": self._task[episode], "reward": index.reward[item],
            "discount": index.discount[item], "return_to_go": index.return_to_go[item],
        }  # fmt: skip
        if self._language is not None:
            out["language"] = self._language[episode]
        return out


class Gather:
    """Builds batches from (part, item) pairs.

    Args:
        next_frames: False leaves `next_images` equal to `images` undecoded, for imitation.
        language_dim: length of `Batch.language`, 0 for none.
        pinned: put images into page-locked memory for a GPU.
        window: S, steps of a sample: its own and those after it in its episode, see `Batch.valid`; only without next frames. None = its
            own alone, without that axis.
        encoded: N, features that the parts give in place of each frame; 0 for frames.
    """

    def __init__(
        self, parts: Sequence[Part], *, cameras: Sequence[str], image_size: tuple[int, int], next_frames: bool = True,
        language_dim: int = 0, pinned: bool = False, window: int | None = None, encoded: int = 0,
    ):  # fmt: skip
        assert not encoded or window is None, "windows are of frames"
        if window is not None and (window < 1 or next_frames):
            raise UserError(f"a window of {window} steps is asked for; give at least 1, and no next frames.")
        self._parts, self._cameras, self._size = parts, tuple(cameras), image_size
        self._next_frames, self._language_dim, self._window, self._encoded = next_frames, language_dim, window, encoded
        self.pool = BufferPool(pinned=pinned)

    def __call__(self, which_B: Int, item_B: Int, key_B: Int) -> Batch:
        columns = self._columns(which_B, item_B)
        if self._window is not None:
            images, windows = self._windows(which_B, item_B, self._window)
            following, columns = images, columns | windows
        else:
            images, following = self._frames(which_B, item_B)
        key_B = key_B.astype(np.int64)
        return Batch(images=images, next_images=following, sample_key=key_B, source=which_B, **columns)

    def _windows(self, which: Int, item: Int, steps: int) -> tuple[dict[str, Image], dict[str, Any]]:
        """(camera -> (B, S, H, W, 3), columns of windows); where an episode has ended its last step stands."""
        spec, shape = self._parts[0].spec, (len(which), steps)
        images = {camera: self.pool.take((*shape, *self._size, 3)) for camera in self._cameras}
        proprio = np.empty((*shape, len(spec.proprio_names)), np.float32)
        action, valid = np.empty((*shape, len(spec.action_names)), np.float32), np.empty(shape, bool)
        for s in np.unique(which):
            mine, part = np.flatnonzero(which == s), self._parts[s]
            wanted = part.rows(item[mine])[0][:, None] + np.arange(steps)
            rows = np.minimum(wanted, part.last(item[mine])[:, None])
            valid[mine] = rows == wanted
            proprio[mine], action[mine] = part.steps(rows)
            for camera, out in images.items():
                frames = part.images(rows.reshape(-1), camera, self._size)
                out[mine] = frames.reshape(len(mine), *out.shape[1:])
        return images, {"proprio": proprio, "action": action, "valid": valid}

    def _frames(self, which: Int, item: Int) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        count = len(which)
        images: dict[str, NDArray[Any]] = {}
        following: dict[str, NDArray[Any]] = {}
        for camera in self._cameras:
            both = self._room(2 * count if self._next_frames else count)
            for s in np.unique(which):
                mine = np.flatnonzero(which == s)
                rows, next_rows = self._parts[s].rows(item[mine])
                target = mine
                if self._next_frames:  # s and s' in one call: neighbours lie beside each other on disk
                    rows, target = np.concatenate([rows, next_rows]), np.concatenate([mine, mine + count])
                both[target] = self._parts[s].images(rows, camera, self._size)
            images[camera] = both[:count]
            following[camera] = both[count:] if self._next_frames else both
        return images, following

    def _room(self, count: int) -> NDArray[Any]:
        return (
            np.empty((count, self._encoded), np.float32) if self._encoded else self.pool.take((count, *self._size, 3))
        )

    def _columns(self, which: Int, item: Int) -> dict[str, Any]:
        spec, count = self._parts[0].spec, len(which)
        proprio, action = len(spec.proprio_names), len(spec.action_names)
        shapes: dict[str, tuple[int, ...]] = {
            "proprio": (count, proprio), "next_proprio": (count, proprio), "action": (count, action),
            "next_action": (count, action), "language": (count, self._language_dim), "reward": (count,), "discount": (count,), "return_to_go": (count,),
        }  # fmt: skip
        out: dict[str, Any] = {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
        out["task"] = np.empty(count, np.int64)
        for s in np.unique(which):
            mine = np.flatnonzero(which == s)
            for name, value in self._parts[s].columns(item[mine]).items():
                out[name][mine] = value
        return out
