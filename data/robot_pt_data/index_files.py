"""Where an index is kept, when it is still good, and how it is written: whole or not at all.

Beside the data where the folder ``robot_pt_index`` exists there, else under ``$ROBOT_PT_CACHE`` or ``~/.cache/robot-pt``.
An index is good while its shards and metadata keep their size and modification time and its mapping its digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from robot_pt.errors import UserError
from robot_pt_data.files import Files, LocalFiles
from robot_pt_data.mapping import Mapping
from robot_pt_data.step_index import Fault, StepIndex

INDEX_VERSION = 1
"""Raised whenever the arrays or the reading of the data change meaning."""

BESIDE = "robot_pt_index"
_METADATA_FILES = ("dataset_info.json", "features.json")


def index_path(folder: Path, split: str, mapping: Mapping) -> Path:
    """The folder of the index of one split under one mapping, whether or not it exists."""
    leaf = f"{split}-{mapping.digest}-v{INDEX_VERSION}"
    if (folder / BESIDE).is_dir():
        return folder / BESIDE / leaf
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:10]
    return cache_root() / f"{folder.parent.name}-{folder.name}-{place}" / leaf


def cache_root() -> Path:
    """``$ROBOT_PT_CACHE``, else ``$XDG_CACHE_HOME/robot-pt``, else ``~/.cache/robot-pt``."""
    given = os.environ.get("ROBOT_PT_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "robot-pt"


def fingerprint(files: Files, shards: list[str]) -> list[list[Any]]:
    """[name, size, stamp] of the metadata files and every shard; size -1 for one that is absent."""
    mirror = LocalFiles(files.folder)
    return [[name, *mirror.stamp(name)] for name in _METADATA_FILES] + [[name, *files.stamp(name)] for name in shards]


def save(index: StepIndex, target: Path, files: Files) -> None:
    """Write the index beside `target` and rename it into place. Raises UserError when the disk does not take it."""
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    meta = {
        "fingerprint": fingerprint(files, index.shards),
        "instruction": index.instruction,
        "task": index.task,
        "dataset": index.dataset,
        "operator": index.operator,
        "shards": index.shards,
        "cameras": index.cameras,
        "faults": index.faults,
        "info": index.info,
    }
    try:
        part.mkdir(parents=True)
        for name in index.array_names():
            with (part / f"{name}.npy").open("wb") as file:
                np.save(file, getattr(index, name))
                file.flush()
                os.fsync(file.fileno())
        with (part / "index.json").open("w") as text:
            json.dump(meta, text)
            text.flush()
            os.fsync(text.fileno())
        _swap_in(part, target)
    except OSError as error:
        raise UserError(
            f"the index of {files.place} cannot be written to {target.parent} ({error.strerror}); free space there or set ROBOT_PT_CACHE to another folder."
        ) from None
    finally:  # also after Ctrl-C
        shutil.rmtree(part, ignore_errors=True)


def load(target: Path, files: Files) -> StepIndex | None:
    """The stored index as memory maps, or None when there is none, it is damaged, or the data has changed since."""
    try:
        meta = json.loads((target / "index.json").read_text())
        if meta["fingerprint"] != fingerprint(files, meta["shards"]):
            return None
        arrays = {name: _array(target / f"{name}.npy") for name in StepIndex.array_names()}
        return StepIndex(
            **arrays,
            instruction=meta["instruction"],
            task=meta["task"],
            dataset=meta["dataset"],
            operator=meta["operator"],
            shards=meta["shards"],
            cameras={role: (int(h), int(w)) for role, (h, w) in meta["cameras"].items()},
            faults=[Fault(*fault) for fault in meta["faults"]],
            info=meta["info"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _array(path: Path) -> Any:
    array = np.load(path, mmap_mode="r" if path.stat().st_size > 4096 else None)  # an empty array cannot be mapped
    return np.asarray(array)


def _swap_in(part: Path, target: Path) -> None:
    if target.exists():
        old = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.old")
        with contextlib.suppress(FileNotFoundError):  # another process may have swapped it first
            target.rename(old)
        shutil.rmtree(old, ignore_errors=True)
    try:
        part.rename(target)
    except OSError:
        if not target.exists():
            raise
        shutil.rmtree(part, ignore_errors=True)  # another process won with an index of the same data
