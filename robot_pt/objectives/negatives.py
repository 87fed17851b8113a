"""Other clips of a batch, for losses that contrast a clip with them."""

from __future__ import annotations

import torch
from torch import Tensor

from robot_pt import noise
from robot_pt.errors import UserError


def other_rows(key_B: Tensor, step: int, stream: int, count: int, *, seed: int) -> Tensor:
    """(count, B) int64: for each clip the rows of `count` other clips of the batch, of all processes where the keys are (`across.everyone`), never its own.

    Each is uniform over the others, and a clip meets none twice while count < B: all shift one random order of the batch, by 1, 2, ...
    A random permutation, as R3M and VIP draw it, leaves a clip in its place with probability 1/B, and that "negative" is then the most
    alike of all. Keyed by sample: the same batch and step give the same rows.

    Raises:
        UserError: a batch of one clip has no others.
    """
    batch = len(key_B)
    if batch < 2:
        raise UserError(
            f"this objective contrasts a clip with others of its batch; a batch of {batch} has none: give at least 2."
        )
    order_B = noise.uniform(key_B, step, stream, (1,), seed=seed)[:, 0].argsort(stable=True)
    shift_N = torch.arange(count, device=key_B.device) % (batch - 1) + 1
    place_B = torch.arange(batch, device=key_B.device)
    rows_NB = torch.empty(count, batch, dtype=torch.int64, device=key_B.device)
    rows_NB[:, order_B] = order_B[(place_B + shift_N[:, None]) % batch]
    return rows_NB
