"""`benchmarks/from_video.py`: its table of counts, the page that quotes it, and that no cell is run twice; learning is read from its results."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, trim_mean

from tests.cli.test_bench import script

PAGE = (Path(__file__).parents[2] / "benchmarks" / "objectives.md").read_text()


@pytest.fixture(scope="module")
def bench():
    return script("from_video")


def cells(counts: dict[str, list[int]], episodes: int = 20) -> list[dict]:
    return [
        {"start": start, "algorithm": "ptr", "seed": seed, "successes": good, "episodes": episodes}
        for start, seeds in counts.items()
        for seed, good in enumerate(seeds)
    ]


def row(bench, found: list[dict], title: str) -> list[str]:
    line = next(line for line in bench.table(found).splitlines() if line.startswith(f"| {title} |"))
    return [part.strip() for part in line.strip("|").split("|")]


def test_a_row_is_the_iqm_over_seeds_and_the_share_of_pairs_above_random(bench) -> None:
    counts = {"random-frozen": [4, 9, 5, 8], "atc": [7, 16, 9, 12]}
    _, seeds, success, better = row(bench, cells(counts), "video, ATC")
    assert seeds == "4"
    assert int(success.split()[0]) == round(100 * trim_mean(counts["atc"], 0.25) / 20)
    share = mannwhitneyu(counts["atc"], counts["random-frozen"]).statistic / 16
    assert float(better.split()[0]) == pytest.approx(share, abs=0.005)
    assert row(bench, cells(counts), "random")[3] == "", "it is not held against itself"
    assert row(bench, cells(counts), "actions, IDM")[1:] == ["0", "not run", ""]


def test_seeds_that_agree_are_as_uncertain_as_their_starts(bench) -> None:
    """Three seeds of 10 of 20: the middle one of three counts of 20 starts, by enumeration."""
    low, high = bench.spread([0.5] * 3, 20)
    chance = np.array([1.0])
    for _ in range(20):
        chance = np.convolve(chance, [0.5, 0.5])
    mean3 = np.convolve(np.convolve(chance, chance), chance)  # three runs leave nothing to cut off: their mean
    below = np.cumsum(mean3)
    assert low == pytest.approx(np.searchsorted(below, 0.025) / 60, abs=1 / 60 + 1e-9)
    assert high == pytest.approx(np.searchsorted(below, 0.975) / 60, abs=1 / 60 + 1e-9)


def test_the_page_says_what_its_counts_give(bench) -> None:
    table = PAGE.partition("| PTR starts from |")[2].partition("![Success by start]")[0]
    found = re.findall(r"^\| ([^|]+) \| \d+ \| \**(\d+) \((\d+) to (\d+)\)\** \| ([\d, ]+?) \|", table, re.M)
    assert len(found) >= 3
    for title, *said, counts in found:
        rates = [int(c) / 20 for c in counts.split(",")]
        middle = trim_mean(rates, 0.25)
        assert np.abs(100 * np.array([middle, *bench.spread(rates, 20)]) - np.array(said, float)).max() <= 1, title


def test_what_is_there_is_not_run_again_and_the_table_runs_nothing(bench, tmp_path, monkeypatch, capsys) -> None:
    run: list[tuple] = []

    def cell(protocol, out, name, data, *, updates, episodes):
        if len(run) == 3 and not stopped:
            stopped.append(True)
            raise KeyboardInterrupt
        run.append(tuple(name))
        return {**name._asdict(), "successes": name.seed, "episodes": episodes, "metrics": {}}

    stopped: list[bool] = []
    monkeypatch.setattr(bench, "cell", cell)
    monkeypatch.setattr(bench.compare_data, "pretraining_data", lambda *_: None)
    monkeypatch.setattr(bench, "target_demos", lambda *_: None)
    words = ["x", "--out", str(tmp_path), "--starts", "random-frozen,atc", "--seeds", "2"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(KeyboardInterrupt):
        bench.main()
    bench.main()
    assert sorted(run) == sorted((s, "ptr", n) for s in ("random-frozen", "atc") for n in (0, 1)), "each once"
    capsys.readouterr()
    monkeypatch.setattr(bench, "cell", None)
    monkeypatch.setattr(sys, "argv", [*words, "--table"])
    bench.main()
    assert len(json.loads(capsys.readouterr().out.strip().splitlines()[-1])["cells"]) == 4


def test_the_table_is_drawn(bench, tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="the figure is drawn with matplotlib, which the project does not install")
    cell = {"start": "atc", "algorithm": "ptr", "successes": 9, "episodes": 20}
    bench.plot([cell, {**cell, "successes": 12}], tmp_path / "p.svg")
    assert "<svg" in (tmp_path / "p.svg").read_text()
