"""`robot-pt evaluate` whose one worker is killed: a sentence, what was played is kept, and the same command goes on."""

import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco")

from robot_pt import cli
from robot_pt.evaluate import FIRST_SEED
from robot_pt.recipes import evaluate
from robot_pt.schema import ACTION_NAMES
from tests.cli.test_evaluate_refusals import checkpoint_of

FLAG = "DIES_AT"


class Dying:
    """Stands still, and is killed at the start of the episode that FLAG names."""

    version = "dying"

    def __init__(self) -> None:
        self.begun = 0

    def reset(self, task: str | None) -> None:
        self.begun += 1
        if str(self.begun) == os.environ.get(FLAG):
            assert multiprocessing.parent_process() is not None, "the user's own process would be killed"
            os.kill(os.getpid(), signal.SIGSEGV)

    def act(self, history: Any) -> Any:
        return np.zeros((1, len(ACTION_NAMES)), np.float32)


def test_a_kill_is_a_sentence_and_the_same_command_goes_on(tmp_path: Path, monkeypatch, capsys) -> None:
    here = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setitem(sys.modules, Dying.__module__, sys.modules[__name__])
    run, out = checkpoint_of(tmp_path / "run", "widowx250s", ["kitchen/open-drawer"]), tmp_path / "out"
    monkeypatch.setattr(evaluate, "policy_factory", lambda *_: Dying)
    monkeypatch.setenv(FLAG, "3")
    words = ["evaluate", str(run), "--task", "kitchen/open-drawer", "--episodes", "4", "--workers", "1", "--out", str(out), "--json"]  # fmt: skip
    assert cli.main(words) == 2
    said = capsys.readouterr()
    error = json.loads(said.out.splitlines()[-1])["error"]
    assert error.startswith(
        f"a simulation process was killed by SIGSEGV at kitchen/open-drawer from seed {FIRST_SEED + 2}, "
    )
    assert "Traceback" not in said.err
    log = out / "run.jsonl"
    assert [json.loads(line).get("seed") for line in log.read_text().splitlines()[1:]] == [FIRST_SEED, FIRST_SEED + 1]
    assert not (out / "report.html").exists()
    assert not [path for path in out.rglob("*") if path.suffix == ".part"]
    monkeypatch.delenv(FLAG)
    assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["evaluations"][0]["n"] == 4
    assert len(log.read_text().splitlines()) == 5
