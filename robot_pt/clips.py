"""Clips: a few frames of one episode each, for objectives that look at more than one transition.

Drawn as `robot_pt.replay` draws: batch k is a function of (sources, seed, k), never crosses an episode, resumes and splits over
processes exactly. Which frames make a clip is a `ClipPlan`, one small class per objective's sampling rule.

Shapes: B clips, S frames of a clip, P proprio, A action (0 for video), L sentence feature, M steps of a source's episodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from robot_pt.buffers import BufferPool
from robot_pt.captions import CaptionTable
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.language import sentence_table
from robot_pt.mixing import Mixer, Rounding, batch_rng, rank_slots
from robot_pt.prefetch import Prefetch
from robot_pt.rewards import RewardLabel, return_to_go, sum_to_end
from robot_pt.schema import Bool, Float, Int
from robot_pt.sources import EpisodeSource
from robot_pt.tasks import TaskTable
from robot_pt.transitions import require_finite


class ClipBatch(NamedTuple):
    """B clips of S frames, as arrays or tensors. Where `valid` is False the episode has no such step and its nearest stands there."""

    images: Mapping[str, Any]  # camera -> (B, S, H, W, 3) uint8; where a plan names its pictures, as many as those
    valid: Any  # (B, S) bool
    proprio: Any  # (B, S, P)
    action: Any  # (B, S, A) taken at each frame
    reward: Any  # (B, S) as `RewardLabel` says
    return_to_go: Any  # (B, S) to the end of the episode, not of the clip
    terminal: Any  # (B, S) bool: the return ends here
    step: Any  # (B, S) int64, counted from the episode's first
    length: Any  # (B,) int64 steps of the episode
    episode: Any  # (B,) int64, unique over all sources
    task: Any  # (B,) int64 slot in the task table, 0 without one
    language: Any  # (B, L) sentence features, zeros where there is no caption
    sample_key: Any  # (B,) int64 global sample index, keys the noise
    source: Any  # (B,) int64


class ClipPlan(Protocol):
    """Which steps of an episode make a clip.

    A plan may name in `pictures` which of its S frames are decoded, as places in a clip; without it all are.
    """

    @property
    def frames(self) -> int:
        """S."""
        ...

    def steps(self, rng: np.random.Generator, anchor_B: Int, length_B: Int) -> Int:
        """(B, S) steps counted from each episode's first.

        anchor_B: a step uniform over all steps of the source; length_B: steps of its episode. A step outside [0, length) is clamped
        by the caller and marked invalid.
        """
        ...


class Around:
    """Fixed offsets from the anchor: (0,) one frame, (0, 3) a pair three steps apart, range(8) a window."""

    def __init__(self, offsets: Sequence[int]):
        if not len(offsets):
            raise UserError("a clip needs at least one offset, such as (0,).")
        self._offsets = np.asarray(offsets, np.int64)

    @property
    def frames(self) -> int:
        return len(self._offsets)

    def steps(self, rng: np.random.Generator, anchor_B: Int, length_B: Int) -> Int:
        out: Int = anchor_B[:, None] + self._offsets[None]
        return out


class Later:
    """The anchor and one frame `least` to `most` steps later, uniform over the gaps that still fit.

    Closer to the end than `least` the pair ends at the last step, so the gap is smaller there; 0 at the last step itself.
    """

    frames = 2

    def __init__(self, least: int, most: int):
        if not 1 <= least <= most:
            raise UserError(f"frame pairs need 1 <= least gap <= most; given {least} and {most}.")
        self._least, self._most = least, most

    def steps(self, rng: np.random.Generator, anchor_B: Int, length_B: Int) -> Int:
        left = length_B - 1 - anchor_B
        low, high = np.minimum(self._least, left), np.minimum(self._most, left)
        return np.stack([anchor_B, anchor_B + rng.integers(low, high + 1)], axis=1)


class Ends:
    """A step and the `gap` after it, with the actions and rewards of all of them; only the first and the last are seen."""

    def __init__(self, gap: int):
        if gap < 1:
            raise UserError(f"the two frames of a clip are {gap} steps apart; give at least 1.")
        self.frames, self.pictures = gap + 1, (0, gap)

    def steps(self, rng: np.random.Generator, anchor_B: Int, length_B: Int) -> Int:
        out: Int = anchor_B[:, None] + np.arange(self.frames)
        return out


class Clips:
    """An endless iterator of `ClipBatch` (numpy), anchors uniform over the steps of each source. A context manager.

    Args:
        ratios: share of each source in every batch, adding up to 1.
        cameras: roles to decode, each to image_size (H, W) pixels; a source that lacks one is refused.
        actions: whether the clips' actions and proprio are used; without them sources need not share their names, and these columns
            have width 0.
        reward, gamma: labels and discount of `reward` and `return_to_go`; gamma 1 sums what was recorded and supposes nothing beyond it.
        task_table: slots of `task`; None leaves them 0.
        language_dim: L, 0 for none.
        captions: features of the episodes' instructions, L wide; None hashes their words.
        batch_size: of the *global* batch; with world_size processes each yields batch_size / world_size clips.
    Raises:
        MismatchError: sources that cannot share a network, or a task that is missing in the table.
        DataError: NaN in a source, a source with a ratio above 0 and no step, `actions` where the data has none, or an instruction
            that is not in `captions`.
    """

    def __init__(
        self, sources: Sequence[EpisodeSource], ratios: Sequence[float], plan: ClipPlan, *, cameras: Sequence[str],
        image_size: tuple[int, int], batch_size: int, seed: int, actions: bool = False, reward: RewardLabel | None = None,
        gamma: float = 0.96, task_table: TaskTable | None = None, language_dim: int = 0, captions: CaptionTable | None = None,
        rank: int = 0, world_size: int = 1, threads: int = 2, prefetch: int = 4, rounding: Rounding = "floor", pinned: bool = False,
    ):  # fmt: skip
        if len(sources) != len(ratios):
            raise UserError(f"{len(sources)} sources need as many mixing ratios; there are {len(ratios)}.")
        _require_usable(sources, cameras, actions)
        self._plan, self._cameras, self._size = plan, tuple(cameras), image_size
        self._pictures = np.asarray(getattr(plan, "pictures", range(plan.frames)), np.int64)
        self._slots = rank_slots(batch_size, rank, world_size)
        self._mixer = Mixer(ratios, batch_size, rounding)
        self.batch_size, self.local_batch_size, self.seed = batch_size, len(self._slots), seed
        self._parts = [
            _Part(s, reward or RewardLabel(), gamma, actions, task_table, language_dim, captions) for s in sources
        ]
        self._first_episode = np.cumsum([0, *(len(s.episodes) for s in sources)])
        self._pool = BufferPool(pinned=pinned)
        for part, ratio in zip(self._parts, ratios, strict=True):
            if ratio > 0 and part.steps == 0:
                raise DataError(f"the {part.source.spec.embodiment} data has no step to draw from; give other data.")
        self._batches = Prefetch(self.batch, threads=threads, ahead=prefetch)

    def __iter__(self) -> Iterator[ClipBatch]:
        return self

    def __next__(self) -> ClipBatch:
        return self._batches.next()

    def batch(self, number: int) -> ClipBatch:
        """This process's part of global batch `number`, decoded now in the calling thread."""
        which, episode, step = self.draw(number)
        key = number * self.batch_size + self._slots
        return self._gather(which[self._slots], episode[self._slots], step[self._slots], key)

    def draw(self, number: int) -> tuple[Int, Int, Int]:
        """(source (batch_size,), episode of that source (batch_size,), steps as the plan gives them (batch_size, S))."""
        rng = batch_rng(self.seed, number)
        which = np.repeat(np.arange(len(self._parts)), self._mixer.counts(number))[rng.permutation(self.batch_size)]
        episode, step = np.zeros(self.batch_size, np.int64), np.zeros((self.batch_size, self._plan.frames), np.int64)
        for s, part in enumerate(self._parts):
            mine = np.flatnonzero(which == s)
            if len(mine):
                episode[mine], anchor = part.draw(rng, len(mine))
                step[mine] = self._plan.steps(rng, anchor, part.length[episode[mine]])
        return which, episode, step

    def _gather(self, which: Int, episode: Int, wanted: Int, key: Int) -> ClipBatch:
        count, seen = len(wanted), (len(self._pictures), *self._size, 3)
        images = {c: self._pool.take((count, *seen)) for c in self._cameras}
        columns: dict[str, Any] = {}
        for s in np.unique(which):
            mine, part = np.flatnonzero(which == s), self._parts[s]
            length = part.length[episode[mine]]
            step = np.clip(wanted[mine], 0, length[:, None] - 1)
            for camera, out in images.items():
                rows = part.start[episode[mine]][:, None] + step[:, self._pictures]
                out[mine] = part.source.images(rows.reshape(-1), camera, self._size).reshape(len(mine), *seen)
            found = part.columns(episode[mine], step)
            found |= {"valid": step == wanted[mine], "step": step, "length": length}
            found["episode"] = self._first_episode[s] + episode[mine]
            for name, value in found.items():
                if name not in columns:
                    columns[name] = np.empty((count, *value.shape[1:]), value.dtype)
                columns[name][mine] = value
        return ClipBatch(images=images, sample_key=key.astype(np.int64), source=which, **columns)

    def state(self) -> dict[str, Any]:
        """JSON values that make `load_state` continue with exactly the next clip."""
        return self._batches.state(self._identity())

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken. Raises MismatchError when seed, batch size, ratios or data are others."""
        self._batches.load_state(state, self._identity())

    def _identity(self) -> dict[str, Any]:
        return {
            "seed": self.seed, "batch_size": self.batch_size, "counts": self._mixer.counts(0), "frames": self._plan.frames,
            "transitions": [part.steps for part in self._parts],
        }  # fmt: skip

    def close(self) -> None:
        """Stop the threads; batches under way are dropped. Iterating again starts them anew."""
        self._batches.close()

    def __enter__(self) -> Clips:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Part:
    """One source: its episodes' places and its columns in order of episodes, M steps."""

    def __init__(
        self, source: EpisodeSource, label: RewardLabel, gamma: float, actions: bool, tasks: TaskTable | None,
        language_dim: int, captions: CaptionTable | None,
    ):  # fmt: skip
        require_finite(source)
        table = source.episodes
        self.source, self.start = source, table.start
        self.length = np.maximum(table.length, 0)
        self._ends = np.cumsum(self.length)
        self.steps = int(self._ends[-1]) if len(table) else 0
        self._actions = actions
        unknown = sorted(set(table.task) - set(tasks.names)) if tasks is not None else []
        if unknown:
            raise MismatchError(
                f"task {unknown[0]!r} of the {source.spec.embodiment} data has no slot in the task table."
            )
        self._task = np.zeros(len(table), np.int64) if tasks is None else tasks.lookup(table.task)
        self._language = _sentences(table.instruction, language_dim, captions)
        told = [episode_returns(source, e, label, gamma) for e in range(len(table)) if self.length[e]]
        columns: list[Any] = [np.concatenate(c) for c in zip(*told, strict=True)] if told else [np.zeros(0)] * 3
        self._reward, self._terminal, self._return = columns

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Int, Int]:
        """(episode, step in it) of `count` steps drawn uniformly."""
        item = rng.integers(0, self.steps, count)
        episode = np.searchsorted(self._ends, item, side="right")
        return episode, item - (self._ends - self.length)[episode]

    def columns(self, episode_B: Int, step_BS: Int) -> dict[str, Float | Int | Bool]:
        source, row = self.source, self.start[episode_B][:, None] + step_BS
        item = (self._ends - self.length)[episode_B][:, None] + step_BS
        nothing = np.zeros((*step_BS.shape, 0), np.float32)
        return {
            "proprio": source.proprio[row] if self._actions else nothing,
            "action": source.actions[row] if self._actions else nothing,
            "reward": self._reward[item], "return_to_go": self._return[item], "terminal": self._terminal[item],
            "task": self._task[episode_B], "language": self._language[episode_B],
        }  # fmt: skip


