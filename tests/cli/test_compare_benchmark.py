"""`benchmarks/compare.py`: what it says of counts, beside the same by integration; learning is read from its results."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robot_pt.comparison import RANDOM_FROZEN, read_protocol
from robot_pt.comparison.protocol import Cell, Outcome
from tests.cli.test_bench import script


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:  # the script's neighbours, as when it is run
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        return script("compare")


def cells(counts, task="lift-red", episodes=20, demos=50):
    return [
        Outcome(cell=Cell(method, task, demos, seed), successes=good, episodes=episodes)
        for method, seeds in counts.items()
        for seed, good in enumerate(seeds)
    ]


def told(bench, found, methods, tasks=("lift-red",), **how):
    """method -> [(rate, low, high, successes by seed, better)], a task each."""
    _, _, *lines = bench.by_task(found, methods, tasks, **how).splitlines()
    out = {}
    for line in lines:
        _, name, *values, _ = (part.strip() for part in line.split("|"))
        out[name] = list(zip(values[::2], values[1::2], strict=True))
    return out


def rates(good, episodes):
    """Grid, and the density of the rate after Jeffreys' prior on it."""
    at = (np.arange(200_000) + 0.5) / 200_000
    density = at ** (good - 0.5) * (1 - at) ** (episodes - good - 0.5)
    return at, density / density.sum()


@pytest.mark.parametrize("good", [0, 11, 20])
def test_of_one_seed_the_interval_is_what_its_count_leaves_open(bench, good):
    [(said, better)] = told(bench, cells({RANDOM_FROZEN: [good]}), [])[RANDOM_FROZEN]
    rate, _, rest = said.partition(" ")
    low, high = (float(n) for n in rest.strip("()").partition(";")[0].split(" to "))
    at, density = rates(good, 20)
    ends = np.interp([0.025, 0.975], density.cumsum(), at)
    assert (rate, better) == (str(5 * good), "")
    np.testing.assert_allclose([low, high], 100 * ends, atol=1.0)
    assert said.endswith(f"; {good})")


def test_better_is_the_probability_that_one_rate_lies_above_another(bench):
    found = told(bench, cells({RANDOM_FROZEN: [6], "atc": [13], "curl": [6]}), ["atc", "curl"])
    _, random = rates(6, 20)
    _, atc = rates(13, 20)
    expected = (atc * (random.cumsum() - 0.5 * random)).sum()
    assert float(found["atc"][0][1]) == pytest.approx(expected, abs=0.01)
    assert float(found["curl"][0][1]) == pytest.approx(0.5, abs=0.01)


def test_seeds_that_differ_widen_the_interval_and_are_drawn_as_runs(bench):
    found = told(bench, cells({RANDOM_FROZEN: [0, 20], "atc": [10, 10]}), ["atc"])
    low, high = (
        [float(n) for n in found[m][0][0].partition("(")[2].partition(";")[0].split(" to ")]
        for m in ("atc", RANDOM_FROZEN)
    )
    assert high[1] - high[0] > 2 * (low[1] - low[0])
    assert found[RANDOM_FROZEN][0][0].endswith("; 0, 20)")
    assert float(found["atc"][0][1]) == pytest.approx(0.5, abs=0.02)  # above one of the two runs


def test_a_gap_is_told_as_one_and_other_numbers_of_demonstrations_are_not_counted(bench):
    found = cells({RANDOM_FROZEN: [3], "mae": [5]}) + cells({"atc": [20]}, demos=10)
    lines = told(bench, found, ["atc", "mae"], ("lift-red", "door-anywhere"))
    assert [said for said, _ in lines["atc"]] == ["not run", "not run"]
    assert [said for said, _ in lines["mae"]][1] == "not run"
    assert lines["mae"][0][0].startswith("25 (")


