"""Section on a success classifier: precision against recall, counts at thresholds, and the pictures it is most wrong about."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from robot_pt.report import plots
from robot_pt.report.markup import Markup, join, tag
from robot_pt.report.model import Picture, Report
from robot_pt.report.tables import table


def section(report: Report) -> Markup | None:
    judged = report.judged
    if judged is None:
        return None
    line = plots.Line(x=list(judged.recall), y=list(judged.precision))
    chart = plots.line_chart([line], title="Precision over recall", x_label="recall", wide=True)
    return join([
        tag("p", judged.summary),
        tag("div", chart, class_="charts wide"),
        table(judged.thresholds, lambda row: row.get("threshold") == judged.chosen),
        _pictures("Called a success, and are none", judged.false_positives),
        _pictures("Are a success, and were missed", judged.false_negatives),
    ])  # fmt: skip


def _pictures(title: str, pictures: Sequence[Picture]) -> Markup:
    body = (
        tag("div", *(figure(p, 128) for p in pictures), class_="charts")
        if pictures
        else tag("p", "none", class_="muted")
    )
    return tag("h3", title) + body


def figure(picture: Picture, width: int | None = None) -> Markup:
    """A picture with what is written under it; its bytes are in the page."""
    source = f"data:image/jpeg;base64,{base64.b64encode(picture.jpeg).decode()}"
    return tag("figure", tag("img", src=source, alt=picture.caption, width=width), tag("figcaption", picture.caption))
