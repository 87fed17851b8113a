"""What a network is told about the task: a one-hot slot and, optionally, sentence features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def task_context(task_B: Tensor, language_BL: Tensor, task_slots: int, language_size: int) -> Tensor:
    """(B, task_slots + language_size) float32; language beyond `language_size` (0 = not used) is ignored."""
    one_hot = F.one_hot(task_B, task_slots).to(torch.float32)
    if not language_size:
        return one_hot
    return torch.cat([one_hot, language_BL[:, :language_size].to(torch.float32)], dim=1)
