"""benchmarks/ptr.md tells what the kept cells of PTR's tables come to: every table is made again from them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import ptr_page

TABLES = ptr_page.tables(ptr_page.PAGE.read_text(encoding="utf-8"))


def test_there_are_tables_of_every_version() -> None:
    assert {version for version, _ in TABLES} == {"state", "aimed", "features"}
    assert len(TABLES) >= 9


@pytest.mark.parametrize(("version", "told"), [pytest.param(*table, id=str(nth)) for nth, table in enumerate(TABLES)])
def test_every_row_is_what_the_kept_cells_come_to(version: str, told: str) -> None:
    assert told == ptr_page.made_again(version, told), "make it again: python benchmarks/ptr_page.py --write"


def test_a_changed_number_and_a_new_row_are_made_again(tmp_path, monkeypatch, capsys) -> None:
    page, true = tmp_path / "ptr.md", ptr_page.PAGE.read_text(encoding="utf-8")
    told = next(table for version, table in TABLES if version == "features")
    lines = told.splitlines()
    bare = "\n".join([*lines[:3], f"{lines[3].split(' | ')[0]} |", lines[4].replace(" seeds", "0 seeds"), *lines[5:]])
    page.write_text(true.replace(told, bare))
    monkeypatch.setattr(ptr_page, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["ptr_page.py"])
    ptr_page.main()
    assert capsys.readouterr().out.splitlines()[-1] == f"1 of {len(TABLES)} tables differ."
    assert page.read_text() != true, "without --write nothing is"
    monkeypatch.setattr(sys, "argv", ["ptr_page.py", "--write"])
    ptr_page.main()
    assert page.read_text() == true
    page.write_text(true.replace("| BeT |", "| BTE |"))
    with pytest.raises(SystemExit, match=r"ptr\.md: '\| BTE \| .*' is a row of no method"):
        ptr_page.main()
