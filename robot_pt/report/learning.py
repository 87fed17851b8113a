"""Sections on how the policy came to be: route, the critic's values, checkpoint selection, curves, data, time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from robot_pt.report import plots
from robot_pt.report.markup import Markup, join, tag
from robot_pt.report.model import Report, Row
from robot_pt.report.tables import columns, is_number, table

PANELS = 9
"""Learning curves shown at once; the rest is folded away."""
ABOUT_THE_MACHINE = ("speed/", "memory/", "time/")
MEANINGS = {
    "critic/loss": "what the critic minimises: the next two together",
    "critic/bellman": "how far Q is from reward plus discounted next Q",
    "critic/conservative": "how much higher Q rates sampled actions than those in the data",
    "critic/q_data": "Q of the actions in the data",
    "critic/q_policy": "Q of the policy's actions",
    "critic/q_uniform": "Q of random actions",
    "critic/target": "what Q is pulled towards",
    "actor/loss": "what the policy minimises",
    "actor/mse": "squared distance of the policy's action to the data's",
    "actor/entropy": "how undecided the policy is",
    "actor/temperature": "how much indecision is worth",
    "actor/weight": "mean weight of a data action when cloning",
}
"""Metric -> what it is, for those who have not read the paper."""


def route(report: Report) -> Markup | None:
    if report.route is None:
        return None
    name, explanation = report.route
    return tag("h3", name) + join(tag("p", paragraph) for paragraph in explanation.split("\n\n"))


def values(report: Report) -> Markup | None:
    if not len(report.values):
        return None
    progress = np.linspace(0, 100, 61)
    resampled = [
        np.interp(progress, np.linspace(0, 100, len(q)), q) if len(q) > 1 else np.full(61, float(q[0]))
        for q in report.values
    ]
    faint = [
        plots.Line(x=list(np.linspace(0, 100, len(q))), y=[float(v) for v in q], faint=True, colour=0)
        for q in report.values
    ]
    mean = plots.Line(x=list(progress), y=list(np.mean(resampled, axis=0)), label="mean", colour=0)
    rising = sum(
        float(np.mean(q[-max(1, len(q) // 4) :])) > float(np.mean(q[: max(1, len(q) // 4)])) for q in report.values
    )
    chart = plots.line_chart(
        [*faint, mean], title="Q(s, a) along held-out demonstrations", x_label="% of the demonstration", wide=True
    )
    return join([
        tag(
            "p",
            "Demonstrations end in success, so a critic that understands the task values their later steps more. "
            f"Its value rises from the first to the last quarter of {rising} of {len(report.values)} demonstrations that it was "
            "not trained on. One thin line per demonstration, the thick one is their mean.",
            class_="muted",
        ),
        tag("div", chart, class_="charts wide"),
    ])  # fmt: skip


def selection(report: Report) -> Markup | None:
    chosen = report.selection
    if chosen is None:
        return None
    numeric = [k for k in columns(chosen.rows) if k != "step" and all(is_number(r.get(k)) for r in chosen.rows)]
    steps = [float(r["step"]) for r in chosen.rows]
    charts = [
        plots.line_chart(
            [plots.Line(x=steps, y=[float(r[k]) for r in chosen.rows])],
            title=k,
            x_label="step",
            marked_x=float(chosen.chosen),
        )
        for k in numeric[:3]
        if len(steps) > 1
    ]
    return join([
        tag("p", chosen.rule),
        tag("p", f"Taken: step {chosen.chosen}, the dashed line."),
        tag("div", *charts, class_="charts") if charts else None,
        table(chosen.rows, lambda row: row.get("step") == chosen.chosen),
    ])  # fmt: skip


def curves(report: Report) -> Markup | None:
    phases = {name: rows for name, rows in report.curves.items() if rows}
    keys = [k for k in columns([r for rows in phases.values() for r in rows]) if k != "step"]
    numeric = [k for k in keys if any(is_number(r.get(k)) for rows in phases.values() for r in rows)]
    if not numeric:
        return None
    machine = [k for k in numeric if k.startswith(ABOUT_THE_MACHINE)]
    first = [k for k in numeric if k not in machine]
    shown, rest = first[:PANELS], first[PANELS:] + machine
    more = tag(
        "details", tag("summary", f"{len(rest)} more"), tag("div", *(_panel(phases, k) for k in rest), class_="charts")
    )
    return join([
        plots.legend({name: i for i, name in enumerate(phases)}) if len(phases) > 1 else None,
        tag("div", *(_panel(phases, k) for k in shown), class_="charts"),
        more if rest else None,
    ])  # fmt: skip


def _panel(phases: Mapping[str, Sequence[Row]], key: str) -> Markup:
    lines, last = [], ""
    for colour, (name, rows) in enumerate(phases.items()):
        points = [(float(r["step"]), float(r[key])) for r in rows if is_number(r.get(key))]
        if points:
            lines += plots.curve([p[0] for p in points], [p[1] for p in points], name, colour)
            last = f"last {plots.compact(points[-1][1])}"
    chart = plots.line_chart(lines, title=key, x_label="step", note=last)
    meaning = MEANINGS.get(key)
    return tag("div", chart, tag("p", meaning, class_="muted meaning") if meaning else None)


def data(report: Report) -> Markup | None:
    if not report.data and not report.seconds:
        return None
    return join([
        table(report.data) if report.data else None,
        tag("h3", "Where the time went") if report.seconds else None,
        plots.share_bar(list(report.seconds.items())) if report.seconds else None,
    ])  # fmt: skip
