"""How a folder of videos is read: the fields that `robot_pt_data.open(path, mapping=...)` and ``--mapping FILE`` take for one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from robot_pt.errors import DataError
from robot_pt_data.mapping import Mapping as RldsMapping
from robot_pt_data.mapping import read_table
from robot_pt_data.video.decoders import Backend
from robot_pt_data.video.upright import Fit

Annotations = Literal["auto", "narrations", "fho", "lta", "oscc", "none"]
Videos = Literal["auto", "video_540ss", "full_scale", "clips"]


@dataclass(frozen=True, kw_only=True)
class VideoReading:
    """Fields of a mapping for videos. Without one, the defaults hold."""

    rate_hz: float = 5.0
    """Frames per second of an episode; 5 is the project's control rate, so that video and robot data run on one clock.
    0 takes every frame of the file."""
    clip_s: float = 0.0
    """Length of the clips that videos without captions are cut into [s]; 0 leaves them whole (Ego4D: 10)."""
    min_clip_s: float = 1.0
    """Shortest clip made from a narration, which names a moment and no end [s]."""
    max_clip_s: float = 10.0
    """Longest clip made from a narration [s]."""
    fit: Fit = "crop"
    """crop: frames are cut to the shape asked for; squeeze: the whole frame is resized to it, as robot cameras are."""
    annotations: Annotations = "auto"
    """Ego4D: which annotations make the clips; auto takes the first that is there, in this order."""
    videos: Videos = "auto"
    """Ego4D: which of its folders is read; auto takes the first that is there, in this order."""
    captions: str = ""
    """File of captions relative to the folder, where it is not found by itself."""
    leave_out: str = ""
    """File relative to the folder that names videos not to be read, one to a line: paths, file names or Ego4D uids; # begins a comment."""
    backend: Backend = "auto"
    open_files: int = 16
    """Decoders that stay open, per process."""

    def __post_init__(self) -> None:
        hints = get_type_hints(VideoReading)
        for name, value in asdict(self).items():
            allowed = get_args(hints[name])
            if allowed and value not in allowed:
                raise DataError(f"{name} = {value!r} in the mapping of videos; give one of {list(allowed)}.")
            kinds = (int, float) if hints[name] is float else (hints[name],)
            if not allowed and (isinstance(value, bool) or not isinstance(value, kinds)):
                raise DataError(f"{name} = {value!r} in the mapping of videos; give a {hints[name].__name__}.")
        if not (0 <= self.rate_hz <= 1000 and 0 <= self.clip_s < float("inf")):
            raise DataError(
                f"rate_hz = {self.rate_hz} and clip_s = {self.clip_s}: give a rate of 0 to 1000 Hz and a length of at least 0 s."
            )
        if not 0 < self.min_clip_s <= self.max_clip_s < float("inf"):
            raise DataError(
                f"min_clip_s = {self.min_clip_s} and max_clip_s = {self.max_clip_s}: clips are longer than 0 s, and the longest not shorter than the shortest."
            )
        if self.open_files < 1:
            raise DataError(f"open_files = {self.open_files} in the mapping of videos; give at least 1.")

    @property
    def digest(self) -> str:
        """Changes with every field that decides which clips there are."""
        cut = {k: v for k, v in asdict(self).items() if k not in ("fit", "backend", "open_files")}
        return hashlib.sha256(json.dumps(cut, sort_keys=True).encode()).hexdigest()[:12]


def reading_of(given: Any) -> VideoReading:
    """From None, a VideoReading, a dict, or a TOML or JSON file. Raises DataError naming what does not fit."""
    if isinstance(given, VideoReading):
        return given
    if isinstance(given, RldsMapping):
        raise DataError(
            "that mapping is for RLDS data; give a dict or file with the fields of robot_pt_data.video.reading.VideoReading."
        )
    values: Mapping[str, Any] = {} if given is None else read_table(given)
    known = sorted(f.name for f in fields(VideoReading))
    if set(values) - set(known):
        raise DataError(f"a mapping of videos has the fields {known}; this one gives {sorted(values)}.")
    return VideoReading(**values)


def reading_beside(folder: Path, given: Any, names: tuple[str, ...]) -> VideoReading:
    """`reading_of` what was given, else of the first of the files `names` that lies in `folder`."""
    if given is None:
        given = next((folder / name for name in names if (folder / name).is_file()), None)
    return reading_of(given)
