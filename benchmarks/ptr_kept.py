"""Cells that outlive their machine: what benchmarks/ptr.py makes its tables of, as one file of the repository, without the runs behind it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ptr_cell import Cell, Scale

from robot_pt.errors import MismatchError, UserError
from robot_pt.safe_files import replace_text
from robot_pt_sim.kitchen.twin import TWIN_VERSION

FIELDS = (
    "method", "task", "seed", "version", "how", "episodes", "selected", "checkpoints", "critic", "scale", "data", "twin", "commit", "seconds",
    "successes",
)  # fmt: skip
"""Of a cell; settings and origin are those of its commit."""
Found = Mapping[str, Any]


def read(path: Path, scale: Scale) -> list[dict[str, Any]]:
    """The cells of all versions in `path`; none where there is no such file. Raises MismatchError where they had other updates, data or twin,
    UserError for a file of something else."""
    try:
        cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    except ValueError as error:
        raise UserError(f"{path} holds no kept cells ({error}); name a file that --kept made, or a new one.") from error
    for cell in cells:
        if (cell["scale"], cell["twin"]) != (asdict(scale), TWIN_VERSION):
            raise MismatchError(
                f"{path} holds cells of {cell['scale']}, twin {cell['twin']}; here they are of {asdict(scale)}, twin {TWIN_VERSION}, and "
                "their numbers make no table together, so choose another --kept."
            )
    return cells


def merged(kept: Iterable[Found], ran: Iterable[Found]) -> list[dict[str, Any]]:
    """Both, by version, method, task and seed; a kept cell stays, however it came out when it ran again."""
    by_name = {(cell["version"], *name(cell)): brief(cell) for cell in (*ran, *kept)}
    return [by_name[key] for key in sorted(by_name)]


def brief(cell: Found) -> dict[str, Any]:
    """What is kept of a cell: the number of successes in place of which starts they were."""
    told = cell["successes"]
    return {**{field: cell[field] for field in FIELDS}, "successes": told if isinstance(told, int) else sum(told)}


def write(path: Path, cells: Iterable[Found]) -> None:
    """A line per value, so that a difference shows what came."""
    replace_text(path, json.dumps(list(cells), indent=0) + "\n")


def name(cell: Found) -> Cell:
    return Cell(cell["method"], cell["task"], cell["seed"])
