"""`robot-pt compare`: what is there is not run again, a kill loses one cell, and what cannot be compared is said before anything runs."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from robot_pt.comparison import Protocol, read_protocol
from robot_pt.comparison.protocol import Cell, Outcome
from robot_pt.comparison.scores import FROM_SCRATCH, PERMUTED, RANDOM_ACTIONS, RANDOM_FROZEN
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.online.locks import held
from robot_pt.recipes import compare
from robot_pt.recipes.compare import cells_of
from robot_pt.recipes.turns import alone

SMALL = replace(read_protocol(), demos=(4,)).quick()


class Counting:
    """Runs cells in no time: as many successes as the seed, and refuses what it is told to."""

    def __init__(self, out, refuses=()):
        self.out, self.done, self._refuses = out, [], refuses

    def __call__(self, cell):
        if cell.method in self._refuses:
            raise DataError(f"{cell.method} learns from captions, the data has none.")
        self.done.append(cell)
        return Outcome(cell=cell, successes=1, episodes=2)


def test_controls_come_first_and_seeds_one_after_the_other():
    plan = cells_of(SMALL, ["atc", "bc"], 2, permuted=True)
    assert [c.method for c in plan[:3]] == [RANDOM_ACTIONS, RANDOM_FROZEN, FROM_SCRATCH]
    assert [c.method for c in plan[6:8]] == [RANDOM_ACTIONS, RANDOM_FROZEN]  # of the next task
    assert {c.method for c in plan} == {RANDOM_ACTIONS, RANDOM_FROZEN, FROM_SCRATCH, PERMUTED, "atc", "bc"}
    seeds = [c.seed for c in plan]
    assert seeds == sorted(seeds)
    assert len({c.file for c in plan}) == len(plan) == 3 + 2 * 5 * 3


def test_distances_take_turns_so_that_a_table_cut_short_has_all_of_them():
    plan = cells_of(read_protocol(), ["atc"], 2, permuted=False)
    tasks = list(dict.fromkeys(cell.task for cell in plan))
    turns = ["in distribution", "near", "far", "in distribution", "near"]  # far has one task
    assert [read_protocol().distance_of(task) for task in tasks] == turns
    assert (
        len({c.file for c in plan}) == len(plan) == 5 + 2 * 2 * 5 * 3
    )  # each once: seeds, numbers of demos, tasks, methods
    assert sum(c.method == RANDOM_ACTIONS for c in plan) == 5


def test_cells_that_are_there_are_not_run_again(tmp_path):
    plan = cells_of(SMALL, ["atc"], 1, permuted=False)
    first = Counting(tmp_path)
    compare._run(plan[:4], first)
    second = Counting(tmp_path)
    compare._run(plan, second)
    assert second.done == plan[4:]
    assert len(compare.outcomes(tmp_path)) == len(plan)


PROCESS = """
import sys, time
from pathlib import Path
from robot_pt.recipes import compare, compare_cells
from tests.cli.test_compare import SMALL, cells_of
class Slow(compare_cells.Bench):
    def _run(self, cell, scratch):
        scratch.mkdir()
        (scratch / "policy").write_text(cell.file)
        with (self.out / "run.txt").open("a") as file:
            file.write(cell.file + "\\n")
        time.sleep(0.05)
        assert (scratch / "policy").read_text() == cell.file
        return compare.Outcome(cell=cell, successes=1, episodes=2)
