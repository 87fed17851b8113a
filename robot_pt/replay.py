"""Replay: batches of transitions from several sources, for ever, the same ones whoever asks.

Batch k is a pure function of (sources, seed, k): sampling needs no state but k, so a run resumes sample-exactly, and any
number of processes together decode the same global batches. Frames are decoded after sampling, only those used, by a
few threads that stay some batches ahead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from robot_pt.errors import DataError, UserError
from robot_pt.gathering import Gather, SourcePart
from robot_pt.mixing import Mixer, Rounding, batch_rng, rank_slots
from robot_pt.prefetch import Prefetch
from robot_pt.rewards import RewardLabel
from robot_pt.schema import Batch, Int
from robot_pt.sources import EpisodeSource
from robot_pt.tasks import TaskTable
from robot_pt.transitions import transitions


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
        window: steps of a sample, from its own on; None gives single steps, see `Batch`.
    Raises:
        MismatchError: sources that cannot share a network, or a task that is missing in the table.
        DataError: NaN in a source, or a source with a ratio above 0 and no usable step.
    """

    def __init__(
        self, sources: Sequence[EpisodeSource], ratios: Sequence[float], *, cameras: Sequence[str],
        image_size: tuple[int, int], batch_size: int, reward: RewardLabel, gamma: float, n_step: int = 1,
        task_table: TaskTable, seed: int, rank: int = 0, world_size: int = 1, threads: int = 2, prefetch: int = 4,
        rounding: Rounding = "floor", weights: Sequence[NDArray[Any] | None] | None = None, next_frames: bool = True,
        bootstrap: bool = True, language_dim: int = 0, pinned: bool = False, window: int | None = None,
    ):  # fmt: skip
        if len(sources) != len(ratios) or (weights is not None and len(weights) != len(sources)):
            raise UserError(f"{len(sources)} sources need as many mixing ratios and weights; there are {len(ratios)}.")
        for source in sources:
            for camera in cameras or ("",):
                sources[0].spec.require_trainable_with(source.spec, camera)
        self._slots = rank_slots(batch_size, rank, world_size)
        self._mixer = Mixer(ratios, batch_size, rounding)
        self.batch_size, self.local_batch_size, self.seed = batch_size, len(self._slots), seed
        self.parts = [
            SourcePart(s, transitions(s, reward, gamma, n_step, bootstrap=bootstrap), task_table, language_dim,
                       None if weights is None else weights[i])
            for i, s in enumerate(sources)
        ]  # fmt: skip
        for part, ratio in zip(self.parts, ratios, strict=True):
            if ratio > 0 and len(part.transitions) == 0:
                raise DataError(
                    f"the {part.source.spec.embodiment} data has {len(part.source.episodes)} episodes and no transition to "
                    "train on; an episode needs two steps, or one that ends in success. Give other data."
                )
        self.gather = Gather(  # (source, item of its `parts[source].transitions`, sample key), each (B,) -> Batch
            self.parts, cameras=cameras, image_size=image_size, next_frames=next_frames, language_dim=language_dim, pinned=pinned,
            window=window,
        )  # fmt: skip
        self._batches = Prefetch(self.batch, threads=threads, ahead=prefetch)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return self._batches.next()

    def batch(self, number: int) -> Batch:
        """This process's part of global batch `number`, decoded now in the calling thread."""
        which, item = self.draw(number)
        return self.gather(which[self._slots], item[self._slots], number * self.batch_size + self._slots)

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
        return self._batches.state(self._identity())

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken. Raises MismatchError when seed, batch size, ratios or data are others."""
        self._batches.load_state(state, self._identity())

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


Columns = TypeVar("Columns", bound=tuple[Any, ...])
"""A NamedTuple of arrays, None and mappings of arrays: `Batch`, or `robot_pt.clips.ClipBatch`."""


def to_device(batch: Columns, device: torch.device | str) -> Columns:
    """The same batch as tensors. On the CPU they share memory with the arrays; elsewhere images travel as uint8."""

    def move(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: move(v) for name, v in value.items()}
        if value is None:
            return None
        tensor = torch.from_numpy(value)
        return tensor if here else tensor.to(device)

    # `to` lets go of the interpreter even where there is nothing to move, and each column then waits for a loading thread to give it back
    here = torch.device(device).type == "cpu"
    return type(batch)(*(move(value) for value in batch))


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
