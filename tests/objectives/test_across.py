import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from robot_pt.objectives.across import contrast, gathered, masked_mean

CHILD = """
import torch
from robot_pt.distributed import processes
from robot_pt.objectives.across import contrast, gathered, masked_mean

torch.manual_seed(0)
query, key, weight = torch.randn(8, 3), torch.randn(8, 3), torch.randn(3, 3)
valid = torch.tensor([True] * 5 + [False] * 3)

def loss(query, key, valid):
    weight.grad = None
    keys, first = gathered(key)
    found, right = contrast(query @ weight @ keys.T, first + torch.arange(len(query)), valid_B=valid)
    (found + masked_mean((query @ weight).square().sum(1), valid)).backward()
    return weight.grad, found.detach(), right

weight.requires_grad_()
alone = loss(query, key, valid)
with processes("cpu") as ranks:
    mine = slice(4 * ranks.rank, 4 * ranks.rank + 4)
    for value, whole in zip(loss(query[mine], key[mine], valid[mine]), alone):
        torch.testing.assert_close(ranks.mean(value), whole)
    if ranks.is_first:
        print("as one process")
"""


@pytest.mark.slow
def test_two_processes_learn_as_one_does(tmp_path):
    """Rows that count are not shared equally here: 4 of one process, 1 of the other."""
    (tmp_path / "child.py").write_text(CHILD)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(tmp_path / "child.py")],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert "as one process" in done.stdout, done.stderr[-2000:]


def test_alone_all_rows_are_here():
    value = torch.randn(4, 3, requires_grad=True)
    rows, first = gathered(value)
    assert torch.equal(rows, value)
    assert not rows.requires_grad
    assert first == 0


def test_rows_that_do_not_count_have_no_gradient_whatever_they_hold():
    value = torch.tensor([1.0, 2.0, float("nan")], requires_grad=True)
    mean = masked_mean(value, torch.tensor([True, True, False]))
    mean.backward()
    assert mean.item() == 1.5
    assert value.grad.tolist() == [0.5, 0.5, 0]
    assert masked_mean(value, torch.zeros(3, dtype=torch.bool)).item() == 0


def test_contrast_is_the_cross_entropy_of_the_rows_that_count():
    torch.manual_seed(0)
    logits = torch.randn(6, 9, requires_grad=True)
    target, valid = torch.tensor([2, 3, 4, 5, 6, 7]), torch.tensor([True, False, True, True, False, True])
    loss, right = contrast(logits, target, valid_B=valid)
    torch.testing.assert_close(loss, F.cross_entropy(logits[valid], target[valid]))
    torch.testing.assert_close(right, (logits.argmax(1) == target)[valid].float().mean())
    loss.backward()
    assert (logits.grad[~valid] == 0).all()
    assert (logits.grad[valid] != 0).all()


def test_excluded_columns_are_neither_positive_nor_negative():
    logits, target = torch.randn(4, 4, requires_grad=True), torch.arange(4)
    excluded = torch.ones(4, 4, dtype=torch.bool)
    excluded[:, 3] = False
    loss, _ = contrast(logits, target, excluded_BN=excluded)
    expected = F.cross_entropy(
        torch.stack([torch.diagonal(logits)[:3], logits[:3, 3]], 1), torch.zeros(3, dtype=torch.long)
    )
    torch.testing.assert_close(loss, 3 / 4 * expected)  # the last row has nothing but its positive: 0
    loss.backward()
    assert (logits.grad[:3, :3][~torch.eye(3, dtype=torch.bool)] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_is_float32(dtype):
    assert contrast(torch.randn(3, 3, dtype=dtype), torch.arange(3))[0].dtype == torch.float32
