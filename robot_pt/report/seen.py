"""Section on an encoder: strips of frames that show what it kept of them."""

from __future__ import annotations

from robot_pt.report.judged import figure
from robot_pt.report.markup import Markup, join, tag
from robot_pt.report.model import Report


def section(report: Report) -> Markup | None:
    if report.seen is None:
        return None
    return join([tag("p", report.seen.summary, class_="muted"), *(figure(row) for row in report.seen.rows)])
