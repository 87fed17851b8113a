"""benchmarks/ptr.md tells what the kept cells of PTR's tables come to: every row is made again from them."""

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import ptr_table
from ptr_cell import METHODS
from ptr_data import TABLES

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TARGETS = {task.removeprefix("kitchen/"): task for tasks in TABLES.values() for task in tasks}
METHOD = {method.title: name for name, method in METHODS.items()}
VERSIONS = ("state", "aimed", "features")


def told_tables() -> list[str]:
    """Those whose columns are targets, or their mean."""
    found = re.findall(r"(?:^\|.*\n)+", (BENCHMARKS / "ptr.md").read_text(encoding="utf-8"), re.MULTILINE)
    starts = [f"| | {name} |" for name in TARGETS] + [f"| | mean of {len(TARGETS)} |"]
    return [table.rstrip("\n") for table in found if table.startswith(tuple(starts))]


def made_again(version: str, told: str) -> str:
    """The same table, of the kept cells of that version."""
    lines = told.splitlines()
    columns = [TARGETS[name] for name in lines[0].split(" | ") if name in TARGETS]
    methods = [METHOD[line.split(" | ")[0].removeprefix("| ")] for line in lines[2:]]
    kept = json.loads((BENCHMARKS / f"ptr_{version}.json").read_text(encoding="utf-8"))
    cells = [cell for cell in kept if cell["version"] == version]
    return ptr_table.table(cells, methods, columns or list(TARGETS.values()), columns)


def test_there_are_tables_of_every_version() -> None:
    assert len(told_tables()) >= 9


@pytest.mark.parametrize("told", [pytest.param(table, id=str(nth)) for nth, table in enumerate(told_tables())])
def test_every_row_is_what_the_kept_cells_come_to(told: str) -> None:
    again = [made_again(version, told) for version in VERSIONS]
    nearest = max(again, key=lambda table: len(set(table.splitlines()) & set(told.splitlines())))
    assert told == nearest
