"""DR3 (arXiv 2112.04716): keep features of consecutive state-action pairs from growing alike.

Bootstrapping lets phi(s, a) and phi(s', a') of a critic align and grow until Q is wrong everywhere; their inner product, added to the
loss, counters it: c0 * mean phi(s, a) . phi(s', a'), phi what the last layer of a head reads, a' the action that is backed up. The
gradient goes through both factors. PTR's code carries the same term over image features alone, with weight 0.
"""

from __future__ import annotations

from torch import Tensor

from robot_pt.networks.ensembles import Critic, State


def feature_overlap(feature_EBH: Tensor, next_EBH: Tensor, discount_B: Tensor) -> Tensor:
    """() mean over heads and batch of phi(s, a) . phi(s', a'); 0 where nothing follows (discount 0), as nothing is backed up there."""
    overlap_EB = (feature_EBH * next_EBH).sum(-1)
    return (overlap_EB * (discount_B > 0)).mean()


def critic_overlap(
    critic: Critic, state: State, action_BA: Tensor, next_state: State, next_action_BA: Tensor, discount_B: Tensor
) -> Tensor:
    """The same of a critic's own features; `state` and `next_state` are its `state(...)` of s and s', actions normalised."""
    here_EBH = critic.penultimate(*state, action_BA[:, None])[:, :, 0]
    following_EBH = critic.penultimate(*next_state, next_action_BA[:, None])[:, :, 0]
    return feature_overlap(here_EBH, following_EBH, discount_B)
