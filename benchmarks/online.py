"""Offline pretraining, then online finetuning in a maze: which algorithm dips, which one ends where. Resumable cell by cell.

    python benchmarks/online.py                       every algorithm, seeds 0 to 4; what is there already is not run again
    python benchmarks/online.py --task shelves --first-seed 9    where the job explores beside a fall, the page's first table
    python benchmarks/online.py --task local-shelves    the same with a table as the critic
    python benchmarks/online.py --task local-drops --algorithms cql,cal_ql --first-seed 40    a table, and a policy that searches all actions
    python benchmarks/online.py --task pits           the same in a maze where an episode can end without success
    python benchmarks/online.py --task drops          where the episode can be ended at every step (deep-pits: by a fall; explored-drops: and is); --set changes a task
    python benchmarks/online.py --task local-drops --algorithms cql,cal_ql --first-seed 40 --set offline_share=1.0 --out runs/still
                                                      what success wobbles by when the job's updates see old data alone; then, to take it off,
    python benchmarks/online.py --task local-drops --table --control runs/still
    python benchmarks/online.py --table               the table of what is there; writes nothing
    python benchmarks/online.py --table --plot benchmarks/online.svg    and what this page keeps: the curves, and the cells in online.json beside them
    PYTHONPATH=/tmp/d3rlpy python benchmarks/online.py --peers     with d3rlpy 2.8.1 (see requirements-d3rlpy.txt)

One cell, an algorithm from one seed, takes 10 to 30 s of one core; its curve is one JSON file, all curves are drawn beside those. Ctrl-C
loses the cell under way.
Several such commands may run at once with different --algorithms. Success rates are over the same 100 starts, which nobody trains
from: by the central action, as a robot is run, and by drawn ones, as the job's episodes are collected.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from online_cell import TASKS, Task, changed, run_cell
from online_learners import ALGORITHMS, PEERS

from robot_pt.aggregate import bootstrap_interval, iqm, mean
from robot_pt.errors import UserError
from robot_pt.safe_files import read_json, replace_json

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "runs" / "online-benchmark"
KNOWN = (*ALGORITHMS, *PEERS)
MEASURES = ("before", "lowest", "dip", "after", "regret")
NAMES = {
    "cal_ql": "Cal-QL", "cql": "CQL", "iql": "IQL", "awac": "AWAC", "wsrl": "WSRL after Cal-QL", "rlpd": "RLPD",
    "rlpd_bc": "RLPD from BC", "bc": "BC", "d3rlpy_cal_ql": "d3rlpy Cal-QL", "d3rlpy_cql": "d3rlpy CQL",
    "d3rlpy_iql": "d3rlpy IQL", "d3rlpy_awac": "d3rlpy AWAC",
}  # fmt: skip
KEPT = ("seed", "before", "wobble", "lowest", "after", "regret", "central", "offline_curve", "online_curve", "scale_offline", "scale_online",
        "online_episodes", "online_successes", "online_falls", "values", "cpu_s")  # fmt: skip


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


def run(algorithms: Sequence[str], seeds: int, task: Task, out: Path, *, first: int = 0) -> None:
    """Every cell that is not there; seed by seed, so that all algorithms have as many."""
    out.mkdir(parents=True, exist_ok=True)
    for seed in range(first, first + seeds):
        for algorithm in algorithms:
            path = cell_file(out, algorithm, seed)
            if finished(path, task.settings()):
                continue
            result = run_cell(algorithm, seed, task)
            replace_json(path, result)
            measures = ", ".join(f"{m} {value:.2f}" for m, value in measures_of(result["central"]).items())
            print(f"{algorithm} seed {seed}, central: {measures}; {result['cpu_s']:.0f} s of a core", flush=True)


def load(out: Path) -> dict[str, list[dict[str, Any]]]:
    """Algorithm -> its cells by seed, in the order of `NAMES`. Raises UserError when cells have different settings."""
    cells = [read_json(path) for path in sorted(out.glob("*-*.json"))]
    if len({json.dumps(cell["settings"], sort_keys=True) for cell in cells}) > 1:
        raise UserError(f"the cells in {out} were run with different settings; keep those of one run there.")
    found: dict[str, list[dict[str, Any]]] = {}
    for name in NAMES:
        mine = sorted((c for c in cells if c["algorithm"] == name), key=lambda cell: int(cell["seed"]))
        if mine:
            found[name] = mine
    return found


def measures_of(summary: dict[str, Any]) -> dict[str, float]:
    """`MEASURES` of a cell, or of its `central`; dip: how far the lowest point online lies below the lowest of the last offline evaluations."""
    dip = max(0.0, summary["before"] - summary["wobble"] - summary["lowest"])
    return {m: dip if m == "dip" else summary[m] for m in MEASURES}


def summarise(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """IQM over seeds with its 95 % interval, for each of `MEASURES`."""
    measured = [measures_of(summary) for summary in summaries]
    rows = {name: [[m[name] for m in measured]] for name in MEASURES}
    return {
        name: {"iqm": round(float(iqm(row)), 3), "interval": [round(v, 3) for v in bootstrap_interval(row)]}
        for name, row in rows.items()
    }


def beyond(found: dict[str, list[dict[str, Any]]], control: dict[str, list[dict[str, Any]]]) -> str:
    """Of algorithms in both, by the central action: dip here less dip in the control of the same seed, mean and 95 % interval over the pairs [%].

    A dip is the lowest of many evaluations below the lowest of a few, so it is above 0 where success merely wobbles. A control with the same
    updates and evaluations of which only what is asked about is missing, the job's steps in the batches, wobbles alike.
    """
    lines = []
    for name in [name for name in found if name in control]:
        here, there = (
            {cell["seed"]: measures_of(cell["central"])["dip"] for cell in cells}
            for cells in (found[name], control[name])
        )
        if pairs := [here[seed] - there[seed] for seed in here if seed in there]:
            value = {"iqm": float(np.mean(pairs)), "interval": bootstrap_interval([pairs], mean)}
            lines.append(f"{NAMES[name]}: dip beyond the control's, mean of {len(pairs)} pairs: {_percent(value)}")
    return "\n".join(lines)


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Percent, by central and by drawn actions. Last columns, of the last quarter of offline updates: Q of the data's actions, their return, bounded samples."""
    lines = [
        "| | seeds | before | lowest after the switch | dip | after | regret | drawn: before, lowest | dip | after | regret | Q / return offline | bounded |",
        "|" + "---|" * 13,
    ]
    for name, cells in found.items():
        central, drawn = ways(cells)
        shown = [_percent(central[m]) if central else "" for m in MEASURES]
        shown += [", ".join(f"{100 * drawn[m]['iqm']:.0f}" for m in ("before", "lowest"))]
        shown += [_percent(drawn[m]) for m in ("dip", "after", "regret")]
        lines.append(f"| {NAMES[name]} | {len(cells)} | " + " | ".join([*shown, *_scale(cells)]) + " |")
    return "\n".join(lines)


