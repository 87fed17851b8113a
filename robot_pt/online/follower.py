"""Following stores that others write: every whole episode is found once, in order; what is no episode is set aside with a reason."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from robot_pt import store_episode
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.schema import Episode, Spec
from robot_pt.store import DemoStore, is_demo_store
from robot_pt.store_source import episode_ids

GRACE_S = 5.0
"""How long a folder that cannot be read is tried again before it is set aside: network file systems show names before contents."""


class Found(NamedTuple):
    """An episode that was not there before, or why it cannot be used."""

    store: DemoStore
    name: str
    episode: Episode | None
    reason: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return self.store.uid, self.name

    @property
    def folder(self) -> Path:
        return self.store.path / self.name


class StoreFollower:
    """Watches the stores at `paths`, which may appear later.

    Within one `poll`, episodes come in the order of the stores and of their ids. Readers take no lock and move nothing: what is set
    aside stays where it is, and is never looked at again.

    Args:
        spec: what episodes must agree with in action, proprio and cameras.
        seen: (store uid, episode id) of those found before.
        usable: raises UserError for an episode the learner cannot use, e.g. of an unknown task.
    Attributes:
        troubles: path -> why a store cannot be followed at the moment.
    """

    def __init__(
        self, paths: Sequence[Path], spec: Spec, *, cameras: Sequence[str] = (), seen: Iterable[tuple[str, str]] = (),
        usable: Callable[[Episode], None] | None = None, grace_s: float = GRACE_S,
        clock: Callable[[], float] = time.monotonic,
    ):  # fmt: skip
        self.paths = list(dict.fromkeys(Path(os.path.abspath(path)) for path in paths))
        self.troubles: dict[Path, str] = {}
        self._spec, self._cameras, self._usable = spec, tuple(cameras), usable
        self._grace_s, self._clock = grace_s, clock
        self._stores: dict[Path, DemoStore] = {}
        self._seen = set(seen)
        self._first_failure: dict[tuple[str, str], float] = {}

    def poll(self) -> list[Found]:
        """What has come since the last call."""
        found: list[Found] = []
        for path in self.paths:
            store = self._store(path)
            if store is not None:
                found += self._new_of(store)
        self._seen |= {f.key for f in found}
        return found

    def forget(self, found: Found) -> None:
        """Find this one again."""
        self._seen.discard(found.key)

    def _store(self, path: Path) -> DemoStore | None:
        """The store at `path`; None while there is none, or none that fits."""
        try:
            if path not in self._stores:
                if not path.exists():
                    self.troubles[path] = f"{path} does not exist yet"
                    return None
                self._stores[path] = DemoStore(path)
                self._require_fits(self._stores[path])
            self.troubles.pop(path, None)
        except (UserError, OSError) as error:
            self._stores.pop(path, None)
            self.troubles[path] = str(error)
            return None
        return self._stores[path]

    def _require_fits(self, store: DemoStore) -> None:
        for camera in self._cameras or ("",):
            try:
                self._spec.require_trainable_with(store.spec, camera)
            except MismatchError as error:
                raise DataError(f"{store.path} is set aside: {error}") from None
        for name in ("action_names", "proprio_names", "action_unit", "embodiment"):
            theirs, ours = getattr(store.spec, name), getattr(self._spec, name)
            if theirs != ours:
                raise DataError(f"{store.path} is set aside: its {name} is {theirs}, the run's is {ours}.")

    def _new_of(self, store: DemoStore) -> list[Found]:
        try:
            names = [n for n in episode_ids(store.path) if (store.uid, n) not in self._seen]
            labels = store.labels() if names else {}
        except (OSError, DataError) as error:
            self.troubles[store.path] = str(error)
            return []
        out = []
        for name in names:
            one = self._read(store, name, labels.get(name, {}))
            if one is not None:
                out.append(one)
        return out

    def _read(self, store: DemoStore, name: str, labels: dict[str, object]) -> Found | None:
        """The episode, or its reason; None while it may still become readable."""
        key = (store.uid, name)
        try:
            episode = store_episode.read(store.path / name, store.spec, labels)
            store_episode.require_sound(episode, store.path / name)
        except DataError as error:
            now = self._clock()
            if now - self._first_failure.setdefault(key, now) < self._grace_s:
                return None
            return Found(store, name, None, str(error))
        self._first_failure.pop(key, None)
        try:
            if self._usable is not None:
                self._usable(episode)
        except UserError as error:
            return Found(store, name, None, str(error))
        return Found(store, name, episode)


def read_again(path: Path, uid: str, name: str) -> Found:
    """An episode that joined before, read anew. Raises DataError when it or its store is gone, damaged or another one."""
    if not is_demo_store(path):
        raise DataError(f"{path} is no demo store any more; restore it, or move it back.")
    store = DemoStore(path)
    if store.uid != uid:
        raise DataError(f"{path} is another store than the one episode {name} came from; restore it, or move it back.")
    episode = store_episode.read(store.path / name, store.spec, store.labels().get(name, {}))
    return Found(store, name, episode)
