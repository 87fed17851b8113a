"""EpisodeSource: the one protocol between data on disk and everything that reads it; concat, filter, split.

Every loader returns one, replay, evaluation, viewers and exporters take one. Images are decoded when asked for, never before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from robot_pt.errors import DataError, MismatchError
from robot_pt.schema import Bool, EpisodeTable, Float, Image, Int, Spec


@runtime_checkable
class EpisodeSource(Protocol):
    """N steps of E episodes. `episodes.start` indexes the rows of the step columns."""

    spec: Spec
    episodes: EpisodeTable
    proprio: Float  # (N, P)
    actions: Float  # (N, A) canonical
    rewards: Float  # (N,) as stored
    terminated: Bool  # (N,)
    truncated: Bool  # (N,)

    def images(self, steps: Int, camera: str, size: tuple[int, int] | None = None) -> Image:
        """Decode (len(steps), H, W, 3) uint8 RGB; `size` = (H, W) resizes, scaled-DCT first where the codec can."""
        ...


class EpisodeView:
    """Some episodes of a source. Step numbers are those of the underlying source, so nothing is copied."""

    def __init__(self, source: EpisodeSource, episodes: EpisodeTable):
        self.spec, self.episodes = source.spec, episodes
        self.proprio, self.actions, self.rewards = source.proprio, source.actions, source.rewards
        self.terminated, self.truncated = source.terminated, source.truncated
        self._source = source

    def images(self, steps: Int, camera: str, size: tuple[int, int] | None = None) -> Image:
        return self._source.images(steps, camera, size)


def _told(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


class Concat:
    """Several sources of one spec end to end. Where their action units differ, the unit of the whole is unknown."""

    def __init__(self, sources: Sequence[EpisodeSource]):
        if not sources:
            raise DataError("concat needs at least one source; it was given none.")
        first = sources[0].spec
        for other in sources[1:]:
            for what in ("action_names", "proprio_names"):
                one, two = getattr(first, what), getattr(other.spec, what)
                if one != two:
                    raise MismatchError(
                        f"data to be learned from together must have the same {what.replace('_', ' ')}; {first.embodiment} has {_told(one)}, "
                        f"{other.spec.embodiment} {_told(two)}: leave one out, or record it as the other."
                    )
        shared = {c: s for c, s in first.cameras.items() if all(c in o.spec.cameras for o in sources)}
        unit = first.action_unit if len({s.spec.action_unit for s in sources}) == 1 else "unknown"
        self.spec = Spec(**{**first.to_json(), "cameras": shared, "action_unit": unit})
        self._sources = list(sources)
        self._offset = np.concatenate([[0], np.cumsum([len(s.actions) for s in sources])]).astype(np.int64)
        self.proprio = np.concatenate([s.proprio for s in sources])
        self.actions = np.concatenate([s.actions for s in sources])
        self.rewards = np.concatenate([s.rewards for s in sources])
        self.terminated = np.concatenate([s.terminated for s in sources])
        self.truncated = np.concatenate([s.truncated for s in sources])
        tables = [s.episodes for s in sources]
        self.episodes = EpisodeTable(
            start=np.concatenate([t.start + o for t, o in zip(tables, self._offset[:-1], strict=True)]),
            length=np.concatenate([t.length for t in tables]),
            instruction=[x for t in tables for x in t.instruction],
            task=[x for t in tables for x in t.task],
            success=np.concatenate([t.success for t in tables]),
            dataset=[x for t in tables for x in t.dataset],
            split=[x for t in tables for x in t.split],
            operator=[x for t in tables for x in t.operator],
        )

    def images(self, steps: Int, camera: str, size: tuple[int, int] | None = None) -> Image:
        steps = np.asarray(steps, np.int64)
        owner = np.searchsorted(self._offset, steps, side="right") - 1
        out: Image | None = None
        for which in np.unique(owner):
            mine = owner == which
            frames = self._sources[which].images(
                steps[mine] - self._offset[which], camera, size or self.spec.cameras[camera]
            )
            if out is None:
                out = np.empty((len(steps), *frames.shape[1:]), np.uint8)
            out[mine] = frames
        assert out is not None, "images of no steps"
        return out


def leaf(source: EpisodeSource, step: int) -> tuple[EpisodeSource, int]:
    """The source below views and concatenations that holds `step`, and the step's number there.

    For what only some sources offer: stored image bytes (``encoded``), the record of an episode (``recorded``).
    """
    inner: object = source
    while isinstance(inner, EpisodeView | Concat):
        if isinstance(inner, EpisodeView):
            inner = inner._source
            continue
        part = int(np.searchsorted(inner._offset, step, side="right")) - 1
        step -= int(inner._offset[part])
        inner = inner._sources[part]
    assert isinstance(inner, EpisodeSource)
    return inner, step


def filter_episodes(source: EpisodeSource, keep: Callable[[EpisodeTable, int], bool]) -> EpisodeView:
    """The episodes e for which ``keep(source.episodes, e)``."""
    rows = [e for e in range(len(source.episodes)) if keep(source.episodes, e)]
    return EpisodeView(source, source.episodes.select(np.array(rows, np.int64)))


def split_episodes(source: EpisodeSource, held_out: float, seed: int = 0) -> tuple[EpisodeView, EpisodeView]:
    """(train, held-out) views; whole episodes, a share of each task (PTR holds out 10 % per task folder, arXiv 2210.05178).

    Every task with at least two episodes keeps at least one on each side.
    """
    if not 0 < held_out < 1:
        raise DataError(f"the held-out share is {held_out}; give a number between 0 and 1.")
    table, rng = source.episodes, np.random.default_rng(seed)
    out: list[int] = []
    for task in sorted(set(table.task)):
        rows = [e for e in range(len(table)) if table.task[e] == task]
        count = min(max(round(held_out * len(rows)), 1), len(rows) - 1)
        out += [int(e) for e in rng.permutation(rows)[:count]]
    mask = np.zeros(len(table), bool)
    mask[out] = True
    return EpisodeView(source, table.select(~mask)), EpisodeView(source, table.select(mask))
