"""Indexes of video files on disk: built once, good while the file keeps its size and modification time.

They lie in the folder ``robot_pt_index`` beside the data; where that cannot be written, or ``$ROBOT_PT_CACHE`` names another
place, under the cache folder. One that is damaged or out of date is built again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import threading
import uuid
import zipfile
import zlib
from collections import OrderedDict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from robot_pt.errors import UserError
from robot_pt_data.index_files import BESIDE, cache_root
from robot_pt_data.video import forking
from robot_pt_data.video.index import VideoIndex, build

VERSION = 2
"""Raised whenever the arrays change meaning."""

KEPT = 256
"""Indexes held in memory: 10 minutes of video are 0.3 MB."""

_UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)
_ARRAYS = ("pts", "rank", "key_pts", "key_dts", "key_rank")


def places(root: Path) -> list[Path]:
    """Folders that indexes of data under `root` may lie in, the preferred one first."""
    away = cache_root() / f"{root.name}-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:10]}"
    beside = root / BESIDE
    if beside.is_dir() or (os.access(root, os.W_OK) and not os.environ.get("ROBOT_PT_CACHE")):
        return [beside, away]
    return [away]


def stamp(path: Path) -> list[int]:
    """[size in bytes, modification time in ns]; [-1, 0] where the file is absent."""
    try:
        stat = path.stat()
    except OSError:
        return [-1, 0]
    return [stat.st_size, stat.st_mtime_ns]


def write(places: list[Path], name: str, content: bytes) -> Path:
    """Put `content` whole into the first of `places` that takes it. Raises UserError when none does."""
    trouble = ""
    for place in places:
        target = place / name
        part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(content)
            part.replace(target)
            return target
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink()
            trouble = error.strerror or str(error)
    raise UserError(
        f"the index of videos cannot be written to {places[-1]} ({trouble}); free space there or set ROBOT_PT_CACHE to another folder."
    )


class IndexCache:
    """The indexes of the videos under one folder, from memory, disk, or built on the spot; safe in threads and children."""

    def __init__(self, root: Path, keep: int = KEPT):
        self.root, self._keep = root, keep
        self._held: OrderedDict[Path, VideoIndex] = OrderedDict()
        self._lock = threading.Lock()
        forking.tell(self)

    def after_fork(self) -> None:
        """A lock of the parent may be held for ever here."""
        self._lock, self._held = threading.Lock(), OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "_keep": self._keep}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["root"], state["_keep"])  # type: ignore[misc]

    def of(self, path: Path) -> VideoIndex:
        """The index of a file. Raises DataError where it is no sound video."""
        with self._lock:
            if path in self._held:
                self._held.move_to_end(path)
                return self._held[path]
        found = self.load(path) or self.build(path)
        with self._lock:
            self._held[path] = found
            while len(self._held) > self._keep:
                self._held.popitem(last=False)
        return found

    def load(self, path: Path) -> VideoIndex | None:
        """The stored index, or None when there is none, it is damaged, or the file has changed since."""
        for place in places(self.root):
            found = decode(place / self._name(path), stamp(path))
            if found is not None:
                return found
        return None

    def build(self, path: Path) -> VideoIndex:
        """Build the index anew and store it."""
        before = stamp(path)
        found = build(path)
        write(places(self.root), self._name(path), encode(found, before))
        return found

    def _name(self, path: Path) -> str:
        inside = os.path.relpath(path, self.root)
        digest = hashlib.sha256(os.fsencode(inside)).hexdigest()[:12]
        return f"videos-v{VERSION}/{digest[:2]}/{path.stem[:60]}-{digest}.npz"


def encode(index: VideoIndex, stamp: list[int]) -> bytes:
    """An index and the `stamp` of its file as the bytes of an .npz."""
    arrays = {
        name: np.diff(getattr(index, name), prepend=0) for name in _ARRAYS
    }  # differences compress to next to nothing
    fields = {
        "stamp": stamp,
        "time_base": str(index.time_base),
        "stored": index.stored,
        "rotation": index.rotation,
        "mirrored": index.mirrored,
        "sample_aspect": str(index.sample_aspect),
        "origin_s": index.origin_s,
        "format": index.format,
        "codec": index.codec,
    }
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, allow_pickle=False, fields=np.frombuffer(json.dumps(fields).encode(), np.uint8), **arrays
    )
    return buffer.getvalue()


def decode(file: Path, stamp: list[int]) -> VideoIndex | None:
    """What `encode` wrote, or None when it is damaged or of a file with another stamp."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            fields = json.loads(bytes(stored["fields"]))
            if fields["stamp"] != stamp:
                return None
            arrays = {name: np.cumsum(stored[name].astype(np.int64)) for name in _ARRAYS}
        height, width = (int(side) for side in fields["stored"])
        index = VideoIndex(
            **arrays,
            time_base=Fraction(fields["time_base"]),
            stored=(height, width),
            rotation=int(fields["rotation"]),
            mirrored=bool(fields["mirrored"]),
            sample_aspect=Fraction(fields["sample_aspect"]),
            origin_s=float(fields["origin_s"]),
            format=str(fields["format"]),
            codec=str(fields["codec"]),
        )
    except _UNREADABLE:
        return None
    return index if _sound(index) else None


def _sound(index: VideoIndex) -> bool:
    lengths = {len(index.pts), len(index.rank)}, {len(index.key_pts), len(index.key_dts), len(index.key_rank)}
    return (
        all(len(found) == 1 and min(found) > 0 for found in lengths)
        and bool((np.diff(index.pts) > 0).all())
        and index.time_base > 0
        and index.rotation in (0, 90, 180, 270)
        and min(index.stored) > 0
    )
