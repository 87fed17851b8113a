"""DemoStore: recorded episodes on disk, append-only, each one whole or absent.

A store is a zarr v3 group with one group per episode, named by a number that is never used twice. An episode is written
under ``<id>.part``, synced to disk and renamed: a reader sees all of it or nothing, and a crash leaves at most one
``.part`` that `recover` finishes or sets aside. Camera frames stay encoded (JPEG or PNG) in one flat byte array per camera,
with offsets. Success, task, instruction and split can be changed later without touching an episode (`relabel`), success and rewards
in whole passes that keep who said so (`add_labels`).
Writers are serialised by a lock that the system drops when its holder dies; readers take none.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from robot_pt import relabels, store_episode, zarr_files
from robot_pt.errors import DataError, MismatchError
from robot_pt.relabels import NEWEST, Provenance, Relabels, Verdict
from robot_pt.safe_files import locked
from robot_pt.schema import Episode, Spec
from robot_pt.store_source import DemoSource, episode_ids, labels_in_force, read_labels, with_remedy

Progress = Callable[[int, int], None]
"""(episodes done, episodes in all) -> None."""

SCHEMA_VERSION = 1
QUARANTINE = "quarantine"
"""Folder of a store for what is damaged: moved there, never deleted."""
LABELS = ("success", "task", "instruction", "split")


class Recovery(NamedTuple):
    """What `DemoStore.recover` did."""

    recovered: list[str]
    """Ids that were complete and are episodes now."""
    quarantined: dict[str, str]
    """Name of what was moved to ``quarantine/`` -> why."""


class DemoStore:
    """An existing store at `path`; `DemoStore.create` makes one.

    Raises:
        DataError: the folder is missing, is no demo store, or was written by another schema version.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        header = _header(self.path)
        self.spec = Spec.from_json(header["spec"])
        self.uid = str(header["uid"])
        self._encoding: store_episode.Encoding = (header["codec"], int(header["quality"]))

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        spec: Spec,
        *,
        codec: Literal["jpeg", "png"] = "jpeg",
        quality: int = 95,
        exist_ok: bool = False,
    ) -> DemoStore:
        """Make an empty store.

        Args:
            codec: how raw frames are encoded: "jpeg" at `quality` 1-100, or "png" without loss (about 5 x the size).
            exist_ok: open a store that is already there, if it has the same spec.
        Raises:
            DataError: the folder exists and is not empty, or the disk refuses.
            MismatchError: `exist_ok` and the store there has another spec.
        """
        folder = Path(path)
        if exist_ok and is_demo_store(folder):
            store = cls(folder)
            store._require(spec)
            return store
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DataError(f"{folder} exists and is not an empty folder; give a new path or open it as a store.")
        if codec not in ("jpeg", "png") or not 1 <= quality <= 100:
            raise DataError(
                f"frames would be stored as {codec!r} at quality {quality}; give jpeg or png, and 1 to 100."
            )
        for camera in spec.cameras:
            if not re.fullmatch(r"[A-Za-z0-9_-]+", camera):
                raise DataError(f"camera name {camera!r} cannot name a file; use letters, digits, '_' and '-'.")
        header = {"schema_version": SCHEMA_VERSION, "uid": uuid.uuid4().hex, "codec": codec, "quality": quality}
        with _disk_errors(f"creating the store {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            zarr_files.write_group(folder, {"robot_pt": {**header, "spec": spec.to_json()}})
        return cls(folder)

    @property
    def episodes(self) -> list[str]:
        """Ids of all whole episodes, in order of recording."""
        return episode_ids(self.path)

    def __len__(self) -> int:
        return len(self.episodes)

    def append(self, episode: Episode, *, split: str = "train", timeout: float = 30.0) -> str:
        """Write one episode and return its id; it is on disk, durable, when this returns.

        Raises:
            DataError: the episode cannot be right, the disk is full (nothing earlier is lost, the part is removed), or
                another process has been writing for `timeout` seconds.
            MismatchError: the episode's spec is not the store's.
        """
        self._require(episode.spec)
        content = store_episode.encode(episode, self._encoding, split)
        with self.writing(timeout):
            name = f"{self.next_number():06d}"
            part, done = self.path / f"{name}.part", False
            try:
                with _disk_errors(f"writing episode {name} to {self.path}"):
                    store_episode.write(part, content)
                    os.rename(part, self.path / name)
                    done = True
                    zarr_files.sync(self.path)
            finally:
                if not done:
                    shutil.rmtree(part, ignore_errors=True)
        return name

    def read(self, name: str) -> Episode:
        """One episode with everything that was recorded, frames encoded; raises DataError if it is absent or damaged."""
        if name not in self.episodes:
            raise DataError(f"{self.path} has no episode {name!r}; it has {len(self)}, see DemoStore.episodes.")
        labels = self.labels().get(name, {})
        try:
            return store_episode.read(self.path / name, self.spec, labels)
        except DataError as error:
            raise with_remedy(error, self.path) from None

    def source(self, split: str | None = None, *, skip_corrupt: bool = False, labels: str = NEWEST) -> DemoSource:
        """The store as an EpisodeSource; `skip_corrupt` leaves damaged episodes out and lists them in `.skipped`.

        `labels`: which pass of `add_labels` holds, "newest", "none" or an id.

        Raises DataError on a damaged episode or pass, or where no episode has that split.
        """
        return DemoSource(self.path, self.spec, self.uid, split, skip_corrupt, labels)

    def labels(self, choice: str = NEWEST) -> dict[str, dict[str, Any]]:
        """Episode -> column -> value for what was said after recording: by `relabel`, and above it by a pass of `add_labels`.

        Raises DataError when either is damaged, or there is no such pass.
        """
        return labels_in_force(self.path, self.uid, choice)[0]

    def add_labels(
        self, verdicts: Mapping[str, Verdict], by: Provenance, *, base: str = NEWEST, timeout: float = 30.0
    ) -> Relabels:
        """Write one pass of labels beside the episodes, durable when this returns; every file that was there keeps its bytes.

        What pass `base` ("newest", "none" or an id) said of other episodes goes on to hold, and so does a person's word
        where `by` is no person.

        Raises DataError for an episode that is not there, rewards that are not one per step, or a disk that refuses.
        """
        known = set(self.episodes)
        for name, verdict in verdicts.items():
            if name not in known:
                raise DataError(f"{self.path} has no episode {name!r}; it has {len(known)}, see DemoStore.episodes.")
            if verdict.rewards is not None:
                steps = int(store_episode.header(self.path / name)[0]["steps"])
                relabels.require_rewards(verdict.rewards, steps, f"episode {name} of {self.path}")
        with self.writing(timeout), _disk_errors(f"labelling episodes of {self.path}"):
            before, there = relabels.read(self.path, self.uid, base), relabels.ids(self.path)
            name = f"{int(there[-1]) + 1 if there else 0:06d}"
            made_at = datetime.now(UTC).isoformat(timespec="seconds")
            made, raw = relabels.composed(name, self.uid, before, verdicts, by, made_at)
            (self.path / relabels.FOLDER).mkdir(exist_ok=True)
            zarr_files.replace_file(relabels.path_of(self.path, name), raw)
            zarr_files.sync(self.path)
        return made

    def relabel(self, name: str, **labels: Any) -> None:
        """Change success (True, False, None), task, instruction or split of an episode; its files stay as they are.

        A pass of `add_labels` that speaks of its success stands above.
        """
        if unknown := set(labels) - set(LABELS):
            raise DataError(f"{sorted(unknown)} cannot be relabelled; allowed are {', '.join(LABELS)}.")
        for key, value in labels.items():
            if value not in (True, False, None) if key == "success" else not isinstance(value, str):
                raise DataError(f"{key}={value!r}; give {'True, False or None' if key == 'success' else 'a string'}.")
        if name not in self.episodes:
            raise DataError(f"{self.path} has no episode {name!r}; it has {len(self)}, see DemoStore.episodes.")
        with self.writing(), _disk_errors(f"relabelling episode {name} of {self.path}"):
            known = read_labels(self.path)
            known[name] = {**known.get(name, {}), **labels}
            zarr_files.replace_file(self.path / "labels.json", json.dumps(known, indent=0).encode())

    def recover(self, *, check_all: bool = False, timeout: float = 30.0, progress: Progress | None = None) -> Recovery:
        """Finish or set aside what a crash left behind.

        A ``.part`` whose every byte is there becomes an episode; any other moves to ``quarantine/`` with its reason in
        ``reason.txt``. With `check_all` finished episodes are checked too, against their checksums and by decoding every frame, and
        damaged ones moved; who records meanwhile is not held up. Raises DataError where none of them is sound, moving nothing.
        """
        damaged = self._damaged(progress) if check_all else {}
        report = Recovery([], damaged)
        with self.writing(timeout), _disk_errors(f"recovering {self.path}"):
            for part in parts_of(self.path):
                self._settle(part, report)
            for leftover in self.path.glob(".*.part"):
                leftover.unlink(missing_ok=True)
            zarr_files.sync(self.path)
        for name in [name for name in damaged if not name.endswith(".part")]:
            self.set_aside(name, damaged[name], timeout=timeout)
        return report

    def _damaged(self, progress: Progress | None) -> dict[str, str]:
        """Whole episodes that cannot be read -> why."""
        damaged, names = dict[str, str](), self.episodes
        for done, name in enumerate(names, 1):
            try:
                store_episode.check(self.path / name, self.spec)
            except DataError as error:
                damaged[name] = str(error)
            if progress is not None:
                progress(done, len(names))
        if damaged and len(damaged) == len(names):
            raise DataError(
                f"none of the {len(names)} episodes of {self.path} is sound, so none was set aside: see that its zarr.json is its own. "
                f"The first: {damaged[names[0]]}"
            )
        return damaged

    def set_aside(self, name: str, why: str, *, timeout: float = 30.0) -> None:
        """Move a file or folder of the store, such as an episode, to ``quarantine/``, under another name where there is one of its own.

        Raises DataError when the disk refuses, or another process keeps the store for `timeout` seconds.
        """
        with self.writing(timeout), _disk_errors(f"setting {name} of {self.path} aside"):
            if os.path.lexists(self.path / name):  # another repair may have been faster
                self._quarantine(self.path / name, why)

    @contextmanager
    def writing(self, timeout: float = 30.0) -> Iterator[None]:
        """Hold the store's write lock; raises DataError when another process keeps it for `timeout` seconds."""
        with ExitStack() as lock:
            with _disk_errors(f"locking {self.path}"):
                try:
                    lock.enter_context(locked(self.path / ".lock", timeout))
                except BlockingIOError:
                    raise DataError(
                        f"{self.path} has been locked by another writer for {timeout:.0f} s; stop it, or record to a "
                        "store of its own."
                    ) from None
            yield

    def _require(self, spec: Spec) -> None:
        mine, theirs = self.spec.to_json(), spec.to_json()
        for field, value in mine.items():
            if theirs[field] != value:
                raise MismatchError(
                    f"{self.path} holds episodes with {field} {value}, this one has {theirs[field]}; record to a new store."
                )

    def next_number(self) -> int:
        """Number that the next episode will have: above all that ever were, those set aside included."""
        corner = self.path / QUARANTINE
        taken = [*os.listdir(self.path), *(os.listdir(corner) if corner.exists() else [])]
        return 1 + max((int(m[0]) for name in taken if (m := re.match(r"\d+", name))), default=-1)

    def _settle(self, part: Path, report: Recovery) -> None:
        try:
            store_episode.check(part, self.spec)
        except DataError as error:
            self._quarantine(part, str(error))
            report.quarantined[part.name] = str(error)
            return
        zarr_files.sync_tree(part)
        os.rename(part, self.path / part.stem)
        report.recovered.append(part.stem)

    def _quarantine(self, damaged: Path, why: str) -> None:
        corner = self.path / QUARANTINE
        corner.mkdir(exist_ok=True)
        target = corner / "-".join(damaged.relative_to(self.path).parts)
        if os.path.lexists(target):
            target = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}")
        reason = damaged / "reason.txt" if damaged.is_dir() else corner / f"{target.name}.reason.txt"
        reason.write_text(f"{why}\n")  # first: whatever is cut now, nothing lies there unexplained
        os.rename(damaged, target)
        zarr_files.sync(corner)
        zarr_files.sync(self.path)


