import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from robot_pt.errors import UserError
from robot_pt.objectives import across
from robot_pt.objectives.across import contrast, everyone, gathered, masked_mean, shared
from tests.objectives.clip_batch import clips, noise_frames


def test_a_frame_alone_has_nothing_to_be_told_from() -> None:
    with pytest.raises(UserError, match="a batch of 1 has none: give at least 2"):
        contrast(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64))


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


OBJECTIVES = """
import torch
from robot_pt.distributed import processes
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.objectives.icvf import ICVF
from robot_pt.objectives.r3m import R3M, R3MConfig
from robot_pt.objectives.vip import VIP
from tests.objectives.clip_batch import SPEC, clips, noise_frames

def gradients(kind, rows, sync):
    config = R3MConfig(language=5, hidden=8) if kind is R3M else None
    learner = kind.build(SPEC, image_size=(32, 32), task_slots=1, encoder=EncoderConfig(name="small", latent=8), config=config, seed=1)
    if sync is not None:
        learner.grad_sync = sync
    frames = noise_frames(8, learner.plan.frames)
    valid = torch.ones(8, learner.plan.frames, dtype=torch.bool)
    valid[5:7, -1] = False
    whole = clips(frames, valid=valid, language=torch.randn(8, 5, generator=torch.Generator().manual_seed(2)))
    parts = {name: value[rows] for name, value in whole._asdict().items() if name != "images"}
    metrics = learner.update(whole._replace(images={"primary": frames[rows]}, **parts), 0)
    return metrics["objective/loss"], [p.grad for g in learner.stepper._optimizer.param_groups for p in g["params"]]

alone = {kind: gradients(kind, slice(0, 8), None) for kind in (R3M, VIP, ICVF)}
with processes("cpu") as ranks:
    for kind, (loss, expected) in alone.items():
        found, mine = gradients(kind, slice(4 * ranks.rank, 4 * ranks.rank + 4), ranks.mean_gradients)
        torch.testing.assert_close(ranks.mean(found), loss)
        for a, b in zip(mine, expected):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)
    if ranks.is_first:
        print("as one process")
"""


@pytest.mark.slow
@pytest.mark.parametrize("script", [CHILD, OBJECTIVES], ids=["contrast", "others of the batch"])
def test_two_processes_learn_as_one_does(tmp_path, script):
    """Rows that count are not shared equally here."""
    (tmp_path / "child.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(tmp_path / "child.py")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert "as one process" in done.stdout, done.stderr[-2000:]


def test_alone_all_rows_are_here():
    value = torch.randn(4, 3, requires_grad=True)
    rows, first = gathered(value)
    assert torch.equal(rows, value)
    assert not rows.requires_grad
    assert first == 0


def test_rows_of_all_processes_have_the_gradient_that_their_mean_needs(monkeypatch):
    """Two processes, seen from the second: its rows count twice, the other's come without gradient."""
    other, mine = torch.randn(2, 3), torch.randn(2, 3, requires_grad=True)
    assert shared(mine) is mine
    monkeypatch.setattr(across, "_several", lambda: True)
    monkeypatch.setattr(across.dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(across, "gathered", lambda value: (torch.cat([other, value.detach()]), 2))
    rows = shared(mine)
    torch.testing.assert_close(rows, torch.cat([other, mine]))
    rows.square().sum().backward()
    torch.testing.assert_close(mine.grad, 2 * 2 * mine.detach())


def test_a_batch_of_all_processes_keeps_the_pictures_of_this_one(monkeypatch):
    batch = clips(noise_frames(2, 3, side=8), valid=torch.tensor([[True, False, True]] * 2))
    assert everyone(batch) is batch
    monkeypatch.setattr(across, "_several", lambda: True)
    monkeypatch.setattr(across, "gathered", lambda value: (torch.cat([value, value + 0]), 0))
    found = everyone(batch)
    assert found.valid.dtype == torch.bool
    assert found.valid.tolist() == [[True, False, True]] * 4
    assert found.sample_key.tolist() == [0, 1, 0, 1]
    assert found.images is batch.images


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
