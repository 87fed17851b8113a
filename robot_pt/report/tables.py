"""Rows of values as an HTML table: numbers to the right, text escaped."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from robot_pt.report.markup import Child, Markup, tag
from robot_pt.report.model import Row


def table(rows: Sequence[Row], chosen: Callable[[Row], bool] | None = None) -> Markup:
    """A column per key in order of first appearance; rows for which `chosen` holds stand out."""
    names = columns(rows)
    numeric = {c for c in names if all(is_number(r[c]) for r in rows if c in r)}
    kinds = {c: "number" if c in numeric else None for c in names}
    head = tag("tr", *(tag("th", c, class_=kinds[c]) for c in names))
    body = [
        tag(
            "tr",
            *(tag("td", _cell(r.get(c)), class_=kinds[c]) for c in names),
            class_="chosen" if chosen is not None and chosen(r) else None,
        )
        for r in rows
    ]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="table")


def _cell(value: Any) -> Child:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, Markup | str | int | None) else json.dumps(value, default=str)


def columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(k for r in rows for k in r))


def is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
