"""`robot-pt probe`: what frozen encoders hold, beside random ones, on data that is there; no robot, minutes on a CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robot_pt.errors import DataError, UserError
from robot_pt.features import KINDS, Extractor, FeatureTable, Kind, fingerprint
from robot_pt.intervals import Interval
from robot_pt.machine import versions
from robot_pt.probes import MEASURES, Measure, ProbeData, probe_data, run_probes
from robot_pt.recipes.datasets import Reading, joined, open_each
from robot_pt.recipes.limits import at_least
from robot_pt.recipes.origins import Origin
from robot_pt.recipes.progress import bar, say
from robot_pt.recipes.runs import command_line
from robot_pt.report import Measured, Point, Report, write_report
from robot_pt.safe_files import read_json, replace_json
from robot_pt.schema import Int
from robot_pt.sources import EpisodeSource

FORMAT = 2
Found = Mapping[Kind, Mapping[str, Measure]]
"""Kind of feature -> name of the measure -> number."""


@dataclass(frozen=True, kw_only=True)
class Probed:
    """One encoder and what was found in it."""

    name: str
    control: bool
    found: Found


def probe(
    runs: Sequence[Path], data: Sequence[Path], *, out: Path | None = None, camera: str = "", other_camera: str = "auto",
    controls: int = 1, permuted: bool = False, seed: int = 0, reading: Reading | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Probe the encoders of `runs` on `data` beside random ones of the same layers; the arguments are the command line's.

    What was probed before is kept in `out` and not computed again.
    """
    if not runs:
        raise UserError(
            "robot-pt probe needs at least one RUN with an encoder; make one with robot-pt pretrain --objective."
        )
    at_least(0, seed=seed)
    at_least(1, controls=controls)
    source = joined(open_each(data, reading=(reading or Reading()).of(data), what="probing data"))
    origins = {str(run): Origin.of(run, camera) for run in runs}
    other = other_camera_of(source, next(iter(origins.values())).camera, other_camera)
    folder = out or runs[0] / "probe"
    encoders = [(name, origin, False) for name, origin in zip(short_names(runs), origins.values(), strict=True)]
    encoders += controls_of(list(origins.values()), controls, permuted)
    task = Probing(source, probe_data(source, seed=seed), folder, other=other, seed=seed)
    for note in task.data.notes:
        say(f"{note}.")
    probed = [Probed(name=name, control=control, found=task(origin)) for name, origin, control in encoders]
    page = write_report(
        folder / "report.html",
        Report(
            title="What frozen encoders hold", subtitle=f"{task.data.episodes} episodes, {len(task.data.rows)} steps",
            command=command_line(), measured=charts(probed), versions=versions(), warnings=list(task.data.notes),
        ),
    )  # fmt: skip
    return {
        "report": str(page), "steps": len(task.data.rows), "episodes": task.data.episodes, "other_camera": other,
        "probes": {p.name: {kind: {m: v.to_json() for m, v in found.items()} for kind, found in p.found.items()} for p in probed},
        "text": text(probed, page),
    }  # fmt: skip


