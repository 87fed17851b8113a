"""`benchmarks/objectives_loader.py` measures what it says, here on a few frames."""

import json
import sys

import pytest

import robot_pt_data
from tests.cli.test_bench import script


@pytest.fixture(scope="module")
def loader():
    return script("objectives_loader")


def test_the_data_wait_of_an_objective_is_a_share_of_its_time(loader, tmp_path):
    source = robot_pt_data.open(loader.generate(tmp_path / "demos", episodes=2, steps=8))
    row = loader.measure("atc", source, "small", 4)
    assert 0 <= row["data wait"] < 1
    assert row["frames"] == 2 * loader.BATCH
    assert row["update [ms]"] > 0
    assert row["clips [ms]"] > 0
    assert row["slower"] == pytest.approx(row["update [ms]"] / row["bare [ms]"] - 1)


def test_it_prints_a_table_and_one_json_object(loader, tmp_path, monkeypatch, capsys):
    data = loader.generate(tmp_path / "demos", episodes=2, steps=8)
    monkeypatch.setattr(sys, "argv", ["x", "--quick", "--only", "curl", "--data", str(data)])
    loader.main()
    *table, last = capsys.readouterr().out.strip().splitlines()
    assert json.loads(last)["rows"].keys() == {"curl"}
    assert table[0].split()[0] == "objective"
    assert "asked for less than 5%" in table[-1]