def parts_of(root: Path) -> list[Path]:
    """Episodes below `root` whose writing did not end, or goes on: their folders, in order."""
    return sorted(part for part in root.glob("*.part") if re.fullmatch(r"\d{6,}\.part", part.name))


def is_demo_store(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a demo store of any schema version."""
    try:
        group = zarr_files.read_group(Path(path))
    except DataError:
        return False
    return group is not None and "robot_pt" in group.attributes


def _header(path: Path) -> Mapping[str, Any]:
    try:
        group = zarr_files.read_group(path)
    except DataError as error:
        raise DataError(f"{error} It says what all episodes have in common: restore it from a copy.") from None
    if group is None:
        raise DataError(
            f"{path} is not a demo store: it has no zarr.json; give a folder of robot-pt collect or the recorder."
        )
    header = group.attributes.get("robot_pt")
    if not isinstance(header, dict):
        raise DataError(f"{path} is a zarr group but not a demo store: its attributes have no 'robot_pt' entry.")
    if header.get("schema_version") != SCHEMA_VERSION:
        raise DataError(
            f"{path} was written with store schema {header.get('schema_version')}, this robot-pt reads schema "
            f"{SCHEMA_VERSION}; read it with the robot-pt that wrote it."
        )
    if not {"spec", "uid", "codec", "quality"} <= set(header):
        raise DataError(f"{path / 'zarr.json'} misses some of spec, uid, codec, quality; restore it from a copy.")
    return header


@contextmanager
def _disk_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{doing} failed: {error.strerror or error}; what was there before is intact, free space or fix access and repeat."
        ) from error
