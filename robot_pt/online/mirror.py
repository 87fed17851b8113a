"""Stores on another machine: episodes uploaded whole, and mirrored into a local store that is followed as any other.

On an object store an episode's document is uploaded last: where it is, everything else is. No lock is needed, as one writer has one
store. Any URL that fsspec opens.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from robot_pt import zarr_files
from robot_pt.errors import DataError
from robot_pt.remote_files import open_url, refusals
from robot_pt.safe_files import sync_folder
from robot_pt.store import DemoStore

GRACE_S = 30.0
"""How long files of an episode whose document is there may be missing: some stores show them in any order."""
_EPISODE = re.compile(r"\d{6,}")


class Uploader:
    """Copies whole episodes of `store` to `url`, where they do not lie yet; labels and header with them.

    Raises DataError when the URL cannot be used, or holds another store.
    """

    def __init__(self, store: DemoStore, url: str):
        self._store, self._url = store, url
        self._system, self._root = open_url(url)
        ours = (store.path / "zarr.json").read_bytes()
        theirs = _ask(self._url, lambda: _cat_or_none(self._system, f"{self._root}/zarr.json"))
        if theirs is not None and _uid(theirs) != store.uid:
            raise DataError(f"{url} holds another store; upload to a URL of its own.")
        if theirs is None:
            _ask(url, lambda: self._put("zarr.json", ours))
        self._there = set(_ask(url, lambda: _names(self._system, self._root, complete=True)))
        self._labels: bytes | None = None

    def upload(self) -> list[str]:
        """Ids uploaded by this call, in order. Raises DataError when the URL does not answer; call again then."""
        done = []
        for name in self._store.episodes:
            if name not in self._there:
                _ask(self._url, lambda name=name: self._episode(name))  # type: ignore[misc]
                self._there.add(name)
                done.append(name)
        labels = self._store.path / "labels.json"
        content = labels.read_bytes() if labels.exists() else None
        if content is not None and content != self._labels:
            _ask(self._url, lambda: self._put("labels.json", content))
            self._labels = content
        return done

    def _episode(self, name: str) -> None:
        folder = self._store.path / name
        files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        for file in sorted(files, key=lambda f: f == "zarr.json"):  # the document last
            self._put(f"{name}/{file}", (folder / file).read_bytes())

    def _put(self, path: str, content: bytes) -> None:
        target = f"{self._root}/{path}"
        self._system.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
        self._system.pipe_file(target, content)


class Mirror:
    """A local copy of the store at `url`, in `folder`, that `sync` brings up to date. Raises DataError for a URL without driver."""

    def __init__(
        self, url: str, folder: Path, *, grace_s: float = GRACE_S, clock: Callable[[], float] = time.monotonic
    ):
        self.url, self.folder = url, folder
        self._system, self._root = open_url(url)
        self._grace_s, self._clock = grace_s, clock
        self._first_seen: dict[str, float] = {}
        self._labels: bytes | None = None

    def sync(self) -> list[str]:
        """Ids that are whole here now and were not before. Raises DataError when the URL does not answer, or is no store."""
        return _ask_list(self.url, self._sync)

    def _sync(self) -> list[str]:
        self._system.invalidate_cache()
        if not (self.folder / "zarr.json").exists():
            header = _cat_or_none(self._system, f"{self._root}/zarr.json")
            if header is None:
                return []  # not made yet
            _uid(header)
            self.folder.mkdir(parents=True, exist_ok=True)
            zarr_files.replace_file(self.folder / "zarr.json", header)
        self._take_labels()  # before the episodes they are of
        return [n for n in _names(self._system, self._root) if not (self.folder / n).exists() and self._take(n)]

    def _take_labels(self) -> None:
        labels = _cat_or_none(self._system, f"{self._root}/labels.json")
        if labels is not None and labels != self._labels:
            zarr_files.replace_file(self.folder / "labels.json", labels)
            self._labels = labels

    def _take(self, name: str) -> bool:
        """Fetch one episode; False while it is not whole there."""
        document = _cat_or_none(self._system, f"{self._root}/{name}/zarr.json")
        if document is None:
            return False
        files = {f"{self._root}/{name}/{file}": file for file in _files_of(document)}
        contents: dict[str, Any] = self._system.cat(list(files), on_error="return") if files else {}
        missing = [files[path] for path in files if not isinstance(contents.get(path), bytes)]
        first = self._first_seen.setdefault(name, self._clock())
        if missing and self._clock() - first < self._grace_s:
            return False
        part = self.folder / f"{name}.part"
        shutil.rmtree(part, ignore_errors=True)
        for path, file in files.items():
            if isinstance(contents.get(path), bytes):
                (part / file).parent.mkdir(parents=True, exist_ok=True)
                (part / file).write_bytes(contents[path])
        part.mkdir(exist_ok=True)
        (part / "zarr.json").write_bytes(document)
        zarr_files.sync_tree(part)
        part.rename(self.folder / name)  # a follower says what is missing, if anything is
        sync_folder(self.folder)
        return True


class MirrorThread:
    """Syncs mirrors every `every_s` seconds in the background, so that a slow network never holds up an update."""

    def __init__(self, mirrors: Sequence[Mirror], *, every_s: float = 0.5):
        self.troubles: dict[str, str] = {}
        self._mirrors, self._every_s = mirrors, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._stop.is_set():
            for mirror in self._mirrors:
                try:
                    mirror.sync()
                    self.troubles.pop(mirror.url, None)
                except DataError as error:
                    self.troubles[mirror.url] = str(error)
            self._stop.wait(self._every_s)


def _names(system: Any, root: str, complete: bool = False) -> list[str]:
    """Ids of the episodes at a URL, in order; `complete`: those whose document is there."""
    try:
        listed = [str(path).rstrip("/").rsplit("/", 1)[-1] for path in system.ls(root, detail=False)]
    except FileNotFoundError:
        return []
    names = sorted((n for n in listed if _EPISODE.fullmatch(n)), key=int)
    return [n for n in names if system.exists(f"{root}/{n}/zarr.json")] if complete else names


def _files_of(document: bytes) -> list[str]:
    """Paths of the chunks that an episode's document speaks of; none where it cannot be read, which a follower then says."""
    try:
        arrays = json.loads(document)["consolidated_metadata"]["metadata"]
        found = [f"{name}/{zarr_files.chunk_name(len(arrays[name]['shape']))}" for name in arrays]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    return [f for f in found if re.fullmatch(r"[A-Za-z0-9_-]+/c(\.0)*", f)]  # nothing that leaves the folder


def _uid(header: bytes) -> str:
    try:
        return str(json.loads(header)["attributes"]["robot_pt"]["uid"])
    except (ValueError, KeyError, TypeError):
        raise DataError("its zarr.json is not the document of a demo store") from None


def _cat_or_none(system: Any, path: str) -> bytes | None:
    try:
        content: bytes = system.cat_file(path)
        return content
    except FileNotFoundError:
        return None


def _ask(url: str, request: Callable[[], Any]) -> Any:
    try:
        return request()
    except DataError as error:
        raise DataError(f"{url}: {error}; give the URL of a store.") from None
    except refusals() as error:
        raise DataError(f"{url} did not answer ({error}); it is asked again.") from None


def _ask_list(url: str, request: Callable[[], list[str]]) -> list[str]:
    found: list[str] = _ask(url, request)
    return found
