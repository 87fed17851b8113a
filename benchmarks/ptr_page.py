"""Fill the tables of benchmarks/ptr.md from the cells that are kept beside it, so that no number there is typed.

    python benchmarks/ptr_page.py             says which tables differ from the cells
    python benchmarks/ptr_page.py --write     makes them again; a new row is its title alone, as "| BeT |", before

A table is made again where its columns are targets, or the mean of all; of which version is said by the heading it stands under.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import ptr_table
from ptr_cell import METHODS
from ptr_data import TABLES

from robot_pt.errors import UserError
from robot_pt.safe_files import replace_text

HERE = Path(__file__).parent
PAGE = HERE / "ptr.md"
TARGETS = {task.removeprefix("kitchen/"): task for tasks in TABLES.values() for task in tasks}
METHOD = {method.title: name for name, method in METHODS.items()}
VERSION = {
    "with aimed actions": "aimed",
    "From frozen features": "features",
    "Ablations": "aimed",
    "From the state": "state",
}
"""What a heading says, the first that fits."""


def version_under(heading: str) -> str | None:
    """Of the tables under a heading of the page; None where there are none."""
    return next((version for words, version in VERSION.items() if words in heading), None)


def made_again(version: str, told: str) -> str:
    """The table `told`, its rows and columns, of the kept cells of that version. Raises UserError where a row is of no method."""
    lines = told.splitlines()
    columns = [TARGETS[name] for name in lines[0].split(" | ") if name in TARGETS]
    methods = [METHOD.get(line.strip("| ").split(" | ")[0]) for line in lines[2:]]
    if None in methods:
        raise UserError(f"{lines[2 + methods.index(None)]!r} is a row of no method; their titles stand in ptr_cell.py.")
    kept = json.loads((HERE / f"ptr_{version}.json").read_text(encoding="utf-8"))
    cells = [cell for cell in kept if cell["version"] == version]
    return ptr_table.table(cells, methods, columns or list(TARGETS.values()), columns)


def tables(text: str) -> list[tuple[str, str]]:
    """Version and text of every table that is of targets, in order."""
    starts = tuple(f"| | {name} |" for name in [*TARGETS, f"mean of {len(TARGETS)}"])
    found, version = [], None
    for block in re.findall(r"^##.*\n|(?:^\|.*\n)+", text, re.MULTILINE):
        if block.startswith("## "):
            version = version_under(block)
        elif version is not None and block.startswith(starts):
            found.append((version, block.rstrip("\n")))
    return found


def main() -> None:
    """Compare, or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="into the page; else only say what differs")
    write, text = parser.parse_args().write, PAGE.read_text(encoding="utf-8")
    try:
        differing = [(told, again) for version, told in tables(text) if (again := made_again(version, told)) != told]
    except UserError as error:
        raise SystemExit(f"{PAGE}: {error}") from None
    for told, again in differing:
        text = text.replace(told, again, 1)
        print(f"{'made again' if write else 'differs'}: {told.splitlines()[0]}")
    if write and differing:
        replace_text(PAGE, text)
    print(f"{len(differing)} of {len(tables(text))} tables {'were made again' if write else 'differ'}.")


if __name__ == "__main__":
    main()
