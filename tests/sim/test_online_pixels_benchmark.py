"""benchmarks/online_pixels.py: its intervals, table and picture; learning itself is read from its results."""

import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import online_pixels as bench

sys.path.pop(0)


def cell(arm: str, seed: int, judged: list[list[bool]]) -> dict:
    """The job's first half of episodes fails, its second succeeds."""
    job = [i >= bench.WINDOW for i in range(2 * bench.WINDOW)] if arm != "home" else []
    helped = [0 if won or arm == "job" else 14 for won in job]
    own = {"judged": judged, "job": job, "interventions": helped, "settings": asdict(bench.Settings())}
    return {"arm": arm, "seed": seed, **own}


def rates(*shares: float, starts: int = 20) -> list[list[bool]]:
    return [[i < round(share * starts) for i in range(starts)] for share in shares]


def test_intervals_hold_the_mean_and_shrink_with_starts() -> None:
    few = [np.array(rates(0.3, 0.6, starts=10), float) for _ in range(3)]
    many = [np.array(rates(0.3, 0.6, starts=1000), float) for _ in range(3)]
    widths = []
    for seeds in (few, many):
        mean, low, high = bench.interval(seeds, bench.MEASURES["gain"])
        assert mean == pytest.approx(0.3)
        assert low < 0.3 < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 3
    same = [np.ones((2, 10))] * 3
    assert bench.interval(same, bench.MEASURES["after"]) == (1, 1, 1)


def test_the_gain_is_of_the_same_starts() -> None:
    """A policy that gains nothing on any start has a gain without spread, however its successes are spread over starts."""
    unchanged = [np.array([row, row], float) for row in (rates(0.5)[0], rates(0.2)[0])]
    assert bench.interval(unchanged, bench.MEASURES["gain"]) == (0, 0, 0)
    assert bench.interval(unchanged, bench.MEASURES["before"])[2] > 0.35


def test_the_table_and_the_picture(tmp_path: Path) -> None:
    cells = [cell("helped", s, rates(0.3, 0.6)) for s in range(2)]
    text = bench.table(cells)
    assert "where it is stuck | 2 | 30 (" in text
    assert "6 to 12, 6 to 12 of 20 | 0 to 30; 420 to 0<br>0 to 30; 420 to 0 |" in text
    assert "without an episode" not in text
    assert "over the" not in text
    cells += [cell("home", 0, rates(0.3, 0.4)), cell("job", 1, rates(0.3, 0.5))]
    text = bench.table(cells)
    assert "| as many updates without an episode | 1 | 30 (" in text
    assert "6 to 8 of 20 |  |" in text
    assert "| Cal-QL on the job, alone | 1 | 30 (" in text
    assert "6 to 10 of 20 | 0 to 30 |" in text
    assert "| the first over the second | 1 | | | 20 (" in text
    assert "| the first over the third | 1 | | | 10 (" in text
    pytest.importorskip("matplotlib")
    bench.plot(cells, tmp_path / "p.svg")
    drawn = (tmp_path / "p.svg").read_text()
    assert "episodes of the job" in drawn
    assert "as many updates without an episode" in drawn


def test_what_the_page_keeps_makes_the_same_table(tmp_path: Path) -> None:
    cells = [cell(arm, s, rates(0.3, 0.6)) for arm in ("helped", "home") for s in range(2)]
    cells = [c | {"updates": 7, "env_steps": 5, "versions": {}} for c in cells]
    (tmp_path / "k.json").write_text(bench.digest(cells))
    again = bench.kept(tmp_path / "k.json")
    assert bench.table(again) == bench.table(cells)
    assert [c["judged"] for c in again] == [c["judged"] for c in cells]


def test_a_job_shorter_than_the_window_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    bench.plot([{**cell("helped", 0, rates(0.3, 0.6)), "job": [True, False]}], tmp_path / "p.svg")
    assert "without help, 2 at a time" in (tmp_path / "p.svg").read_text()


def test_what_is_asked_of_the_learner(tmp_path: Path) -> None:
    settings = bench.Settings()
    alone = bench.wanted_of(settings, tmp_path, 4, "job")
    assert (alone.freeze_encoder, alone.ahead, alone.episodes, alone.seed) == (True, 0, settings.episodes, 4)
    assert alone.algorithm == "cal_ql"
    assert alone.options == settings.options + settings.job_options
    assert not alone.credit_help
    assert (alone.help_after, alone.intervention_share) == (None, 0.0)
    helped = bench.wanted_of(settings, tmp_path, 4, "helped")
    assert (helped.help_after, helped.intervention_share) == (settings.help_after, settings.intervention_share)
