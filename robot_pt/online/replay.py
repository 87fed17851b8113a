"""Batches from data that is fixed and data that grows: offline sources, target demos, online episodes, human interventions.

Batch k is a function of (seed, k, episodes known at k) alone. Which episodes are known from which batch on is decided by
`append`, in the order of the arrival log, so a resumed learner draws the same samples again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from robot_pt.errors import DataError, UserError
from robot_pt.features import FeatureTable, Looks
from robot_pt.gathering import Gather, Part, SourcePart
from robot_pt.language import sentence_features
from robot_pt.mixing import Mixer, batch_rng, rank_slots
from robot_pt.online.encoded import Encoded, EncodedPart, EncodedRows
from robot_pt.online.growing import EpisodeRows, GrowingPart
from robot_pt.online.takeovers import driven_by_person, without_help
from robot_pt.prefetch import Prefetch
from robot_pt.rewards import RewardLabel
from robot_pt.schema import SUCCESS, UNKNOWN, Batch, Bool, Episode, EpisodeTable, Float, Image, Int, Spec
from robot_pt.sources import EpisodeSource
from robot_pt.tasks import TaskTable
from robot_pt.transitions import transitions

ONLINE, INTERVENTIONS = "online", "interventions"


class OnlineReplay:
    """An endless iterator of `Batch` (numpy), one per update. Use it as a context manager, or call `close`.

    Args:
        fixed: name -> (source, share of a batch).
        online, interventions: shares of the steps that came meanwhile, apart by who drove. All shares add up to 1. While a part has
            nothing yet, the others share its place in their proportions. Where interventions have a share of 0, their steps
            count as online steps.
        credit_help: whether the policy's own steps before a takeover are worth what the person then reached; otherwise they are worth
            what a failure is, see `robot_pt.online.takeovers`.
        batch_size: of the *global* batch; with world_size processes each yields batch_size / world_size samples.
        spec: of the episodes that will come.
        next_frames, bootstrap, language_dim, threads, prefetch, pinned, window: as `robot_pt.replay.Replay`.
        look: what frames are looked at through, each once; batches then hold features (B, look.width) in place of images. `features`: the
            folder that keeps those of the fixed sources, computed now where they are missing. None for frames.
    Raises:
        MismatchError: sources that cannot share a network. UserError: shares that do not add up to 1.
    """

    def __init__(
        self, fixed: Mapping[str, tuple[EpisodeSource, float]], *, online: float, interventions: float = 0.0, spec: Spec,
        cameras: Sequence[str], image_size: tuple[int, int], batch_size: int, reward: RewardLabel, gamma: float,
        task_table: TaskTable, seed: int, n_step: int = 1, rank: int = 0, world_size: int = 1, threads: int = 1, prefetch: int = 2,
        next_frames: bool = True, bootstrap: bool = True, language_dim: int = 0, pinned: bool = False, window: int | None = None,
        look: Looks | None = None, features: Path = Path("features"), credit_help: bool = False,
    ):  # fmt: skip
        for source, _ in fixed.values():
            for camera in cameras or ("",):
                spec.require_trainable_with(source.spec, camera)
        self.names = (*fixed, ONLINE, INTERVENTIONS)
        self._shares = (*(share for _, share in fixed.values()), online, interventions)
        Mixer(self._shares, batch_size)  # refuses shares that do not add up to 1
        self.batch_size, self.seed, self._slots = batch_size, seed, rank_slots(batch_size, rank, world_size)
        self._label, self._gamma, self._n_step, self._bootstrap = reward, gamma, n_step, bootstrap
        self._credit_help = credit_help
        self._tasks, self._language_dim = task_table, language_dim
        self._fixed = [
            SourcePart(
                source, transitions(source, reward, gamma, n_step, bootstrap=bootstrap), task_table, language_dim
            )
            for source, _ in fixed.values()
        ]
        self._rows = EpisodeRows(spec)
        self._growing = (GrowingPart(self._rows, language_dim), GrowingPart(self._rows, language_dim))
        self._encoded = None if look is None else EncodedRows(self._rows, look)
        self._parts: list[Part] = [*self._fixed, *self._growing]
        if look is not None and self._encoded is not None:
            known: list[Encoded] = [
                partial(FeatureTable.of(part.source, look, features), kind="encoder") for part in self._fixed
            ]
            known += [self._encoded, self._encoded]
            self._parts = [EncodedPart(part, of) for part, of in zip(self._parts, known, strict=True)]
        self._gather = Gather(
            self._parts, cameras=cameras, image_size=image_size, next_frames=next_frames, language_dim=language_dim, pinned=pinned,
            window=window, encoded=0 if look is None else look.width,
        )  # fmt: skip
        self._mixers: dict[tuple[bool, ...], Mixer] = {}
        self._known_from: list[int] = [0]  # _known_from[e]: first batch that may draw from e episodes
        self._batches = Prefetch(self._batch_here, threads=threads, ahead=prefetch)

    @property
    def episodes(self) -> int:
        """Episodes appended."""
        return len(self._known_from) - 1

    @property
    def position(self) -> int:
        """Number of the next batch."""
        return self._batches.position

    @property
    def ready(self) -> bool:
        """Whether there is anything to draw from."""
        return any(self._present(self.episodes))

    def sizes(self) -> dict[str, int]:
        """Usable transitions of each part."""
        return dict(zip(self.names, self._sizes(self.episodes), strict=True))

    @property
    def fixed(self) -> dict[str, int]:
        """Usable transitions of each fixed part."""
        return {name: len(part.transitions) for name, part in zip(self.names, self._fixed, strict=False)}

    def append(self, episode: Episode, folder: Path) -> int:
        """Let every batch from `position` on draw from an episode stored in `folder`; returns its usable transitions.

        Raises DataError where nothing of it can be used, MismatchError for a task without a slot; nothing is appended then.
        """
        columns = self.columns(episode)
        by_person = driven_by_person(episode)
        first = self._rows.append(episode, folder)
        if self._encoded is not None:
            self._encoded.catch_up()
        apart = by_person[columns["row"]] if self._shares[-1] > 0 else np.zeros(len(columns["row"]), bool)
        columns["row"], columns["next_row"] = columns["row"] + first, columns["next_row"] + first
        for part, mine in zip(self._growing, (~apart, apart), strict=True):
            part.extend({name: values[mine] for name, values in columns.items()})
        self._known_from.append(self.position)
        self._batches.seek(self.position)  # what is under way does not know the episode
        return len(columns["row"])

    def columns(self, episode: Episode) -> dict[str, Any]:
        """One entry per usable transition, rows counted from the episode's first step. Raises as `append`."""
        slot = self._tasks[episode.task or episode.instruction]
        index = transitions(_OneEpisode.of(episode), self._label, self._gamma, self._n_step, bootstrap=self._bootstrap)
        if not len(index):
            raise DataError(
                "it has no transition to train on: an episode needs two steps, or one that ends in success."
            )
        if not self._credit_help:
            index = without_help(index, episode, self._label, self._gamma, self._n_step)
        columns: dict[str, Any] = {
            "row": index.row, "next_row": index.next_row, "reward": index.reward, "discount": index.discount,
            "return_to_go": index.return_to_go, "task": np.full(len(index), slot, np.int64),
        }  # fmt: skip
        if self._language_dim:
            feature = sentence_features(episode.instruction, self._language_dim)
            columns["language"] = np.repeat(feature[None], len(index), axis=0)
        return columns

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if not self.ready:
            raise UserError("there is nothing to learn from yet; wait for an episode, or give offline data.")
        return self._batches.next()

    def batch(self, number: int, known: int) -> Batch:
        """This process's part of global batch `number` when `known` episodes had come, decoded in the calling thread."""
        which, item = self.draw(number, known)
        mine = self._slots
        return self._gather(which[mine], item[mine], number * self.batch_size + mine)

    def draw(self, number: int, known: int) -> tuple[Int, Int]:
        """(part, item) of every sample of global batch `number`, each (batch_size,)."""
        rng = batch_rng(self.seed, number)
        sizes = np.array(self._sizes(known))
        which = np.repeat(np.arange(len(sizes)), self._mixer(known).counts(number))
        item = rng.integers(0, sizes[which])
        order = rng.permutation(self.batch_size)  # so that every process gets its part of every source
        return which[order], item[order]

    def seek(self, number: int) -> None:
        """Go on with batch `number`, where a checkpoint left off."""
        self._batches.seek(number)
        self._known_from = [min(first, number) for first in self._known_from]

    def close(self) -> None:
        self._batches.close()

    def __enter__(self) -> OnlineReplay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _batch_here(self, number: int) -> Batch:
        return self.batch(number, bisect_right(self._known_from, number) - 1)

    def _sizes(self, known: int) -> list[int]:
        return [*(len(part.transitions) for part in self._fixed), *(part.size(known) for part in self._growing)]

    def _present(self, known: int) -> tuple[bool, ...]:
        return tuple(size > 0 and share > 0 for size, share in zip(self._sizes(known), self._shares, strict=True))

    def _mixer(self, known: int) -> Mixer:
        present = self._present(known)
        if present not in self._mixers:
            shares = [share if there else 0.0 for share, there in zip(self._shares, present, strict=True)]
            scaled = [share / sum(shares) for share in shares]
            self._mixers[present] = Mixer(scaled, self.batch_size, "long_run")
        return self._mixers[present]


@dataclass
class _OneEpisode:
    """An episode as an `EpisodeSource`, for what is computed from columns alone."""

    spec: Spec
    episodes: EpisodeTable
    proprio: Float
    actions: Float
    rewards: Float
    terminated: Bool
    truncated: Bool

    @classmethod
    def of(cls, episode: Episode) -> _OneEpisode:
        success = UNKNOWN if episode.success is None else SUCCESS * int(episode.success)
        table = EpisodeTable(
            start=np.zeros(1, np.int64), length=np.array([len(episode)], np.int64), instruction=[episode.instruction],
            task=[episode.task or episode.instruction], success=np.array([success], np.int8), dataset=[episode.dataset],
            split=["train"], operator=["mixed"],
        )  # fmt: skip
        columns = (episode.proprio, episode.actions, episode.rewards, episode.terminated, episode.truncated)
        return cls(episode.spec, table, *columns)

    def images(self, steps: Int, camera: str, size: tuple[int, int] | None = None) -> Image:
        raise AssertionError("columns only")
