"""benchmarks/ptr.py with several processes on one folder: a cell is one's alone, what cells share is made once, and a lock goes with who held it."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import ptr
import ptr_cell
import ptr_data
import ptr_look
from ptr_cell import Bench, Cell, Scale

sys.path.pop(0)
TASK = "kitchen/put-croissant-on-plate@6"
TINY = Scale(data=2, pretraining=4, finetuning=4, checkpoints=2, episodes=2, encoder_updates=1)
HOLDER = """
import sys
from pathlib import Path
from robot_pt.online.locks import held
with held(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    sys.stdin.read()
"""


class Counting(Bench):
    """Its cells take no time."""

    def __call__(self, cell: Cell) -> dict[str, Any]:
        return {**cell._asdict(), "successes": [True, False], "episodes": 2, "seconds": {"all": 0.0}}


@pytest.fixture
def bench(tmp_path: Path) -> Counting:
    return Counting(tmp_path, tmp_path, "state", TINY)


@pytest.fixture
def other(bench: Counting) -> Iterator[subprocess.Popen[str]]:
    """A process that is at BC's cell."""
    lock = bench.run_of(Cell("bc", TASK, 0)).with_name(".bc--put-croissant-on-plate@6--0.lock")
    words = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_cell_that_another_process_is_at_is_left_to_it_till_that_is_gone(bench, other, capsys) -> None:
    def some() -> int:
        return ptr.run(bench, ptr.cells_of(["bc", "ptr"], [TASK], 1), most=9, minutes=9)

    cells = bench.out / "cells/state"
    assert some() == 1
    assert [path.stem for path in cells.iterdir()] == ["ptr--put-croissant-on-plate@6--0"]
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "bc--put-croissant-on-plate@6--0 is under way in another process; on to the next."
    assert len(said) == 2
    other.kill()
    other.wait()
    assert some() == 1
    assert (cells / "bc--put-croissant-on-plate@6--0.json").is_file()


def test_a_cell_that_was_finished_while_it_was_looked_at_is_not_run_again(bench, monkeypatch) -> None:
    cells = bench.out / "cells/state"
    alone = bench.alone

    def late(cell: Cell) -> Any:
        cells.mkdir(parents=True)
        (cells / f"{cell.name}.json").write_text("{}")
        return alone(cell)

    monkeypatch.setattr(bench, "alone", late)
    assert ptr.run(bench, ptr.cells_of(["bc"], [TASK], 1), most=9, minutes=9) == 0
    assert (cells / "bc--put-croissant-on-plate@6--0.json").read_text() == "{}"


def made_by_two(make: Any) -> list[Any]:
    """At once; a lock is of an open file, so that threads keep each other out as processes do."""
    both = threading.Barrier(2, timeout=30)
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda _: both.wait() >= 0 and make(), range(2)))


def slowly(path: Path, made: list[Path], torn: list[Path]) -> None:
    """Make what is at `path`; `torn` says where another one was at it meanwhile."""
    if (path / "under way").exists():
        torn.append(path)
    path.mkdir(parents=True, exist_ok=True)
    (path / "under way").touch()
    time.sleep(0.3)
    (path / "under way").unlink(missing_ok=True)
    (path / "done").touch()
    made.append(path)


def test_a_pretrained_run_is_made_by_one_while_the_other_waits_and_says_for_what(bench, monkeypatch, capsys) -> None:
    made: list[Path] = []
    torn: list[Path] = []
    monkeypatch.setattr(bench, "_settings", lambda *_: None)
    monkeypatch.setattr(ptr_cell.checkpoint, "steps", lambda run: [4] if (run / "done").exists() else [])
    monkeypatch.setattr(ptr_cell.pretrain, "pretrain_with", lambda settings, source, run, **_: slowly(run, made, torn))
    first, second = made_by_two(lambda: bench._start("ptr", None, 0))
    assert first == second == made[0] == bench.out / "runs/state/pretrained-ptr-0"
    assert (len(made), torn) == (1, [])
    said = set(capsys.readouterr().err.splitlines())
    assert said == {"another process makes the pretrained run of ptr, seed 0; waiting for it."}


def test_demonstrations_are_recorded_by_one(tmp_path, monkeypatch, capsys) -> None:
    made: list[Path] = []
    torn: list[Path] = []
    monkeypatch.setattr(ptr_data, "is_demo_store", lambda folder: (folder / "done").exists())
    monkeypatch.setattr(ptr_data, "DemoStore", lambda folder: range(2))
    monkeypatch.setattr(ptr_data, "collect", lambda task, count, folder, **_: slowly(folder, made, torn))
    made_by_two(lambda: ptr_data._recorded(tmp_path / "kitchen/it@1", "kitchen/it@1", 2, "clean", 0, "state"))
    assert (len(made), torn) == (1, [])
    assert "another process makes demonstrations of kitchen/it@1; waiting for it." in capsys.readouterr().err


def test_an_encoder_is_trained_by_one(tmp_path, monkeypatch) -> None:
    made: list[Path] = []
    torn: list[Path] = []
    monkeypatch.setattr(ptr_look.checkpoint, "steps", lambda run: [4] if (run / "done").exists() else [])
    monkeypatch.setattr(ptr_look.represent, "represent_with", lambda settings, data, run, **_: slowly(run, made, torn))
    monkeypatch.setattr(ptr_look.Origin, "of", lambda run: run)
    made_by_two(lambda: ptr_look._trained("mae", "primary", lambda version: None, tmp_path, 4))
    assert (len(made), torn) == (1, [])


def test_a_folder_is_begun_by_two_at_once(tmp_path, monkeypatch) -> None:
    """Both see no ptr.json; who comes second finds the first one's."""
    is_file = Path.is_file
    seen: list[bool] = []

    def slow(path: Path) -> bool:
        found = is_file(path)
        if path.name == "ptr.json":
            seen.append(found)
            time.sleep(0.2)
        return found

    monkeypatch.setattr(Path, "is_file", slow)
    made_by_two(lambda: ptr.keep(tmp_path, TINY))
    assert seen == [False, True]
