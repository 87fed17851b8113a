"""Frames that are known to show success or not: from episodes, from a table of pictures, from two folders.

Shapes: N labelled frames of G groups. A group is an episode, or what a table says belongs together; it is never split between
training and judging, since its frames look alike.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robot_pt import images
from robot_pt.errors import DataError, UserError
from robot_pt.schema import SUCCESS, UNKNOWN, Bool, Image, Int
from robot_pt.sources import EpisodeSource

POSITIVE_FOLDER, NEGATIVE_FOLDER = "success", "failure"
SUFFIXES = (".jpg", ".jpeg", ".png")
YES, NO = ("1", "true", "yes", "success"), ("0", "false", "no", "failure")


@dataclass(frozen=True, kw_only=True)
class LabelledFrames:
    label: Bool  # (N,)
    group: Int  # (N,) index into the next two
    keys: list[str]  # G; what a group is made of, hashed: the same episode has the same key wherever it lies
    names: list[str]  # G; for people
    step: Int  # (N,) place in its group
    load: Callable[[Int, tuple[int, int]], Image]
    """(rows, (H, W)) -> (len(rows), H, W, 3) uint8 RGB."""

    def __len__(self) -> int:
        return len(self.label)

    def rows_of(self, groups: Sequence[int]) -> Int:
        """Rows of the frames of these groups."""
        return np.flatnonzero(np.isin(self.group, np.asarray(groups, np.int64)))

    def positive_groups(self) -> Bool:
        """(G,) whether a group holds a positive frame."""
        return np.bincount(self.group[self.label], minlength=len(self.keys)) > 0


def of_source(source: EpisodeSource, camera: str, *, final_steps: int = 3, early_share: float = 0.5) -> LabelledFrames:
    """Frames of the episodes whose success is known.

    The last `final_steps` frames of a success are positive; all frames of a failure, and the first `early_share` of a success
    (never its last `final_steps`), are negative. What lies between is left out: nobody knows when success began.

    Raises UserError for settings that label nothing.
    """
    if final_steps < 1 or not 0 <= early_share <= 1:
        raise UserError(
            f"--final-steps is {final_steps} and --early-share {early_share}; give at least 1, and a share from 0 to 1."
        )
    table, steps, label, group, places = source.episodes, [], [], [], []
    keys: list[str] = []
    names: list[str] = []
    for e in range(len(table)):
        if table.success[e] == UNKNOWN or not table.length[e]:
            continue
        length = int(table.length[e])
        bad, good = np.arange(length), np.zeros(0, np.int64)
        if table.success[e] == SUCCESS:
            first = max(length - final_steps, 0)
            good, bad = np.arange(first, length), np.arange(min(int(length * early_share), first))
        place = np.concatenate([bad, good])
        steps.append(int(table.start[e]) + place)
        label.append(np.isin(place, good))
        group.append(np.full(len(place), len(keys)))
        places.append(place)
        keys.append(fingerprint(source, e))
        names.append(f"{table.dataset[e] or source.spec.embodiment} episode {e} ({table.task[e]})")
    row = _joined(steps)

    def load(rows: Int, size: tuple[int, int]) -> Image:
        return source.images(row[rows], camera, size)

    return LabelledFrames(
        label=np.concatenate(label) if label else np.zeros(0, bool), group=_joined(group), keys=keys, names=names, step=_joined(places),
        load=load,
    )  # fmt: skip


def fingerprint(source: EpisodeSource, e: int) -> str:
    """What episode `e` is known by: a hash of its states and actions, the same in any store, split or format."""
    rows = slice(int(source.episodes.start[e]), int(source.episodes.start[e] + source.episodes.length[e]))
    content = hashlib.sha256()
    for column in (source.proprio, source.actions):
        content.update(np.ascontiguousarray(column[rows], np.float32).tobytes())
    return content.hexdigest()[:16]


def is_labelled_files(path: Path) -> bool:
    """Whether `path` is a table (.csv) or a folder with success/ and failure/ in it."""
    return path.suffix.lower() == ".csv" or ((path / POSITIVE_FOLDER).is_dir() and (path / NEGATIVE_FOLDER).is_dir())


def of_files(path: Path) -> LabelledFrames:
    """A table with the columns image, success and, where frames belong together, episode; paths count from the table's folder.
    Or a folder: success/ and failure/ with pictures, or with a folder of pictures per episode.

    Raises DataError naming the line or file that cannot be used.
    """
    found = _of_table(path) if path.suffix.lower() == ".csv" else _of_folder(path)
    if not found:
        raise DataError(f"{path} names no picture; give JPEG or PNG files.")
    order = list(dict.fromkeys(group for _, _, group in found))
    index = {group: i for i, group in enumerate(order)}
    files = [file for file, _, _ in found]
    group = np.array([index[g] for _, _, g in found], np.int64)

    def load(rows: Int, size: tuple[int, int]) -> Image:
        chosen = [files[r] for r in rows.tolist()]
        try:
            return images.decode([file.read_bytes() for file in chosen], size)
        except OSError as error:
            raise DataError(f"{error.filename} cannot be read: {error.strerror}; mend {path}.") from None

    return LabelledFrames(
        label=np.array([label for _, label, _ in found], bool), group=group, keys=[_key(files, group, i) for i in range(len(order))],
        names=[f"{path} {name}" for name in order], step=np.arange(len(found)), load=load,
    )  # fmt: skip


def joined(parts: Sequence[LabelledFrames]) -> LabelledFrames:
    """All of them, end to end; groups of one key become one."""
    offsets = np.cumsum([0, *map(len, parts)])
    keys = list(dict.fromkeys(key for part in parts for key in part.keys))
    named = {key: name for part in parts for key, name in zip(part.keys, part.names, strict=True)}
    place = {key: i for i, key in enumerate(keys)}

    def load(rows: Int, size: tuple[int, int]) -> Image:
        out = np.empty((len(rows), *size, 3), np.uint8)
        owner = np.searchsorted(offsets, rows, side="right") - 1
        for which in np.unique(owner).tolist():
            mine = owner == which
            out[mine] = parts[which].load(rows[mine] - offsets[which], size)
        return out

    return LabelledFrames(
        label=np.concatenate([part.label for part in parts]), keys=keys, names=[named[key] for key in keys],
        group=np.concatenate([np.array([place[k] for k in part.keys], np.int64)[part.group] for part in parts]),
        step=np.concatenate([part.step for part in parts]), load=load,
    )  # fmt: skip


def _of_table(path: Path) -> list[tuple[Path, bool, str]]:
    found = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"image", "success"} <= set(reader.fieldnames or ()):
                raise DataError(
                    f"{path} has the columns {reader.fieldnames}; it needs image and success, and may have episode."
                )
            for line, row in enumerate(reader, 2):
                said, name = (row["success"] or "").strip().lower(), (row["image"] or "").strip()
                if said not in (*YES, *NO) or not (path.parent / name).is_file():
                    raise DataError(
                        f"{path} line {line}: image {name!r} with success {said!r}; give a file that is there, and true or false."
                    )
                found.append((path.parent / name, said in YES, (row.get("episode") or "").strip() or name))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table ({error}); give a CSV file in UTF-8.") from None
    return found


def _of_folder(path: Path) -> list[tuple[Path, bool, str]]:
    found = []
    for name, label in ((POSITIVE_FOLDER, True), (NEGATIVE_FOLDER, False)):
        for file in sorted((path / name).rglob("*")):
            if file.suffix.lower() in SUFFIXES:
                below = file.relative_to(path / name)
                found.append((file, label, below.parts[0] if len(below.parts) > 1 else f"{name}/{below}"))
    return found


def _key(files: Sequence[Path], group: Int, which: int) -> str:
    """The pictures themselves, hashed in their order: copies and other names are the same group."""
    content = hashlib.sha256()
    for i in np.flatnonzero(group == which).tolist():
        try:
            content.update(files[i].read_bytes())
        except OSError as error:
            raise DataError(f"{files[i]} cannot be read: {error.strerror}; check its rights.") from None
    return content.hexdigest()[:16]


def _joined(parts: Sequence[Int]) -> Int:
    return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)
