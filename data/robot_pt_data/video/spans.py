"""What every layout of videos on disk comes down to: which stretches of which files are clips, and what happens in them."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from robot_pt_data.index_files import BESIDE
from robot_pt_data.video.container import SUFFIXES

WHOLE = (float("-inf"), float("inf"))
"""Times of a span that is a whole file."""

LACKS = " has no "
"""After the name of a video, in the sentence about what its annotations lack."""


class Span(NamedTuple):
    """One clip as its annotation names it."""

    file: int  # row of `Spans.files`
    start_s: float
    end_s: float
    caption: str = ""
    task: str = ""  # "": the caption
    split: str = "train"
    about: bool = False  # a window around a moment: moved inside the video where it sticks out


@dataclass
class Spans:
    """Clips of the files under one folder. Times are on the clock of the frames' time stamps, or from when a player starts."""

    root: Path
    dataset: str
    files: list[str] = field(default_factory=list)  # relative to root
    spans: list[Span] = field(default_factory=list)
    from_start: bool = False  # times count from the moment that a player starts at, not from time stamp 0
    sources: list[str] = field(default_factory=list)  # annotation files that were read, relative to root
    faults: list[str] = field(default_factory=list)  # one sentence each: refused, or left out by choice
    notes: Counter[str] = field(default_factory=Counter)  # what was passed over by rule -> how often

    def add_file(self, path: Path | str) -> int:
        """The row of a file, given relative to root."""
        self.files.append(str(path))
        return len(self.files) - 1

    def without(self, names: set[str]) -> None:
        """Leave out the files that go by one of `names` (path, file name, with or without suffix), and what they lack."""
        gone = {row for row, file in enumerate(self.files) if names & set(called(Path(file)))}
        self.spans = [span for span in self.spans if span.file not in gone]
        self.faults = [f for f in self.faults if not names & set(called(Path(f.split(LACKS)[0])))]
        if gone:
            self.notes["videos named as to be left out"] += len(gone)


def called(file: Path) -> tuple[str, ...]:
    """What annotations and lists call a file: its path or its name, with or without suffix."""
    return str(file), str(file.with_suffix("")), file.name, file.stem


def videos_under(root: Path) -> tuple[list[Path], int]:
    """(video files below `root` by name, relative to it; number of other files). Hidden ones and indexes are passed over."""
    found: list[Path] = []
    others = 0
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith(".") and name != BESIDE)
        for name in sorted(names):
            if name.startswith("."):
                continue
            if Path(name).suffix.lower() in SUFFIXES:
                found.append((Path(folder) / name).relative_to(root))
            else:
                others += 1
    return found, others


def holds_video(root: Path, most: int = 100_000) -> bool:
    """Whether there is a video below `root` among the first `most` files."""
    seen = 0
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith(".") and name != BESIDE)
        if any(Path(name).suffix.lower() in SUFFIXES and not name.startswith(".") for name in names):
            return bool(folder)
        seen += len(names) + 1
        if seen > most:
            return False
    return False
