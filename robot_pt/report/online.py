"""Section on learning on the job: what the critic believed on one plot, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robot_pt.report import plots
from robot_pt.report.markup import Markup, join, tag
from robot_pt.report.model import Online, Report, Row
from robot_pt.report.tables import is_number

SERIES = {
    "probe/data": "Q of stored actions",
    "probe/policy": "Q of the policy's actions",
    "probe/random": "Q of random actions",
    "probe/return_to_go": "return that was reached",
}
WINDOW = 20
"""Episodes a success rate is taken over."""


def section(report: Report) -> Markup | None:
    online = report.online
    if online is None:
        return None
    parts = [_values(online.metrics), _successes(online)]
    shown = [p for p in parts if p is not None]
    return join(shown) if shown else None


def _values(rows: Sequence[Row]) -> Markup | None:
    probed = [row for row in rows if all(is_number(row.get(name)) for name in SERIES)]
    if not probed:
        return None
    steps = [float(row["step"]) for row in probed]
    lines = [
        plots.Line(x=steps, y=[float(row[name]) for row in probed], label=label, colour=i)
        for i, (name, label) in enumerate(SERIES.items())
    ]
    finite = np.array([line.y for line in lines], float)
    finite = finite[np.isfinite(finite)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    height = max(high - low, 1e-9)
    bound = [
        float(row["probe/bound_rate"]) if is_number(row.get("probe/bound_rate")) else float("nan") for row in probed
    ]
    share = "states where Q lies below the return, 0 to 100 % over the height"
    lines.append(plots.Line(x=steps, y=[low + height * b for b in bound], label=share, colour=len(SERIES), faint=True))
    names = {line.label: line.colour for line in lines}
    chart = plots.line_chart(lines, title="What the critic believes", x_label="online updates", wide=True)
    return join([
        tag(
            "p",
            "Where learning goes well, Q of stored actions follows the return that was reached, and Q of random actions stays "
            "below. Q that leaves the range of returns diverges; Q that rises above the return by far is wishful.",
            class_="muted",
        ),
        plots.legend(names),
        tag("div", chart, class_="charts wide"),
    ])  # fmt: skip


def _successes(online: Online) -> Markup | None:
    known = [(i, s) for i, s in enumerate(online.successes) if s is not None]
    if len(known) < 2:
        return None
    results = np.array([s for _, s in known], float)
    rates = [float(results[max(0, i + 1 - WINDOW) : i + 1].mean()) for i in range(len(results))]
    line = plots.Line(x=[float(i + 1) for i, _ in known], y=rates)
    title = f"Success rate over the last {WINDOW} episodes"
    chart = plots.line_chart([line], title=title, x_label="episode", note=f"last {100 * rates[-1]:.0f} %", wide=True)
    return tag("div", chart, class_="charts wide")
