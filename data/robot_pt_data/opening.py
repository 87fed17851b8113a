"""From a path to a source: recognise the layout, find or build the index, refuse what is damaged."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from robot_pt.errors import DataError
from robot_pt.relabels import NEWEST, NONE
from robot_pt.schema import ActionSource
from robot_pt.sources import EpisodeSource
from robot_pt_data import index_files
from robot_pt_data.bags import is_bag_folder, mapping_table, members
from robot_pt_data.files import Files
from robot_pt_data.layout import (
    MAPPING_FILES,
    Layout,
    MappingLike,
    dataset_name,
    mapping_for,
    recognise,
    simulators_of,
)
from robot_pt_data.mapping import Mapping
from robot_pt_data.oxe import ENTRIES
from robot_pt_data.report import IndexReport
from robot_pt_data.rlds import RldsSource
from robot_pt_data.step_index import Progress, StepIndex, build, refusal

if TYPE_CHECKING:
    from robot_pt_data.video.reading import VideoReading

_KINDS = {"demo_store": "demo store", "decoded": "decoded cache", "journals": "recording"}


def open_source(
    path: str | os.PathLike[str],
    split: str = "train",
    *,
    mapping: MappingLike | None = None,
    action_source: ActionSource | None = None,
    skip_corrupt: bool = False,
    labels: str = NEWEST,
    progress: Progress | None = None,
) -> EpisodeSource:
    """See `robot_pt_data.open`."""
    layout = recognise(path)
    if layout.kind != "demo_store" and labels not in (NEWEST, NONE):
        raise DataError(
            f"labels {labels!r} were asked for; only a demo store has labels given later, {path} is none: leave them out."
        )
    if layout.kind == "video":
        return _open_videos(layout, split, mapping, action_source, skip_corrupt, progress)
    if layout.kind == "journals" and action_source != "achieved":
        from robot_pt_data.journals import JournalSource

        return JournalSource(layout.folder, None if split == "all" else split, mapping_table(mapping), skip_corrupt)
    if action_source not in (None, "commanded", "achieved"):
        raise DataError(f"action_source is {action_source!r}; give 'commanded' or 'achieved'.")
    if layout.kind != "rlds" and (mapping is not None or action_source == "achieved"):
        raise DataError(f"{path} is a {_KINDS[layout.kind]} in canonical form; it takes no mapping or action source.")
    if layout.kind == "demo_store":
        return _as_asked(_open_store(layout, split, skip_corrupt, labels), action_source, layout)
    if layout.kind == "decoded":
        from robot_pt_data.decoded import DecodedSource

        return _as_asked(DecodedSource(layout.folder), action_source, layout)
    files = layout.files()
    index = load_or_build(files, split, mapping_for(files.folder, mapping), skip_corrupt, progress)
    shards = files.images(index.shards, index.info["file_format"])
    source = RldsSource(index, shards, action_source)
    source.simulators = simulators_of(files.folder)
    return source


def describes_itself(path: str | os.PathLike[str]) -> bool:
    """Whether `path` opens without a mapping given: a shipped entry or a mapping beside it knows its columns, or it is no RLDS.

    Bags of other recorders count as undescribed. Raises DataError where nothing can be opened.
    """
    layout = recognise(path)
    if layout.kind == "journals":
        return not any(is_bag_folder(member) or member.suffix == ".db3" for member in members(layout.folder))
    if layout.kind != "rlds":
        return True
    folder = layout.files().folder
    return any((folder / name).is_file() for name in MAPPING_FILES) or dataset_name(folder) in ENTRIES


def _as_asked(source: EpisodeSource, action_source: ActionSource | None, layout: Layout) -> EpisodeSource:
    if action_source not in (None, source.spec.action_source):
        raise DataError(
            f"{layout.folder} is a {_KINDS[layout.kind]} of {source.spec.action_source} actions, {action_source} ones were asked for; "
            "leave the action source out."
        )
    return source


def load_or_build(
    files: Files, split: str, mapping: Mapping, skip_corrupt: bool, progress: Progress | None, fresh: bool = False
) -> StepIndex:
    """The index of a split, built and stored when there is no good one. Raises DataError for faults not skipped."""
    target = index_files.index_path(files.folder, split, mapping)
    index = None if fresh else index_files.load(target, files)
    if index is None:
        from robot_pt_data.metadata import read_metadata

        metadata = read_metadata(files.folder)
        if split not in metadata.shards:
            raise DataError(
                f"{files.place} has the splits {sorted(metadata.shards)}, not {split!r}; choose one of these."
            )
        index = build(files, metadata, split, mapping, skip_corrupt, progress)
        index_files.save(index, target, files)
        index = index_files.load(target, files) or index
    if index.faults and not skip_corrupt:
        raise refusal(files, index.faults[0])
    return index


def build_indexes(
    path: str | os.PathLike[str],
    *,
    mapping: MappingLike | None = None,
    skip_corrupt: bool = False,
    progress: Progress | None = None,
    beside: bool = False,
) -> IndexReport:
    """See `robot_pt_data.index`."""
    layout = recognise(path)
    if layout.kind == "video":
        from robot_pt_data.video.opening import build_index

        return build_index(layout.folder, _video_reading(layout, mapping), skip_corrupt, progress)
    if layout.kind != "rlds":
        raise DataError(f"{path} is a {_KINDS[layout.kind]} and needs no index; open it as it is.")
    from robot_pt_data.metadata import read_metadata

    files = layout.files()
    folder, found = files.folder, mapping_for(files.folder, mapping)
    if beside:
        try:
            (folder / index_files.BESIDE).mkdir(exist_ok=True)
        except OSError as error:
            raise DataError(
                f"{folder} cannot be written ({error.strerror}); leave the index in the cache folder."
            ) from None
    metadata = read_metadata(folder)
    total = sum(sum(lengths) for lengths in metadata.shard_lengths.values())
    report = IndexReport(dataset=metadata.name, version=metadata.version, path=str(index_files.cache_root()))
    done = 0
    for split in metadata.shards:
        offset = done

        def advance(n: int, expected: int, offset: int = offset) -> None:
            if progress is not None:
                progress(offset + n, max(total, offset + n))

        begun = time.perf_counter()
        index = load_or_build(files, split, found, skip_corrupt, advance, fresh=True)
        done += len(index.start) + len(index.faults)
        report = replace(
            report,
            path=str(index_files.index_path(folder, split, found).parent),
            splits={**report.splits, split: len(index.start)},
            steps=report.steps + int(np.sum(index.length)),
            cameras={role: size for i, (role, size) in enumerate(index.cameras.items()) if not index.dummy[:, i].all()},
            bytes=report.bytes + int(index.info["bytes"]),
            seconds=report.seconds + time.perf_counter() - begun,
            skipped=[*report.skipped, *(fault.reason for fault in index.faults)],
        )
    return report


def _open_videos(
    layout: Layout,
    split: str,
    mapping: MappingLike | None,
    action_source: ActionSource | None,
    skip_corrupt: bool,
    progress: Progress | None,
) -> EpisodeSource:
    from robot_pt_data.video.opening import open_videos

    if action_source is not None:
        raise DataError(f"{layout.folder} holds videos, which have no actions; leave the action source out.")
    return open_videos(layout.folder, split, _video_reading(layout, mapping), skip_corrupt, progress)


def _video_reading(layout: Layout, mapping: MappingLike | None) -> VideoReading:
    from robot_pt_data.video.reading import reading_beside

    return reading_beside(layout.folder, mapping, MAPPING_FILES)


def _open_store(layout: Layout, split: str, skip_corrupt: bool, labels: str) -> EpisodeSource:
    from robot_pt.store import DemoStore

    chosen = None if split == "all" else split
    return DemoStore(layout.folder).source(chosen, skip_corrupt=skip_corrupt, labels=labels)
