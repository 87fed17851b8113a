"""Data sets as they lie on disk -> `robot_pt.sources.EpisodeSource`. No TensorFlow at reading time.

`open` returns a source, `index` builds what `open` needs ahead of time, `inspect` summarises, `cache` decodes to a memory map.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from robot_pt.schema import ActionSource
    from robot_pt.sources import EpisodeSource
    from robot_pt_data.layout import MappingLike
    from robot_pt_data.report import IndexReport
    from robot_pt_data.step_index import Progress

__all__ = ["cache", "describes_itself", "index", "inspect", "open"]


def open(
    path: str | os.PathLike[str],
    split: str = "train",
    *,
    mapping: MappingLike | None = None,
    action_source: ActionSource | None = None,
    skip_corrupt: bool = False,
    labels: str = "newest",
    progress: Progress | None = None,
) -> EpisodeSource:
    """An EpisodeSource over an RLDS data set, a demo store, recordings (journals, ROS 2 bags), videos or a decoded cache.

    Args:
        path: ``<name>/<version>`` of an RLDS data set or its parent with one version, a URL of one (any fsspec scheme),
            a demo store, a decoded cache, an .mcap or .db3 file, a folder of such files or of ROS 2 bags, a video, a folder of
            videos with or without captions (Ego4D, Something-Something, EPIC-KITCHENS, any CSV).
        mapping: Mapping, dict, or TOML/JSON file for an RLDS data set without a shipped entry; for a bag of
            ``ros2 bag record`` the fields of `robot_pt_data.bags.Bag`; for videos those of
            `robot_pt_data.video.reading.VideoReading`.
        action_source: "commanded" or "achieved"; None is commanded unless the mapping says otherwise. Only RLDS data sets
            offer the choice.
        skip_corrupt: leave damaged records (videos, annotations) out instead of refusing the split.
        labels: which labels given later to a demo store hold: "newest", "none" or the id of a pass (`DemoStore.add_labels`).
        progress: called with (records done, records expected) while an index is built.
    Raises:
        DataError: one sentence: what was given, what is allowed, what to do next.
    """
    from robot_pt_data import opening

    source = opening.open_source(
        path,
        split,
        mapping=mapping,
        action_source=action_source,
        skip_corrupt=skip_corrupt,
        labels=labels,
        progress=progress,
    )
    for sentence in getattr(source, "warnings", []):
        if any(word in sentence for word in ("unverified", "damaged records", "copies are read")):
            warnings.warn(sentence, UserWarning, stacklevel=2)
    return source


def describes_itself(path: str | os.PathLike[str]) -> bool:
    """Whether `path` opens without a mapping given to `open`."""
    from robot_pt_data import opening

    return opening.describes_itself(path)


def index(
    path: str | os.PathLike[str],
    *,
    mapping: MappingLike | None = None,
    skip_corrupt: bool = False,
    progress: Progress | None = None,
    beside: bool = False,
) -> IndexReport:
    """Build the index of every split of an RLDS data set, or of a folder of videos, anew.

    `beside` keeps that of an RLDS data set in its own folder; that of videos lies there wherever it can.
    """
    from robot_pt_data import opening

    return opening.build_indexes(path, mapping=mapping, skip_corrupt=skip_corrupt, progress=progress, beside=beside)


def inspect(
    path: str | os.PathLike[str],
    *,
    mapping: MappingLike | None = None,
    skip_corrupt: bool = False,
    labels: str = "newest",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """A JSON-able summary: splits, cameras, columns and their ranges, instructions, success, checks, warnings."""
    from robot_pt_data import report

    return report.inspect_path(path, mapping=mapping, skip_corrupt=skip_corrupt, labels=labels, progress=progress)


def cache(
    source: EpisodeSource,
    out: str | os.PathLike[str],
    size: tuple[int, int] = (128, 128),
    *,
    cameras: list[str] | None = None,
    encoding: Literal["raw", "jpeg"] = "raw",
    progress: Progress | None = None,
) -> EpisodeSource:
    """Decode `source` at `size` = (H, W) into the folder `out` and open it.

    `encoding` "raw" is a memory map, "jpeg" takes about a tenth of the disk and is decoded when read.
    """
    from robot_pt_data import decoded

    return decoded.write_decoded(source, Path(out), size, cameras=cameras, encoding=encoding, progress=progress)
