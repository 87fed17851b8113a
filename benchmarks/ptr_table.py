"""The table and the picture of benchmarks/ptr.py, from what cells are there; gaps stay gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from ptr_cell import ABLATED, ABLATIONS, BASE, CLONE, METHODS
from ptr_data import TABLES

from robot_pt.aggregate import bootstrap_interval, improvement, improvement_interval, mean
from robot_pt.intervals import Interval, wilson

Found = Sequence[Mapping[str, Any]]
Rates = dict[str, dict[int, float]]
"""Task -> seed -> success rate."""
WIDEST = 4
"""Targets that one table has columns for."""


def rates_of(cells: Found, method: str, tasks: Sequence[str]) -> Rates:
    found: Rates = {}
    for c in cells:
        if c["method"] == method and c["task"] in tasks:
            found.setdefault(c["task"], {})[c["seed"]] = succeeded(c) / c["episodes"]
    return found


def succeeded(cell: Mapping[str, Any]) -> int:
    """Of a cell that says which starts, or, kept, how many."""
    told = cell["successes"]
    return told if isinstance(told, int) else sum(told)


def square(rates: Rates) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """(tasks, seeds) of the seeds that all these tasks have; None without any."""
    seeds = set.intersection(*(set(of) for of in rates.values())) if rates else set()
    return np.array([[rates[t][s] for s in sorted(seeds)] for t in sorted(rates)]) if seeds else None


def pooled(cells: Found, method: str, task: str) -> tuple[int, int, int]:
    """(successes, episodes, seeds) of one method and task."""
    of = [c for c in cells if (c["method"], c["task"]) == (method, task)]
    return sum(map(succeeded, of)), sum(c["episodes"] for c in of), len(of)


def better(
    cells: Found, method: str, tasks: Sequence[str], than: str = BASE, *, same_seeds: bool = False
) -> dict[str, Any] | None:
    """Probability that a run of the method succeeds more often than one of another, over the tasks that both have and, where `same_seeds`, the
    seeds; no interval of a single seed, which a bootstrap would call certain."""
    mine, base = rates_of(cells, method, tasks), rates_of(cells, than, tasks)
    both = sorted(set(mine) & set(base))
    if same_seeds:
        mine, base = ({t: {s: of[t][s] for s in set(mine[t]) & set(base[t])} for t in both} for of in (mine, base))
    one, other = (square({t: of[t] for t in both}) for of in (mine, base))
    if method == than or one is None or other is None:
        return None
    several = min(one.shape[1], other.shape[1]) > 1
    return {
        "value": float(improvement(one, other)),
        "interval": improvement_interval(one, other) if several else None,
    }


def rows(cells: Found, methods: Sequence[str], tasks: Sequence[str]) -> list[dict[str, Any]]:
    """One row per method: success per task with Wilson's interval over all its episodes, the mean over tasks with a bootstrap over seeds."""
    out = []
    for method in methods:
        by_task: dict[str, Any] = {}
        for task in tasks:
            successes, count, seeds = pooled(cells, method, task)
            if count:
                by_task[task] = {
                    "successes": successes,
                    "episodes": count,
                    "seeds": seeds,
                    "interval": wilson(successes, count),
                }
        scores = square(rates_of(cells, method, tasks)) if len(by_task) == len(tasks) else None
        span = bootstrap_interval(scores, mean) if scores is not None and scores.shape[1] > 1 else None
        whole = None if scores is None else {"value": float(mean(scores)), "interval": span}
        out.append({
            "method": method, "tasks": by_task, "mean": whole, "better": better(cells, method, tasks),
            "better_than_clone": better(cells, method, tasks, CLONE),
            "better_than_ablated": better(cells, method, tasks, ABLATED, same_seeds=True),
        })  # fmt: skip
    return out


def tables(cells: Found, methods: Sequence[str], tasks: Sequence[str]) -> str:
    """One table, or, of more targets than one has columns for, PTR's A and B and what they come to together."""
    parts = [part for of in TABLES.values() if (part := [task for task in tasks if task in of])]
    if len(tasks) <= WIDEST or len(parts) == 1:
        return table(cells, methods, tasks)
    return "\n\n".join([*(table(cells, methods, part) for part in parts), table(cells, methods, tasks, shown=())])


