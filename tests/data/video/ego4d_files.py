"""An Ego4D folder in small: the file names and JSON fields of the release, real H.264 files."""

from __future__ import annotations

import csv
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.data.video.video_files import Clip, write_video

FPS = 30
ORDINARY = Clip(size=(54, 96), gop=30, audio=True)


@dataclass
class Ego4d:
    """What was written, for tests to compare with."""

    root: Path
    version: str
    videos: list[str] = field(default_factory=list)  # uids
    clips: list[str] = field(default_factory=list)  # uids of canonical clips, one per video
    seconds: float = 0.0

    @property
    def annotations(self) -> Path:
        return self.root / self.version / "annotations"

    def file(self, uid: str, folder: str = "video_540ss") -> Path:
        return self.root / self.version / folder / f"{uid}.mp4"


def uid(number: int, kind: str = "video") -> str:
    """A uuid that is the same in every run."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}-{number}"))


def write_ego4d(
    root: Path,
    videos: int = 2,
    seconds: float = 12.0,
    version: str = "v2",
    folders: Sequence[str] = ("video_540ss",),
    kinds: Sequence[str] = ("narrations", "fho", "lta", "oscc"),
    metadata_in: str = "",
    clip: Clip = ORDINARY,
) -> Ego4d:
    """Write the folder; `kinds` are the annotations, `metadata_in` the version folder that ego4d.json lies in ("": the root).

    Every video is `seconds` long. Its canonical clip shows 2 s to `seconds` - 2 s of it.
    """
    out = Ego4d(root, version, [uid(n) for n in range(videos)], [uid(n, "clip") for n in range(videos)], seconds)
    frames = round(seconds * FPS)
    for folder in folders:
        for n in range(videos):
            begin, shown, name = (60, frames - 120, out.clips[n]) if folder == "clips" else (0, frames, out.videos[n])
            settings = {**clip.__dict__, "frames": shown, "fps": FPS}
            write_video(out.file(name, folder), Clip(**settings), first=begin)
        _write_manifest(out, folder)
    home = root / metadata_in
    home.mkdir(parents=True, exist_ok=True)
    (home / "ego4d.json").write_text(json.dumps(_metadata(out, clip)))
    out.annotations.mkdir(parents=True, exist_ok=True)
    for name, values in _annotations(out, kinds).items():
        (out.annotations / name).write_text(json.dumps(values))
    return out


def _write_manifest(out: Ego4d, folder: str) -> None:
    path = out.root / out.version / folder / "manifest.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        if folder == "clips":
            writer.writerow(
                ["exported_clip_uid", "parent_video_uid", "parent_start_sec", "parent_end_sec", "benchmarks", "s3_path"]
            )
            for video, clip in zip(out.videos, out.clips, strict=True):
                writer.writerow(
                    [clip, video, 2.0, out.seconds - 2.0, "[fho|em]", f"s3://ego4d-fixture/clips/{clip}.mp4"]
                )
            return
        key = "file_uid" if folder == "full_scale" else "video_uid"
        writer.writerow(
            [key, "type", "canonical_s3_location", "benchmarks", "duration_sec", "scenarios", "canonical_num_frames"]
        )
        for video in out.videos:
            place = f"s3://ego4d-fixture/{folder}/{video}.mp4"
            writer.writerow(
                [video, "mp4", place, "[em|fho]", out.seconds, "['Cooking', 'Cleaning']", round(out.seconds * FPS)]
            )


def _metadata(out: Ego4d, clip: Clip) -> dict[str, Any]:
    height, width = clip.size
    frames = round(out.seconds * FPS)
    stream = {
        "fps": FPS, "num_frames": frames, "video_codec": "h264", "audio_codec": "aac", "mp4_duration_sec": out.seconds,
        "display_resolution_width": width, "display_resolution_height": height, "sample_resolution_width": width,
        "sample_resolution_height": height, "video_start_sec": 0.0, "video_duration_sec": out.seconds, "audio_start_sec": 0.0,
        "audio_duration_sec": out.seconds, "video_start_pts": 0, "video_duration_pts": frames * 512, "video_base_numerator": 1,
        "video_base_denominator": 15360,
    }  # fmt: skip
    return {
        "date": "230208", "version": "2.0", "description": "Ego4D Videos",
        "videos": [
            {
                "video_uid": video, "duration_sec": out.seconds, "scenarios": ["Cooking"], "video_metadata": stream,
                "split_em": "train", "split_av": None, "split_fho": "train", "s3_path": f"s3://ego4d-fixture/{video}.mp4",
                "origin_video_id": f"origin-{n}", "video_source": "unict", "device": "GoPro", "physical_setting_name": None,
                "fb_participant_id": n, "is_stereo": False, "has_imu": False, "has_gaze": None, "video_components": [],
                "redacted_intervals": [], "concurrent_sets": None,
            }
            for n, video in enumerate(out.videos)
        ],
        "clips": [
            {
                "clip_uid": clip, "video_uid": video, "video_start_sec": 2.0, "video_end_sec": out.seconds - 2.0,
                "video_start_frame": 60, "video_end_frame": frames - 60,
            }
            for video, clip in zip(out.videos, out.clips, strict=True)
        ],
    }  # fmt: skip


def _annotations(out: Ego4d, kinds: Sequence[str]) -> dict[str, Any]:
    files: dict[str, Any] = {}
    if "narrations" in kinds:
        files["narration.json"] = {video: _narrated(n, out.seconds) for n, video in enumerate(out.videos)}
    if "fho" in kinds:
        files["fho_main.json"] = {"version": "2.0", "date": "230208", "description": "FHO", "videos": _fho(out)}
    for split in ("train", "val", "test_unannotated"):
        if "lta" in kinds:
            files[f"fho_lta_{split}.json"] = {"version": "2.0", "split": split, "clips": _lta(out, split)}
        if "oscc" in kinds:
            files[f"fho_oscc-pnr_{split}.json"] = {"version": "2.0", "split": split, "clips": _oscc(out, split)}
    return files


def _narrated(number: int, seconds: float) -> dict[str, Any]:
    def entry(time_s: float, text: str) -> dict[str, Any]:
        return {
            "timestamp_sec": time_s, "timestamp_frame": round(time_s * FPS), "_unmapped_timestamp_sec": time_s - 0.0210286,
            "narration_text": text, "annotation_uid": uid(number, f"annotation-{time_s}"),
        }  # fmt: skip

    second = [entry(2.5, "#C C closes the drawer"), entry(6.5, "#C C looks around #unsure")]
    passes: dict[str, Any] = {
        "narration_pass_1": {
            "narrations": [
                entry(0.0210286, "#C C opens the drawer"), entry(4.0, "#C C picks a knife"),
                entry(8.0, "#O man X walks in the kitchen"), entry(seconds - 0.05, "#C C puts down the knife"),
            ],
            "summaries": [
                {"start_sec": 0.0, "end_sec": seconds, "summary_text": "#Summary C cooks", "_annotation_uid": uid(number, "summary")}
            ],
        }
    }  # fmt: skip
    if number % 2 == 0:  # either pass may be missing
        passes["narration_pass_2"] = {"narrations": second, "summaries": []}
    return passes


def _fho(out: Ego4d) -> list[dict[str, Any]]:
    def action(start_s: float, end_s: float, text: str, **flags: Any) -> dict[str, Any]:
        return {
            "uid": uid(int(start_s * 10), "action"), "start_sec": start_s, "end_sec": end_s,
            "start_frame": round(start_s * FPS), "end_frame": round(end_s * FPS), "is_valid_action": True, "is_partial": False,
            "clip_start_sec": start_s - 2.0, "clip_end_sec": end_s - 2.0, "narration_timestamp_sec": (start_s + end_s) / 2,
            "narration_text": text, "structured_verb": "take_(pick,_grab,_get)", "freeform_verb": None, "warnings": [],
            "is_rejected": False, "is_invalid_annotation": False, "reject_reason": None, "stage": "finished",
            "frames": None, "critical_frames": None, **flags,
        }  # fmt: skip

    videos = []
    for video, clip in zip(out.videos, out.clips, strict=True):
        actions = [
            action(3.0, 5.0, "#C C picks a knife"),
            action(5.0, 6.5, "#C C cuts the bread"),
            action(6.0, 7.0, "#C C rejected", is_rejected=True),
            action(6.0, 7.0, "#C C invalid", is_invalid_annotation=True),
        ]
        interval = {
            "clip_id": "451", "clip_uid": clip, "start_sec": 2.0, "end_sec": out.seconds - 2.0, "start_frame": 60,
            "end_frame": round((out.seconds - 2) * FPS), "clip_parent_start_sec": 2.0, "clip_parent_end_sec": out.seconds - 2.0,
            "narrated_actions": actions, "redacted": False,
        }  # fmt: skip
        redacted = {**interval, "redacted": True, "narrated_actions": [action(3.0, 5.0, "#C C redacted")]}
        metadata = {"fps": 30.0, "num_frames": round(out.seconds * FPS), "duration_sec": out.seconds, "rotation": None}
        videos.append({"video_uid": video, "video_metadata": metadata, "annotated_intervals": [interval, redacted]})
    return videos


def _lta(out: Ego4d, split: str) -> list[dict[str, Any]]:
    n = 0 if split == "train" else min(1, len(out.videos) - 1)
    start_s, end_s = (0.5, 4.5) if split != "test_unannotated" else (1.0, 3.0)
    labels = {"verb": "take_(pick,_grab,_get)", "noun": "knife_(knife,_machete)", "verb_label": 93, "noun_label": 62}
    return [
        {
            "video_uid": out.videos[n], "clip_uid": out.clips[n], "clip_id": 451, "clip_parent_start_sec": 2.0,
            "clip_parent_end_sec": out.seconds - 2.0, "interval_start_sec": 2.0, "interval_end_sec": out.seconds - 2.0,
            "action_clip_start_sec": start_s, "action_clip_end_sec": end_s, "action_clip_start_frame": round(start_s * FPS),
            "action_clip_end_frame": round(end_s * FPS), "action_idx": 0, **(labels if split != "test_unannotated" else {}),
        }
    ]  # fmt: skip


def _oscc(out: Ego4d, split: str) -> list[dict[str, Any]]:
    n = 0 if split == "train" else min(1, len(out.videos) - 1)
    found = {
        "unique_id": uid(n, split), "video_uid": out.videos[n], "clip_uid": None if split == "train" else out.clips[n],
        "clip_start_sec": 0.5, "clip_end_sec": 5.5, "parent_start_sec": 2.5, "parent_end_sec": 7.5, "clip_start_frame": 15,
        "clip_end_frame": 165, "parent_start_frame": 75, "parent_end_frame": 225,
    }  # fmt: skip
    return [found if split == "test_unannotated" else {**found, "state_change": split == "train", "clip_pnr_frame": 80}]
