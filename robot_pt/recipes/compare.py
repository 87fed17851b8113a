"""`robot-pt compare`: the protocol of `robot_pt.comparison` in simulation, cell by cell; whatever is there is not run again.

out/protocol.json            what is compared; a comparison goes on only with the same
out/data/                    demonstrations, collected once
out/encoders/METHOD-SEED/    runs of pretraining, each resumed where it was cut
out/features/                what frozen encoders make of the demonstrations
out/runs.json                which checkpoints of --runs the numbers are of
out/cells/*.json             one number each, written when it is whole
out/*.under-way/             policies of a cell that a process is at; several processes share a folder, each at cells of its own
out/report.html, table.md    what is known so far, gaps shown as gaps
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, get_args

from robot_pt.captions import CaptionTable
from robot_pt.comparison import Protocol, Row, read_protocol, rows_of
from robot_pt.comparison.protocol import Cell, Outcome
from robot_pt.comparison.scores import (
    CONTROLS,
    FROM_SCRATCH,
    PERMUTED,
    RANDOM_ACTIONS,
    RANDOM_FROZEN,
    bounds_of,
    markdown,
)
from robot_pt.comparison.scores import rates_of as success_rates
from robot_pt.errors import MismatchError, TrainingInterrupted, UserError
from robot_pt.intervals import Interval
from robot_pt.machine import versions
from robot_pt.online.locks import TakenError, held
from robot_pt.recipes import compare_cells, compare_data, objectives
from robot_pt.recipes.encoders import Start
from robot_pt.recipes.limits import at_least, require_own
from robot_pt.recipes.objectives import Objective
from robot_pt.recipes.progress import say, warn
from robot_pt.recipes.runs import command_line
from robot_pt.recipes.turns import alone
from robot_pt.report import Measured, Point, Report, write_report
from robot_pt.safe_files import read_json, replace_json

EASY = 0.9
"""A success rate of random features from which a task tells no encoders apart."""


def compare(
    methods: Sequence[str], out: Path, *, runs: Sequence[Path] = (), protocol: Path | None = None, seeds: int | None = None,
    demos: Sequence[int] = (), online: int | None = None, captions: Path | None = None, permuted: bool = False, workers: int = 0,
    quick: bool = False, table: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Run every cell that `out` does not hold yet; the arguments are the command line's.

    methods: objectives to pretrain by, all of them where none is named and no run is given. `table` only draws what is there.
    """
    seeds = (1 if quick else 3) if seeds is None else seeds
    at_least(1, seeds=seeds)
    at_least(0, workers=workers)
    if table and not (out / "protocol.json").is_file():
        raise UserError(f"{out} holds no comparison; run robot-pt compare without --table first.")
    wanted = (
        Protocol.from_json(read_json(out / "protocol.json"), str(out))
        if table
        else _protocol(protocol, demos, online, captions, quick)
    )
    given = _given(runs)
    names = _methods(methods, given)
    if captions is not None and not any(map(_reads_sentences, names)):
        raise UserError(
            f"--captions gives features of sentences and none of {', '.join(names)} reads any; leave it out, or compare r3m too."
        )
    if not table:
        _keep(out, wanted)
        _keep_runs(out, given)
        plan = cells_of(wanted, names, seeds, permuted)
        with closing(compare_cells.Bench(wanted, out, given, names, workers)) as bench:
            _run(plan, bench)
    return report(out, wanted, names)


def _reads_sentences(method: str) -> bool:
    return method in objectives.OBJECTIVES and objectives.objective_class(method).needs.language > 0


def _protocol(
    path: Path | None, demos: Sequence[int], online: int | None, captions: Path | None, quick: bool
) -> Protocol:
    found = read_protocol(path)
    found = found.quick() if quick else found
    if captions is not None or found.captions:
        path = captions or Path(found.captions)
        found = replace(found, captions=str(path.resolve()), captions_version=CaptionTable.read(path).version)
    if demos:
        found = replace(found, demos=tuple(sorted(set(demos))))
    if online is not None:
        found = replace(found, online_episodes=online)
    return found


def _given(runs: Sequence[Path]) -> dict[str, Path]:
    """Runs by what the table calls them. Raises UserError for two of one name."""
    given: dict[str, Path] = {}
    for run in runs:
        other = given.setdefault(compare_data.name_of(run), run)
        if other.resolve() != run.resolve():
            raise UserError(
                f"{other} and {run} have the same name, by which the table tells runs apart; rename one of the folders."
            )
    return given


