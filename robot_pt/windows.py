"""Windows of consecutive steps and pairs of frames, for losses that look further than one transition.

Drawn as `robot_pt.replay` draws: batch k is a function of (sources, seed, k), never crosses an episode, resumes and splits over
processes exactly. Shapes: B batch, S observations, H actions of a window.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from robot_pt.buffers import BufferPool
from robot_pt.errors import DataError, UserError
from robot_pt.mixing import Mixer, Rounding, batch_rng, rank_slots
from robot_pt.prefetch import Prefetch
from robot_pt.schema import Bool, EpisodeTable, Float, Image, Int
from robot_pt.sources import EpisodeSource
from robot_pt.transitions import require_finite


class WindowBatch(NamedTuple):
    """Windows around B drawn steps."""

    images: dict[str, Image]  # camera -> (B, S, H, W, 3)
    proprio: Float  # (B, S, P)
    observed: Bool  # (B, S) False where the episode had not begun or had ended; the nearest step stands there
    action: Float  # (B, H, A)
    acted: Bool  # (B, H)
    task: list[str]  # B
    instruction: list[str]  # B
    sample_key: Int  # (B,)
    source: Int  # (B,)


class FramePairs(NamedTuple):
    """Two frames of one episode, the second later."""

    images: dict[str, Image]  # camera -> (B, H, W, 3)
    later_images: dict[str, Image]
    gap: Int  # (B,) steps between them
    sample_key: Int  # (B,)
    source: Int  # (B,)


def window_rows(table: EpisodeTable, episode_B: Int, row_B: Int, offsets: Sequence[int]) -> tuple[Int, Bool]:
    """Rows at `row + offset`, clamped to the row's episode, and which of them were not clamped; each (B, len(offsets))."""
    first_B1 = table.start[episode_B][:, None]
    last_B1 = first_B1 + table.length[episode_B][:, None] - 1
    wanted_BT = row_B[:, None] + np.asarray(offsets, np.int64)[None]
    rows_BT: Int = np.clip(wanted_BT, first_B1, last_B1)
    return rows_BT, rows_BT == wanted_BT


class _Steps:
    """Every step of a source with its episode, for uniform draws."""

    def __init__(self, source: EpisodeSource):
        require_finite(source)
        self.source, table = source, source.episodes
        self.episode = np.repeat(np.arange(len(table)), np.maximum(table.length, 0))
        begin = np.repeat(np.cumsum(table.length) - table.length, table.length)
        self.row = np.repeat(table.start, table.length) + np.arange(len(self.episode)) - begin


class _Drawn:
    """Uniform draws of steps from several sources by ratio; shared by both samplers below."""

    def __init__(
        self, sources: Sequence[EpisodeSource], ratios: Sequence[float], batch_size: int, seed: int, rank: int, world_size: int,
        rounding: Rounding,
    ):  # fmt: skip
        if len(sources) != len(ratios):
            raise UserError(f"{len(sources)} sources need as many mixing ratios; there are {len(ratios)}.")
        self.parts = [_Steps(s) for s in sources]
        self._mixer, self._slots = Mixer(ratios, batch_size, rounding), rank_slots(batch_size, rank, world_size)
        self.batch_size, self.seed = batch_size, seed
        for part, ratio in zip(self.parts, ratios, strict=True):
            if ratio > 0 and len(part.row) == 0:
                raise DataError(f"the {part.source.spec.embodiment} data has no step to draw from; give other data.")

    def draw(self, number: int) -> tuple[Int, Int, Int, Float]:
        """(source, item of its steps, sample key, a uniform number in [0, 1)) of this process's samples."""
        rng = batch_rng(self.seed, number)
        which = np.repeat(np.arange(len(self.parts)), self._mixer.counts(number))
        sizes = np.array([len(p.row) for p in self.parts])[which]
        item = rng.integers(0, sizes)
        order = rng.permutation(self.batch_size)[self._slots]
        chance = rng.random(self.batch_size, np.float32)[self._slots]
        return which[order], item[order], number * self.batch_size + self._slots, chance


