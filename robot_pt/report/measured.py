"""Section on numbers with intervals, a chart for each kind: a dot and a whisker per name, the controls grey."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from robot_pt.report import plots
from robot_pt.report.markup import Markup, join, tag
from robot_pt.report.model import Measured, Point, Report
from robot_pt.report.tables import table

_WIDTH, _LABEL, _ROW, _BOTTOM = 620.0, 190.0, 22.0, 24.0  # SVG units, about CSS pixels
_SHOWN = 28  # characters of a name


def section(report: Report) -> Markup | None:
    if not report.measured:
        return None
    words = "Dots are values, whiskers 95 % intervals, grey is a control; the dashed line is what chance or the control reaches."
    charts = [forest(chart) for chart in report.measured]
    rows = [
        {"what": chart.title, "of": p.name, "value": p.value, "low": p.low, "high": p.high}
        for chart in report.measured
        for p in chart.points
    ]
    numbers = tag("details", tag("summary", "the same in numbers"), table(rows))
    return join([tag("p", words, class_="muted"), tag("div", *charts, class_="charts wide"), numbers])


def forest(chart: Measured) -> Markup:
    """One row per point; a point without a value is named as missing."""
    known = [p for p in chart.points if p.value is not None]
    if not known:
        return tag("figure", tag("figcaption", chart.title), tag("p", "not measured", class_="muted"), class_="chart")
    ends = [v for p in known for v in (p.value, p.low, p.high) if v is not None]
    ends += [*([] if chart.reference is None else [chart.reference]), *(chart.ends or ())]
    low, high = min(ends), max(ends)
    margin = 0.04 * (high - low) or max(abs(high) * 0.1, 1e-3)
    low, high = low - margin, high + margin
    height = _ROW * len(chart.points) + _BOTTOM

    def across(value: float) -> float:
        return _LABEL + (value - low) / (high - low) * (_WIDTH - _LABEL - 12)

    shapes = [_axis(low, high, height, across(low), across(high))]
    if chart.reference is not None:
        x = across(chart.reference)
        shapes.append(tag("line", x1=x, x2=x, y1=0, y2=height - _BOTTOM, class_="marked"))
    for i, point in enumerate(chart.points):
        shapes += _row(point, _ROW * (i + 0.5), across)
    better = {1: "more is better", -1: "less is better"}.get(chart.better, "")
    return tag(
        "figure",
        tag("figcaption", chart.title, tag("span", better, class_="muted note") if better else None),
        tag("svg", *shapes, viewBox=f"0 0 {_WIDTH:g} {height:g}", role="img", aria_label=f"{chart.title}, {len(known)} values"),
        tag("p", chart.note, class_="muted meaning") if chart.note else None,
        class_="chart",
    )  # fmt: skip


def _axis(low: float, high: float, height: float, left: float, right: float) -> Markup:
    parts = []
    for value in plots.nice_ticks(low, high):
        x = left + (value - low) / (high - low) * (right - left)
        parts.append(tag("line", x1=x, x2=x, y1=0, y2=height - _BOTTOM, class_="rule"))
        parts.append(tag("text", plots.compact(value), x=x, y=height - 8, text_anchor="middle"))
    return tag("g", *parts, class_="axes")


def _row(point: Point, y: float, across: Callable[[float], float]) -> Sequence[Markup]:
    colour = "s5" if point.control else "s0"
    name = point.name if len(point.name) <= _SHOWN else point.name[: _SHOWN - 1] + "…"
    shapes = [tag("text", name, x=_LABEL - 8, y=y + 3.5, text_anchor="end")]
    if point.value is None:
        return [*shapes, tag("text", "not run", x=_LABEL, y=y + 3.5)]
    if point.low is not None and point.high is not None:
        shapes.append(tag("line", x1=across(point.low), x2=across(point.high), y1=y, y2=y, class_=f"line {colour}"))
    shapes.append(tag("circle", cx=across(point.value), cy=y, r=4, class_=f"dot {colour}"))
    return shapes