out = Path(sys.argv[1])
compare._keep(out, SMALL)
compare._run(cells_of(SMALL, ["atc"], 2, permuted=False), Slow(SMALL, out, {}, ["atc"]))
"""


def test_two_processes_on_one_folder_run_every_cell_once(tmp_path):
    out, plan = tmp_path / "out", cells_of(SMALL, ["atc"], 2, permuted=False)
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", PROCESS, str(out)]
    with ExitStack() as both:
        work = [both.enter_context(subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE)) for _ in range(2)]
        said = [one.communicate(timeout=120)[1].decode() for one in work]
    assert [one.returncode for one in work] == [0, 0], said
    assert sorted((out / "run.txt").read_text().split()) == sorted(cell.file for cell in plan)
    assert {outcome.cell for outcome in compare.outcomes(out)} == set(plan)
    assert not list(out.glob("*.under-way"))


def test_what_a_cut_cell_left_is_gone_and_one_that_is_under_way_is_left_alone(tmp_path):
    plan = cells_of(SMALL, ["atc"], 1, permuted=False)[:2]
    left = tmp_path / f"{plan[0].file.removesuffix('.json')}.under-way"
    left.mkdir()
    (left / "torn").write_bytes(b"")
    seen = []

    class Looking(compare.compare_cells.Bench):
        def _run(self, cell, scratch):
            seen.append((cell, scratch, scratch.exists()))
            return Outcome(cell=cell, successes=1, episodes=2)

    with held(tmp_path / "cells" / f".{plan[1].file}.lock", "it"):
        compare._run(plan, Looking(SMALL, tmp_path, {}, []))
    assert seen == [(plan[0], left, False)]
    assert [o.cell for o in compare.outcomes(tmp_path)] == plan[:1]


def test_what_another_process_makes_is_waited_for(tmp_path, capsys):
    order = []

    def second():
        with alone(tmp_path / "thing", "the thing"):
            order.append("second")

    with ThreadPoolExecutor() as pool:
        with alone(tmp_path / "thing", "the thing"):
            waiting = pool.submit(second)
            time.sleep(0.3)
            order.append("first")
        waiting.result(30)
    assert order == ["first", "second"]
    assert capsys.readouterr().err == "another process makes the thing; waiting for it.\n"


def test_a_method_that_cannot_learn_from_the_data_is_left_out_and_the_rest_goes_on(tmp_path):
    plan = cells_of(SMALL, ["r3m", "atc"], 1, permuted=False)
    bench = Counting(tmp_path, refuses=("r3m",))
    compare._run(plan, bench)
    assert {c.method for c in bench.done} == {RANDOM_ACTIONS, RANDOM_FROZEN, FROM_SCRATCH, "atc"}
    found = compare.report(tmp_path, SMALL, ["r3m", "atc"])
    assert [r["runs"] for r in found["rows"] if r["method"] == "r3m"] == [0] * 3
    assert "not run" in found["text"]


def test_without_a_control_nothing_means_anything(tmp_path):
    with pytest.raises(DataError, match="captions"):
        compare._run(cells_of(SMALL, ["atc"], 1, permuted=False), Counting(tmp_path, refuses=(RANDOM_FROZEN,)))


def test_the_report_is_drawn_from_whatever_is_there(tmp_path):
    compare._run(cells_of(SMALL, ["atc"], 2, permuted=False), Counting(tmp_path))
    found = compare.report(tmp_path, SMALL, ["atc"])
    page = (tmp_path / "report.html").read_text()
    assert "in distribution, 4 demos: score (IQM)" in page
    assert "far, 4 demos: probability that a run beats one on random features" in page
    assert ">atc (2 seeds)<" in page
    assert (tmp_path / "table.md").read_text().startswith("**in distribution**")
    assert found["cells"] == 3 + 2 * 3 * 3
    json.dumps({k: v for k, v in found.items() if k != "text"}, allow_nan=False)
    assert found["notes"] == [
        f"{', '.join(SMALL.tasks)}: imitation from scratch does not beat random actions clearly; plain rates count there"
    ]


def test_what_a_task_cannot_tell_is_said_once_for_all_such_tasks():
    def outcome(method, task, successes):
        return Outcome(
            cell=Cell(method, task, 0 if method == RANDOM_ACTIONS else 4, 0), successes=successes, episodes=10
        )

    first, second, third = SMALL.tasks
    assert compare._notes(SMALL, []) == []
    found = [outcome(RANDOM_FROZEN, first, 9), outcome(RANDOM_FROZEN, second, 8)]
    missing, easy = compare._notes(SMALL, found)
    assert missing == f"{first}, {second}: imitation from scratch has not run; plain rates count there"
    assert easy.startswith(f"{first}: random features succeed in 90 % or more")
    found += [outcome(FROM_SCRATCH, task, 9) for task in SMALL.tasks] + [outcome(RANDOM_ACTIONS, third, 9)]
    weak, easy = compare._notes(SMALL, found)
    assert weak.startswith(f"{third}: imitation from scratch does not beat random actions clearly")


def test_scores_of_all_distances_are_drawn_on_one_axis_and_gaps_without_seeds(tmp_path):
    compare._run(cells_of(SMALL, ["atc"], 1, permuted=False), Counting(tmp_path))
    rows = compare.rows_of(SMALL, compare.outcomes(tmp_path), [RANDOM_FROZEN, "atc", "vip"])
    found = compare.charts(SMALL, rows)
    assert len(found) == 2 * 3
    scores, better = found[::2], found[1::2]
    assert len({chart.ends for chart in scores}) == 1
    assert [[p.name for p in chart.points] for chart in scores] == 3 * [
        [f"{RANDOM_FROZEN} (1 seed)", "atc (1 seed)", "vip"]
    ]
    assert [[p.value for p in chart.points] for chart in better] == 3 * [[0.5, None]]
    assert all(chart.ends == (0.0, 1.0) and chart.reference == 0.5 for chart in better)
    low, high = scores[0].ends
    assert all(
        low <= p.low <= p.value <= p.high <= high for chart in scores for p in chart.points if p.value is not None
    )


def test_a_folder_is_compared_with_one_protocol_alone(tmp_path):
    compare._keep(tmp_path / "a", SMALL)
    compare._keep(tmp_path / "a", SMALL)
    with pytest.raises(MismatchError, match="head_updates"):
        compare._keep(tmp_path / "a", replace(SMALL, head_updates=61))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="something else than a comparison"):
        compare._keep(tmp_path / "b", SMALL)
    assert Protocol.from_json(json.loads((tmp_path / "a" / "protocol.json").read_text()), "x") == SMALL


def test_what_cannot_be_compared_is_said_first(tmp_path):
    with pytest.raises(UserError, match="no objective 'telepathy'"):
        compare.compare(["telepathy"], tmp_path)
    with pytest.raises(UserError, match="holds no comparison"):
        compare.compare([], tmp_path, table=True)
    with pytest.raises(UserError, match="--seeds is 0"):
        compare.compare([], tmp_path, seeds=0)
    (tmp_path / "atc").mkdir()
    with pytest.raises(UserError, match="has the name of an objective"):
        compare.compare([], tmp_path / "out", runs=[tmp_path / "atc"])
    with pytest.raises(UserError, match="have the same name, by which the table tells runs apart"):
        compare.compare([], tmp_path / "out", runs=[tmp_path / "a" / "mine", tmp_path / "b" / "mine"])
    with pytest.raises(DataError, match=r"there is no protocol .*absent.json; give a JSON file"):
        compare.compare([], tmp_path / "out", protocol=tmp_path / "absent.json")
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="does not exist; give the folder of a run"):
        compare.compare([], tmp_path / "out", runs=[tmp_path / "nowhere"])
    assert not (tmp_path / "out" / "data").exists()


def test_numbers_of_a_run_are_of_one_checkpoint(tmp_path, monkeypatch):
    versions = {"mine": "0a", "yours": "0b"}
    monkeypatch.setattr(compare.Start, "of", lambda run: SimpleNamespace(version=versions[run.name]))
    compare._keep_runs(tmp_path, {"mine": tmp_path / "mine"})
    compare._keep_runs(tmp_path, {"mine": tmp_path / "mine", "yours": tmp_path / "yours"})
    versions["mine"] = "0c"  # trained on
    with pytest.raises(MismatchError, match=r"mine is another checkpoint than the one that .* has numbers of"):
        compare._keep_runs(tmp_path, {"yours": tmp_path / "yours", "mine": tmp_path / "mine"})
    assert json.loads((tmp_path / "runs.json").read_text()) == {"mine": "0a", "yours": "0b"}


@pytest.mark.parametrize(
    ("words", "seeds", "demos", "online"),
    [
        ({}, 3, (10, 50), 0),
        ({"quick": True}, 1, (4,), 0),
        ({"quick": True, "seeds": 3, "demos": (10, 50), "online": 9}, 3, (10, 50), 9),
    ],
)
def test_what_is_given_stands_above_quick(tmp_path, monkeypatch, words, seeds, demos, online):
    plans = []
    monkeypatch.setattr(compare, "_run", lambda plan, bench: plans.append(plan))
    monkeypatch.setattr(compare, "report", lambda out, wanted, names: wanted)
    monkeypatch.setattr(compare.compare_cells, "Bench", lambda *a: SimpleNamespace(close=lambda: None))
    wanted = compare.compare(["atc"], tmp_path / "out", workers=1, **words)
    assert {cell.seed for cell in plans[0]} == set(range(seeds))
    assert (wanted.demos, wanted.online_episodes) == (demos, online)


QUICK = ["compare", "curl", "--quick", "--permuted", "--online", "2", "--demos", "4", "--workers", "1", "--json"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_way_killed_in_the_middle_and_gone_on(tmp_path):
    """Real simulators, real training, kill -9 after a few cells: the second run keeps them and ends with every cell."""
    pytest.importorskip("robosuite")
    command = [sys.executable, "-m", "robot_pt", *QUICK, "--out", str(tmp_path / "out")]
    work = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline, cells = time.monotonic() + 900, tmp_path / "out" / "cells"
    while len(list(cells.glob("*.json"))) < 5:
        assert work.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.kill(work.pid, signal.SIGKILL)
    work.wait()
    kept = {path.name: path.read_bytes() for path in cells.glob("*.json")}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=900, check=True, text=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["cells"] == 3 + 4 * 3
    assert all((cells / name).read_bytes() == content for name, content in kept.items())
    assert {r["method"] for r in found["rows"]} == {"curl", RANDOM_FROZEN, FROM_SCRATCH, PERMUTED}
    assert any(r["online"] and r["runs"] == 1 for r in found["rows"] if r["method"] == "curl")
    assert not list((tmp_path / "out").glob("*.under-way"))
