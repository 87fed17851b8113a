"""`pretrain --objective r3m --captions FILE`: features of the user's own text encoder instead of hashed words."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robot_pt.comparison import read_protocol
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.recipes import compare, compare_data
from robot_pt.safe_files import read_json
from robot_pt.store import DemoStore
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


def comparison(file: Path):
    return compare._protocol(None, (), None, file, True)


def test_a_comparison_keeps_what_it_read_and_refuses_to_go_on_with_another(tmp_path) -> None:
    file = table(tmp_path / "c.npz")
    compare._keep(tmp_path / "out", comparison(file))
    compare._keep(tmp_path / "out", comparison(file))
    table(file, scale=2.0)
    with pytest.raises(MismatchError, match="captions_version"):
        compare._keep(tmp_path / "out", comparison(file))
    own = tmp_path / "protocol.json"
    own.write_text(json.dumps(read_protocol().to_json() | {"captions": str(file)}))
    assert compare._protocol(own, (), None, None, False).captions_version == comparison(file).captions_version


def test_only_methods_that_read_sentences_are_pretrained_with_them(robot, tmp_path) -> None:
    protocol = replace(
        comparison(table(tmp_path / "c.npz")), pretrain_steps=1, pretrain_batch=4, image_size=16, encoder="small"
    )
    source = DemoStore(robot).source()
    r3m, atc = (compare_data.pretrained(protocol, tmp_path, name, 0, source) for name in ("r3m", "atc"))
    assert read_json(r3m / "config.json")["settings"]["config"]["language"] == 5
    assert "captions" not in read_json(atc / "config.json")["settings"]["config"]


def test_captions_that_nobody_reads_or_that_are_not_there_stop_a_comparison(tmp_path) -> None:
    file, out = table(tmp_path / "c.npz"), tmp_path / "out"
    with pytest.raises(UserError, match="none of atc, bc reads any; leave it out, or compare r3m too"):
        compare.compare(["atc", "bc"], out, captions=file)
    with pytest.raises(DataError, match="there is no file"):
        compare.compare(["r3m"], out, captions=tmp_path / "absent.npz")
    assert not out.exists()
