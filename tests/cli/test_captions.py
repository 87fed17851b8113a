"""`pretrain --objective r3m --captions FILE`: features of the user's own text encoder instead of hashed words."""

from pathlib import Path

import numpy as np
import pytest

from robot_pt.safe_files import read_json
from tests.cli.test_runs import run, store

SHORT = ["--objective", "r3m", "--encoder", "small", "--batch-size", 4, "--steps", 1, "--image-size", 16]


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store(tmp_path_factory.mktemp("data") / "robot", "lift-red", 3)


def table(path: Path, *, scale: float = 1.0, caption: str = "lift red") -> Path:
    np.savez(path, captions=np.array([caption]), features=scale * np.ones((1, 5), np.float32))
    return path


def test_the_run_keeps_what_it_read_and_refuses_to_go_on_with_another(robot, tmp_path, capsys) -> None:
    file, out = table(tmp_path / "c.npz"), tmp_path / "run"
    code, _, _ = run("pretrain", "--data", robot, "--out", out, *SHORT, "--captions", file, capsys=capsys)
    assert code == 0
    config = read_json(out / "config.json")["settings"]["config"]
    assert (config["language"], config["captions"]) == (5, str(file))
    table(file, scale=2.0)
    code, _, said = run(
        "pretrain", "--data", robot, "--out", out, *SHORT, "--captions", file, "--resume", capsys=capsys
    )
    assert code == 2
    assert "captions_version" in said


def test_a_caption_that_is_not_in_the_file_stops_the_run_before_it_begins(robot, tmp_path, capsys) -> None:
    file, out = table(tmp_path / "c.npz", caption="something else"), tmp_path / "run"
    code, _, said = run("pretrain", "--data", robot, "--out", out, *SHORT, "--captions", file, capsys=capsys)
    assert code == 2
    assert "has no feature of 1 captions of the data" in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--objective", "vip", "--encoder", "small"], "vip reads none; leave it out, or choose --objective r3m"),
        (["--algorithm", "bc", "--encoder", "small"], "--captions gives features of sentences to --objective r3m"),
    ],
)
def test_captions_are_for_what_reads_them(robot, tmp_path, capsys, arguments, sentence) -> None:
    file = table(tmp_path / "c.npz")
    code, _, said = run(
        "pretrain", "--data", robot, "--out", tmp_path / "run", *arguments, "--captions", file, capsys=capsys
    )
    assert code == 2
    assert sentence in said
