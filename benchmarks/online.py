"""Offline pretraining, then online finetuning in a maze: which algorithm dips, which one ends where. Resumable cell by cell.

    python benchmarks/online.py                       every algorithm, seeds 0 to 4; what is there already is not run again
    python benchmarks/online.py --table               the table and online.svg from what is there
    PYTHONPATH=/tmp/d3rlpy python benchmarks/online.py --peers     with d3rlpy 2.8.1 (see requirements-d3rlpy.txt)

One cell, an algorithm from one seed, takes 1 to 5 minutes of one core; its curve is one JSON file. Ctrl-C loses the cell under way.
Success rates are those of the greedy policy over the same 50 starts, which nobody trains from.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from online_cell import Schedule, run_cell, settings_of
from online_learners import ALGORITHMS, PEERS
from online_task import Problem

from robot_pt.aggregate import bootstrap_interval, iqm
from robot_pt.errors import UserError
from robot_pt.safe_files import read_json, replace_json

RESULTS = Path(__file__).parent / "results" / "online"
MEASURES = ("before", "lowest", "after", "regret")
NAMES = {
    "cal_ql": "Cal-QL", "cql": "CQL", "iql": "IQL", "awac": "AWAC", "rlpd": "RLPD", "wsrl": "WSRL after Cal-QL", "bc": "BC",
    "d3rlpy_cal_ql": "d3rlpy Cal-QL", "d3rlpy_cql": "d3rlpy CQL", "d3rlpy_iql": "d3rlpy IQL", "d3rlpy_awac": "d3rlpy AWAC",
}  # fmt: skip


def cell_file(out: Path, algorithm: str, seed: int) -> Path:
    return out / f"{algorithm}-{seed}.json"


def finished(path: Path, settings: dict[str, Any]) -> bool:
    """Whether that cell is there. Raises UserError when it was run with other settings."""
    if not path.exists():
        return False
    found = read_json(path)["settings"]
    if found != settings:
        other = {k: found.get(k) for k in settings if found.get(k) != settings[k]}
        raise UserError(f"{path} was run with {other}; give another --out, or delete it to run it again.")
    return True


def run(algorithms: Sequence[str], seeds: int, problem: Problem, schedule: Schedule, out: Path) -> None:
    """Every cell that is not there; seed by seed, so that all algorithms have as many."""
    out.mkdir(parents=True, exist_ok=True)
    for seed in range(seeds):
        for algorithm in algorithms:
            path = cell_file(out, algorithm, seed)
            if finished(path, settings_of(problem, schedule)):
                continue
            result = run_cell(algorithm, seed, problem, schedule)
            replace_json(path, result)
            measures = ", ".join(f"{m} {result[m]:.2f}" for m in MEASURES)
            print(f"{algorithm} seed {seed}: {measures}; {result['cpu_s']:.0f} s of a core", flush=True)


def load(out: Path) -> dict[str, list[dict[str, Any]]]:
    """Algorithm -> its cells by seed, in the order of `NAMES`. Raises UserError when cells have different settings."""
    cells = [read_json(path) for path in sorted(out.glob("*.json"))]
    if len({json.dumps(cell["settings"], sort_keys=True) for cell in cells}) > 1:
        raise UserError(f"the cells in {out} were run with different settings; keep those of one run there.")
    found: dict[str, list[dict[str, Any]]] = {}
    for name in NAMES:
        mine = sorted((c for c in cells if c["algorithm"] == name), key=lambda cell: int(cell["seed"]))
        if mine:
            found[name] = mine
    return found


def summarise(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """IQM over seeds with its 95 % interval, for each of `MEASURES` and for the fall below `before`."""
    rows = {measure: [[cell[measure] for cell in cells]] for measure in MEASURES}
    rows["dip"] = [[max(0.0, cell["before"] - cell["lowest"]) for cell in cells]]
    return {
        name: {"iqm": round(float(iqm(row)), 3), "interval": [round(v, 3) for v in bootstrap_interval(row)]}
        for name, row in rows.items()
    }


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    lines = ["| | seeds | before | lowest after the switch | fall | after | regret |", "|---|---|---|---|---|---|---|"]
    for name, cells in found.items():
        values = summarise(cells)
        shown = [
            f"{100 * values[m]['iqm']:.0f} ({100 * values[m]['interval'][0]:.0f} to {100 * values[m]['interval'][1]:.0f})"
            for m in ("before", "lowest", "dip", "after", "regret")
        ]
        lines.append(f"| {NAMES[name]} | {len(cells)} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def plot(found: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """One panel per algorithm: success over updates offline, then over steps online; a thin line per seed, the IQM thick."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    columns = 4
    rows = -(-len(found) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(3 * columns, 2.2 * rows), sharex=True, sharey=True, squeeze=False
    )
    for panel, name in zip(axes.flat, found, strict=False):
        curves = [_joined(cell) for cell in found[name]]
        grid = np.unique(np.concatenate([x for x, _ in curves]))
        seeds = np.stack([np.interp(grid, x, y, left=np.nan) for x, y in curves])
        for row in seeds:
            panel.plot(grid, row, color="tab:blue", linewidth=0.6, alpha=0.5)
        middle = [float(iqm(column[None])) for column in seeds.T]
        panel.plot(grid, middle, color="tab:blue", linewidth=2)
        panel.axvline(0, color="grey", linewidth=0.8, linestyle="--")
        panel.set_title(NAMES[name], fontsize=9)
        panel.set_ylim(-0.03, 1.03)
    for panel in list(axes.flat)[len(found) :]:
        panel.set_axis_off()
    figure.supxlabel("updates offline (before 0), control steps online", fontsize=9)
    figure.supylabel("success rate", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def _joined(cell: dict[str, Any]) -> tuple[Any, Any]:
    """(x, success): offline updates count up to 0, online steps on from there."""
    offline, online = np.array(cell["offline_curve"], float), np.array(cell["online_curve"], float)
    x = np.concatenate([offline[:-1, 0] - offline[-1, 0], online[:, 0]])
    return x, np.concatenate([offline[:-1, 1], online[:, 1]])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    known = [*ALGORITHMS, *PEERS]
    parser.add_argument("--algorithms", default="", help=f"comma-separated, of {', '.join(known)}; default all of ours")
    parser.add_argument("--peers", action="store_true", help="d3rlpy's too")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument(
        "--quick", action="store_true", help="one seed, a tenth of the steps, into a folder of its own: does it run?"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    algorithms = (
        options.algorithms.split(",") if options.algorithms else [*ALGORITHMS, *(PEERS if options.peers else ())]
    )
    if unknown := sorted(set(algorithms) - set(known)):
        raise SystemExit(f"there is no algorithm {unknown[0]!r}; choose from {', '.join(known)}.")
    schedule = Schedule(offline_updates=300, online_steps=400, evaluate_every=100) if options.quick else Schedule()
    out = options.out / "quick" if options.quick else options.out
    try:
        if not options.table:
            run(algorithms, 1 if options.quick else options.seeds, Problem(), schedule, out)
        found = load(out)
    except UserError as error:
        raise SystemExit(str(error)) from None
    if not found:
        raise SystemExit(f"{out} holds no cell; run without --table first.")
    print(table(found))
    try:
        plot(found, out / "online.svg")
    except ImportError:
        print("matplotlib is not installed, so no curves were drawn; pip install matplotlib.")
    print(json.dumps({"benchmark": "online", "cells": {name: summarise(cells) for name, cells in found.items()}}))


if __name__ == "__main__":
    main()
