"""The page: header, sections in the order a reader asks (how well, how it looks, why, on what, again), style inside."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from robot_pt.report import judged, learning, measured, online, outcomes, plots, seen
from robot_pt.report.markup import Markup, join, tag
from robot_pt.report.model import Report
from robot_pt.report.tables import table
from robot_pt.results import Evaluation


def write_report(path: Path, report: Report) -> Path:
    """Write the page, whole or not at all. Raises UserError when `report` names an evaluation it does not hold."""
    page = render(report)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(page, encoding="utf-8")
    os.replace(part, path)
    return path


def render(report: Report) -> str:
    """The page as text."""
    made = [
        ("rates", "Success rates", outcomes.rates(report)),
        ("rollouts", "Rollouts", outcomes.rollouts(report)),
        ("seen", "What the encoder sees", seen.section(report)),
        ("measured", "Measured", measured.section(report)),
        ("judged", "What the classifier gets right", judged.section(report)),
        ("online", "Learning on the job", online.section(report)),
        ("route", "How the policy was made", learning.route(report)),
        ("values", "What the critic believes", learning.values(report)),
        ("selection", "Which checkpoint", learning.selection(report)),
        ("curves", "Learning curves", learning.curves(report)),
        ("data", "Data and time", learning.data(report)),
        ("numbers", "All numbers", outcomes.numbers(report)),
        ("again", "Make it again", _again(report)),
    ]
    shown = [(anchor, title, body) for anchor, title, body in made if body is not None]
    sections = [tag("section", tag("h2", title), body, id=anchor) for anchor, title, body in shown]
    nav = tag("nav", *(tag("a", title, href=f"#{anchor}") for anchor, title, _ in shown))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", report.title),
        tag("style", Markup(files("robot_pt.report").joinpath("style.css").read_text("utf-8"))),
    )
    main = tag("main", _header(report), nav, *sections)
    return f"<!doctype html>\n{tag('html', head, tag('body', main), lang='en')}\n"


def _header(report: Report) -> Markup:
    main = report.main
    warnings = [tag("li", w, class_="bad") for w in report.warnings]
    return tag(
        "header",
        tag("h1", report.title),
        tag("p", report.subtitle, class_="muted subtitle") if report.subtitle else None,
        None if main is None else tag("div", tag("b", plots.percent(main.rate)), _headline(main), class_="headline"),
        tag("ul", *warnings, class_="checks") if warnings else None,
    )


def _headline(main: Evaluation) -> Markup:
    low, high = main.interval
    return tag(
        "span",
        f"{main.name} solved {main.successes} of {main.n} episodes of {main.task}. ",
        tag("span", f"95 % interval {100 * low:.0f} to {100 * high:.0f} %.", class_="muted"),
    )


def _again(report: Report) -> Markup | None:
    settings = {e.name: dict(e.settings) for e in report.evaluations if e.settings}
    parts = [
        tag("pre", report.command) if report.command else None,
        table([report.versions]) if report.versions else None,
        _folded("Configuration", report.config) if report.config else None,
        _folded("Evaluation settings", settings) if settings else None,
    ]
    return join(parts) if any(p is not None for p in parts) else None


def _folded(title: str, values: Mapping[str, Any]) -> Markup:
    text = json.dumps(values, indent=2, default=str, ensure_ascii=False)
    return tag("details", tag("summary", title), tag("pre", text))
