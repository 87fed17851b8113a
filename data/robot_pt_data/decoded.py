"""The decoded cache: every frame of a source at one size, as raw uint8 in a memory map or as JPEGs. An option, never a requirement.

``<out>/robot_pt_decoded.json`` (spec, episodes), one ``<role>.npy`` (n, H, W, 3), or ``<role>.jpegs`` with offsets, per camera and the
step columns as .npy. Only steps that belong to an episode are kept, so rows are renumbered.
"""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from robot_pt.errors import DataError, UserError
from robot_pt.schema import EpisodeTable, Image, Int, Spec
from robot_pt.simulated import from_json, to_json, versions_of
from robot_pt.sources import EpisodeSource
from robot_pt_data.decoded_frames import Encoding, Writer, load, open_frames
from robot_pt_data.layout import DECODED_FILE
from robot_pt_data.step_index import Progress

_COLUMNS = ("proprio", "actions", "rewards", "terminated", "truncated")
_CHUNK = 256  # frames decoded at a time


class DecodedSource:
    """EpisodeSource over a decoded cache."""

    def __init__(self, folder: Path, threads: int | None = None):
        """Raises DataError when the folder is no complete cache."""
        try:
            meta = json.loads((folder / DECODED_FILE).read_text())
            columns = {name: load(folder / f"{name}.npy") for name in _COLUMNS}
            self.spec = Spec.from_json(meta["spec"])
            encoding = meta.get("encoding", "raw")
            self._frames = {role: open_frames(folder, role, encoding, threads) for role in self.spec.cameras}
            table = meta["episodes"]
            self.episodes = EpisodeTable(
                start=np.array(table.pop("start"), np.int64),
                length=np.array(table.pop("length"), np.int64),
                success=np.array(table.pop("success"), np.int8),
                **table,
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{folder} is no complete decoded cache ({error}); write it again.") from None
        self.proprio, self.actions, self.rewards = columns["proprio"], columns["actions"], columns["rewards"]
        self.terminated, self.truncated = columns["terminated"], columns["truncated"]
        self.warnings: list[str] = meta["warnings"]
        self.simulators = from_json(meta.get("simulators"))

    def images(self, steps: Int, camera: str, size: tuple[int, int] | None = None) -> Image:
        """(n, H, W, 3) uint8 RGB; another `size` is resized from the cached one."""
        if camera not in self._frames:
            raise DataError(
                f"camera {camera!r} is not in this cache, which has {sorted(self._frames)}; choose one of these."
            )
        frames, steps = self._frames[camera], np.asarray(steps, np.int64)
        if len(steps) and not 0 <= int(steps.min()) <= int(steps.max()) < len(frames):
            raise DataError(
                f"steps run from 0 to {len(frames) - 1}; {int(steps.min())} to {int(steps.max())} were asked for."
            )
        if not len(steps):
            return np.empty((0, *(size or self.spec.cameras[camera]), 3), np.uint8)
        return frames.take(steps, size)


def write_decoded(
    source: EpisodeSource,
    out: Path,
    size: tuple[int, int],
    *,
    cameras: list[str] | None = None,
    encoding: Encoding = "raw",
    progress: Progress | None = None,
) -> DecodedSource:
    """Decode `source` at `size` = (H, W) into the folder `out`, which appears whole or not at all.

    `progress` is called with (frames done, frames in all). Raises DataError when `out` exists or a camera is unknown,
    UserError when the disk does not take it.
    """
    if out.exists():
        raise DataError(f"{out} exists; name a new folder for the decoded cache.")
    if len(size) != 2 or min(size) < 1:
        raise DataError(f"the size of a decoded cache is (height, width) in pixels, not {size}.")
    if encoding not in ("raw", "jpeg"):
        raise DataError(f"a decoded cache keeps its frames raw or as jpeg, not {encoding!r}.")
    roles = list(cameras or source.spec.cameras)
    unknown = sorted(set(roles) - set(source.spec.cameras))
    if unknown:
        raise DataError(f"the cameras {unknown} are not in this data, which has {sorted(source.spec.cameras)}.")
    part = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        part.mkdir(parents=True)
        _write(source, part, size, roles, encoding, progress)
        part.rename(out)
    except OSError as error:
        raise UserError(
            f"the decoded cache {out} cannot be written ({error.strerror}); free space or name another folder."
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return DecodedSource(out)


def _write(
    source: EpisodeSource,
    part: Path,
    size: tuple[int, int],
    roles: list[str],
    encoding: Encoding,
    progress: Progress | None,
) -> None:
    table = source.episodes
    rows = table.rows()
    for name in _COLUMNS:
        np.save(part / f"{name}.npy", np.asarray(getattr(source, name))[rows])
    total, done = len(rows) * len(roles), 0
    for role in roles:
        writer = Writer(part, role, encoding, len(rows), size)
        for first in range(0, len(rows), _CHUNK):
            chunk = rows[first : first + _CHUNK]
            writer.write(source.images(chunk, role, size))
            done += len(chunk)
            if progress is not None:
                progress(done, total)
        writer.close()
    spec = {**source.spec.to_json(), "cameras": {role: list(size) for role in roles}}
    meta: dict[str, Any] = {
        "spec": spec,
        "encoding": encoding,
        "episodes": {
            "start": (np.cumsum(table.length) - table.length).tolist(),
            "length": table.length.tolist(),
            "success": table.success.tolist(),
            **{name: getattr(table, name) for name in ("instruction", "task", "dataset", "split", "operator")},
        },
        "warnings": list(getattr(source, "warnings", [])),
        "simulators": to_json(versions_of(source)),
    }
    (part / DECODED_FILE).write_text(json.dumps(meta))
