"""Replay: batches of transitions from several sources, for ever, the same ones whoever asks.

Batch k is a pure function of (sources, seed, k): sampling needs no state but k, so a run resumes sample-exactly, and any
number of processes together decode the same global batches. Frames are decoded after sampling, only those used, by a
few threads that stay some batches ahead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from robot_pt.buffers import BufferPool
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.language import sentence_table
from robot_pt.mixing import Draw, Mixer, Rounding, batch_rng, rank_slots
from robot_pt.prefetch import Prefetch
from robot_pt.rewards import RewardLabel
from robot_pt.schema import Batch, Float, Image, Int
from robot_pt.sources import EpisodeSource
from robot_pt.tasks import TaskTable
from robot_pt.transitions import Transitions, transitions


class Replay:
    """An endless iterator of `Batch` (numpy). Use it as a context manager, or call `close`.

    Args:
        ratios: share of each source in every batch, adding up to 1; a source may have 0.
        cameras: roles to decode; image_size: (H, W) in pixels they are decoded to.
        batch_size: of the *global* batch; with world_size processes each yields batch_size / world_size samples.
        rounding: how ratios become counts, see `Mixer`.
        weights: per source None for uniform sampling, or one weight per row of the source's columns.
        next_frames: False leaves `next_images` equal to `images` undecoded, for imitation.
        bootstrap: False also samples last steps that have no next observation, see `transitions`.
        language_dim: length of `Batch.language`, 0 for none.
        threads: batches decoded at the same time; prefetch: batches kept ready or under way.
        pinned: put images into page-locked memory for a GPU.
    Raises:
        MismatchError: sources that cannot share a network, or a task that is missing in the table.
        DataError: NaN in a source, or a source with a ratio above 0 and no usable step.
    """

    def __init__(
        self, sources: Sequence[EpisodeSource], ratios: Sequence[float], *, cameras: Sequence[str],
        image_size: tuple[int, int], batch_size: int, reward: RewardLabel, gamma: float, n_step: int = 1,
        task_table: TaskTable, seed: int, rank: int = 0, world_size: int = 1, threads: int = 2, prefetch: int = 4,
        rounding: Rounding = "floor", weights: Sequence[NDArray[Any] | None] | None = None, next_frames: bool = True,
        bootstrap: bool = True, language_dim: int = 0, pinned: bool = False,
    ):  # fmt: skip
        if len(sources) != len(ratios) or (weights is not None and len(weights) != len(sources)):
            raise UserError(f"{len(sources)} sources need as many mixing ratios and weights; there are {len(ratios)}.")
        for source in sources:
            for camera in cameras:
                sources[0].spec.require_trainable_with(source.spec, camera)
        self._slots = rank_slots(batch_size, rank, world_size)
        self._mixer = Mixer(ratios, batch_size, rounding)
        self.batch_size, self.local_batch_size, self.seed = batch_size, len(self._slots), seed
        self.cameras, self.image_size, self._next_frames = tuple(cameras), image_size, next_frames
        self.parts = [
            _Part(s, transitions(s, reward, gamma, n_step, bootstrap=bootstrap), task_table, language_dim,
                  None if weights is None else weights[i])
            for i, s in enumerate(sources)
        ]  # fmt: skip
        for part, ratio in zip(self.parts, ratios, strict=True):
            if ratio > 0 and len(part.transitions) == 0:
                raise DataError(
                    f"the {part.source.spec.embodiment} data has {len(part.source.episodes)} episodes and no transition to "
                    "train on; an episode needs two steps, or one that ends in success. Give other data."
                )
        self._language_dim = language_dim
        self._pool = BufferPool(pinned=pinned)
        self._batches = Prefetch(self.batch, threads=threads, ahead=prefetch)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return self._batches.next()

    def batch(self, number: int) -> Batch:
        """This process's part of global batch `number`, decoded now in the calling thread."""
        which, item = self.draw(number)
        return self.gather(which[self._slots], item[self._slots], number * self.batch_size + self._slots)

    def gather(self, which: Int, item: Int, key: Int) -> Batch:
        """The batch of these (source, item of its `parts[source].transitions`), with these sample keys, each (B,)."""
        images, following = self._frames(which, item)
        columns = self._columns(which, item)
        return Batch(images=images, next_images=following, sample_key=key.astype(np.int64), source=which, **columns)

    def draw(self, number: int) -> tuple[Int, Int]:
        """(source, item of that source's transitions) of every sample of global batch `number`, each (batch_size,)."""
        rng = batch_rng(self.seed, number)
        which = np.repeat(np.arange(len(self.parts)), self._mixer.counts(number))
        item = np.zeros(self.batch_size, np.int64)
        for s, part in enumerate(self.parts):
            mine = which == s
            if mine.any():
                item[mine] = part.draw(rng, int(mine.sum()))
        order = rng.permutation(self.batch_size)  # so that every process gets its part of every source
        return which[order], item[order]

    def state(self) -> dict[str, Any]:
        """JSON values that make `load_state` continue with exactly the next sample."""
        return {"next_batch": self._batches.position, **self._identity()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken. Raises MismatchError when seed, batch size, ratios or data are others."""
        here = self._identity()
        differing = [name for name in here if state.get(name) != here[name]]
        if differing:
            name = differing[0]
            raise MismatchError(
                f"the run was recorded with {name} = {state.get(name)}, now it is {here[name]}; "
                "resume with the same data and settings, or start a new run."
            )
        number = state.get("next_batch")
        if not isinstance(number, int) or number < 0:
            raise DataError(f"the replay state's next_batch is {number!r}; the checkpoint is damaged.")
        self._batches.seek(number)

    def _identity(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "counts": self._mixer.counts(0),
            "transitions": [len(p.transitions) for p in self.parts],
        }

    def close(self) -> None:
        """Stop the threads; batches under way are dropped. Iterating again starts them anew."""
        self._batches.close()

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _frames(self, which: Int, item: Int) -> tuple[dict[str, Image], dict[str, Image]]:
        count = len(which)
        images: dict[str, Image] = {}
        following: dict[str, Image] = {}
        for camera in self.cameras:
            both = self._pool.take((2 * count if self._next_frames else count, *self.image_size, 3))
            for s in np.unique(which):
                mine = np.flatnonzero(which == s)
                part = self.parts[s]
                rows, target = part.transitions.row[item[mine]], mine
                if self._next_frames:  # s and s' in one call: neighbours lie beside each other on disk
                    rows = np.concatenate([rows, part.transitions.next_row[item[mine]]])
                    target = np.concatenate([mine, mine + count])
                both[target] = part.source.images(rows, camera, self.image_size)
            images[camera] = both[:count]
            following[camera] = both[count:] if self._next_frames else both
        return images, following

    def _columns(self, which: Int, item: Int) -> dict[str, Any]:
        spec, count = self.parts[0].source.spec, len(which)
        proprio, action = len(spec.proprio_names), len(spec.action_names)
        shapes: dict[str, tuple[int, ...]] = {
            "proprio": (count, proprio), "next_proprio": (count, proprio), "action": (count, action),
            "language": (count, self._language_dim), "reward": (count,), "discount": (count,), "return_to_go": (count,),
        }  # fmt: skip
        out: dict[str, Any] = {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
        out["task"] = np.empty(count, np.int64)
        for s in np.unique(which):
            mine = np.flatnonzero(which == s)
            for name, value in self.parts[s].columns(item[mine]).items():
                out[name][mine] = value
        return out


class _Part:
    """One source of the mixture with its index of transitions."""

    def __init__(
        self, source: EpisodeSource, index: Transitions, tasks: TaskTable, language_dim: int, weights: NDArray[Any] | None
    ):  # fmt: skip
        self.source, self.transitions = source, index
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

    def columns(self, item: Int) -> dict[str, Float | Int]:
        index, source = self.transitions, self.source
        row, episode = index.row[item], index.episode[item]
        out: dict[str, Float | Int] = {
            "proprio": source.proprio[row], "next_proprio": source.proprio[index.next_row[item]],
            "action": source.actions[row], "task": self._task[episode], "reward": index.reward[item],
            "discount": index.discount[item], "return_to_go": index.return_to_go[item],
        }  # fmt: skip
        if self._language is not None:
            out["language"] = self._language[episode]
        return out


def to_device(batch: Batch, device: torch.device | str) -> Batch:
    """The same batch as tensors. On the CPU they share memory with the arrays; elsewhere images travel as uint8."""

    def move(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: move(v) for name, v in value.items()}
        return torch.from_numpy(value).to(device)

    return Batch(*(move(value) for value in batch))


def episode_batches(
    source: EpisodeSource, *, cameras: Sequence[str], image_size: tuple[int, int], reward: RewardLabel, gamma: float,
    task_table: TaskTable, language_dim: int = 0,
) -> Iterator[Batch]:  # fmt: skip
    """Each episode of `source` as one batch of all its steps in order, without next frames: what Q curves are drawn from.

    Last steps are included whether or not the episode ended; raises as `Replay` does.
    """
    replay = Replay(
        [source], [1.0], cameras=cameras, image_size=image_size, batch_size=1, reward=reward, gamma=gamma, task_table=task_table,
        seed=0, next_frames=False, bootstrap=False, language_dim=language_dim,
    )  # fmt: skip
    episode = replay.parts[0].transitions.episode
    for e in np.unique(episode):
        item = np.flatnonzero(episode == e)
        yield replay.gather(np.zeros(len(item), np.int64), item, item)


def take(batches: Iterable[Batch], count: int) -> list[Batch]:
    """The next `count` batches as a list."""
    iterator = iter(batches)
    return [next(iterator) for _ in range(count)]
