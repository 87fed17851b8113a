"""DemoSource: a demo store as an EpisodeSource.

Low-dimensional columns and frame offsets of all episodes are concatenated once and kept in ``.manifest.npz``, which only
saves time: whatever in it does not match the episodes on disk is read again. Frames are slices of memory maps.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_pt import images, relabels, store_episode
from robot_pt.errors import DataError
from robot_pt.frame_files import FrameFiles, Frames
from robot_pt.relabels import NEWEST, Relabels
from robot_pt.schema import UNKNOWN, EpisodeTable, Float, Image, Int, Spec

MANIFEST = ".manifest.npz"
_TABLE = ("steps", "instruction", "task", "success", "dataset", "split", "operator")
_STEP_COLUMNS = tuple(store_episode.REQUIRED)


class Rows(NamedTuple):
    """Some episodes in order: names, when each was written, table rows, and arrays laid end to end."""

    names: list[str]
    stamps: list[int]
    table: dict[str, list[Any]]
    arrays: dict[str, NDArray[Any]]


class DemoSource:
    """EpisodeSource over the whole episodes of a store; made by `DemoStore.source`.

    `ids` names the episode of each table row; `operator` (N,) holds codes into ``store_episode.OPERATORS``.
    Step numbers stay valid across `refresh`. `labels_applied` is the pass of labels given later that holds, None without.
    """

    def __init__(
        self, path: Path, spec: Spec, uid: str, split: str | None = None, skip_corrupt: bool = False, labels: str = NEWEST
    ):  # fmt: skip
        self.spec = spec
        self._path, self._uid, self._split, self._skip, self._labels = path, uid, split, skip_corrupt, labels
        self.skipped: dict[str, str] = {}
        self._files = FrameFiles(path)
        self._set(_load(path, spec, uid, self.skipped if skip_corrupt else None))

    def refresh(self) -> int:
        """Take in episodes and labels written since; returns how many episodes are new.

        Columns are replaced by longer ones. Raises DataError when earlier episodes were removed or changed meanwhile.
        """
        before = self._rows.names
        rows = _load(self._path, self.spec, self._uid, self.skipped if self._skip else None, self._rows)
        if rows.names[: len(before)] != before:
            raise DataError(f"episodes of {self._path} were removed or recovered since it was opened; open it again.")
        self._set(rows)
        return len(rows.names) - len(before)

    def images(self, steps: Int, camera: str, size: tuple[int, int] | None = None) -> Image:
        """Decode (len(steps), H, W, 3) uint8 RGB; raises DataError on an unknown camera or a damaged frame, named."""
        frames = self._frames(steps, camera)
        try:
            return images.decode(frames, size or self.spec.cameras[camera])
        except DataError as error:
            raise self._located(error, frames, np.asarray(steps), camera) from None

    def encoded(self, steps: Int, camera: str) -> list[bytes]:
        """The stored JPEG or PNG bytes of each step, for exporters that need not decode."""
        return [bytes(frame) for frame in self._frames(steps, camera)]

    def recorded(self, step: int) -> dict[str, Any]:
        """What was recorded with the episode of a step: file_path, policy_version, metadata."""
        row = int(np.searchsorted(self._ends, step, side="right"))
        folder = self._path / self._rows.names[row]
        attributes, _ = store_episode.header(folder)
        return {
            "file_path": str(folder),
            "policy_version": attributes.get("policy_version", ""),
            "metadata": attributes.get("metadata", {}),
        }

    def recorded_shapes(self, step: int) -> dict[str, tuple[int, ...]]:
        """Per-step columns recorded with the episode of a step beyond those of an EpisodeSource: name -> shape of one step."""
        folder = self._path / self._rows.names[int(np.searchsorted(self._ends, step, side="right"))]
        _, arrays = store_episode.header(folder)
        found = {name: tuple(arrays[name]["shape"][1:]) for name in store_episode.OPTIONAL if name in arrays}
        return {**found, "operator": ()}

    def recorded_column(self, step: int, name: str) -> NDArray[Any]:
        """(T, ...) one of `recorded_shapes` over the whole episode of a step, operators by name; raises DataError if damaged."""
        folder = self._path / self._rows.names[int(np.searchsorted(self._ends, step, side="right"))]
        column = store_episode.column(folder, name, *store_episode.header(folder))
        return np.array(store_episode.OPERATORS)[column] if name == "operator" else column

    def _frames(self, steps: Int, camera: str) -> Frames:
        if camera not in self.spec.cameras:
            raise DataError(f"{self._path} has no camera {camera!r}; it has {sorted(self.spec.cameras)}.")
        steps = np.asarray(steps, np.int64)
        if steps.size and not 0 <= steps.min() <= steps.max() < len(self.actions):
            raise DataError(f"steps {steps.min()}..{steps.max()} were asked for; {self._path} has {len(self.actions)}.")
        owner = np.searchsorted(self._ends, steps, side="right")
        at = steps + owner  # offsets have one entry more than steps in every episode
        offsets = self._rows.arrays[f"offsets_{camera}"]
        names = self._rows.names
        files = {e: self._files.get(names[e], camera) for e in np.unique(owner).tolist()}
        return Frames(files, owner.tolist(), offsets[at].tolist(), offsets[at + 1].tolist())

    def _located(self, error: DataError, frames: Frames, steps: Int, camera: str) -> DataError:
        for i, step in enumerate(steps.tolist()):
            try:
                images.decode([frames[i]], (8, 8), threads=1)
            except DataError as reason:
                row = int(np.searchsorted(self._ends, step, side="right"))
                where = f"step {step} (episode {self._rows.names[row]} of {self._path}, camera {camera!r})"
                return with_remedy(DataError(f"{where}: {reason}"), self._path)
        return error

    def _set(self, rows: Rows) -> None:
        labels, self.labels_applied = labels_in_force(self._path, self._uid, self._labels)
        table = {k: list(v) for k, v in rows.table.items()}
        for row, name in enumerate(rows.names):
            for key, value in labels.get(name, {}).items():
                if key != "rewards":
                    table[key][row] = value
        chosen = [e for e in range(len(rows.names)) if self._split in (None, table["split"][e])]
        if self._split is not None and not chosen:
            if not rows.names:
                raise DataError(f"{self._path} holds no episode yet; record some, or name another folder.")
            raise DataError(f"{self._path} has no split {self._split!r}; it has {sorted(set(table['split']))}.")
        self._rows, length = rows, np.array(table["steps"], np.int64)
        self._ends = np.cumsum(length)
        self.proprio, self.actions = rows.arrays["proprio"], rows.arrays["actions"]
        self.rewards = self._rewards(rows, labels)
        self.terminated, self.truncated = rows.arrays["terminated"], rows.arrays["truncated"]
        self.operator = rows.arrays["operator"]
        self.ids = [rows.names[e] for e in chosen]
        self.episodes = EpisodeTable(
            start=self._ends - length,
            length=length,
            instruction=table["instruction"],
            task=[t or i for t, i in zip(table["task"], table["instruction"], strict=True)],
            success=np.array([UNKNOWN if s is None else int(s) for s in table["success"]], np.int8),
            dataset=table["dataset"],
            split=table["split"],
            operator=table["operator"],
        ).select(np.array(chosen, np.int64))

    def _rewards(self, rows: Rows, labels: dict[str, dict[str, Any]]) -> Float:
        """(N,) as stored, with those given later in their places."""
        recorded: Float = rows.arrays["rewards"]
        spoken = [row for row, name in enumerate(rows.names) if "rewards" in labels.get(name, {})]
        rewards = recorded.copy() if spoken else recorded
        for row in spoken:
            given, end = labels[rows.names[row]]["rewards"], int(self._ends[row])
            steps = int(rows.table["steps"][row])
            relabels.require_rewards(given, steps, f"labels of episode {rows.names[row]} of {self._path}")
            rewards[end - steps : end] = given
        return rewards


def with_remedy(error: DataError, root: Path, also: str = "") -> DataError:
    """What is damaged, and what mends it."""
    return DataError(f"{error} `robot-pt data repair {root}` sets damaged episodes aside{f'; {also}' if also else ''}.")


def episode_ids(root: Path) -> list[str]:
    """Names of the whole episodes below `root`, in order."""
    return sorted((n for n in os.listdir(root) if re.fullmatch(r"\d{6,}", n)), key=int)


def read_labels(root: Path) -> dict[str, dict[str, Any]]:
    """Labels given after recording: episode -> column -> value; raises DataError when the file is damaged."""
    try:
        labels = json.loads((root / "labels.json").read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        raise DataError(
            f"{root / 'labels.json'} is not JSON; restore it, or set it aside (`robot-pt data repair {root}`): recorded labels then hold."
        ) from None
    if not isinstance(labels, dict):
        raise DataError(
            f"{root / 'labels.json'} is not an object of episodes; restore it, or set it aside (`robot-pt data repair {root}`)."
        )
    return labels


def labels_in_force(root: Path, uid: str, choice: str = NEWEST) -> tuple[dict[str, dict[str, Any]], Relabels | None]:
    """(labels given after recording with the pass that `choice` means on top, that pass). Raises DataError as `relabels.read`."""
    applied = relabels.read(root, uid, choice)
    labels = read_labels(root)
    return (labels if applied is None else applied.over(labels)), applied


def _load(root: Path, spec: Spec, uid: str, skipped: dict[str, str] | None, known_rows: Rows | None = None) -> Rows:
    names = episode_ids(root)
    stamps = [os.stat(root / name).st_mtime_ns for name in names]
    cached = known_rows or _read_manifest(root, spec, uid)
    known = 0
    while known < min(len(cached.names), len(names)) and (cached.names[known], cached.stamps[known]) == (
        names[known],
        stamps[known],
    ):
        known += 1
    if known < len(cached.names):
        cached, known = _empty(spec), 0
    parts = [cached]
    for name, stamp in zip(names[known:], stamps[known:], strict=True):
        try:
            parts.append(_read_episode(root, spec, name, stamp))
        except DataError as error:
            if skipped is None:
                raise with_remedy(error, root, "--skip-corrupt (skip_corrupt) leaves them out") from None
            skipped[name] = str(error)
    rows = _join(parts, spec)
    if len(parts) - 1 > known // 8 and not skipped:  # a follower of a growing store writes it a few times in all
        _write_manifest(root, uid, rows)
    return rows


def _read_episode(root: Path, spec: Spec, name: str, stamp: int) -> Rows:
    attributes, documents = store_episode.header(root / name)
    arrays = {key: store_episode.column(root / name, key, attributes, documents) for key in _array_names(spec)}
    for key, width in (("proprio", len(spec.proprio_names)), ("actions", len(spec.action_names))):
        if arrays[key].shape[1:] != (width,):
            raise DataError(f"{root / name / key} is {arrays[key].shape[1:]} wide, the store's spec says {width}.")
    return Rows([name], [stamp], {key: [attributes[key]] for key in _TABLE}, arrays)


def _array_names(spec: Spec) -> list[str]:
    return [*_STEP_COLUMNS, *(f"offsets_{camera}" for camera in spec.cameras)]


def _empty(spec: Spec) -> Rows:
    widths = {"proprio": (len(spec.proprio_names),), "actions": (len(spec.action_names),)}
    arrays: dict[str, NDArray[Any]] = {
        k: np.zeros((0, *widths.get(k, ())), store_episode.REQUIRED.get(k, "int64")) for k in _array_names(spec)
    }
    return Rows([], [], {key: [] for key in _TABLE}, arrays)


def _join(parts: list[Rows], spec: Spec) -> Rows:
    if len(parts) == 1:
        return parts[0]
    return Rows(
        [n for p in parts for n in p.names],
        [s for p in parts for s in p.stamps],
        {key: [v for p in parts for v in p.table[key]] for key in _TABLE},
        {key: np.concatenate([p.arrays[key] for p in parts]) for key in _array_names(spec)},
    )


def _write_manifest(root: Path, uid: str, rows: Rows) -> None:
    part = root / f"{MANIFEST}.{os.getpid()}.part"
    text = json.dumps({"uid": uid, "names": rows.names, "stamps": rows.stamps, "table": rows.table}).encode()
    try:
        with open(part, "wb") as file:
            np.savez(file, __text__=np.frombuffer(text, np.uint8), **rows.arrays)  # type: ignore[arg-type]
        os.replace(part, root / MANIFEST)
    except OSError:  # a read-only or full disk costs the next opening time, nothing else
        part.unlink(missing_ok=True)


def _read_manifest(root: Path, spec: Spec, uid: str) -> Rows:
    try:
        with np.load(root / MANIFEST, allow_pickle=False) as file:
            text = json.loads(file["__text__"].tobytes())
            arrays = {key: file[key] for key in _array_names(spec)}
        rows = Rows(text["names"], text["stamps"], {key: text["table"][key] for key in _TABLE}, arrays)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return _empty(spec)
    return rows if text["uid"] == uid else _empty(spec)
