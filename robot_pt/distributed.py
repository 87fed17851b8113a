"""Several processes, one run: `torchrun --nproc-per-node N -m robot_pt ...` gives the losses of one process.

Each process decodes its part of every global batch (`Replay(rank=, world_size=)`), noise is keyed by the global sample index,
and gradients are averaged between backward and optimiser step. Losses are means over samples, so the mean over processes of
equal parts is the mean over the batch; what remains is the order of floating-point sums.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Parameter

from robot_pt.errors import UserError

BUCKET_BYTES = 25 << 20
"""Gradients travel in pieces of this size, as in DistributedDataParallel."""


@dataclass(frozen=True)
class Ranks:
    """This process among the others; one process alone has rank 0 of 1."""

    rank: int
    world_size: int
    device: torch.device
    host: dist.ProcessGroup | None = None
    """The processes over a backend of the host, for what must not wait for a GPU; None = the default group is one."""

    @property
    def is_first(self) -> bool:
        """The one that writes checkpoints and metrics."""
        return self.rank == 0

    def mean_gradients(self, parameters: Iterable[Parameter]) -> None:
        """`Agent.grad_sync`: replace every `.grad` by its mean over processes. Parameters without one are left alone."""
        if self.world_size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        for bucket in _buckets(gradients):
            flat = torch.cat([g.reshape(-1) for g in bucket])
            dist.all_reduce(flat)
            flat /= self.world_size
            torch._foreach_copy_(
                bucket,
                [f.view_as(g) for f, g in zip(torch.split(flat, [g.numel() for g in bucket]), bucket, strict=True)],
            )

    def mean(self, values: Tensor) -> Tensor:
        """The mean over processes."""
        if self.world_size == 1:
            return values
        out = values.clone()
        dist.all_reduce(out)
        return out / self.world_size

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in any process; does not wait for a GPU (0.1 ms between two processes of one machine)."""
        if self.world_size == 1:
            return flag
        found = torch.tensor(float(flag))
        dist.all_reduce(found, op=dist.ReduceOp.MAX, group=self.host)
        return bool(found.item())

    def from_first(self, *values: int) -> list[int]:
        """The whole numbers that the first process gave, as many as given here; does not wait for a GPU."""
        told = torch.tensor(values, dtype=torch.int64)
        if self.world_size > 1:
            dist.broadcast(told, src=0, group=self.host)
        return [int(value) for value in told.tolist()]

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite with the first process's values, so that all start equal."""
        if self.world_size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world_size > 1:
            dist.barrier()


def _buckets(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    """Consecutive gradients of one type, up to BUCKET_BYTES together."""
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        bytes_here = gradient.numel() * gradient.element_size()
        if bucket and (size + bytes_here > BUCKET_BYTES or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += bytes_here
    if bucket:
        yield bucket


@contextmanager
def processes(device: str | None = None) -> Iterator[Ranks]:
    """Join the processes torchrun started, or be alone without it; leaves the group at the end, when all are there.

    `device` None takes this process's GPU where there is one, else the CPU. Raises UserError when torchrun's environment is
    incomplete, or there are more processes than GPUs.
    """
    world_size, local = _number("WORLD_SIZE", 1), _number("LOCAL_RANK", 0)
    if device is None:
        if torch.cuda.is_available() and local >= torch.cuda.device_count():
            raise UserError(
                f"process {local} has no GPU, this machine has {torch.cuda.device_count()}; start as many processes as GPUs."
            )
        device = f"cuda:{local}" if torch.cuda.is_available() else "cpu"
    where = torch.device(device)
    if where.type == "cuda":
        torch.cuda.set_device(where)
    if world_size == 1:
        yield Ranks(0, 1, where)
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise UserError(f"WORLD_SIZE is {world_size} but {missing[0]} is not set; start the processes with torchrun.")
    on_gpu = where.type == "cuda"
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        ranks = Ranks(dist.get_rank(), world_size, where, dist.new_group(backend="gloo") if on_gpu else None)
        yield ranks
        ranks.wait()  # the first still writes its checkpoint and report, which the others go on to read
    finally:
        dist.destroy_process_group()


def first_failure(mine: int | None, wait_s: float = 5.0) -> int | None:
    """Under torchrun: the exit code of the process that failed first and speaks for all; None where that is this one, or nobody.

    mine: this process's exit code, which is the first where there is none yet; None only asks, and waits `wait_s` for an answer:
        who loses another in mid-sum may know so before that one has said why.
    The answer lies in torchrun's own store. Where that went with the process that kept it, the first rank counts as the first.
    """
    try:
        rank, world_size = _number("RANK", 0), _number("WORLD_SIZE", 1)
        if world_size == 1:
            return None
        found = _agreed(f"{rank} {mine}" if mine is not None else "", wait_s)
        who, code = map(int, found.split())
    except UserError:
        return None
    except (KeyError, ValueError, RuntimeError):  # what torch's store raises are RuntimeErrors
        return None if rank == 0 else mine
    return None if who == rank else code


def _agreed(proposal: str, wait_s: float) -> str:
    """What the first process wrote into torchrun's store; an empty `proposal` waits for it."""
    key, wait = f"robot_pt/failure/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", timedelta(seconds=wait_s)
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=wait)  # type: ignore[attr-defined]
    if proposal:
        return bytes(store.compare_set(key, "", proposal)).decode()
    store.wait([key], wait)
    return bytes(store.get(key)).decode()


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name, str(otherwise))
    if not text.isdecimal():
        raise UserError(f"{name} is {text!r}, not a whole number; start the processes with torchrun.")
    return int(text)
