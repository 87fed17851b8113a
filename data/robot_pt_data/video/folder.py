"""A plain folder of videos, nested as it likes: every file is an episode, or is cut into clips of one length."""

from __future__ import annotations

from pathlib import Path

from robot_pt_data.video.reading import VideoReading
from robot_pt_data.video.spans import WHOLE, Span, Spans, videos_under


def spans(root: Path, reading: VideoReading) -> Spans:
    """Every video below `root`, whole (`clips` cuts them)."""
    files, others = videos_under(root)
    found = Spans(root, root.resolve().name, files=[str(f) for f in files], from_start=True)
    found.spans = [Span(row, *WHOLE) for row in range(len(files))]
    if others:
        found.notes["other files in the folder"] = others
    return found


def one_file(path: Path) -> Spans:
    """A single video."""
    found = Spans(path.parent, path.stem, from_start=True)
    found.spans = [Span(found.add_file(path.name), *WHOLE)]
    return found