def table(cells: Found, methods: Sequence[str], tasks: Sequence[str], shown: Sequence[str] | None = None) -> str:
    """Success [%]; "–" is a cell that was not run. A column for each of `shown`, or of all; mean and comparisons are over all; one with what
    is ablated, over the seeds of both, where an ablation is among `methods`."""
    shown = tasks if shown is None else shown
    names = [task.removeprefix("kitchen/") for task in shown]
    whole_of = "mean" if shown else f"mean of {len(tasks)}"
    columns = {"better": f"better than {METHODS[BASE].title}", "better_than_clone": "than the clone with PTR's head"}
    if set(methods) & set(ABLATIONS):
        columns["better_than_ablated"] = f"than {METHODS[ABLATED].title}"
    head = [*names, whole_of, *columns.values()]
    lines = [f"| | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for row in rows(cells, methods, tasks):
        told = [_rate(row["tasks"].get(task)) for task in shown]
        whole = row["mean"]
        told.append("–" if whole is None else f"{100 * whole['value']:.0f}{_span(whole['interval'], 100, 0)}")
        told += [_chance(row[name]) for name in columns]
        lines.append(f"| {METHODS[row['method']].title} | {' | '.join(told)} |")
    return "\n".join(lines)


def _chance(compared: Mapping[str, Any] | None) -> str:
    return "" if compared is None else f"{compared['value']:.2f}{_span(compared['interval'], 1, 2)}"


def _rate(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "–"
    told = f"{100 * found['successes'] / found['episodes']:.0f}{_span(found['interval'], 100, 0)}"
    return f"{told}, {found['seeds']} seed{'s' if found['seeds'] > 1 else ''}"


def _span(span: Interval | None, factor: float, digits: int) -> str:
    return "" if span is None else f" ({factor * span.low:.{digits}f} to {factor * span.high:.{digits}f})"


def can_draw() -> bool:
    return find_spec("matplotlib") is not None


def plot(cells: Found, methods: Sequence[str], tasks: Sequence[str], path: Path) -> None:
    """A panel per target: a dot per seed, the rate of all episodes with Wilson's interval; gaps say so."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"
    matplotlib.rcParams["svg.hashsalt"] = "ptr"  # the same picture is the same file
    from matplotlib import pyplot

    columns = min(4, len(tasks))
    height = -(-len(tasks) // columns)
    size = (2.6 * columns + 1.6, height * (0.26 * len(methods) + 0.6) + 0.5)
    figure, panels = pyplot.subplots(height, columns, squeeze=False, sharey=True, figsize=size, layout="constrained")
    for panel, task in zip(panels.flat, tasks, strict=False):
        panel.set_title(task.removeprefix("kitchen/"), fontsize=8)
        for line, method in enumerate(methods):
            _line(panel, line, pooled(cells, method, task), rates_of(cells, method, [task]).get(task, {}))
        panel.set_xlim(-2, 102)
        panel.set_ylim(len(methods) - 0.5, -0.5)
        panel.set_yticks(range(len(methods)), [METHODS[m].title for m in methods])
        panel.tick_params(labelsize=7)
        panel.grid(axis="both", color="0.9", linewidth=0.6)
        panel.set_axisbelow(True)
    for panel in panels.flat[len(tasks) :]:
        panel.set_visible(False)
    figure.supxlabel("success [%]", fontsize=8)
    told = {
        label: mark for panel in panels.flat for mark, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(told.values(), told.keys(), loc="outside upper center", ncols=3, fontsize=7, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _line(panel: Any, line: int, found: tuple[int, int, int], by_seed: Mapping[int, float]) -> None:
    """One method on one target; `found` as `pooled` has it."""
    successes, count, _ = found
    if not count:
        over_the_grid = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        panel.text(50, line, "not run", ha="center", va="center", fontsize=6, color="0.6", bbox=over_the_grid)
        return
    low, high = wilson(successes, count)
    seeds = [100 * rate for rate in by_seed.values()]
    panel.plot(
        [100 * low, 100 * high],
        [line] * 2,
        color="tab:blue",
        linewidth=3,
        alpha=0.4,
        label="95 % interval over all episodes",
    )
    panel.plot(seeds, [line] * len(seeds), "o", color="tab:blue", markersize=3, alpha=0.6, label="a seed")
    panel.plot([100 * successes / count], [line], "|", color="black", markersize=10, label="all episodes")