def short_names(runs: Sequence[Path]) -> list[str]:
    """Folder names where they differ, else whole paths."""
    names = [run.resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [str(run) for run in runs]


def controls_of(origins: Sequence[Origin], count: int, spoilt: bool) -> list[tuple[str, Origin, bool]]:
    """(name, origin, True) of the random encoders of every architecture among `origins`, and of the first one spoilt."""
    out: list[tuple[str, Origin, bool]] = []
    kinds = list(dict.fromkeys((o.config, o.camera, o.image_size) for o in origins))
    for config, camera, size in kinds:
        of = f" {config.name} {size[0]}" if len(kinds) > 1 else ""
        first = Origin("random", config, camera, size)
        out += [(f"random{of}" + (f" {s}" if count > 1 else ""), first.untrained(s), True) for s in range(count)]
    return [*out, *([("permuted", origins[0].spoilt(0), True)] if spoilt else [])]


def other_camera_of(source: EpisodeSource, camera: str, wanted: str) -> str:
    """The second view: as asked for, with "auto" the first other one there is, "" for none. Raises DataError for one that is not there."""
    others = [role for role in sorted(source.spec.cameras) if role != camera]
    if wanted == "auto":
        return others[0] if others else ""
    if wanted and wanted not in others:
        raise DataError(f"--other-camera is {wanted!r}; beside {camera!r} the data has {others or 'none'}.")
    return wanted


class Probing:
    """Probes of one data set; results lie in `folder`/results by encoder, features in `folder`/features."""

    def __init__(self, source: EpisodeSource, data: ProbeData, folder: Path, *, other: str = "", seed: int = 0):
        self.data, self._source, self._folder, self._other, self._seed = data, source, folder, other, seed
        self._prints: dict[str, str] = {}

    def __call__(self, origin: Origin) -> Found:
        look = origin.extractor()
        path = self._folder / "results" / f"{look.fingerprint}-{self._print(look.camera)}.json"
        done = _read(path) if path.is_file() else {}
        kinds: Sequence[Kind] = KINDS if origin.trains_all else ("map",)
        if set(kinds) <= set(done):
            return {kind: done[kind] for kind in kinds}
        table = self._features(look)
        other = self._features(origin.extractor(self._other)) if self._other else None
        found = {kind: self._probe(kind, look, table, other) for kind in kinds}
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {kind: {name: m.to_json() for name, m in measures.items()} for kind, measures in found.items()}
        replace_json(path, {"format_version": FORMAT, "found": document})
        return found

    def _probe(
        self, kind: Kind, look: Extractor, table: FeatureTable, other: FeatureTable | None
    ) -> dict[str, Measure]:
        def at(rows: Int) -> Any:
            return table(rows.reshape(-1), kind)

        def beside(rows: Int) -> Any:
            assert other is not None, "asked of no second camera"
            return other(rows, kind)

        units = look.channels if kind == "map" else look.widths["encoder"]
        return run_probes(self.data, at, units=units, other=beside if other else None, seed=self._seed)

    def _features(self, look: Extractor) -> FeatureTable:
        with bar(f"look at {look.camera}", "frame") as advance:
            return FeatureTable.of(self._source, look, self._folder / "features", progress=advance)

    def _print(self, camera: str) -> str:
        if camera not in self._prints:
            self._prints[camera] = f"{fingerprint(self._source, camera)}-{self._other or 'alone'}-{self._seed}"
        return self._prints[camera]


def _read(path: Path) -> dict[Kind, dict[str, Measure]]:
    """What was found before; nothing where the file is of another version."""
    document = read_json(path)
    if document.get("format_version") != FORMAT:
        return {}
    return {
        kind: {
            name: Measure(name=name, value=m["value"], interval=Interval(*m["interval"]), resampled=m["resampled"])
            for name, m in measures.items()
        }
        for kind, measures in document["found"].items()
    }


def charts(probed: Sequence[Probed]) -> list[Measured]:
    """One chart per measure and kind of feature, in the order of `MEASURES`."""
    out = []
    for kind in KINDS:
        with_it = [p for p in probed if kind in p.found]
        for name, info in MEASURES.items():
            values = [(p, p.found[kind][name]) for p in with_it if name in p.found[kind]]
            if values:
                points = [
                    Point(name=p.name, value=m.value, low=m.interval.low, high=m.interval.high, control=p.control)
                    for p, m in values
                ]
                title = f"{info.title} ({'backbone' if kind == 'map' else 'encoder output'})"
                out.append(Measured(title=title, points=points, reference=info.chance, better=info.better))
    return out


def text(probed: Sequence[Probed], page: Path) -> str:
    """The table for people: one line per encoder and kind of feature."""
    shown = [n for n in MEASURES if any(n in measures for p in probed for measures in p.found.values())]
    lines = [["encoder", "features", *shown]]
    for p in probed:
        for kind, measures in p.found.items():
            lines.append([p.name, "backbone" if kind == "map" else "encoder", *(_cell(measures.get(n)) for n in shown)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*rows, "", f"plots: {page}"])


def _cell(measure: Measure | None) -> str:
    if measure is None:
        return "-"
    return f"{measure.value:.3g} ({measure.interval.low:.3g} to {measure.interval.high:.3g})"
