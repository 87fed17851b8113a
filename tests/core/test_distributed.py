import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from robot_pt.checkpoint import steps
from robot_pt.distributed import BUCKET_BYTES, Ranks, _buckets, processes
from robot_pt.errors import UserError
from robot_pt.observers import read_metrics
from robot_pt.safe_tensors import read_tensors

RUN = Path(__file__).with_name("toy_run.py")
ENV = {**os.environ, "OMP_NUM_THREADS": "1"}

# Float32 sums in another order: measured 1e-6 relative after 12 updates; Adam divides by small numbers, hence the room.
RELATIVE = 1e-4


def torchrun(count, *arguments):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(count),
        *arguments,
    ]
    done = subprocess.run(list(map(str, command)), env=ENV, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("agent", [pytest.param("bc", marks=pytest.mark.slow), "ptr"])
def test_two_processes_train_as_one(tmp_path, agent):
    alone = [sys.executable, str(RUN), str(tmp_path / "one"), "12", "--agent", agent]
    subprocess.run(alone, env=ENV, check=True, capture_output=True)
    torchrun(2, RUN, tmp_path / "two", 12, "--agent", agent)
    one, two = (read_metrics(tmp_path / r / "metrics.jsonl") for r in ("one", "two"))
    assert steps(tmp_path / "two") == [4, 8, 12]
    assert len(one) == len(two) == 4
    for a, b in zip(one, two, strict=True):
        learned = [k for k in a if not k.startswith(("speed/", "memory/"))]
        assert len(learned) > 2
        np.testing.assert_allclose([b[k] for k in learned], [a[k] for k in learned], rtol=RELATIVE, atol=1e-6)
    weights = [read_tensors(tmp_path / r / "latest" / "weights.safetensors") for r in ("one", "two")]
    moved = max(float((weights[0][n] - weights[1][n]).abs().max()) for n in weights[0])
    assert moved < 1e-4  # 12 updates at learning rate 1e-4 or more move weights by at least ten times that


CHILD = """
import sys, torch
from robot_pt.distributed import processes
with processes("cpu") as ranks:
    layer = torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(n)) for n in (3, 5, 2)])
    for i, p in enumerate(layer):
        p.grad = torch.full_like(p, float(ranks.rank + 10 * i)) if i != 1 else None
    ranks.mean_gradients(layer.parameters())
    assert layer[0].grad.tolist() == [0.5] * 3
    assert layer[1].grad is None
    assert layer[2].grad.tolist() == [20.5] * 2
    values = torch.tensor([float(ranks.rank)])
    assert ranks.mean(values).item() == 0.5 and values.item() == ranks.rank
    assert ranks.any(ranks.rank == 1) and not ranks.any(False)
    ranks.broadcast([values])
    assert values.item() == 0
    ranks.wait()
    if ranks.is_first:
        sys.stdout.write("all agree")
"""


def test_means_flags_and_broadcast_over_two_processes(tmp_path):
    (tmp_path / "child.py").write_text(CHILD)
    assert "all agree" in torchrun(2, tmp_path / "child.py")


def test_one_process_needs_nobody(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with processes("cpu") as ranks:
        assert ranks == Ranks(0, 1, torch.device("cpu"))
        parameter = torch.nn.Parameter(torch.zeros(2))
        parameter.grad = torch.ones(2)
        ranks.mean_gradients([parameter])
        ranks.broadcast([parameter.data])
        ranks.wait()
        assert parameter.grad.tolist() == [1, 1]
        assert ranks.any(True)
        assert not ranks.any(False)
        assert ranks.mean(torch.tensor(3.0)) == 3
        assert ranks.is_first


def test_a_half_set_environment_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="RANK is not set; start the processes with torchrun"), processes("cpu"):
        pass


@pytest.mark.parametrize("name", ["WORLD_SIZE", "LOCAL_RANK"])
def test_a_count_that_is_no_number_is_refused(monkeypatch, name):
    monkeypatch.setenv(name, "two")
    with pytest.raises(UserError, match=f"{name} is 'two', not a whole number"), processes("cpu"):
        pass


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(UserError, match="process 1 has no GPU, this machine has 1"), processes():
        pass


@pytest.mark.parametrize("whom", ["torchrun", pytest.param("one process", marks=pytest.mark.slow)])
def test_ctrl_c_saves_within_the_seconds_that_torchrun_waits(tmp_path, whom):
    """Nobody waits for the next log, which is 50 s away here: torchrun kills after 30."""
    options = ("1000", "--pause", "0.05", "--log-every", "1000", "--checkpoint-every", "1000")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(RUN)]
    run = subprocess.Popen(
        [*command, str(tmp_path), *options], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert run.stdout.readline() == "started\n"
        time.sleep(1)
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
        pid = run.pid if whom == "torchrun" else int(children.read_text().split()[-1])
        began = time.monotonic()
        os.kill(pid, signal.SIGINT)
        _, errors = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode != 0
    assert time.monotonic() - began < 28
    assert "a checkpoint was saved; continue with --resume" in errors
    (step,) = steps(tmp_path)
    assert 0 < step < 1000
    if whom == "torchrun":  # the checkpoints are alike, and a start takes long
        assert "actor/loss" in torchrun(2, RUN, tmp_path, step + 2, "--resume", "--log-every", 1000)


SLOW_WRITER = """
import pathlib, sys, time
from robot_pt.distributed import processes
done = pathlib.Path(sys.argv[1])
with processes("cpu") as ranks:
    if ranks.is_first:
        time.sleep(2)
        done.write_text("saved")
assert done.read_text() == "saved"
"""


def test_nobody_leaves_before_the_first_process_has_written(tmp_path):
    (tmp_path / "child.py").write_text(SLOW_WRITER)
    torchrun(2, tmp_path / "child.py", tmp_path / "done")


def test_buckets_keep_order_type_and_size():
    sizes = [BUCKET_BYTES // 8, BUCKET_BYTES // 8, 1, BUCKET_BYTES, 1]
    gradients = [torch.empty(n, device="meta") for n in sizes] + [torch.empty(1, dtype=torch.bfloat16, device="meta")]
    buckets = list(_buckets(gradients))
    assert [len(b) for b in buckets] == [2, 1, 1, 1, 1]
    assert [g.numel() for b in buckets for g in b] == [g.numel() for g in gradients]
    assert list(_buckets([])) == []
