"""benchmarks/selection.py: what lies on disk becomes the numbers of the table; runs that are not whole are named and left out."""

import importlib.util
import json
from pathlib import Path

import pytest

from robot_pt.errors import DataError
from robot_pt.evaluate import EpisodeResult, evaluate

PATH = Path(__file__).parents[2] / "benchmarks" / "selection.py"


@pytest.fixture(scope="module")
def selection():
    spec = importlib.util.spec_from_file_location("selection_benchmark", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def judged(folder, good, episodes=8, rises=(0.9, 0.895, 0.2)):
    """Three checkpoints; the k-th solves every episode below good[k]."""
    folder.mkdir(parents=True)
    scores = [
        {
            "step": 10 * (k + 1),
            "values": [[0.0]],
            "spearman": [rise],
            "action_error": 0.1 * (3 - k),
            "log_likelihood": 0.0,
        }
        for k, rise in enumerate(rises)
    ]
    (folder / "asked.json").write_text(json.dumps({"episodes": episodes, "scores": scores}))
    for score, solved in zip(scores, good, strict=True):

        def play(seeds, solved=solved):
            return (EpisodeResult(seed=s, success=i < solved, steps=5) for i, s in enumerate(seeds))

        evaluate(play, task="lift", episodes=episodes, log=folder / f"step-{score['step']:08d}.jsonl")


def test_the_table_is_read_off_the_logs(selection, tmp_path):
    judged(tmp_path / "one", (4, 6, 8))
    judged(tmp_path / "two", (8, 8, 2))
    judged(tmp_path / "torn", (8, 8, 8))
    log = tmp_path / "torn" / "step-00000030.jsonl"
    log.write_text("\n".join(log.read_text().splitlines()[:-1]) + "\n")
    rows = {line.split(" | ")[0].strip("| "): line for line in selection.table(tmp_path).splitlines() if " | " in line}
    assert rows["one"] == "| one | 4, 6, 8 of 8 | number 2 |"
    assert rows["two"] == "| two | 8, 8, 2 of 8 | number 2 |"
    assert "torn" not in rows
    assert "not complete: torn" in selection.table(tmp_path)
    # values: 6/8 and 8/8 where the best are 8/8; first of the plateau 4/8 and 8/8; last 8/8 and 2/8
    assert rows["values, then imitation"].startswith("| values, then imitation | 88 | 12 | ")
    assert rows["first of the plateau"].startswith("| first of the plateau | 75 | 25 | ")
    assert rows["last"].startswith("| last | 62 | 38 | ")
    assert rows["at random"].startswith("| at random | 75 | 25 | ")


def test_a_run_without_scores_is_refused(selection, tmp_path):
    with pytest.raises(DataError, match=r"has no selection\.json"):
        selection.judge(tmp_path, "lift-red", 4, tmp_path / "out", 1)
