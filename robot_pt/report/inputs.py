"""What a report reads from a run's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from robot_pt.errors import DataError
from robot_pt.machine import versions
from robot_pt.report.model import Clip, Report
from robot_pt.results import Evaluation
from robot_pt.videos import clip_path


def clips_of(evaluation: Evaluation, folder: Path, limit: int = 12) -> list[Clip]:
    """Clips that `videos.ClipWriter` left in `folder`: the first `limit` by seed, so none is picked for its looks."""
    there = [(r, clip_path(folder, r.seed)) for r in evaluation.results]
    found = [(r, path) for r, path in there if path.exists()][:limit]
    return [Clip(video=path.read_bytes(), seed=r.seed, success=r.success, steps=r.steps) for r, path in found]


def from_run(run: Path, title: str = "") -> Report:
    """What the folder of a run says by itself: curves of its metrics.jsonl, its config.json, the versions installed now.

    Add the rest with `dataclasses.replace`. Raises DataError when either file is damaged; a missing one leaves its part out.
    """
    metrics, config = run / "metrics.jsonl", run / "config.json"
    return Report(
        title=title or run.name,
        curves={run.name: read_metrics(metrics)} if metrics.exists() else {},
        config=_read_object(config) if config.exists() else {},
        versions=versions(),
    )


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Rows of a metrics.jsonl by step. A resumed run logs some steps twice: the later row counts; a torn end is left out.

    Raises DataError when the file cannot be read or another line is not a JSON object with a "step".
    """
    try:
        raw = path.read_text("utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give the metrics.jsonl of a run.") from error
    rows: dict[float, dict[str, Any]] = {}
    lines = raw.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows[row["step"]] = {**rows.get(row["step"], {}), **row}
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines) and not line.endswith("\n"):
                break
            raise DataError(f"{path} line {number} is not a JSON object with a step; remove that line.") from error
    return [rows[step] for step in sorted(rows)]


def _read_object(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not readable JSON ({error}); restore it or give another run.") from error
    if not isinstance(values, dict):
        raise DataError(f"{path} holds {type(values).__name__}, not a JSON object; restore it or give another run.")
    return values
