"""PTR's tables on the simulated kitchens: ten demonstrations of a known task in a new kitchen (A), of a new task in a new kitchen (B).

    robot-pt bench ptr --quick                   four methods, two tasks, three seeds, from the state: half an hour of a core
    robot-pt bench ptr [--quick] --minutes 10    a part of it; the same command goes on.  --table: what is there
    python benchmarks/ptr.py                     all methods, all tasks, three seeds, from the state; what is there is not run again
    python benchmarks/ptr.py --version features  the same from frozen features of images, computed once; aimed, motion: see ptr_aim.py, ptr_motion.py
    python benchmarks/ptr.py --minutes 60        stops after the cell that is under way then; --cells N after N. Several at once share an --out
    python benchmarks/ptr.py --table --plot FILE the table of what is there; its picture is FILE, or VERSION.svg beside the cells
    python benchmarks/ptr.py --quick --kept benchmarks/ptr_state.json   goes on with the repository's cells and adds what is new to them

    python benchmarks/ptr.py --version pixels --returned FILES   acts what ptr_pack.py trained from pixels on another machine, and nothing else

State, aimed, motion, features, pixels (small encoder, 64x64) and pixels-128 (ResNet-34) are tables of their own, and no number of one stands in
another. A cell is a file of its own, with everything that made its number.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Container, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import ptr_kept
import ptr_returned
import ptr_table
import torch
from ptr_cell import ABLATIONS, METHODS, QUICK, VERSIONS, Bench, Cell, Scale
from ptr_data import TABLES

from robot_pt.errors import MismatchError, UserError
from robot_pt.online.locks import TakenError
from robot_pt.recipes.turns import alone
from robot_pt.safe_files import read_json, replace_json
from robot_pt_sim.kitchen.twin import TWIN_VERSION

RESULTS = Path("runs/ptr")
QUICK_METHODS = ("bc", "ptr", "awbc", "bc-joint")
QUICK_TASKS = (TABLES["A"][1], TABLES["B"][0])
UPDATES = "of pretraining and finetuning, as 4000,1000: a scale of its own, in an --out of its own"


def cells_of(methods: Sequence[str], tasks: Sequence[str], seeds: int) -> Iterator[Cell]:
    """Seed by seed and task by task, so that what is there at any time compares methods on the same."""
    return (Cell(method, task, seed) for seed in range(seeds) for task in tasks for method in methods)


def methods_of(version: str) -> list[str]:
    """Those that there are: features of their own are nothing where nobody looks at images."""
    return [name for name, method in METHODS.items() if version == "features" or not method.encoder]


def rows_of(version: str) -> list[str]:
    """Those of the table; ablations are run where they are named."""
    return [name for name in methods_of(version) if name not in ABLATIONS]


def run(bench: Bench, cells: Iterator[Cell], *, most: int, minutes: float, kept: Container[Cell] = ()) -> int:
    """Run what is neither there yet nor kept nor under way in another process, at most so many or so long; returns how many were run. Raises
    MismatchError where `bench.out` holds others."""
    folder, ends, count = bench.out / "cells" / bench.version, time.monotonic() + 60 * minutes, 0
    keep(bench.out, bench.scale)
    for cell in cells:
        path = folder / f"{cell.name}.json"
        if path.is_file() or cell in kept:
            continue
        if count >= most or time.monotonic() > ends:
            break
        began = time.monotonic()
        with ExitStack() as lock:
            try:
                lock.enter_context(bench.alone(cell))
            except TakenError:
                print(f"{cell.name} is under way in another process; on to the next.", flush=True)
                continue
            if path.is_file():  # another process was faster
                continue
            found = bench(cell)
            folder.mkdir(parents=True, exist_ok=True)
            replace_json(path, {**found, "wall_seconds": round(time.monotonic() - began, 1)})
        print(
            f"{cell.name}: {sum(found['successes'])} of {found['episodes']}; {found['seconds']['all']:.0f} s",
            flush=True,
        )
        count += 1
    return count


def keep(out: Path, scale: Scale) -> None:
    """What all cells of a folder have in common. Raises MismatchError where they had other updates, data or another twin."""
    path, wanted = out / "ptr.json", json.loads(json.dumps({**asdict(scale), "twin": TWIN_VERSION}))
    with alone(path, f"{out} ready for cells"):
        if not path.is_file():
            replace_json(path, wanted)
    before = read_json(path)
    differing = next((name for name in wanted if before.get(name) != wanted[name]), None)
    if differing is not None:
        raise MismatchError(
            f"{out} holds cells with {differing} = {before.get(differing)}, now it is {wanted[differing]}; their numbers make no table "
            "together, so choose another --out."
        )


def read_cells(out: Path, version: str) -> list[dict[str, Any]]:
    return [read_json(path) for path in sorted((out / "cells" / version).glob("*.json"))]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="four methods, two tasks, three seeds, fewer updates")
    parser.add_argument("--version", choices=VERSIONS, default="state")
    parser.add_argument(
        "--methods",
        default="",
        help=f"comma-separated, of {', '.join(METHODS)}; default all but the level critic's ablations",
    )
    parser.add_argument(
        "--tasks", default="", help="comma-separated, as kitchen/open-door@5, or A or B for all of a table; default all"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cells", type=int, default=10**6, help="at most so many cells, then stop")
    parser.add_argument("--minutes", type=float, default=85.0, help="no new cell after so long")
    parser.add_argument("--checkpoints", action="store_true", help="judge every checkpoint, not the selected one alone")
    parser.add_argument("--plot", type=Path, help="draw the table into this .svg")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="train nothing")
    parser.add_argument(
        "--kept", type=Path, help="a .json of earlier cells: not run again, in the table, and what is new is added"
    )
    parser.add_argument(
        "--returned",
        type=Path,
        nargs="+",
        help="files, or their folders, that benchmarks/ptr_pack.py handed back elsewhere",
    )
    parser.add_argument("--updates", default="", help=UPDATES)
    parser.add_argument("--episodes", type=int, default=0, help="starts per cell; default 50")
    return parser.parse_args()


def chosen(given: str, known: Sequence[str], default: Sequence[str], what: str) -> list[str]:
    """The names of a list with commas. Raises UserError with those there are."""
    names = given.split(",") if given else list(default)
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"there is no {what} {unknown[0]!r}; choose from {', '.join(known)}.")
    return names


def with_updates(scale: Scale, given: str) -> Scale:
    """`scale` with updates given as P,F. Raises UserError for anything else."""
    if not given:
        return scale
    counts = [int(word) for word in given.split(",") if word.isdecimal()]
    if len(counts) != 2 or given.count(",") != 1 or counts[0] < 2 or counts[1] < scale.checkpoints:
        raise UserError(
            f"--updates {given} is not P,F: at least 2 of pretraining and {scale.checkpoints} of finetuning, as 4000,1000."
        )
    return replace(scale, pretraining=counts[0], finetuning=counts[1])


def spelt_out(tasks: str) -> str:
    """With the names of tables as those of their targets."""
    return ",".join(",".join(TABLES.get(name, (name,))) for name in tasks.split(","))


def require_sane(options: argparse.Namespace) -> None:
    """Raises UserError for a number that asks for nothing, and for cells to show that are not there."""
    for name, least in (("seeds", 1), ("cells", 1), ("episodes", 0)):
        if getattr(options, name) < least:
            raise UserError(f"--{name} is {getattr(options, name)}; give {least} or more.")
    if not options.minutes > 0:
        raise UserError(f"--minutes is {options.minutes:g}; give more than 0, or --table to run nothing.")
    if options.table and options.kept and not options.kept.is_file():
        raise UserError(
            f"there are no kept cells in {options.kept}; leave --kept out, or leave --table out to make them."
        )


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    out, scale = (options.out / "quick", QUICK) if options.quick else (options.out, Scale())
    scale = replace(scale, episodes=options.episodes) if options.episodes else scale
    targets = [task for tasks in TABLES.values() for task in tasks]
    try:
        require_sane(options)
        scale = with_updates(scale, options.updates)
        known = methods_of(options.version)
        methods = chosen(options.methods, known, QUICK_METHODS if options.quick else rows_of(options.version), "method")
        tasks = chosen(spelt_out(options.tasks), targets, QUICK_TASKS if options.quick else targets, "target")
        kept = ptr_kept.read(options.kept, scale) if options.kept else []
        if not ptr_table.can_draw():
            if options.plot:
                raise UserError(f"--plot {options.plot} needs matplotlib; pip install 'robot-pt[bench]'.")
            print("no picture will be drawn, as matplotlib is missing: pip install 'robot-pt[bench]'", flush=True)
        if not options.table:
            there = {ptr_kept.name(cell) for cell in kept if cell["version"] == options.version}
            bench = Bench(out, options.out, options.version, scale, options.checkpoints)
            wanted = cells_of(methods, tasks, options.seeds)
            if options.returned:
                keep(out, scale)
                wanted = iter(ptr_returned.take_in(options.returned, bench))
            run(bench, wanted, most=options.cells, minutes=options.minutes, kept=there)
    except UserError as error:
        raise SystemExit(str(error)) from None
    every = ptr_kept.merged(kept, read_cells(out, options.version))
    if options.kept:
        ptr_kept.write(options.kept, every)
    cells = [cell for cell in every if cell["version"] == options.version]
    if options.returned:  # what was trained elsewhere is what was asked for there
        methods = [name for name in known if any(cell["method"] == name for cell in cells)]
        tasks = [task for task in targets if any(cell["task"] == task for cell in cells)]
    print(ptr_table.tables(cells, methods, tasks))
    asked = len(methods) * len(tasks) * options.seeds
    found = sum(c["method"] in methods and c["task"] in tasks and c["seed"] < options.seeds for c in cells)
    goes_on = "; the same command without --table goes on" if found < asked and not options.returned else ""
    print(f"{found} of {asked} cells are there{goes_on}.")
    in_repository = Path(__file__).parent / f"ptr_{options.version}.json"
    if not found and not options.kept and in_repository.is_file():
        command = f"python {__file__} --quick --version {options.version} --table --kept {in_repository}"
        print(f"Those of the repository, at the quick form's scale: {command}")
    picture = options.plot or out / f"{options.version}.svg" if cells and ptr_table.can_draw() else None
    if picture is not None:
        ptr_table.plot(cells, methods, tasks, picture)
    result = {"benchmark": "ptr", "version": options.version, "out": str(out), "picture": picture and str(picture),
              "cells": found, "cells_in_all": asked}  # fmt: skip
    print(json.dumps({**result, "rows": ptr_table.rows(cells, methods, tasks)}))


if __name__ == "__main__":
    main()
