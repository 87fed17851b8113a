"""A verb's result for people: a two-column table on stdout, nested values indented, paths as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def result(values: Mapping[str, Any]) -> None:
    """Print `values`; lists longer than 20 entries are shortened, the JSON form has them whole."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _rows(values):
        table.add_row(name, value)
    Console().print(table)


def _rows(values: Mapping[str, Any], indent: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows.append((f"{indent}{name}", ""))
            rows += _rows(value, indent + "  ")
        elif isinstance(value, list | tuple) and value and all(isinstance(v, Mapping) for v in value):
            for number, one in enumerate(value, 1):
                rows.append((f"{indent}{name}" + (f" {number}" if len(value) > 1 else ""), ""))
                rows += _rows(one, indent + "  ")
        elif isinstance(value, list | tuple) and value and isinstance(value[0], str) and len(value) <= 20:
            rows += [(f"{indent}{name}" if i == 0 else "", str(v)) for i, v in enumerate(value)]
        else:
            rows.append((f"{indent}{name}", _short(value)))
    return rows


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple) and len(value) > 20:
        return ", ".join(map(str, value[:20])) + f", … ({len(value)} in all)"
    if isinstance(value, list | tuple):
        return ", ".join(_short(v) for v in value)
    return str(value)