def _keep_runs(out: Path, given: Mapping[str, Path]) -> None:
    """runs.json: which checkpoint each name means. Raises DataError where there is none, MismatchError where it was another before."""
    path = out / "runs.json"
    now = {name: Start.of(run).version for name, run in given.items()}
    with alone(path, "the table of runs"):
        before = read_json(path) if path.is_file() else {}
        changed = [name for name, version in now.items() if before.get(name, version) != version]
        if changed:
            raise MismatchError(
                f"{given[changed[0]]} is another checkpoint than the one that {out} has numbers of; rename its folder, or choose another --out."
            )
        if now:
            replace_json(path, {**before, **now})


def _methods(methods: Sequence[str], given: Mapping[str, Path]) -> list[str]:
    known = list(get_args(Objective))
    unknown = [m for m in methods if m not in known]
    if unknown:
        raise UserError(f"there is no objective {unknown[0]!r}; choose from {', '.join(known)}.")
    taken = [name for name in given if name in known or name in CONTROLS]
    if taken:
        raise UserError(
            f"the folder of run {given[taken[0]]} has the name of an objective; rename it, so that the table can tell them apart."
        )
    return [*(methods or ([] if given else known)), *given]


def _keep(out: Path, protocol: Protocol) -> None:
    """protocol.json of a new comparison. Raises MismatchError where `out` holds another, UserError where it holds something else."""
    path = out / "protocol.json"
    require_own(out, path.name, "a comparison")
    with alone(path, "the protocol"):
        if not path.is_file():
            replace_json(path, protocol.to_json())
    before = Protocol.from_json(read_json(path), str(path))
    if before != protocol:
        mine, theirs = protocol.to_json(), before.to_json()
        name = next(k for k in mine if mine[k] != theirs[k])
        raise MismatchError(
            f"{out} compares with {name} = {theirs[name]}, now it is {mine[name]}; go on with the same, or choose another --out."
        )


def cells_of(protocol: Protocol, methods: Sequence[str], seeds: int, permuted: bool) -> list[Cell]:
    """Every cell of the table, seed by seed, one task of each distance after the other, its controls first.

    Stopped anywhere, all methods and distances have about as many.
    """
    everyone = [RANDOM_FROZEN, FROM_SCRATCH, *([PERMUTED] if permuted and methods else []), *methods]
    in_turn = zip_longest(*(distance.tasks for distance in protocol.distances))
    tasks = [task for turn in in_turn for task in turn if task is not None]
    out = []
    for seed in range(seeds):
        for number, demos in enumerate(sorted(protocol.demos)):
            for task in tasks:
                out += [Cell(RANDOM_ACTIONS, task, 0, seed)] if seed == number == 0 else []
                out += [Cell(method, task, demos, seed) for method in everyone]
    return out


def _run(plan: Sequence[Cell], bench: compare_cells.Bench) -> None:
    """Each cell that is not there and that no other process is at. A method whose data or network cannot be used is left out, with its
    reason, and the rest goes on."""
    refused: dict[str, str] = {}
    for number, cell in enumerate(plan, 1):
        path = bench.out / "cells" / cell.file
        if path.is_file() or cell.method in refused:
            continue
        began = time.monotonic()
        try:
            with held(path.with_name(f".{path.name}.lock"), f"cell {path.stem}"):
                outcome = None if path.is_file() else bench(cell)
                if outcome is not None:
                    replace_json(path, outcome.to_json())
        except TakenError:
            say(f"cell {number} of {len(plan)} is under way in another process.")
            continue
        except UserError as error:
            if cell.method in CONTROLS or isinstance(
                error, TrainingInterrupted
            ):  # without controls no number means anything
                raise
            refused[cell.method] = str(error)
            warn(f"{cell.method} is left out: {error}")
            continue
        if outcome is None:  # another process was faster
            continue
        after = "" if outcome.online_successes is None else f", after RL {outcome.online_successes}"
        say(
            f"cell {number} of {len(plan)}: {cell.method}, {cell.task}, {cell.demos} demos, seed {cell.seed}: {outcome.successes} of "
            f"{outcome.episodes}{after}; {time.monotonic() - began:.0f} s"
        )  # fmt: skip


def outcomes(out: Path) -> list[Outcome]:
    """Every cell that is there. Raises DataError for a damaged one."""
    return [Outcome.from_json(read_json(path), str(path)) for path in sorted((out / "cells").glob("*.json"))]


