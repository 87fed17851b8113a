"""The decoded cache: every frame of a source at one size as raw uint8 in a memory map. An option, never a requirement.

``<out>/robot_pt_decoded.json`` (spec, episodes), one ``<role>.npy`` (n, H, W, 3) per camera and the step columns as .npy.
Only steps that belong to an episode are kept, so rows are renumbered.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from robot_pt.errors import DataError, UserError
from robot_pt.images import resize
from robot_pt.schema import EpisodeTable, Image, Int, Spec
from robot_pt.sources import EpisodeSource
from robot_pt_data.layout import DECODED_FILE
from robot_pt_data.step_index import Progress

_COLUMNS = ("proprio", "actions", "rewards", "terminated", "truncated")
_CHUNK = 256  # frames decoded at a time
_GATHER = 1 << 22  # bytes of a batch from which copying it is shared out to threads


class DecodedSource:
    """EpisodeSource over a decoded cache."""

    def __init__(self, folder: Path, threads: int | None = None):
        """Raises DataError when the folder is no complete cache."""
        try:
            meta = json.loads((folder / DECODED_FILE).read_text())
            columns = {name: _load(folder / f"{name}.npy") for name in _COLUMNS}
            self.spec = Spec.from_json(meta["spec"])
            self._frames = {role: _load(folder / f"{role}.npy") for role in self.spec.cameras}
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
        self._pool = ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="gather")
        self._workers = threads or os.cpu_count() or 1

    def images(self, steps: Int, camera: str, size: tuple[int, int] | None = None) -> Image:
        """(n, H, W, 3) uint8 RGB, copied out of the map; another `size` is resized from the cached one."""
        if camera not in self._frames:
            raise DataError(
                f"camera {camera!r} is not in this cache, which has {sorted(self._frames)}; choose one of these."
            )
        frames, steps = self._frames[camera], np.asarray(steps, np.int64)
        if len(steps) and not 0 <= int(steps.min()) <= int(steps.max()) < len(frames):
            raise DataError(
                f"steps run from 0 to {len(frames) - 1}; {int(steps.min())} to {int(steps.max())} were asked for."
            )
        out = np.empty((len(steps), *frames.shape[1:]), np.uint8)
        if out.nbytes < _GATHER or self._workers == 1:
            np.take(frames, steps, axis=0, out=out, mode="clip")  # clip: no buffering; the range is checked above
        else:
            parts = np.array_split(np.arange(len(steps)), self._workers)
            jobs = [
                self._pool.submit(np.take, frames, steps[p], 0, out[p[0] : p[-1] + 1], "clip") for p in parts if len(p)
            ]
            for job in jobs:
                job.result()
        return out if size is None else resize(out, size)


def write_decoded(
    source: EpisodeSource,
    out: Path,
    size: tuple[int, int],
    *,
    cameras: list[str] | None = None,
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
    roles = list(cameras or source.spec.cameras)
    unknown = sorted(set(roles) - set(source.spec.cameras))
    if unknown:
        raise DataError(f"the cameras {unknown} are not in this data, which has {sorted(source.spec.cameras)}.")
    part = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        part.mkdir(parents=True)
        _write(source, part, size, roles, progress)
        part.rename(out)
    except OSError as error:
        raise UserError(
            f"the decoded cache {out} cannot be written ({error.strerror}); free space or name another folder."
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return DecodedSource(out)


def _write(
    source: EpisodeSource, part: Path, size: tuple[int, int], roles: list[str], progress: Progress | None
) -> None:
    table = source.episodes
    spans = [np.arange(s, s + n) for s, n in zip(table.start.tolist(), table.length.tolist(), strict=True)]
    rows = np.concatenate(spans) if spans else np.zeros(0, np.int64)
    for name in _COLUMNS:
        np.save(part / f"{name}.npy", np.asarray(getattr(source, name))[rows])
    total, done = len(rows) * len(roles), 0
    for role in roles:
        with (part / f"{role}.npy").open("wb") as file:  # no map: on a full disk writing to one kills the process
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), *size, 3)}
            np.lib.format.write_array_header_1_0(file, header)
            for first in range(0, len(rows), _CHUNK):
                chunk = rows[first : first + _CHUNK]
                file.write(np.ascontiguousarray(source.images(chunk, role, size)).data)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
            file.flush()
            os.fsync(file.fileno())
    spec = {**source.spec.to_json(), "cameras": {role: list(size) for role in roles}}
    meta: dict[str, Any] = {
        "spec": spec,
        "episodes": {
            "start": (np.cumsum(table.length) - table.length).tolist(),
            "length": table.length.tolist(),
            "success": table.success.tolist(),
            **{name: getattr(table, name) for name in ("instruction", "task", "dataset", "split", "operator")},
        },
        "warnings": list(getattr(source, "warnings", [])),
    }
    (part / DECODED_FILE).write_text(json.dumps(meta))


def _load(path: Path) -> Any:
    return np.asarray(np.load(path, mmap_mode="r" if path.stat().st_size > 4096 else None))
