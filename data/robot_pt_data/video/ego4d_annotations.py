"""Ego4D's annotations as clips: narrations (points in time, given a window each), FHO actions, LTA actions, state changes.

Field names are those of the release, v1 and v2. A narration at t becomes the window ``t ± β/2α``: β is the mean distance of
narrations in its pass, α the mean β of all passes (EgoClip, arXiv 2206.01670, 3.1), then not shorter or longer than asked for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from robot_pt.errors import DataError
from robot_pt_data.video.reading import VideoReading
from robot_pt_data.video.spans import Span, Spans
from robot_pt_data.video.tables import load_json, number

if TYPE_CHECKING:
    from robot_pt_data.video.ego4d import Part

FILES = {
    "narrations": ("narration.json",),
    "fho": ("fho_main.json", "fho.json"),
    "lta": ("fho_lta_train.json", "fho_lta_val.json", "fho_lta_test_unannotated.json"),
    "oscc": ("fho_oscc-pnr_train.json", "fho_oscc-pnr_val.json", "fho_oscc-pnr_test_unannotated.json"),
}
"""Kind -> its files, in the order of preference of kinds. Of fho the first that is there is read, of the others all."""

_TAG = re.compile(r"#\w+")
_UNSURE = re.compile(r"#\s*unsure", re.IGNORECASE)


class _Action(NamedTuple):
    """What an annotation says: seconds of the video, and of the clip file where it knows them."""

    video: str
    start_s: float
    end_s: float
    caption: str
    task: str = ""
    split: str = "train"
    clip: str = ""
    clip_start_s: float = math.nan
    clip_end_s: float = math.nan
    about: bool = False


def choose(folder: Path, wanted: str) -> str | None:
    """The kind to read: the wanted one, or with "auto" the first that has a file; None where there is none."""
    for kind, names in FILES.items():
        if wanted in ("auto", kind) and any((folder / name).is_file() for name in names):
            return kind
    return None


def read(folder: Path, kind: str, parts: dict[str, list[Part]], reading: VideoReading, found: Spans) -> None:
    """Add the clips of the annotations of one kind to `found`. Raises DataError where a file of them is damaged."""
    names = [name for name in FILES[kind] if (folder / name).is_file()]
    actions = {"narrations": _narrations, "fho": _fho, "lta": _lta, "oscc": _oscc}[kind]
    for name in names[:1] if kind == "fho" else names:
        found.sources.append(str((folder / name).relative_to(found.root)))
        values = load_json(folder / name)
        if not isinstance(values, dict):
            raise DataError(f"{folder / name} holds a {type(values).__name__}, not an object; fetch it again.")
        absent: set[str] = set()
        for action in actions(values, name, reading, found):
            if not _place(action, parts, found):
                absent.add(action.video)
        if absent:
            found.notes[f"videos of {name} that are not in the folder"] += len(absent)


def _place(action: _Action, parts: dict[str, list[Part]], found: Spans) -> bool:
    """Add the action to every file that shows it; False where no file of its video or clip is there."""
    if action.clip in parts and action.clip_end_s > action.clip_start_s:
        file = parts[action.clip][0].file
        found.spans.append(
            Span(file, max(action.clip_start_s, 0.0), action.clip_end_s, action.caption, action.task, action.split)
        )
        return True
    shown = parts.get(action.video, [])
    middle = (action.start_s + action.end_s) / 2
    for part in shown:
        if part.start_s <= middle < part.end_s or part.end_s == math.inf:
            start_s, end_s = action.start_s - part.start_s, action.end_s - part.start_s
            if not action.about and part.end_s == math.inf:
                start_s = max(start_s, 0.0)  # annotations start up to a rounding error before 0
            found.spans.append(Span(part.file, start_s, end_s, action.caption, action.task, action.split, action.about))
    return bool(shown)


def _narrations(values: dict[str, Any], name: str, reading: VideoReading, found: Spans) -> Iterator[_Action]:
    passes = list(_passes(values.get("videos", values), name, found))
    means = [mean for _, moments in passes if (mean := _mean_gap(moments)) > 0]
    alpha = sum(means) / len(means) if means else math.nan
    for video, moments in passes:
        beta = _mean_gap(moments)
        width = beta / alpha if beta > 0 else 1.0
        half = min(max(width, reading.min_clip_s), reading.max_clip_s) / 2
        for time_s, text in moments:
            if _UNSURE.search(text):
                found.notes["narrations marked #unsure"] += 1
                continue
            yield _Action(video, time_s - half, time_s + half, plain(text), about=True)


def _passes(values: Any, name: str, found: Spans) -> Iterator[tuple[str, list[tuple[float, str]]]]:
    """(video uid, [(time [s], text)] by time) of every pass of every video; either pass may be missing."""
    for video, passes in values.items() if isinstance(values, dict) else ():
        if not isinstance(passes, dict):
            continue  # "status": "redacted" and the like
        for number_of_pass in ("narration_pass_1", "narration_pass_2"):
            narrated = passes.get(number_of_pass)
            entries = narrated.get("narrations") if isinstance(narrated, dict) else None
            if not isinstance(entries, list):
                continue
            moments = [_moment(entry) for entry in entries]
            good = sorted(m for m in moments if m is not None)
            if len(good) < len(moments):
                found.faults.append(
                    f"{name}: {len(moments) - len(good)} narrations of {video} have no time or no text."
                )
            if good:
                yield str(video), good


def _moment(entry: Any) -> tuple[float, str] | None:
    if not isinstance(entry, dict):
        return None
    time_s, text = number(entry.get("timestamp_sec")), entry.get("narration_text")
    if math.isnan(time_s) or not isinstance(text, str) or not plain(text):
        return None
    return time_s, text


def _mean_gap(moments: list[tuple[float, str]]) -> float:
    """Mean distance of narrations [s]; 0 where there is one."""
    return (moments[-1][0] - moments[0][0]) / (len(moments) - 1) if len(moments) > 1 else 0.0


def plain(text: str) -> str:
    """A narration without its tags: "#C C opens a drawer" -> "C opens a drawer"; C is who wears the camera."""
    return " ".join(_TAG.sub(" ", text).split())


def _fho(values: dict[str, Any], name: str, reading: VideoReading, found: Spans) -> Iterator[_Action]:
    videos = values.get("videos")
    if videos is None and isinstance(values.get("video_data"), dict):  # v1
        videos = [{"video_uid": uid, **_dict(video)} for uid, video in values["video_data"].items()]
    for video in _dicts(videos):
        for interval in _dicts(video.get("annotated_intervals")):
            if interval.get("redacted") is True:
                found.notes["redacted intervals"] += 1
                continue
            for action in _dicts(interval.get("narrated_actions")):
                if (
                    action.get("is_rejected")
                    or action.get("is_invalid_annotation")
                    or action.get("is_valid_action") is False
                ):
                    found.notes["actions that their annotators rejected"] += 1
                    continue
                yield _Action(
                    str(video.get("video_uid")), number(action.get("start_sec")), number(action.get("end_sec")),
                    plain(str(action.get("narration_text") or "")), label(action.get("structured_verb")),
                    clip=str(interval.get("clip_uid") or ""), clip_start_s=number(action.get("clip_start_sec")),
                    clip_end_s=number(action.get("clip_end_sec")),
                )  # fmt: skip


def _lta(values: dict[str, Any], name: str, reading: VideoReading, found: Spans) -> Iterator[_Action]:
    for clip in _dicts(values.get("clips")):
        start_s, end_s = number(clip.get("action_clip_start_sec")), number(clip.get("action_clip_end_sec"))
        offset = number(clip.get("clip_parent_start_sec"))
        words = [label(clip.get("verb")), label(clip.get("noun"))]
        yield _Action(
            str(clip.get("video_uid")), offset + start_s, offset + end_s, " ".join(w for w in words if w), words[0],
            _split(name), str(clip.get("clip_uid") or ""), start_s, end_s,
        )  # fmt: skip


def _oscc(values: dict[str, Any], name: str, reading: VideoReading, found: Spans) -> Iterator[_Action]:
    names = {True: "state change", False: "no state change"}
    for clip in _dicts(values.get("clips")):
        changed = clip.get("state_change")
        yield _Action(
            str(clip.get("video_uid")), number(clip.get("parent_start_sec")), number(clip.get("parent_end_sec")), "",
            names[changed] if isinstance(changed, bool) else "", _split(name), str(clip.get("clip_uid") or ""),
            number(clip.get("clip_start_sec")), number(clip.get("clip_end_sec")),
        )  # fmt: skip


def _split(name: str) -> str:
    return "test" if "_test" in name else "validation" if "_val" in name else "train"


def label(name: Any) -> str:
    """A name of the taxonomies without its synonyms: "take_(pick,_grab,_get)" -> "take"."""
    return str(name).split("_(")[0].replace("_", " ").strip() if isinstance(name, str) else ""


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(values: Any) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
