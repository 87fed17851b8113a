"""Errors under torchrun, in real processes: said once, with one exit code, and no traceback of ours."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from robot_pt.checkpoint import write_config
from robot_pt.distributed import first_failure
from robot_pt.schema import Episode, Spec
from robot_pt.store import DemoStore

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def torchrun(*arguments: object) -> tuple[list[str], str]:
    """(lines that robot-pt said on stderr or stdout, all of stderr)."""
    command = [*TORCHRUN, *map(str, arguments)]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=280
    )
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if "robot-pt: " in line]
    return [*said, *done.stdout.splitlines()], done.stderr


def test_a_mistake_that_all_processes_notice_is_said_once(tmp_path: Path) -> None:
    arguments = ["pretrain", "--data", tmp_path / "absent", "--out", tmp_path / "run", "--json"]
    said, stderr = torchrun("-m", "robot_pt", *arguments)
    assert len(said) == 2, said  # the sentence, and the same as JSON
    assert "does not exist" in said[0]
    assert "does not exist" in json.loads(said[1])["error"]
    assert "robot_pt/cli" not in stderr  # no traceback of ours; torchrun has one of its own


@pytest.mark.slow
def test_a_disk_that_refuses_the_first_process_ends_the_others_without_their_traceback(tmp_path: Path) -> None:
    spec = Spec(cameras={"primary": (16, 16)}, embodiment="panda")
    demos = DemoStore.create(tmp_path / "data", spec)
    for _ in range(4):
        last = np.arange(5) == 4
        demos.append(
            Episode(
                spec=spec, images={"primary": np.zeros((5, 16, 16, 3), np.uint8)}, proprio=np.zeros((5, 7), np.float32),
                actions=np.full((5, 7), 0.01, np.float32), rewards=last.astype(np.float32), terminated=last,
                truncated=np.zeros(5, bool), instruction="lift", task="lift", success=True,
            )
        )  # fmt: skip
    write_config(tmp_path / "run", {"format_version": 1, "verb": "pretrain", "arguments": {}})
    (tmp_path / "run" / "checkpoints").write_text("a file where checkpoints should be written")
    arguments = ["--encoder", "small", "--steps", 6, "--checkpoint-every", 2, "--batch-size", 4, "--algorithm", "bc"]
    said, stderr = torchrun(
        "-m", "robot_pt", "pretrain", "--data", tmp_path / "data", "--out", tmp_path / "run", *arguments
    )
    assert len([line for line in said if "checkpoint 2 could not be written" in line]) == 1, stderr
    assert "robot_pt/train.py" not in stderr, stderr
    assert "gloo" not in stderr.lower(), stderr


ONE_FAILS = """
import os, sys, time
from robot_pt.distributed import first_failure
rank = int(os.environ["RANK"])
if rank == 1:
    time.sleep(1)  # the other asks before this one has said anything
    sys.stdout.write(f"1 speaks {first_failure(7)}\\n")
else:
    sys.stdout.write(f"0 hears {first_failure(None, wait_s=60)}\\n")
    sys.stdout.write(f"0 then says {first_failure(3)}\\n")
sys.stdout.flush()
time.sleep(2)
sys.exit(4)
"""


def test_any_process_may_be_the_first_and_the_others_take_its_code(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text(ONE_FAILS)
    said, _ = torchrun(tmp_path / "child.py")
    assert sorted(said) == ["0 hears 7", "0 then says 7", "1 speaks None"]


@pytest.mark.parametrize(
    ("environment", "mine", "expected"),
    [
        ({}, 2, None),
        ({"WORLD_SIZE": "1"}, None, None),
        ({"WORLD_SIZE": "many"}, 2, None),
        ({"WORLD_SIZE": "2", "RANK": "0"}, 2, None),  # the store is not there
        ({"WORLD_SIZE": "2", "RANK": "1"}, 2, 2),
        ({"WORLD_SIZE": "2", "RANK": "1"}, None, None),
        ({"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "x"}, 2, 2),
        ({"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}, 2, 2),
    ],
)
def test_without_a_store_the_first_rank_speaks(environment, mine, expected, monkeypatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert first_failure(mine, wait_s=0.2) == expected
