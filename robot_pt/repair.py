"""A damaged demo store made whole: what is sound stays or is copied, what is damaged is set aside with its reason, never deleted.

In place every step is one rename, of an episode, a label file or a pass of labels, into the store's ``quarantine/``: cut at any
moment it can be run again. A copy appears whole or not at all, and the store it is made of keeps every byte.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import NamedTuple

from robot_pt import relabels, store_episode, zarr_files
from robot_pt.errors import DataError
from robot_pt.store import DemoStore, Progress, parts_of
from robot_pt.store_source import MANIFEST, read_labels

LABELS = "labels.json"


class Repaired(NamedTuple):
    """What `in_place` or `copied` found."""

    sound: list[str]
    """Ids of all episodes that can be read."""
    finished: list[str]
    """Those of them that were whole, though their writing had not come to its end."""
    damaged: dict[str, str]
    """Episode, part of one, or file of labels -> what is wrong with it."""


def in_place(store: DemoStore, *, progress: Progress | None = None) -> Repaired:
    """Check every byte and frame of `store`, move what is damaged to ``quarantine/``, and build the index anew.

    Raises DataError when the disk refuses, or a writer keeps the store for itself.
    """
    done = store.recover(check_all=True, progress=progress)
    damaged = dict(done.quarantined)
    for name, why in _damaged_labels(store).items():
        store.set_aside(name, why)
        damaged[name] = why
    (store.path / MANIFEST).unlink(missing_ok=True)  # what it says cannot be told from what is there
    store.source()
    return Repaired(store.episodes, done.recovered, damaged)


def copied(store: DemoStore, out: Path, *, progress: Progress | None = None) -> Repaired:
    """Copy the sound episodes of `store` and the labels of any to a new store at `out`, ids and all; `store` is only read.

    Raises DataError when `out` is there, no episode is sound, or the disk refuses.
    """
    if out.exists():
        raise DataError(f"{out} exists; name a new folder for what is sound.")
    part = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        part.mkdir(parents=True)
        found = _copy(store, part, progress)
        if not found.sound:
            told = next(iter(found.damaged.values()), "it holds none.")
            raise DataError(f"{store.path} has no sound episode, so {out} was not made: {told}")
        zarr_files.sync_tree(part)
        part.rename(out)
        zarr_files.sync(out.parent)
    except (OSError, shutil.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{out} cannot be written ({why}); free space or name another folder.") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    DemoStore(out).source()
    return found


def _copy(store: DemoStore, part: Path, progress: Progress | None) -> Repaired:
    finished, damaged = list[str](), dict[str, str]()
    folders = [*(store.path / name for name in store.episodes), *parts_of(store.path)]
    for done, folder in enumerate(folders, 1):
        name = folder.name.removesuffix(".part")
        try:
            store_episode.check(folder, store.spec)
        except DataError as error:
            damaged[folder.name] = str(error)
        else:
            shutil.copytree(folder, part / name)
            finished += [name] if name != folder.name else []
        if progress is not None:
            progress(done, len(folders))
    wrong = _damaged_labels(store)
    for file in _label_files(store):
        if file not in wrong:
            (part / file).parent.mkdir(exist_ok=True)
            shutil.copy2(store.path / file, part / file)
    shutil.copy2(store.path / "zarr.json", part / "zarr.json")
    return Repaired(DemoStore(part).episodes, finished, {**damaged, **wrong})


def _label_files(store: DemoStore) -> list[str]:
    """Paths below the store of what was said of its episodes later."""
    passes = [os.path.join(relabels.FOLDER, f"{name}.json") for name in relabels.ids(store.path)]
    return [*([LABELS] if (store.path / LABELS).exists() else []), *passes]


def _damaged_labels(store: DemoStore) -> dict[str, str]:
    damaged = {}
    for file in _label_files(store):
        try:
            if file == LABELS:
                read_labels(store.path)
            else:
                relabels.read(store.path, store.uid, Path(file).stem)
        except DataError as error:
            damaged[file] = str(error)
    return damaged