def report(out: Path, protocol: Protocol, methods: Sequence[str]) -> dict[str, Any]:
    """Write the table and its plots from what is there."""
    found = outcomes(out)
    there = {o.cell.method for o in found}
    shown = [
        *(m for m in (FROM_SCRATCH, RANDOM_FROZEN, PERMUTED) if m in there),
        *dict.fromkeys([*methods, *sorted(there - set(CONTROLS))]),
    ]
    rows = rows_of(protocol, found, shown)
    notes = _notes(protocol, found)
    words = "\n\n".join([markdown(rows), *(f"{note}." for note in notes)])
    (out / "table.md").write_text(words + "\n", encoding="utf-8")
    page = write_report(
        out / "report.html",
        Report(
            title=f"Objectives compared: {protocol.name}", command=command_line(), measured=charts(protocol, rows),
            config=protocol.to_json(), versions=versions(), warnings=notes,
            data=[{"control": name, "is": said} for name, said in CONTROLS.items()],
        ),
    )  # fmt: skip
    return {
        "report": str(page), "table": str(out / "table.md"), "cells": len(found),
        "rows": [_plain(row) for row in rows], "notes": notes, "text": f"{words}\n\nplots: {page}",
    }  # fmt: skip


def _notes(protocol: Protocol, found: Sequence[Outcome]) -> list[str]:
    """What a reader has to know of the tasks that have begun, a sentence each."""
    rates, demos = success_rates(found), max(protocol.demos)
    begun = [task for task in protocol.tasks if any(key[1] == task for key in rates)]
    known = {task: list(rates.get((FROM_SCRATCH, task, demos, False), {}).values()) for task in begun}
    weak = [task for task in begun if known[task] and bounds_of(protocol, rates, task) is None]
    random = {task: list(rates.get((RANDOM_FROZEN, task, demos, False), {}).values()) for task in begun}
    easy = [task for task in begun if random[task] and sum(random[task]) / len(random[task]) >= EASY]
    said = {
        "imitation from scratch has not run; plain rates count there": [task for task in begun if not known[task]],
        "imitation from scratch does not beat random actions clearly; plain rates count there": weak,
        f"random features succeed in {100 * EASY:.0f} % or more, which leaves nothing for others to be better by": easy,
    }
    return [f"{', '.join(tasks)}: {words}" for words, tasks in said.items() if tasks]


def charts(protocol: Protocol, rows: Sequence[Row]) -> list[Measured]:
    """Per distance and number of demonstrations: scores, the random frozen encoder's as the line, and who is better than that.

    Scores of all distances have one axis.
    """
    spans = [end for r in rows if r.interval is not None for end in r.interval]
    ends = (min(0.0, *spans), max(spans)) if spans else None
    out = []
    for distance in protocol.distances:
        for demos, online in dict.fromkeys((r.demos, r.online) for r in rows):
            mine = [r for r in rows if (r.distance, r.demos, r.online) == (distance.name, demos, online)]
            where = f"{distance.name}, {demos} demos{', then RL' if online else ''}"
            note = f"{distance.rule}: {', '.join(mine[0].tasks if mine else distance.tasks)}"
            control = next((r.score for r in mine if r.method == RANDOM_FROZEN), None)
            scores = [_point(r, r.score, r.interval) for r in mine]
            out.append(
                Measured(
                    title=f"{where}: score (IQM)", points=scores, reference=control, better=1, ends=ends, note=note
                )
            )
            others = [_point(r, r.better, r.better_interval) for r in mine if r.method != RANDOM_FROZEN]
            if any(p.value is not None for p in others):
                out.append(
                    Measured(
                        title=f"{where}: probability that a run beats one on random features", points=others, reference=0.5, better=1,
                        ends=(0.0, 1.0), note=note,
                    )
                )  # fmt: skip
    return out


def _point(row: Row, value: float | None, interval: Interval | None) -> Point:
    seeds = "" if row.rate is None else f" ({row.runs} seed{'s' if row.runs > 1 else ''})"
    low, high = interval or (None, None)
    return Point(name=row.method + seeds, value=value, low=low, high=high, control=row.method in CONTROLS)


def _plain(row: Row) -> dict[str, Any]:
    return {
        "method": row.method, "distance": row.distance, "demos": row.demos, "online": row.online, "runs": row.runs, "rate": row.rate,
        "score": row.score, "interval": None if row.interval is None else list(row.interval), "mean": row.mean, "better": row.better,
        "better_interval": None if row.better_interval is None else list(row.better_interval),
    }  # fmt: skip