class Windows:
    """An endless iterator of `WindowBatch`, uniform over the steps of each source.

    Args:
        observation_offsets: steps relative to the drawn one that are observed, e.g. (-1, 0) for two frames.
        action_offsets: steps whose actions are given, e.g. range(4) for a chunk of four.
        Others as `robot_pt.replay.Replay`.
    """

    def __init__(
        self, sources: Sequence[EpisodeSource], ratios: Sequence[float], *, cameras: Sequence[str], image_size: tuple[int, int],
        batch_size: int, seed: int, observation_offsets: Sequence[int] = (0,), action_offsets: Sequence[int] = (0,),
        rank: int = 0, world_size: int = 1, threads: int = 2, prefetch: int = 4, rounding: Rounding = "floor",
    ):  # fmt: skip
        if not len(observation_offsets) or not len(action_offsets):
            raise UserError("a window needs at least one observation and one action offset, such as (0,).")
        for source in sources:
            for camera in cameras or ("",):
                sources[0].spec.require_trainable_with(source.spec, camera)
        self._drawn = _Drawn(sources, ratios, batch_size, seed, rank, world_size, rounding)
        self._seen, self._acted = tuple(observation_offsets), tuple(action_offsets)
        self._cameras, self._size, self._pool = tuple(cameras), image_size, BufferPool()
        self.batches = Prefetch(self.batch, threads=threads, ahead=prefetch)

    def __iter__(self) -> Iterator[WindowBatch]:
        return self

    def __next__(self) -> WindowBatch:
        return self.batches.next()

    def batch(self, number: int) -> WindowBatch:
        """This process's part of global batch `number`."""
        which, item, key, _ = self._drawn.draw(number)
        count, parts = len(which), self._drawn.parts
        spec = parts[0].source.spec
        observed, acted = np.zeros((count, len(self._seen)), bool), np.zeros((count, len(self._acted)), bool)
        proprio = np.empty((*observed.shape, len(spec.proprio_names)), np.float32)
        action = np.empty((*acted.shape, len(spec.action_names)), np.float32)
        images = {c: self._pool.take((*observed.shape, *self._size, 3)) for c in self._cameras}
        texts: list[tuple[str, str]] = [("", "")] * count
        for s in np.unique(which):
            mine = np.flatnonzero(which == s)
            part = parts[s]
            table, episode, row = part.source.episodes, part.episode[item[mine]], part.row[item[mine]]
            rows, observed[mine] = window_rows(table, episode, row, self._seen)
            proprio[mine] = part.source.proprio[rows]
            for camera, out in images.items():
                out[mine] = part.source.images(rows.reshape(-1), camera, self._size).reshape(
                    *rows.shape, *self._size, 3
                )
            rows, acted[mine] = window_rows(table, episode, row, self._acted)
            action[mine] = part.source.actions[rows]
            for place, e in zip(mine, episode, strict=True):
                texts[place] = (table.task[e], table.instruction[e])
        tasks, instructions = [t for t, _ in texts], [i for _, i in texts]
        return WindowBatch(images, proprio, observed, action, acted, tasks, instructions, key, which)


class Pairs:
    """An endless iterator of `FramePairs`: a step uniform over each source, and one `min_gap` to `max_gap` steps later.

    Gaps are uniform over those that still fit the episode; steps closer to its end than `min_gap` pair with its last step,
    so the gap can be smaller there, and 0 for the last step itself.
    """

    def __init__(
        self, sources: Sequence[EpisodeSource], ratios: Sequence[float], *, cameras: Sequence[str], image_size: tuple[int, int],
        batch_size: int, seed: int, min_gap: int = 1, max_gap: int = 10, rank: int = 0, world_size: int = 1, threads: int = 2,
        prefetch: int = 4, rounding: Rounding = "floor",
    ):  # fmt: skip
        if not 1 <= min_gap <= max_gap:
            raise UserError(f"frame pairs need 1 <= min_gap <= max_gap; given {min_gap} and {max_gap}.")
        for source in sources:
            missing = [c for c in cameras if c not in source.spec.cameras]
            if missing:
                raise UserError(
                    f"camera {missing[0]!r} is not in the {source.spec.embodiment} data: {sorted(source.spec.cameras)}."
                )
        self._drawn = _Drawn(sources, ratios, batch_size, seed, rank, world_size, rounding)
        self._gaps, self._cameras, self._size, self._pool = (min_gap, max_gap), tuple(cameras), image_size, BufferPool()
        self.batches = Prefetch(self.batch, threads=threads, ahead=prefetch)

    def __iter__(self) -> Iterator[FramePairs]:
        return self

    def __next__(self) -> FramePairs:
        return self.batches.next()

    def batch(self, number: int) -> FramePairs:
        """This process's part of global batch `number`."""
        which, item, key, chance = self._drawn.draw(number)
        count = len(which)
        gap = np.empty(count, np.int64)
        both = {c: self._pool.take((2 * count, *self._size, 3)) for c in self._cameras}
        for s in np.unique(which):
            mine = np.flatnonzero(which == s)
            part = self._drawn.parts[s]
            table, episode, row = part.source.episodes, part.episode[item[mine]], part.row[item[mine]]
            left = table.start[episode] + table.length[episode] - 1 - row
            gap[mine] = self._gap(chance[mine], left)
            target = np.concatenate([mine, mine + count])
            for camera, out in both.items():
                out[target] = part.source.images(np.concatenate([row, row + gap[mine]]), camera, self._size)
        images: dict[str, Any] = {c: b[:count] for c, b in both.items()}
        return FramePairs(images, {c: b[count:] for c, b in both.items()}, gap, key, which)

    def _gap(self, chance: Float, left: Int) -> Int:
        low = np.minimum(self._gaps[0], left)
        high = np.minimum(self._gaps[1], left)
        drawn: Int = np.minimum(low + (chance * (high - low + 1)).astype(np.int64), high)
        return drawn
