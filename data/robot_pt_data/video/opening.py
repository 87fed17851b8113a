"""From a path to a VideoSource: find the videos and their clips, index what is new, say what is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from robot_pt.errors import DataError
from robot_pt_data.index_files import BESIDE
from robot_pt_data.report import IndexReport
from robot_pt_data.step_index import Progress
from robot_pt_data.video import captioned, clips, ego4d, folder
from robot_pt_data.video.clips import ClipTable, Cutter
from robot_pt_data.video.container import SUFFIXES, reason
from robot_pt_data.video.index import VideoIndex
from robot_pt_data.video.index_cache import IndexCache, places, stamp, write
from robot_pt_data.video.reading import VideoReading
from robot_pt_data.video.source import VideoSource
from robot_pt_data.video.spans import Span, Spans, holds_video

TABLE_VERSION = 2
"""Raised whenever the clips of the same files become others."""

EGO4D_CLIP_S = 10.0
"""Clips of Ego4D videos without annotations [s]."""

_LISTED = frozenset((*SUFFIXES, ".json", ".csv", ".tsv"))
_TOLD = 3  # faults in the sentence of a refusal
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile, zlib.error)


def is_video(path: Path) -> bool:
    """Whether `path` is a video, or a folder with videos at any depth."""
    if path.is_file():
        return path.suffix.lower() in SUFFIXES
    return ego4d.is_ego4d(path) or holds_video(path)


def open_videos(
    path: Path, split: str, reading: VideoReading, skip_corrupt: bool = False, progress: Progress | None = None
) -> VideoSource:
    """The clips of a split ("all": of every one). Raises DataError for faults not skipped, or where nothing is left."""
    root, table = load_or_build(path, reading, progress)
    check(path, table, skip_corrupt)
    return VideoSource(root, table, None if split == "all" else split, reading, skip_corrupt)


def build_index(
    path: Path, reading: VideoReading, skip_corrupt: bool = False, progress: Progress | None = None
) -> IndexReport:
    """Index the files that are new or have changed, and all clips. Raises DataError for faults not skipped."""
    begun = time.perf_counter()
    root, table = load_or_build(path, reading, progress, fresh=True)
    check(path, table, skip_corrupt)
    per_split = Counter(table.split)
    return IndexReport(
        dataset=table.dataset,
        version="",
        path=str(places(root)[0]),
        splits=dict(sorted(per_split.items())),
        steps=int(table.length.sum()),
        cameras={"primary": table.size},
        bytes=sum(max(stamp(root / name)[0], 0) for name in table.files),
        seconds=time.perf_counter() - begun,
        skipped=list(table.faults),
        passed_over=dict(table.notes),
    )


def check(path: Path, table: ClipTable, skip_corrupt: bool) -> None:
    """Raise DataError where something is wrong and was not to be skipped, or nothing is left."""
    faults = table.faults
    if faults and not skip_corrupt:
        more = f" and {len(faults) - _TOLD} more" if len(faults) > _TOLD else ""
        told = "; ".join(fault.rstrip(".") for fault in faults[:_TOLD])
        raise DataError(
            f"{path}: {len(faults)} videos or annotations are wrong: {told}{more}; mend them, or leave them out with skip_corrupt (--skip-corrupt)."
        )
    if not len(table.length):
        why = f" ({faults[0].rstrip('.')})" if faults else ""
        raise DataError(
            f"{path} gives no clip of at least {clips.LEAST} frames{why}; name another folder, or raise rate_hz or clip_s."
        )


def load_or_build(
    path: Path, reading: VideoReading, progress: Progress | None = None, fresh: bool = False
) -> tuple[Path, ClipTable]:
    """(root, clips) of a folder or file; kept until a video, an annotation or the reading changes."""
    root = path if path.is_dir() else path.parent
    fingerprint = [TABLE_VERSION, reading.digest, path.name if path.is_file() else "", _listing(root, path)]
    if reading.leave_out:
        fingerprint.append(sorted(_left_out(root, reading.leave_out)))
    name = f"clips-{hashlib.sha256(json.dumps(fingerprint).encode()).hexdigest()[:16]}.npz"
    found = None if fresh else _load(root, name, fingerprint)
    if found is None:
        found = _build(path, root, reading, progress)
        write(places(root), name, clips.encode(found, fingerprint))
    return root, found


def _load(root: Path, name: str, fingerprint: list[object]) -> ClipTable | None:
    for place in places(root):
        try:
            found = clips.decode((place / name).read_bytes(), fingerprint)
        except _UNREADABLE:
            continue
        if found is not None:
            return found
    return None


def _listing(root: Path, path: Path) -> str:
    """Changes with the name, size or modification time of any video or annotation file."""
    digest = hashlib.sha256()
    if path.is_file():
        return json.dumps(stamp(path))
    for place, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith(".") and name != BESIDE)
        for name in sorted(names):
            if Path(name).suffix.lower() in _LISTED:
                file = Path(place) / name
                digest.update(json.dumps([os.path.relpath(file, root), *stamp(file)]).encode())
    return digest.hexdigest()


def _left_out(root: Path, name: str) -> set[str]:
    """The names in that file of `root`. Raises DataError where it cannot be read."""
    try:
        lines = (root / name).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{root / name}, which leave_out names, cannot be read ({reason(error)}); give a text file with a video to a line."
        ) from None
    return {found for line in lines if (found := line.partition("#")[0].strip())}


def _spans(path: Path, root: Path, reading: VideoReading) -> Spans:
    if not path.is_file() and ego4d.is_ego4d(root):
        return ego4d.spans(root, reading)
    found = _plain(path, root, reading)
    if {reading.annotations, reading.videos} - {
        "auto",
        "none",
    }:  # said, not refused: a mapping may be for several folders
        found.notes["settings for Ego4D in what is no Ego4D folder"] += 1
    return found


def _plain(path: Path, root: Path, reading: VideoReading) -> Spans:
    if path.is_file():
        return folder.one_file(path)
    captions = captioned.caption_files(root, reading.captions)
    return captioned.spans(root, reading, captions) if captions else folder.spans(root, reading)


def _build(path: Path, root: Path, reading: VideoReading, progress: Progress | None) -> ClipTable:
    spans = _spans(path, root, reading)
    if reading.leave_out:
        spans.without(_left_out(root, reading.leave_out))
    clip_s = reading.clip_s or (EGO4D_CLIP_S if spans.dataset == "ego4d" else 0.0)
    cutter = Cutter(spans, reading.rate_hz, clip_s, reading.min_clip_s)
    per_file: dict[int, list[Span]] = {}
    for span in spans.spans:
        per_file.setdefault(span.file, []).append(span)
    indexes = IndexCache(root, keep=1)
    sizes: Counter[tuple[int, int]] = Counter()
    fps: list[float] = []
    per_start: list[float] = []
    video_s = 0.0

    def index(file: int) -> VideoIndex | DataError:
        try:
            return indexes.of(root / spans.files[file])
        except DataError as error:
            return error

    files = sorted(per_file)
    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="index") as pool:
        for done, (file, found) in enumerate(zip(files, pool.map(index, files), strict=True), 1):
            if isinstance(found, DataError):
                cutter.faults.append(str(found))
            else:
                cutter.add(spans.files[file], found, per_file[file])
                sizes[found.size] += 1
                fps.append(found.fps)
                per_start.append(len(found) / len(found.key_pts))
                video_s += found.end_s - float(found.times_s[0])
            if progress is not None:
                progress(done, len(files))
    table = cutter.table(sizes, fps, video_s)
    return replace(table, frames_per_start=float(np.median(per_start)) if per_start else 0.0)