def ways(cells: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Summaries by the central action and by drawn ones; the first empty for cells of before schema 3, which lack it."""
    known = [cell["central"] for cell in cells if isinstance(cell.get("central"), dict)]
    return summarise(known) if len(known) == len(cells) else {}, summarise(cells)


def _percent(value: dict[str, Any]) -> str:
    low, high = value["interval"]
    return f"{100 * value['iqm']:.0f} ({100 * low:.0f} to {100 * high:.0f})"


def _scale(cells: list[dict[str, Any]]) -> tuple[str, str]:
    """(Q / return, share of bounded samples) offline, means over seeds; empty where an algorithm has none."""
    rows = [cell.get("scale_offline", {}) for cell in cells]
    mean = {
        k: float(np.mean([r[k] for r in rows])) for k in ("q_data", "return", "bound_rate") if all(k in r for r in rows)
    }
    scale = f"{mean['q_data']:.0f} / {mean['return']:.0f}" if {"q_data", "return"} <= set(mean) else ""
    return scale, f"{100 * mean['bound_rate']:.0f}" if "bound_rate" in mean else ""


def digest(found: dict[str, list[dict[str, Any]]]) -> str:
    """What the page keeps of the cells: one line of JSON per cell."""
    first = next(iter(found.values()))[0]
    head = {"benchmark": "online", "settings": first["settings"], "data": first["data"], "versions": first["versions"]}
    rows = [
        json.dumps({"algorithm": name, **{k: cell[k] for k in KEPT if k in cell}})
        for name, cells in found.items()
        for cell in cells
    ]
    return json.dumps(head)[:-1] + ', "cells": [\n' + ",\n".join(rows) + "\n]}\n"


def plot(found: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """One panel per algorithm: success over updates offline, then over steps online; a thin line per seed, the IQM thick; drawn actions dashed."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"
    matplotlib.rcParams["svg.hashsalt"] = "online"  # the same picture is the same file
    from matplotlib import pyplot

    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(3 * columns, 2.2 * rows), sharex=True, sharey=True, squeeze=False
    )
    for panel, name in zip(axes.flat, found, strict=False):  # more panels than algorithms in the last row
        for column, style in ((2, "-"), (1, "--")):
            curves = [_joined(cell, column) for cell in found[name] if len(cell["online_curve"][0]) > column]
            if not curves:
                continue
            grid = np.unique(np.concatenate([x for x, _ in curves]))
            seeds = np.stack([np.interp(grid, x, y, left=np.nan) for x, y in curves])
            for row in seeds if column == 2 else ():
                panel.plot(grid, row, color="tab:blue", linewidth=0.6, alpha=0.5)
            middle = [float(iqm(point[None])) for point in seeds.T]
            panel.plot(grid, middle, style, color="tab:blue", linewidth=2 if column == 2 else 1)
        panel.axvline(0, color="grey", linewidth=0.8, linestyle="--")
        panel.set_title(NAMES[name], fontsize=9)
        panel.set_ylim(-0.03, 1.03)
    for panel in list(axes.flat)[len(found) :]:
        panel.set_axis_off()
    figure.supxlabel("updates offline (before 0), control steps online", fontsize=9)
    figure.supylabel("success rate", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def _joined(cell: dict[str, Any], column: int) -> tuple[Any, Any]:
    """(x, success): offline updates count up to 0, online steps on from there."""
    offline, online = np.array(cell["offline_curve"], float), np.array(cell["online_curve"], float)
    x = np.concatenate([offline[:, 0] - offline[-1, 0], online[:, 0]])
    return x, np.concatenate([offline[:, column], online[:, column]])


def keep(found: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """The curves in the .svg `path`, the cells in a .json beside it."""
    path.with_suffix(".json").write_text(digest(found))
    try:
        plot(found, path)
    except ImportError:
        print("matplotlib is not installed, so no curves were drawn; pip install matplotlib.")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--task", choices=TASKS, default="detours")
    parser.add_argument("--algorithms", default="", help=f"comma-separated, of {', '.join(KNOWN)}; default all of ours")
    parser.add_argument("--peers", action="store_true", help="d3rlpy's too")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--first-seed", type=int, default=0, help="of the --seeds, for looking without touching those of a table"
    )
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="fields of the task to change; give another --out too",
    )
    parser.add_argument("--out", type=Path, help=f"default {RESULTS.relative_to(ROOT)}/TASK")
    parser.add_argument("--table", action="store_true", help="run nothing, and write nothing without --plot")
    parser.add_argument(
        "--plot",
        type=Path,
        help="draw the curves into this .svg, keep the cells in a .json beside it; default in --out",
    )
    parser.add_argument(
        "--control", type=Path, help="another --out: how far dips go beyond those of the same seeds there"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one seed, a tenth of the steps, into a folder of its own: does it run?"
    )
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    algorithms = (
        options.algorithms.split(",") if options.algorithms else [*ALGORITHMS, *(PEERS if options.peers else ())]
    )
    if unknown := sorted(set(algorithms) - set(KNOWN)):
        raise SystemExit(f"there is no algorithm {unknown[0]!r}; choose from {', '.join(KNOWN)}.")
    if options.plot and (options.plot.suffix != ".svg" or not options.plot.parent.is_dir()):
        raise SystemExit(f"--plot {options.plot} is no .svg in a folder that is there.")
    task, out = TASKS[options.task], options.out or RESULTS / options.task
    if options.quick:
        short = replace(task.schedule, offline_updates=300, online_steps=400, evaluate_every=100)
        task, out = replace(task, schedule=short), out / "quick"
    try:
        task = changed(task, options.set)
        control = load(options.control) if options.control else {}
        if options.control and not control:
            raise UserError(f"{options.control} holds no cell; run the control with that as its --out first.")
        if not options.table:
            run(algorithms, 1 if options.quick else options.seeds, task, out, first=options.first_seed)
        found = load(out)
    except UserError as error:
        raise SystemExit(str(error)) from None
    if not found:
        raise SystemExit(f"{out} holds no cell; run without --table first.")
    print(table(found))
    if control:
        print(beyond(found, control))
    name = "online" if options.task == "detours" else "online_" + options.task.replace("-", "_")
    if options.plot or not options.table:
        keep(found, options.plot or out / f"{name}.svg")
    told = {name: dict(zip(("central", "drawn"), ways(cells), strict=True)) for name, cells in found.items()}
    print(json.dumps({"benchmark": "online", "task": options.task, "cells": told}))


if __name__ == "__main__":
    main()
