"""Recorded journals and ROS 2 bags -> EpisodeSource, by the same alignment that makes episodes while recording.

Journals of this project say themselves what they hold, and their frames stay where they lie, in memory maps. Bags of
``ros2 bag record`` (a folder, .mcap or .db3) of the same topics need to be told what a message cannot say (`Bag`).
"""

from __future__ import annotations

import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_pt import images, journal_episode
from robot_pt.alignment import Alignment, encoded
from robot_pt.errors import DataError, MismatchError, MissingExtraError, UserError
from robot_pt.journal_episode import KEPT, Ending
from robot_pt.journal_reading import BEGIN, read
from robot_pt.schema import Episode, EpisodeTable, Image, Int, Spec
from robot_pt.store_episode import OPERATORS
from robot_pt_data.bags import bag_header, bag_messages, members

MAPPED_AT_LEAST = 16


class Recorded(NamedTuple):
    """One journal, aligned."""

    path: Path
    alignment: Alignment
    episode: Episode
    truncated: bool


class JournalSource:
    """EpisodeSource over one journal or bag, or a folder of them.

    Args:
        split: "train", or "recovered" for recordings that were cut off; None = all.
        mapping: fields of `bags.Bag`, for bags that were recorded by something else.
    Raises:
        DataError: a journal cannot be read or makes no episode (unless `skip_corrupt`, which lists it in `.skipped`).
        MismatchError: journals of different robots, cameras or rates.
    """

    def __init__(
        self,
        path: Path,
        split: str | None = "train",
        mapping: Mapping[str, Any] | None = None,
        skip_corrupt: bool = False,
    ):
        self.skipped: dict[str, str] = {}
        self.warnings: list[str] = []
        found = self._read(path, mapping or {}, skip_corrupt)
        splits = ["recovered" if r.truncated else "train" for r in found]
        chosen = [r for r, s in zip(found, splits, strict=True) if split in (None, s)]
        if not chosen:
            has = sorted(set(splits)) or "no episode"
            raise DataError(f"{path} has no split {split!r}; it has {has}.{' '.join(['', *self.warnings[:1]])}")
        self.spec: Spec = chosen[0].episode.spec
        for other in chosen:
            if other.episode.spec != self.spec:
                raise MismatchError(
                    f"{other.path} and {chosen[0].path} differ in cameras, robot or rate; open them one by one."
                )
        self._recorded = chosen
        self._set([r.episode for r in chosen], ["recovered" if r.truncated else "train" for r in chosen])

    def images(self, steps: Int, camera: str, size: tuple[int, int] | None = None) -> Image:
        """Decode (len(steps), H, W, 3) uint8 RGB; raises DataError on an unknown camera or a damaged frame, named."""
        frames = self._frames(steps, camera)
        try:
            return images.decode(frames, size or self.spec.cameras[camera])
        except DataError as error:
            for step, frame in zip(np.asarray(steps).tolist(), frames, strict=True):
                try:
                    images.decode([frame], (8, 8), threads=1)
                except DataError as reason:
                    raise DataError(f"step {step} of {self._at(step)[0].path}, camera {camera!r}: {reason}") from None
            raise error

    def encoded(self, steps: Int, camera: str) -> list[bytes]:
        """The recorded JPEG or PNG bytes of each step."""
        return [bytes(frame) for frame in self._frames(steps, camera)]

    def recorded(self, step: int) -> dict[str, Any]:
        """What was recorded with the episode of a step: file_path, policy_version, metadata."""
        found, _ = self._at(step)
        episode = found.episode
        return {
            "file_path": str(found.path),
            "policy_version": episode.policy_version,
            "metadata": dict(episode.metadata),
        }

    def recorded_shapes(self, step: int) -> dict[str, tuple[int, ...]]:
        """Name -> shape of one step of the columns that the episode of `step` has besides the common ones."""
        return {name: np.shape(column)[1:] for name, column in self._columns(step).items()}

    def recorded_column(self, step: int, name: str) -> NDArray[Any]:
        """(T, ...) one of them."""
        return self._columns(step)[name]

    def _columns(self, step: int) -> dict[str, NDArray[Any]]:
        episode = self._at(step)[0].episode
        found = {
            "requested_actions": episode.requested_actions,
            "joint_positions": episode.joint_positions,
            "capture_time_ns": episode.capture_time_ns,
            "operator": np.array(episode.operator),
        }
        return {name: column for name, column in found.items() if column is not None}

    def _read(self, path: Path, mapping: Mapping[str, Any], skip_corrupt: bool) -> list[Recorded]:
        mapped = max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4, MAPPED_AT_LEAST)  # each keeps a file handle
        found: list[Recorded] = []
        files = members(path)
        hint = " Leave it out with skip_corrupt (--skip-corrupt)." if len(files) > 1 else ""
        for file in files:
            try:
                one = _recorded(file, mapping, keep=len(found) < mapped)
            except MissingExtraError:
                raise
            except UserError as error:
                if not skip_corrupt:
                    raise DataError(f"{file}: {error}{hint}") from None
                self.skipped[str(file)] = str(error)
                continue
            if one is None:
                self.warnings.append(f"{file.name} was aborted and is left out.")
            else:
                found.append(one)
        return found

    def _set(self, episodes: list[Episode], splits: list[str]) -> None:
        length = np.array([len(e) for e in episodes], np.int64)
        self._ends = np.cumsum(length)
        names = ("proprio", "actions", "rewards", "terminated", "truncated")
        columns = [np.concatenate([getattr(e, name) for e in episodes]) for name in names]
        self.proprio, self.actions, self.rewards, self.terminated, self.truncated = columns
        operators = [sorted(set(e.operator or ["unknown"])) for e in episodes]
        self.operator = np.array([OPERATORS.index(o) for e in episodes for o in e.operator or []], np.uint8)
        self.episodes = EpisodeTable(
            start=self._ends - length,
            length=length,
            instruction=[e.instruction for e in episodes],
            task=[e.task or e.instruction for e in episodes],
            success=np.array([-1 if e.success is None else int(e.success) for e in episodes], np.int8),
            dataset=[e.dataset for e in episodes],
            split=splits,
            operator=[o[0] if len(o) == 1 else "mixed" for o in operators],
        )

    def _at(self, step: int) -> tuple[Recorded, int]:
        row = int(np.searchsorted(self._ends, step, side="right"))
        return self._recorded[row], step - int(self._ends[row] - len(self._recorded[row].episode))

    def _frames(self, steps: Int, camera: str) -> list[Any]:
        if camera not in self.spec.cameras:
            raise DataError(f"these journals have no camera {camera!r}; they have {sorted(self.spec.cameras)}.")
        asked = np.asarray(steps, np.int64)
        if asked.size and not 0 <= asked.min() <= asked.max() < len(self.actions):
            raise DataError(f"steps {asked.min()}..{asked.max()} were asked for; there are {len(self.actions)}.")
        places = (self._at(step) for step in asked.tolist())
        return [found.alignment.steps[at].images[camera] for found, at in places]


def _recorded(path: Path, mapping: Mapping[str, Any], keep: bool) -> Recorded | None:
    """None for a recording that was aborted. `keep`: leave frames in the file."""
    own = read(path) if path.is_file() and path.suffix != ".db3" else None
    if own is not None and BEGIN in own.records:
        header, ending = journal_episode.header_of(own), Ending.of(own)
        messages = journal_episode.messages_of(own, header.namespace)
    else:
        header, ending = bag_header(path, mapping)
        messages = bag_messages(path, header.namespace)
    if ending.outcome not in KEPT:
        return None
    alignment = journal_episode.align(messages, header, ending)
    episode = journal_episode.episode(alignment, header, ending, with_images=False)
    steps = [step._replace(images={c: _kept(i, keep) for c, i in step.images.items()}) for step in alignment.steps]
    return Recorded(path, alignment._replace(steps=steps), episode, ending.truncated)


def _kept(image: Any, keep: bool) -> Any:
    return image if keep and isinstance(image, np.ndarray) and image.ndim == 1 else encoded(image)
