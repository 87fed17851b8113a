"""The conservative term of CQL (arXiv 2006.04779) and its calibration in Cal-QL (arXiv 2303.05479), as pure functions.

A soft maximum of Q over sampled actions, less Q of the data action: minimising it presses Q down where the policy would go and
lifts it where the data is. Cal-QL stops pressing where Q of a policy sample has reached the data's return-to-go. Temperature 1:
with another the released code divides the log-densities by it too, which its author calls an error (young-geng/CQL issue 3).

Shapes: E heads, B states, K samples of one kind. Sampled actions and densities carry no gradient here.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Sampled(NamedTuple):
    """Q(s, a) of one critic call, by where the action comes from, and log-densities of the policy's samples."""

    data_EB: Tensor
    uniform_EBK: Tensor
    """Uniform on [-1, 1] in every dimension."""
    policy_EBK: Tensor
    """From pi(. | s)."""
    next_EBK: Tensor
    """From pi(. | s'), judged at s."""
    policy_log_BK: Tensor
    next_log_BK: Tensor

    @classmethod
    def split(cls, q_EBN: Tensor, policy_log_BK: Tensor, next_log_BK: Tensor) -> Sampled:
        """From Q of 1 data, K uniform, K policy and K next-state policy actions side by side."""
        count = policy_log_BK.shape[1]
        data, uniform, policy, following = torch.split(q_EBN, [1, count, count, count], dim=2)
        return cls(data[:, :, 0], uniform, policy, following, policy_log_BK, next_log_BK)

    def detach(self) -> Sampled:
        return Sampled(*(value.detach() for value in self))


def calibrated(q: Sampled, return_B: Tensor) -> Sampled:
    """Cal-QL: max(Q, return-to-go) on policy samples of s and s', not on uniform ones; where the return binds, Q has no gradient."""
    floor_B1 = return_B[:, None]
    return q._replace(policy_EBK=torch.maximum(q.policy_EBK, floor_B1), next_EBK=torch.maximum(q.next_EBK, floor_B1))


def bound_rate(q: Sampled, return_B: Tensor) -> Tensor:
    """() share of policy samples, of s and s', whose Q lies below the return-to-go."""
    below = (torch.cat([q.policy_EBK, q.next_EBK], dim=2) < return_B[:, None]).to(torch.float32)
    return below.mean()


def soft_maximum(q: Sampled, actions: int, *, importance: bool = True) -> Tensor:
    """(E, B) logsumexp over the samples; `actions`: dimensions of an action.

    importance: each sample weighs by 1 / its density, so that the sum over 3K samples estimates 3K times the integral of exp Q.
    Without, all 3K samples and the data action count alike (Kitchen).
    """
    if importance:
        uniform_log = actions * math.log(0.5)
        terms = [q.uniform_EBK - uniform_log, q.next_EBK - q.next_log_BK, q.policy_EBK - q.policy_log_BK]
    else:
        terms = [q.uniform_EBK, q.data_EB[:, :, None], q.next_EBK, q.policy_EBK]
    return torch.logsumexp(torch.cat(terms, dim=2), dim=2)


def gap(
    q: Sampled, actions: int, *, importance: bool = True, floor: float | None = None, ceiling: float | None = None
) -> Tensor:
    """(E,) mean over states of soft maximum - Q(s, a_data), clipped to [floor, ceiling] state by state; None = no limit."""
    gap_EB = soft_maximum(q, actions, importance=importance) - q.data_EB
    if floor is not None or ceiling is not None:
        gap_EB = gap_EB.clamp(floor, ceiling)
    return gap_EB.mean(1)


def multiplier_loss(multiplier: Tensor, weight: float, gap_E: Tensor, target_gap: float) -> Tensor:
    """Whose descent raises the Lagrange multiplier while the gap exceeds `target_gap`; mean over heads, Q a constant."""
    loss: Tensor = -(multiplier * weight * (gap_E.detach() - target_gap)).mean()
    return loss