def test_the_table_of_what_is_there_runs_nothing(bench, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    out, drawing = tmp_path / "compare", tmp_path / "x.svg"
    monkeypatch.setattr(bench.torch, "set_num_threads", lambda count: None)  # of the tests that follow
    monkeypatch.setattr(sys, "argv", ["x", "--cells", "0", "--methods", "atc,curl,idm", "--out", str(out)])
    bench.main()
    assert json.loads(capsys.readouterr().out.strip().splitlines()[-1])["cells"] == 0
    found = cells({RANDOM_FROZEN: [6], "atc": [17], "curl": [12], "idm": [9]})
    (out / "cells").mkdir()
    for outcome in found:
        (out / "cells" / outcome.cell.file).write_text(json.dumps(outcome.to_json()))
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--plot", str(drawing)])
    bench.main()
    *text, last = capsys.readouterr().out.strip().splitlines()
    assert json.loads(last)["cells"] == 4
    assert text[-1].startswith("| idm | 45 (")
    assert "in distribution" in drawing.read_text()
    assert {path.name for path in out.rglob("*-*.json")} == {outcome.cell.file for outcome in found}


def test_after_rl_counts_are_those_after_rl_and_cells_without_are_gaps(bench):
    found = cells({RANDOM_FROZEN: [6], "atc": [17], "curl": [12]})
    after = [replace(o, online_successes=n) for o, n in zip(found, (9, 14, None), strict=True)]
    lines = told(bench, after, ["atc", "curl"], online=True)
    assert lines[RANDOM_FROZEN][0][0].startswith("45 (")
    assert lines["atc"][0][0].endswith("; 14)")
    assert lines["curl"][0][0] == "not run"
    assert told(bench, after, ["atc"]) == told(bench, found, ["atc"]), "before RL nothing has changed"


def test_what_rl_adds_is_told_of_all_cells_that_have_it(bench):
    found = cells({RANDOM_FROZEN: [6, 4], "atc": [17], "curl": [12, 13]})
    after = [replace(o, online_successes=n) for o, n in zip(found, (12, 9, 18, 9, None), strict=True)]
    _, _, *lines, alike = bench.gained(after, ["lift-red", "lift-purple"]).splitlines()
    assert alike == "| rank correlation | 0.63 | – |", "of 6, 4, 17, 12 and 12, 9, 18, 9"
    random, objectives = ([part.strip() for part in line.split("|")[2:4]] for line in lines)
    assert (random[0][:5], random[0][-18:]) == ("+28 (", "; 10 and 21 of 40)")
    assert (objectives[0][:4], objectives[0][-18:]) == ("-5 (", "; 29 and 27 of 40)")
    assert random[1] == objectives[1] == "not run"
    low, high = (float(n) for n in objectives[0].partition("(")[2].partition(";")[0].split(" to "))
    assert low < -25 < 10 < high, "two cells, one of which gains and one loses, leave it open"


def test_of_one_cell_the_interval_of_what_rl_adds_is_that_of_two_counts(bench):
    one = [replace(o, online_successes=12) for o in cells({RANDOM_FROZEN: [6]})]
    said = bench.gained(one, ["lift-red"]).splitlines()[2]
    low, high = (float(n) for n in said.partition("(")[2].partition(";")[0].split(" to "))
    (at, before), (_, after) = rates(6, 20), rates(12, 20)
    mean = (at * (after - before)).sum()
    spread = sum((at**2 * p).sum() - (at * p).sum() ** 2 for p in (before, after)) ** 0.5
    np.testing.assert_allclose([low, high], 100 * (mean + np.array([-1.96, 1.96]) * spread), atol=1.5)


def test_the_control_says_what_updates_add_and_what_rl_adds_to_that(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    control = script("compare_control")
    one = cells({RANDOM_FROZEN: [6, 4], "atc": [17]}, "lift-purple")
    blind = [replace(o, online_successes=n) for o, n in zip(one, (10, 6, 15), strict=True)]
    improved = [replace(o, online_successes=n) for o, n in zip(one[:2], (12, 9), strict=True)]
    table, updates = control.said(blind, improved, ["lift-purple"]).split("updates alone add:")
    updates, episodes = updates.split("RL adds to that:")
    assert [line for line in table.splitlines() if RANDOM_FROZEN in line] == [
        "| random-frozen | lift-purple | 0 | 6 | 10 | 12 |",
        "| random-frozen | lift-purple | 1 | 4 | 6 | 9 |",
    ]
    assert "| atc | lift-purple | 0 | 17 | 15 | not run |" in table
    assert "| random-frozen | +15 (" in updates
    assert "; 10 and 16 of 40)" in updates
    assert "; 16 and 21 of 40)" in episodes
    assert "| objectives | not run |" in episodes, "nothing to hold RL against where one of both is missing"


def test_cells_with_rl_lie_beside_those_without_on_the_same_data(bench, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench.torch, "set_num_threads", lambda count: None)
    out = tmp_path / "compare"
    arguments = ["x", "--cells", "0", "--methods", "atc", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*arguments, "--online", "7"])
    for _ in range(2):  # the second goes on
        bench.main()
        said = capsys.readouterr().out
        assert "after 7 episodes of RL:" in said
    folder = out / "online-7"
    (out / "data" / "mine").mkdir()
    assert [(folder / name).samefile(out / name) for name in bench.SHARED] == [True] * 3
    assert (folder / "data" / "mine").is_dir()
    assert [json.loads((f / "protocol.json").read_text())["online_episodes"] for f in (out, folder)] == [0, 7]
    assert not (out / "online-7" / "cells").exists()
    monkeypatch.setattr(sys, "argv", arguments)
    bench.main()
    assert "episodes of RL" not in capsys.readouterr().out


def test_probing_tasks_hold_known_and_new_colours_and_other_scenes(bench):
    simulators = pytest.importorskip("robot_pt_sim.simulators")
    assert set(bench.PROBE_TASKS) <= set(simulators.task_names())
    seen = {material.task for material in read_protocol().pretraining}
    assert 0 < len(seen & set(bench.PROBE_TASKS)) < len(bench.PROBE_TASKS)


def test_recorded_cells_are_in_the_tables_and_what_is_new_is_added(bench, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench.torch, "set_num_threads", lambda count: None)
    record, first, later = tmp_path / "record.json", tmp_path / "first", tmp_path / "later"
    wanted = ["x", "--cells", "0", "--methods", "atc,curl,idm,mae", "--record", str(record), "--out"]
    for out, counts in ((first, {RANDOM_FROZEN: [6], "atc": [17, 3], "curl": [12]}), (later, {"idm": [9]})):
        (out / "cells").mkdir(parents=True)
        for outcome in cells(counts):
            (out / "cells" / outcome.cell.file).write_text(json.dumps(outcome.to_json()))
        protocol = replace(read_protocol(), pretrain_steps=500, head_updates=bench.HEAD_UPDATES, demos=bench.DEMOS)
        (out / "protocol.json").write_text(json.dumps(protocol.to_json()))
        monkeypatch.setattr(sys, "argv", [*wanted, str(out)])
        bench.main()
    said = capsys.readouterr().out
    assert said.count("; 17, 3)") == 2, (
        "in the table of the first folder, and in that of the second, which holds none of them"
    )
    assert json.loads(said.strip().splitlines()[-1])["cells"] == 5
    assert len(json.loads(record.read_text())["cells"]["0"]) == 5
    monkeypatch.setattr(sys, "argv", [*wanted, str(later), "--steps", "7"])
    with pytest.raises(SystemExit):
        bench.main()


def test_rank_correlation_is_that_of_scipy_and_the_record_says_what_foretells(bench):
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 6, (2, 11))
        assert bench.compare_record.rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    counts = {"atc": [17, 15], "curl": [12], "mae": [10], RANDOM_FROZEN: [20], "vip": [11]}
    record = {
        "cells": {"0": [o.to_json() for o in cells(counts)]},
        "probes": {m: {"seeds": 1, "map": {"order": [v, v, v]}} for m, v in {"atc": 3, "curl": 2, "mae": 1, RANDOM_FROZEN: 0}.items()},
    }  # fmt: skip
    told = bench.compare_record.foretold(record, ["order"], [["lift-red"], ["door-anywhere"]]).splitlines()[-1]
    assert told == "| order | 1.00 | 3 | – | 0 |", "random features are none of the objectives"


def test_a_record_cut_while_it_is_written_is_the_one_before(bench, tmp_path, monkeypatch):
    record = tmp_path / "record.json"
    bench.compare_record.write_record(record, {"protocol": {}, "cells": {"0": [{"seed": 0}]}, "probes": {}})

    def full(handle):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        bench.compare_record.write_record(record, {"protocol": {}, "cells": {"0": [{"seed": 1}]}, "probes": {}})
    assert json.loads(record.read_text())["cells"] == {"0": [{"seed": 0}]}


def test_the_record_of_the_benchmark_holds_what_its_page_says(bench):
    record = json.loads(bench.compare_record.RECORD.read_text("utf-8"))
    text = bench.compare_record.RECORD.with_name("objectives.md").read_text("utf-8")
    by = {tuple(c["cell"].values()): c["successes"] for c in record["cells"]["0"]}
    counts = [str(by["atc", "lift-purple", 50, seed]) for seed in range(3)]
    assert f"; {', '.join(counts)})" in text