def episode_returns(source: EpisodeSource, e: int, label: RewardLabel, gamma: float) -> tuple[Float, Bool, Float]:
    """(reward, terminal, return-to-go) of episode `e`, each (T,), as clips tell them."""
    span = slice(int(source.episodes.start[e]), int(source.episodes.start[e] + source.episodes.length[e]))
    told = label.label(source.rewards[span], source.terminated[span], int(source.episodes.success[e]))
    if gamma == 1:
        return told.reward, told.terminal, sum_to_end(told.reward, told.terminal)
    worst = label.worst_return(gamma, told.reward)
    return told.reward, told.terminal, return_to_go(told.reward, told.terminal, gamma, tail=told.tail, tail_value=worst)


def _sentences(instructions: Sequence[str], dim: int, captions: CaptionTable | None) -> Float:
    """(E, L) of one source's episodes."""
    if not dim:
        return np.zeros((len(instructions), 0), np.float32)
    assert captions is None or captions.dim == dim, "the objective was built for another length of features"
    return sentence_table(instructions, dim) if captions is None else captions.features(instructions)


def _require_usable(sources: Sequence[EpisodeSource], cameras: Sequence[str], actions: bool) -> None:
    for source in sources:
        missing = [c for c in cameras if c not in source.spec.cameras]
        if missing:
            raise MismatchError(
                f"camera {missing[0]!r} is not in the {source.spec.embodiment} data, which has {sorted(source.spec.cameras)}; "
                "choose one with --camera."
            )
        if actions and not source.spec.action_names:
            raise DataError(
                f"the {source.spec.embodiment} data has no actions, which this objective learns from; give demonstrations, or choose an "
                "objective for images or video."
            )
        if actions:
            sources[0].spec.require_trainable_with(source.spec, "")
