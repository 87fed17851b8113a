"""The imitation baselines as a user types them: pretrain, resume, finetune, evaluate, online, in a maze of numpy."""

import json
from pathlib import Path

import numpy as np
import pytest

from robot_pt import checkpoint, cli
from robot_pt.policy import Policy
from robot_pt.recipes.runs import RunSettings, read_settings
from robot_pt.schema import Observation
from tests.cli.test_runs import SPEC, run, store

NAMES = ("autoregressive_bc", "bet")
SMALL = {
    "autoregressive_bc": ["bins=16", "hidden=16,16", "beam=2"],
    "bet": ["layers=1", "heads=2", "width=8", "window=4", "bins=8"],
}


@pytest.fixture(scope="module")
def maze(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("maze") / "demos"
    words = ["collect", "--task", "maze-u", "--episodes", "8", "--out", str(out), "--camera", "none", "--workers", "1"]
    assert cli.main(words) == 0
    return out


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("data")
    return {"source": store(folder / "source", "lift-red", 6), "target": store(folder / "target", "lift-blue", 5)}


def pretrain(data: Path, out: Path, name: str, steps: int, capsys, *more: object) -> dict:
    words = ["--data", data, "--out", out, "--algorithm", name, "--steps", steps, "--batch-size", 8, *more]
    words += ["--options", *SMALL[name]]
    code, result, said = run("pretrain", *words, capsys=capsys)
    assert code == 0, said
    return result


@pytest.mark.parametrize("name", NAMES)
def test_resuming_continues_to_the_same_numbers(name, maze, tmp_path, capsys) -> None:
    more = ["--camera", "none", "--checkpoint-every", 2]
    pretrain(maze, tmp_path / "whole", name, 4, capsys, *more)
    pretrain(maze, tmp_path / "parts", name, 2, capsys, *more)
    result = pretrain(maze, tmp_path / "parts", name, 4, capsys, *more, "--resume")
    assert "actor/mse" in result["metrics"]
    whole, parts = Policy.load(tmp_path / "whole"), Policy.load(tmp_path / "parts")
    assert whole.version == parts.version  # a hash of every weight
    settings, document = read_settings(tmp_path / "whole")
    assert RunSettings.from_json(document["settings"]).options == settings.options
    assert settings.to_json() == document["settings"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.timeout(280)
def test_a_run_is_evaluated_and_goes_on_online(name, maze, tmp_path, capsys) -> None:
    pretrain(maze, tmp_path / "p", name, 3, capsys, "--camera", "none")
    code, result, said = run(
        "evaluate", tmp_path / "p", "--task", "maze-u", "--episodes", 2, "--workers", 1, "--no-videos", capsys=capsys
    )
    assert code == 0, said
    assert result["evaluations"][0]["n"] == 2
    code, result, said = run(
        "online", "--from", tmp_path / "p", "--task", "maze-u", "--data", maze, "--out", tmp_path / "o", "--episodes", 1, "--utd", 0.05,
        "--batch-size", 8, capsys=capsys,
    )  # fmt: skip
    assert code == 0, said
    assert result["episodes"] == 1
    assert Policy.load(tmp_path / "o").record.agent == name
    code, result, _ = run(
        "online", "--from", tmp_path / "p", "--task", "maze-u", "--data", maze, "--out", tmp_path / "x", "--episodes", 1,
        "--algorithm", "iql", capsys=capsys,
    )  # fmt: skip
    assert code == 2
    assert "does not fit" in result["error"]


@pytest.mark.parametrize("name", NAMES)
def test_finetuning_keeps_the_bins_selects_and_acts(name, pictures, tmp_path, capsys) -> None:
    pretrain(pictures["source"], tmp_path / "p", name, 3, capsys, "--encoder", "small")
    code, result, said = run(
        "finetune", "--from", tmp_path / "p", "--target", pictures["target"], "--data", pictures["source"], "--out", tmp_path / "f",
        "--steps", 3, "--demos", 3, capsys=capsys,
    )  # fmt: skip
    assert code == 0, said
    assert result["selected"] in (4, 5, 6)
    assert "lowest action error" in json.loads((tmp_path / "f" / "selection.json").read_text())["reason"]
    before, after = Policy.load(tmp_path / "p"), Policy.load(tmp_path / "f", SPEC)
    if name == "bet":
        np.testing.assert_array_equal(after._actor.centres, before._actor.centres)
    after.reset("lift-blue")
    frame = Observation({"primary": np.zeros((32, 32, 3), np.uint8)}, np.zeros(7, np.float32))
    assert after.act([frame] * 3).shape == (1, 7)
    assert len(checkpoint.steps(tmp_path / "f")) == 3
