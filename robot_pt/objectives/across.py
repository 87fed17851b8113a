"""What a loss needs of the other processes of a run, so that N processes learn as one does."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from robot_pt.clips import ClipBatch
from robot_pt.errors import UserError


def gathered(value_BX: Tensor) -> tuple[Tensor, int]:
    """((N, ...) rows of all processes without gradient, place of this process's first row); alone: the rows themselves and 0.

    For what has no gradient anyway, such as the keys of an averaged encoder: then the mean over processes of the gradients is that
    of the whole batch. Every process calls it at the same point, with as many rows.
    """
    value_BX = value_BX.detach()
    if not _several():
        return value_BX, 0
    parts = [torch.empty_like(value_BX) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, value_BX.contiguous())
    return torch.cat(parts), dist.get_rank() * len(value_BX)


def shared(value_BX: Tensor) -> Tensor:
    """(N, ...) rows of all processes, for a loss over the whole batch that every process computes alike: its gradient, averaged over
    processes, is that of one process with the whole batch. Alone: the rows themselves.

    This process's rows carry the gradient, as many times as there are processes, since each of the others sees only its own.
    """
    if not _several():
        return value_BX
    rows, first = gathered(value_BX)
    world = dist.get_world_size()
    mine = world * value_BX - (world - 1) * value_BX.detach()
    return torch.cat([rows[:first], mine, rows[first + len(value_BX) :]])


def everyone(batch: ClipBatch) -> ClipBatch:
    """`batch` with what a loss of codes reads (which frames are there, of which episodes, sentences, keys) of all processes; the rest stays
    this one's."""
    if not _several():
        return batch
    names = ("valid", "step", "episode", "language", "sample_key")
    found: dict[str, Any] = {name: _of_all(getattr(batch, name)) for name in names}
    return batch._replace(**found)


def _of_all(value: Tensor) -> Tensor:
    return gathered(value.to(torch.uint8))[0].bool() if value.dtype == torch.bool else gathered(value)[0]


def masked_mean(value: Tensor, valid: Tensor) -> Tensor:
    """Mean of `value` where `valid` (same shape), over the rows of all processes once gradients are averaged; 0 where none is.

    The gradient of what is not valid is exactly 0, NaN there included.
    """
    count = valid.sum().to(value.dtype)
    if _several():
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    kept = torch.where(valid, value, torch.zeros_like(value))
    return kept.sum() / torch.where(count > 0, count, torch.ones_like(count))


def contrast(
    logits_BN: Tensor, target_B: Tensor, *, valid_B: Tensor | None = None, excluded_BN: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(cross-entropy of picking column target[b] in row b, share of rows where it is the largest), both means over valid rows.

    Args:
        valid_B: rows that count; the gradient of the others is exactly 0.
        excluded_BN: columns that are neither positive nor negative for a row, such as frames of the same episode; the target stays.
    Raises:
        UserError: a single column, which every row would pick without having learned anything.
    """
    if logits_BN.shape[1] < 2:
        raise UserError(
            "this objective tells a frame from others of its batch; a batch of 1 has none: give at least 2."
        )
    valid_B = torch.ones_like(target_B, dtype=torch.bool) if valid_B is None else valid_B
    logits_BN = logits_BN.float()
    if excluded_BN is not None:
        own = torch.arange(logits_BN.shape[1], device=logits_BN.device) == target_B[:, None]
        logits_BN = logits_BN.masked_fill(excluded_BN & ~own, -torch.inf)
    loss_B = F.cross_entropy(logits_BN, target_B, reduction="none")
    right_B = (logits_BN.detach().argmax(1) == target_B).float()
    return masked_mean(loss_B, valid_B), masked_mean(right_B, valid_B)


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
