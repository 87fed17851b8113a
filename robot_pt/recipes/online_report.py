"""The report page of an online run, and what the verb returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robot_pt.errors import DataError
from robot_pt.observers import read_metrics
from robot_pt.online.arrivals import Arrival
from robot_pt.online.learner import OnlineLearner
from robot_pt.recipes import loop, runs
from robot_pt.recipes.finetune import Origin
from robot_pt.recipes.online_screen import Watch
from robot_pt.report import Online, Report, write_report
from robot_pt.sources import EpisodeSource


def write(
    out: Path,
    settings: runs.RunSettings,
    sources: Mapping[str, EpisodeSource],
    arrivals: Sequence[Arrival],
    watch: Watch,
) -> Path | None:
    """Write out/report.html; None where the disk refuses, which must not hide why a run ended."""
    watch.close()
    data = [
        {**row, "name": f"{name}: {row['name']}"} for name, source in sources.items() for row in loop.describe(source)
    ]
    joined = [a for a in arrivals if not a.reason]
    data.append({
        "name": "online", "episodes": len(joined), "steps": sum(a.steps for a in joined), "successes": sum(a.success is True for a in joined),
    })  # fmt: skip
    try:
        metrics = read_metrics(out / "metrics.jsonl")
        return write_report(
            out / "report.html",
            Report(
                title=f"Online learning: {settings.algorithm}", command=runs.command_line(), curves={"online": metrics}, data=data,
                online=Online(metrics=metrics, successes=[a.by_policy for a in joined], updates=[a.update for a in joined]),
                config=settings.to_json(), versions=runs.versions(), warnings=[f"{a.kind}: {a.sentence}" for a in watch.alarms],
            ),
        )  # fmt: skip
    except (OSError, DataError):
        return None


def result(
    out: Path,
    origin: Origin,
    learner: OnlineLearner,
    metrics: Mapping[str, float],
    page: Path | None,
    watch: Watch,
    seconds: float,
) -> dict[str, Any]:
    """What `robot-pt online --json` prints."""
    joined, serving = learner.intake.joined, learner.publisher.serving
    known = [a.by_policy for a in joined if a.by_policy is not None]
    return {
        "run": str(out), "from": origin.run, "from_step": origin.step, "episodes": len(joined), "env_steps": learner.intake.steps,
        "updates": learner.updates, "successes": sum(known), "helped": sum(a.interventions > 0 for a in joined), "set_aside": learner.intake.set_aside,
        "serving": serving.number if serving else None, "version": serving.version if serving else None,
        "checkpoint": str(serving.path(out)) if serving else None, "alarms": [a._asdict() for a in watch.alarms],
        "metrics": dict(metrics), "report": str(page) if page else None, "seconds": round(seconds, 1),
    }  # fmt: skip
