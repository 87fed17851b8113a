"""Videos with a file of captions: Something-Something (JSON lists), EPIC-KITCHENS and any CSV of videos, times and texts.

Something-Something V2: ``train.json``, ``validation.json`` with ``id``, ``label``, ``template``, and ``<id>.webm``. EPIC-KITCHENS:
``EPIC_100_train.csv`` with ``video_id``, ``start_timestamp``, ``stop_timestamp``, ``narration``, and ``<video_id>.MP4``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from robot_pt.errors import DataError
from robot_pt_data.video.reading import VideoReading
from robot_pt_data.video.spans import LACKS, WHOLE, Span, Spans, called, videos_under
from robot_pt_data.video.tables import columns, load_json, read_csv, seconds

VIDEO = ("video_id", "video_uid", "video", "video_path", "path", "file", "file_name", "filename", "id")
START = ("start_timestamp", "start_sec", "start_s", "start_time", "start")
STOP = (
    "stop_timestamp",
    "end_timestamp",
    "stop_sec",
    "end_sec",
    "stop_s",
    "end_s",
    "stop_time",
    "end_time",
    "stop",
    "end",
)
CAPTION = ("narration", "caption", "label", "instruction", "narration_text", "text", "description")

_DEPTH = ("", "labels", "annotations", "*")
_SPLIT = re.compile(r"(?:^|[^a-z])(train|val|validation|test)(?:[^a-z]|$)")


class _Row(NamedTuple):
    video: str
    start: str | None  # None: the file has no times
    stop: str | None
    caption: str
    task: str


def caption_files(root: Path, named: str = "") -> list[Path]:
    """Files of captions in `root` or one folder below. Raises DataError where the one named by the user is none."""
    if named:
        if not _is_captions(root / named):
            raise DataError(
                f"{root / named} is no file of captions: a CSV needs a column of {list(VIDEO)} and one of {list(CAPTION)}, "
                "a JSON file a list of objects with id and label."
            )
        return [root / named]
    found: dict[Path, None] = {}
    for pattern in _DEPTH:
        for suffix in ("*.csv", "*.tsv", "*.json"):
            found |= dict.fromkeys(sorted(root.glob(f"{pattern}/{suffix}" if pattern else suffix)))
    return [path for path in found if _is_captions(path)]


def _is_captions(path: Path) -> bool:
    if path.suffix.lower() == ".json":
        try:
            with path.open("rb") as file:
                if not file.read(64).lstrip().startswith(b"["):
                    return False
            rows = load_json(path)
        except (OSError, DataError):
            return False
        return bool(rows) and isinstance(rows[0], dict) and "id" in rows[0]
    names = columns(path) if path.is_file() else []
    return bool(set(names) & set(VIDEO) and set(names) & set(CAPTION))


def spans(root: Path, reading: VideoReading, captions: list[Path]) -> Spans:
    """The clips that the files `captions` name, with what cannot be found in `faults`."""
    found = Spans(root, root.resolve().name, from_start=True, sources=[str(p.relative_to(root)) for p in captions])
    files = _Files(root)
    rows: dict[str, int] = {}
    absent: dict[str, None] = {}  # sentences, each once
    for path in captions:
        split = _split(path.stem)
        for at, row in _rows(path, found):
            file = files.named(row.video)
            if isinstance(file, str):
                absent[file] = None
                continue
            place = str(file)
            if place not in rows:
                rows[place] = found.add_file(place)
            times = _times(row)
            if times is None:
                found.faults.append(f"{path.name}, row {at}: {row.start!r} to {row.stop!r} are no times.")
                continue
            found.spans.append(Span(rows[place], *times, row.caption, row.task, split))
    found.faults += absent
    for path in files.all:
        if str(path) not in rows:
            found.faults.append(f"{path}{LACKS}caption in {', '.join(p.name for p in captions)}.")
    return found


class _Files:
    """Videos by the names that annotations give them: a path, or a file name with or without its suffix."""

    def __init__(self, root: Path):
        self.all, _ = videos_under(root)
        self._by_name: dict[str, list[Path]] = {}
        for path in self.all:
            for name in set(called(path)):
                self._by_name.setdefault(name, []).append(path)

    def named(self, name: str) -> Path | str:
        """The file, or a sentence why there is none."""
        found = self._by_name.get(name, [])
        if len(found) == 1:
            return found[0]
        if not found:
            return f"the video {name[:80]!r} of the captions is not in the folder."
        return f"the video {name[:80]!r} of the captions may be {found[0]} or {found[1]}."


def _rows(path: Path, found: Spans) -> Iterator[tuple[int, _Row]]:
    """(number from 1, row) of every row that names a video; others become faults."""
    if path.suffix.lower() == ".json":
        yield from _json_rows(path, found)
        return
    names = columns(path)
    video, caption = _one_of(names, VIDEO), _one_of(names, CAPTION)
    start, stop = _one_of(names, START), _one_of(names, STOP)
    for at, row in enumerate(read_csv(path), 1):
        if not row.get(video):
            found.faults.append(f"{path.name}, row {at} names no video.")
            continue
        timed = start and stop
        yield (
            at,
            _Row(
                row[video],
                row.get(start) if timed else None,
                row.get(stop) if timed else None,
                row.get(caption, ""),
                "",
            ),
        )


def _json_rows(path: Path, found: Spans) -> Iterator[tuple[int, _Row]]:
    rows: list[Any] = load_json(path)
    for at, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not isinstance(row.get("id"), (str, int)):
            found.faults.append(f"{path.name}, entry {at} names no video.")
            continue
        label, template = row.get("label", ""), row.get("template", "")
        yield at, _Row(str(row["id"]), None, None, str(label or ""), re.sub(r"[\[\]]", "", str(template or "")))


def _one_of(names: list[str], known: tuple[str, ...]) -> str:
    return next((name for name in known if name in names), "")


def _times(row: _Row) -> tuple[float, float] | None:
    if row.start is None or row.stop is None:
        return WHOLE
    start, stop = seconds(row.start), seconds(row.stop)
    return None if math.isnan(start) or math.isnan(stop) else (start, stop)


def _split(stem: str) -> str:
    found = _SPLIT.search(stem.lower())
    return "train" if found is None else {"val": "validation"}.get(found[1], found[1])
