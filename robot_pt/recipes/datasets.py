"""`robot-pt data`: index, inspect, export and cache what lies on disk, and open data sets for training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robot_pt.errors import DataError, UserError
from robot_pt.recipes.progress import bar, say, warn
from robot_pt.schema import SUCCESS, UNKNOWN
from robot_pt.sources import Concat, EpisodeSource

LARGEST_CACHED = 2048
"""Largest side of a cached frame [pixels]: more is a mistake, no camera of the known data sets has it."""


def index(path: Path, *, mapping: Path | None = None, skip_corrupt: bool = False) -> dict[str, Any]:
    """Build (or rebuild) the index of `path`; see `robot_pt_data.index`."""
    import robot_pt_data

    with bar("index", "record") as advance:
        report = robot_pt_data.index(path, mapping=mapping, skip_corrupt=skip_corrupt, progress=advance)
    return report.to_json()


def inspect(path: Path, *, mapping: Path | None = None, skip_corrupt: bool = False) -> dict[str, Any]:
    """A JSON-able summary of `path`; see `robot_pt_data.inspect`."""
    import robot_pt_data

    return robot_pt_data.inspect(path, mapping=mapping, skip_corrupt=skip_corrupt)


def export(
    path: Path, out: Path, *, format: Literal["rlds", "lerobot"], name: str, split: str, skip_corrupt: bool = False
) -> dict[str, Any]:  # fmt: skip
    """Write one split of `path` in another format; raises DataError when `out` exists."""
    from robot_pt_data.export import export as write

    source = _open(path, split, skip_corrupt)
    with bar(f"export {format}", "episode") as advance:
        written = write(
            source, out, format=format, name=name, split=None if split == "all" else split, progress=advance
        )
    return {"out": str(written), "format": format, "episodes": len(source.episodes), "steps": source.episodes.steps}


def cache(path: Path, out: Path, *, size: int, split: str, skip_corrupt: bool = False) -> dict[str, Any]:
    """Decode every camera of one split at `size` x `size` into a memory-mapped cache."""
    import robot_pt_data

    if not 1 <= size <= LARGEST_CACHED:
        raise UserError(f"--size is {size}; give pixels from 1 to {LARGEST_CACHED}.")
    source = _open(path, split, skip_corrupt)
    with bar("cache", "frame") as advance:
        robot_pt_data.cache(source, out, size=(size, size), progress=advance)
    total = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    return {"out": str(out), "cameras": sorted(source.spec.cameras), "frames": source.episodes.steps, "bytes": total}


def open_all(paths: Sequence[Path], *, assume_success: bool, skip_corrupt: bool, what: str) -> EpisodeSource:
    """The training splits of `paths` as one source; says loudly what their success labels mean for the rewards."""
    if not paths:
        raise DataError(f"no {what} was given; name at least one data set folder.")
    sources = []
    for path in paths:
        sources.append(_open(path, "train", skip_corrupt))
    source: EpisodeSource = sources[0] if len(sources) == 1 else Concat(sources)
    if len(source.episodes) == 0:
        raise DataError(f"{what} {', '.join(map(str, paths))} holds no episodes; record some or name another folder.")
    _say_success(source, assume_success, what)
    return source


def _open(path: Path, split: str, skip_corrupt: bool) -> EpisodeSource:
    """`robot_pt_data.open` with a bar for the index that the first opening builds."""
    import robot_pt_data

    with bar(f"open {Path(path).name}", "record") as advance:
        return robot_pt_data.open(path, split=split, skip_corrupt=skip_corrupt, progress=advance)


def _say_success(source: EpisodeSource, assume_success: bool, what: str) -> None:
    success = source.episodes.success
    unknown, positive = int(np.sum(success == UNKNOWN)), int(np.sum(success == SUCCESS))
    if unknown and assume_success:
        warn(
            f"--assume-success: {unknown} of {len(success)} episodes of the {what} carry no success label and are TREATED AS SUCCESSFUL."
        )
    elif unknown:
        warn(
            f"{unknown} of {len(success)} episodes of the {what} carry no success label and get NO POSITIVE REWARD; "
            "if they are successful demonstrations, pass --assume-success."
        )
    say(f"{what}: {len(success)} episodes, {source.episodes.steps} steps, {positive} labelled successful.")
