"""An Ego4D folder as its client leaves it: which videos are there, what its manifests promise, and the clips of its annotations.

``ego4d.json`` lies in the root or in a version folder (``v1``, ``v2``, ``v2_1``), videos in ``<version>/video_540ss``, ``full_scale`` or
``clips``, each with a ``manifest.csv``, annotations in ``<version>/annotations``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from robot_pt.errors import DataError
from robot_pt_data.video import ego4d_annotations
from robot_pt_data.video.container import SUFFIXES
from robot_pt_data.video.reading import VideoReading
from robot_pt_data.video.spans import LACKS, WHOLE, Span, Spans
from robot_pt_data.video.tables import load_json, number, read_csv, seconds

METADATA, MANIFEST, ANNOTATIONS = "ego4d.json", "manifest.csv", "annotations"
VIDEOS = ("video_540ss", "full_scale", "clips")

_VERSION = re.compile(r"v\d+(_\d+)?")


class Part(NamedTuple):
    """A file that shows a stretch of a canonical video: all of it, or a canonical clip."""

    file: int  # row of `Spans.files`
    start_s: float  # where in the video the file begins
    end_s: float


def is_ego4d(root: Path) -> bool:
    """Whether `root` is what the client wrote into, or one version folder of it."""
    folders = (root, *_versions(root))
    names = [name for names in ego4d_annotations.FILES.values() for name in names]
    return any((folder / METADATA).is_file() for folder in folders) or any(
        (folder / ANNOTATIONS / name).is_file() and _videos_of(folder, "auto") for folder in folders for name in names
    )


def spans(root: Path, reading: VideoReading) -> Spans:
    """The clips of the newest version that holds videos. Raises DataError where none does, or a file of annotations is damaged."""
    versions = [*_versions(root), root]
    videos = next((at for version in versions if (at := _videos_of(version, reading.videos))), None)
    if videos is None:
        asked = "no folder of videos" if reading.videos == "auto" else f"no folder {reading.videos} with videos"
        raise DataError(
            f"{root} is an Ego4D folder with {asked}; fetch some: ego4d --output_directory {root} --datasets video_540ss annotations."
        )
    found = Spans(root, "ego4d")
    metadata = _metadata(root, versions, found)
    files = {
        path.stem: found.add_file(path.relative_to(root))
        for path in sorted(videos.iterdir())
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    }
    parts = _parts(videos, files, metadata, found)
    folder = next((v / ANNOTATIONS for v in [videos.parent, *versions] if (v / ANNOTATIONS).is_dir()), None)
    chosen = None if folder is None else ego4d_annotations.choose(folder, reading.annotations)
    if chosen is None:
        if reading.annotations not in ("auto", "none"):
            raise DataError(
                f"{root} has no {reading.annotations} annotations; fetch them (ego4d --datasets annotations) or choose others."
            )
        if reading.annotations == "auto":
            found.faults.append(f"{folder or videos.parent / ANNOTATIONS} holds no annotations that make clips.")
        found.spans = [Span(row, *WHOLE) for row in files.values()]
        return found
    ego4d_annotations.read(folder or root, chosen, parts, reading, found)
    annotated = {span.file for span in found.spans}
    found.faults += [f"{found.files[row]}{LACKS}{chosen}." for row in files.values() if row not in annotated]
    return found


def _versions(root: Path) -> list[Path]:
    """Version folders, newest first."""
    return sorted((p for p in root.glob("v*") if p.is_dir() and _VERSION.fullmatch(p.name)), reverse=True)


def _videos_of(version: Path, wanted: str) -> Path | None:
    for name in VIDEOS if wanted == "auto" else (wanted,):
        folder = version / name
        if folder.is_dir() and any(path.suffix.lower() in SUFFIXES for path in folder.iterdir()):
            return folder
    return None


def _metadata(root: Path, versions: list[Path], found: Spans) -> dict[str, Any]:
    """ego4d.json; {} with a fault where it is absent or damaged."""
    for folder in (root, *versions):
        if (folder / METADATA).is_file():
            try:
                values = load_json(folder / METADATA)
            except DataError as error:
                found.faults.append(str(error))
                return {}
            found.sources.append(str((folder / METADATA).relative_to(root)))
            return values if isinstance(values, dict) else {}
    found.faults.append(f"{root / METADATA} is missing.")
    return {}


def _parts(videos: Path, files: dict[str, int], metadata: dict[str, Any], found: Spans) -> dict[str, list[Part]]:
    """uid of a video, or of a clip -> the files that show it. Entries of the manifest without a file become faults."""
    parts = {uid: [Part(row, 0.0, float("inf"))] for uid, row in files.items()}
    manifest = videos / MANIFEST
    entries = list(read_csv(manifest)) if manifest.is_file() else []
    if entries:
        found.sources.append(str(manifest.relative_to(found.root)))
    stretches = [
        (row.get("exported_clip_uid"), row.get("parent_video_uid"), seconds(row.get("parent_start_sec", "")), seconds(row.get("parent_end_sec", "")))
        for row in entries
    ] + [
        (str(clip.get("clip_uid")), str(clip.get("video_uid") or ""), number(clip.get("video_start_sec")), number(clip.get("video_end_sec")))
        for clip in _entries(metadata.get("clips"))
    ]  # fmt: skip
    for row in entries:
        uid = row.get("video_uid") or row.get("file_uid") or row.get("exported_clip_uid") or row.get("clip_uid") or ""
        if uid not in files:
            found.faults.append(
                f"{manifest.relative_to(found.root)} names {uid[:60] or 'nothing'}, of which no file is there."
            )
    if videos.name == "clips":
        for clip, video, start_s, end_s in dict.fromkeys(stretches):
            if clip in files and video and end_s > start_s:
                known = parts.setdefault(video, [])
                if all(part.file != files[clip] for part in known):
                    known.append(Part(files[clip], start_s, end_s))
    return parts


def _entries(values: Any) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
