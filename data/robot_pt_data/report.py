"""What `index` and `inspect` tell about a data set: plain values, ready for JSON."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_pt import relabels, simulated
from robot_pt.relabels import NEWEST, NONE
from robot_pt.schema import FAILURE, PROPRIO_NAMES, SUCCESS, UNKNOWN, Float, Int
from robot_pt.sources import EpisodeSource
from robot_pt_data.layout import Layout, MappingLike, mapping_for, recognise
from robot_pt_data.mapping import Mapping
from robot_pt_data.standardize import achieved
from robot_pt_data.step_index import Progress

_SAMPLE = 8  # instructions shown
_WEAK = 0.2  # correlation below which commanded and achieved motion are said to disagree


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """What was indexed and how fast."""

    dataset: str
    version: str
    path: str  # folder of the index
    splits: dict[str, int] = field(default_factory=dict)  # split -> sound episodes
    steps: int = 0
    cameras: dict[str, tuple[int, int]] = field(default_factory=dict)  # role -> (H, W) as stored
    bytes: int = 0  # of the shards
    seconds: float = 0.0
    skipped: list[str] = field(default_factory=list)  # one sentence per record left out
    passed_over: dict[str, int] = field(default_factory=dict)  # videos: what rules leave out -> how often

    @property
    def mb_per_s(self) -> float:
        return self.bytes / 1e6 / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "episodes": sum(self.splits.values()), "mb_per_s": round(self.mb_per_s, 1)}


def inspect_path(
    path: str | os.PathLike[str],
    *,
    mapping: MappingLike | None = None,
    skip_corrupt: bool = False,
    labels: str = NEWEST,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """See `robot_pt_data.inspect`."""
    from robot_pt_data.opening import open_source

    layout = recognise(path)
    folder = layout.files().folder if layout.kind == "rlds" else layout.folder
    splits = _splits(layout, folder)
    sources = {
        split: open_source(path, split, mapping=mapping, skip_corrupt=skip_corrupt, labels=labels, progress=progress)
        for split in splits
    }
    first = next(iter(sources.values()))
    steps = first.episodes.rows()
    out: dict[str, Any] = {
        "path": layout.url or str(layout.folder),
        "kind": layout.kind,
        "dataset": sorted({name for s in sources.values() for name in s.episodes.dataset}),
        "episodes": sum(len(s.episodes) for s in sources.values()),
        "steps": sum(s.episodes.steps for s in sources.values()),
        "splits": {split: _split_summary(source) for split, source in sources.items()},
        **{k: v for k, v in first.spec.to_json().items() if k != "cameras"},
        "cameras": {role: list(size) for role, size in first.spec.cameras.items()},
        "action": _ranges(first.actions, steps, first.spec.action_names),
        "proprio": _ranges(first.proprio, steps, first.spec.proprio_names),
        "instructions": _instructions(sources),
        "executable": first.spec.action_unit == "metric",
    }
    if versions := simulated.merged(simulated.versions_of(source) for source in sources.values()):
        out["simulators"] = simulated.to_json(versions)  # what was recorded in another version is refused beside it
    out["checks"], doubts = motion_checks(first)
    warnings = [f"{split}: {w}" for split, source in sources.items() for w in getattr(source, "warnings", [])]
    out["warnings"] = warnings + doubts
    if layout.kind == "demo_store":
        out["labels"] = _labels(first, folder)
    if layout.kind == "video":
        out["video"] = _video(first)
    if layout.kind == "rlds":
        out["entry"] = _entry(mapping_for(folder, mapping))
    return out


def _video(source: EpisodeSource) -> dict[str, Any]:
    """How much film there is, how it is cut, and what was left out."""
    from robot_pt_data.video.source import VideoSource

    assert isinstance(source, VideoSource)
    return source.summary()


def _labels(source: EpisodeSource, folder: Path) -> dict[str, Any]:
    """The pass of labels given later that holds, and which there are."""
    applied = getattr(source, "labels_applied", None)
    return {"applied": NONE if applied is None else applied.summary(), "passes": relabels.ids(folder)}


def motion_checks(source: EpisodeSource) -> tuple[dict[str, float], list[str]]:
    """Do commands and what the arm did afterwards agree? (correlation per action dimension, sentences of doubt).

    A command is compared with the motion of its own and of the next step, since arms lag; the larger correlation counts.
    """
    if source.spec.proprio_names != PROPRIO_NAMES or source.spec.action_source != "commanded":
        return {}, []
    commanded, now, later = [], [], []
    for start, length in zip(source.episodes.start.tolist(), source.episodes.length.tolist(), strict=True):
        if length < 3:
            continue
        rows = slice(start, start + length)
        moved = achieved(np.asarray(source.proprio[rows]), np.asarray(source.actions[rows]))
        moved[:-1, 6] = source.proprio[rows][1:, 6]
        commanded.append(np.asarray(source.actions[rows])[:-2])
        now.append(moved[:-2])
        later.append(moved[1:-1])
    if not commanded:
        return {}, []
    a, b, c = np.concatenate(commanded), np.concatenate(now), np.concatenate(later)
    found = {
        f"{name} commanded vs achieved": round(max(_correlation(a[:, i], b[:, i]), _correlation(a[:, i], c[:, i])), 3)
        for i, name in enumerate(source.spec.action_names)
        if a[:, i].std() > 0 and max(b[:, i].std(), c[:, i].std()) > 0
    }
    weak = [name.split(" ")[0] for name, value in found.items() if value < _WEAK]
    doubts = (
        [f"commands and what the arm did next hardly agree in {weak}; check signs, frames and units of the mapping."]
        if weak
        else []
    )
    return found, doubts


def _correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    if a.std() == 0 or b.std() == 0:
        return -1.0
    return float(np.corrcoef(a, b)[0, 1])


def _splits(layout: Layout, folder: Path) -> list[str]:
    if layout.kind == "rlds":
        from robot_pt_data.metadata import read_metadata

        return sorted(read_metadata(folder).shards)
    return ["all"]


def _split_summary(source: EpisodeSource) -> dict[str, Any]:
    length, success = source.episodes.length, source.episodes.success
    lengths = (
        {"min": int(length.min()), "mean": float(length.mean()), "max": int(length.max())} if len(length) else None
    )
    return {
        "episodes": len(length),
        "steps": int(length.sum()),
        "episode_length": lengths,
        "success": int((success == SUCCESS).sum()),
        "failure": int((success == FAILURE).sum()),
        "unknown": int((success == UNKNOWN).sum()),
    }


def _ranges(column: Float, rows: Int, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    if not len(rows):
        return {}
    values = np.asarray(column)[rows].astype(np.float64)
    low, high = np.percentile(values, [1, 99], axis=0)
    return {
        name: {
            "min": float(values[:, i].min()), "p01": float(low[i]), "mean": float(values[:, i].mean()),
            "std": float(values[:, i].std()), "p99": float(high[i]), "max": float(values[:, i].max()),
        }
        for i, name in enumerate(names)
    }  # fmt: skip


def _instructions(sources: dict[str, EpisodeSource]) -> dict[str, Any]:
    counts = Counter(text for s in sources.values() for text in s.episodes.instruction)
    return {
        "distinct": len([text for text in counts if text]),
        "empty_episodes": counts[""],
        "most_common": [{"text": t, "episodes": n} for t, n in counts.most_common(_SAMPLE) if t],
    }


def _entry(mapping: Mapping) -> dict[str, Any]:
    return {"verified": mapping.verified, "source": mapping.source, "notes": mapping.notes}
