"""benchmarks/ablations.py: what is asked for, and gaps that are shown; what an ablation changes in a run is tests/cli/test_ablations.py."""

import sys
from pathlib import Path

import pytest

from robot_pt.errors import UserError

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import ablations


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--share", "0"], "give a share above 0"),
        (["--share", "2"], "give a share above 0"),
        (["--seeds", "0"], "at least 1 of the others"),
        (["--episodes", "0"], "at least 1 of the others"),
        (["--cells", "none:0"], "is no NAME:SEED; names are published, batch-norm"),
        (["--cells", "published"], "is no NAME:SEED"),
    ],
)
def test_what_asks_for_nothing_is_one_sentence(tmp_path, monkeypatch, words, sentence):
    monkeypatch.setattr(ablations, "run_cell", lambda *_: pytest.fail("a cell was begun"))
    with pytest.raises(UserError, match=sentence):
        ablations.main([*words, "--out", str(tmp_path / "out")])


def test_cells_that_were_not_run_are_shown_as_gaps(tmp_path, capsys):
    ablations.main(["--table", "--out", str(tmp_path)])
    said = capsys.readouterr().out
    for name in ablations.ABLATIONS:
        assert f"not run (`--cells {name}:0`)" in said


def test_every_ablation_of_every_seed_is_a_cell(tmp_path, monkeypatch):
    began = []
    monkeypatch.setattr(ablations, "run_cell", lambda name, seed, *_: began.append((name, seed)))
    ablations.main(["--seeds", "2", "--out", str(tmp_path)])
    assert len(set(began)) == len(began) == 2 * len(ablations.ABLATIONS)
    ablations.main(["--cells", "average:3", "--out", str(tmp_path)])
    assert began[-1] == ("average", 3)
