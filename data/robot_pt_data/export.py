"""Write any EpisodeSource as RLDS (TFDS) or LeRobot v3, whole or not at all, in memory that does not grow with the data."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import DataError
from robot_pt.images import encode_jpeg, image_size
from robot_pt.schema import SUCCESS, UNKNOWN, Bool, Float, Spec
from robot_pt.simulated import versions_of
from robot_pt.sources import EpisodeSource, leaf
from robot_pt.zarr_files import sync_tree
from robot_pt_data.export_columns import recorded_everywhere

Progress = Callable[[int, int], None]
"""Called with (episodes done, episodes in all)."""


class ExportEpisode(NamedTuple):
    """One episode as the writers see it; T steps."""

    row: int
    split: str
    frames: dict[str, list[bytes]]  # camera -> T encoded images
    proprio: Float  # (T, P)
    actions: Float  # (T, A)
    rewards: Float  # (T,)
    terminated: Bool  # (T,)
    truncated: Bool  # (T,)
    instruction: str
    task: str
    success: int
    dataset: str
    operator: str
    recorded: dict[str, Any]  # file_path, policy_version, metadata
    columns: dict[str, NDArray[Any]]  # (T, ...) what else was recorded per step; the same names in every episode

    def __len__(self) -> int:
        return len(self.actions)


def export(
    source: EpisodeSource,
    out: str | os.PathLike[str],
    format: Literal["rlds", "lerobot"] = "rlds",
    *,
    name: str | None = None,
    split: str | None = None,
    relative_to: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write `source` to the new folder `out` and return the folder that readers open.

    Args:
        format: "rlds" writes ``out/1.0.0`` in the TFDS layout, which `robot_pt_data.open` and tensorflow-datasets read;
            "lerobot" writes LeRobot v3.0 (parquet and H.264 MP4) into `out` itself.
        name: data set name; None takes the folder's.
        split: one split name for all episodes; None keeps each episode's own.
        relative_to: folder that `file_path` of what was recorded counts from; None writes it as the source says it.

    Columns that were recorded per step beside the canonical ones (see `export_columns`) are written where every episode has
    them; one that only some have is left out with a warning.

    Raises:
        DataError: `out` exists, there is nothing to write or no action in it, a name cannot be used, or the disk refuses.
        MissingExtraError: without tensorflow-datasets (extra "rlds"), or pyarrow and PyAV (extra "lerobot").
    """
    target = Path(out)
    name = name or re.sub(r"[^A-Za-z0-9_]", "_", target.name)
    _require_exportable(source, target, format, name, split)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        episodes = _episodes(source, split, relative_to, progress)
        if format == "rlds":
            from robot_pt_data.export_rlds import VERSION, write_rlds

            write_rlds(episodes, source.spec, part / VERSION, name, versions_of(source))
            done = target / VERSION
        else:
            from robot_pt_data.export_lerobot import write_lerobot

            write_lerobot(episodes, source.spec, part)
            done = target
        sync_tree(part)
        os.rename(part, target)
    except OSError as error:
        raise DataError(
            f"writing {target} failed: {error.strerror or error}; nothing is left of it; free space or name another folder, and repeat."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return done


def _require_exportable(source: EpisodeSource, target: Path, format: str, name: str, split: str | None) -> None:
    if format not in ("rlds", "lerobot"):
        raise DataError(f"the format {format!r} is not one that can be written; give 'rlds' or 'lerobot'.")
    for what, text in (("name", name), ("split", split or "train")):
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", text):
            raise DataError(f"{text!r} cannot be a {what}; use letters, digits and '_', a letter first.")
    if not source.spec.action_names:
        raise DataError(
            "these episodes have no actions (videos); an export holds robot data: keep frames with `robot-pt data cache`."
        )
    if target.exists():
        raise DataError(f"{target} exists; give a folder that does not, nothing is written over.")
    if not len(source.episodes):
        raise DataError("there is no episode to export; choose another split or data set.")


def _episodes(
    source: EpisodeSource,
    split: str | None,
    relative_to: str | os.PathLike[str] | None,
    progress: Progress | None,
) -> Iterator[ExportEpisode]:
    """One episode at a time, so that memory holds no more."""
    table = source.episodes
    order = sorted(range(len(table)), key=lambda row: table.split[row])  # stable; LeRobot's splits are ranges
    also = recorded_everywhere(source)
    for done, row in enumerate(order, 1):
        rows = table.rows([row])
        below, first = leaf(source, int(rows[0]))
        frames = {camera: _frames(source, rows, below, first, camera) for camera in source.spec.cameras}
        asked = getattr(below, "recorded", None)
        recorded = asked(first) if asked else {"file_path": f"{table.dataset[row]}/{table.split[row]}/{row}"}
        if asked and relative_to is not None:
            recorded["file_path"] = os.path.relpath(recorded["file_path"], relative_to)
        yield ExportEpisode(
            row=row,
            split=split or table.split[row] or "train",
            frames=frames,
            proprio=source.proprio[rows],
            actions=source.actions[rows],
            rewards=source.rewards[rows],
            terminated=source.terminated[rows],
            truncated=source.truncated[rows],
            instruction=table.instruction[row],
            task=table.task[row],
            success=int(table.success[row]),
            dataset=table.dataset[row],
            operator=table.operator[row],
            recorded=recorded,
            columns={name: below.recorded_column(first, name) for name in also},  # type: ignore[attr-defined]
        )
        if progress is not None:
            progress(done, len(table))


def _frames(source: EpisodeSource, rows: Any, below: EpisodeSource, first: int, camera: str) -> list[bytes]:
    """Stored bytes of the frames that are kept encoded at the spec's size, else JPEG at quality 95."""
    encoded, size = getattr(below, "encoded", None), source.spec.cameras[camera]
    if encoded is None or below.spec.cameras.get(camera) != size:
        return [encode_jpeg(frame) for frame in source.images(rows, camera)]
    frames = [bytes(frame) for frame in encoded(np.arange(first, first + len(rows)), camera)]
    for i, frame in enumerate(frames):
        if image_size(frame)[:2] != size:  # some data sets mix sizes; a written one has the size it declares
            frames[i] = encode_jpeg(source.images(rows[i : i + 1], camera, size)[0])
    return frames


def success_flag(success: int) -> bool | None:
    """`EpisodeTable.success` as True, False or None."""
    return None if success == UNKNOWN else success == SUCCESS


def spec_document(spec: Spec) -> dict[str, Any]:
    """What ``robot_pt.json`` beside an export says, for whoever reads it back."""
    return {"schema_version": 1, "spec": spec.to_json()}
