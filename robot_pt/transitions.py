"""Transitions: for every step of a source, what a temporal-difference update needs to know beside the pixels.

Computed once when training starts, from the columns already in memory; a few numbers per step, no images.
Shapes: N steps of the source's columns, E episodes, M usable steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robot_pt.errors import DataError, UserError
from robot_pt.rewards import RewardLabel, require_gamma, return_to_go
from robot_pt.schema import Bool, EpisodeTable, Float, Int
from robot_pt.sources import EpisodeSource


@dataclass(frozen=True, kw_only=True)
class Transitions:
    """The M steps of a source that can be sampled, in order of its episodes."""

    row: Int  # (M,) row of the source's columns
    next_row: Int  # (M,) row of the observation to bootstrap from, never of another episode
    reward: Float  # (M,) discounted sum over the steps from row to next_row
    discount: Float  # (M,) gamma**n, 0 where the return ended within them
    return_to_go: Float  # (M,)
    episode: Int  # (M,) index into the source's episode table
    without_next: int  # steps left out: the last of an episode that did not end, so nothing follows to bootstrap from

    def __len__(self) -> int:
        return len(self.row)


def transitions(
    source: EpisodeSource, label: RewardLabel, gamma: float, n_step: int = 1, *, bootstrap: bool = True
) -> Transitions:
    """Index a source.

    n-step sums stop at the first terminal step and are shortened at an episode's end: next_row is then its last row and the
    discount gamma**(rows left). The last step of an episode has an action but no next observation. Unless it is terminal
    (nothing to bootstrap) it is left out, since a discount of 0 there would call a cut recording the end of the task.
    With `bootstrap=False` (imitation) it stays, with itself as next row and discount 0.

    Raises UserError for gamma or n_step out of range, DataError for NaN in actions, proprio or rewards, naming the episode.
    """
    require_gamma(gamma)
    if n_step < 1:
        raise UserError(f"n_step is {n_step}; give at least 1.")
    require_finite(source)
    table = source.episodes
    parts = [_of_episode(source, e, label, gamma, n_step) for e in range(len(table)) if table.length[e] > 0]
    if not parts:
        return _empty()
    row, next_row, reward, discount, returns, usable = (np.concatenate(c) for c in zip(*parts, strict=True))
    episode = np.repeat(np.arange(len(table)), np.maximum(table.length, 0))
    keep = usable if bootstrap else np.ones_like(usable)
    return Transitions(
        row=row[keep], next_row=next_row[keep], reward=reward[keep], discount=discount[keep],
        return_to_go=returns[keep], episode=episode[keep], without_next=int((~keep).sum()),
    )  # fmt: skip


def _of_episode(
    source: EpisodeSource, e: int, label: RewardLabel, gamma: float, n_step: int
) -> tuple[Int, Int, Float, Float, Float, Bool]:
    start, steps = int(source.episodes.start[e]), int(source.episodes.length[e])
    span = slice(start, start + steps)
    told = label.label(source.rewards[span], source.terminated[span], int(source.episodes.success[e]))
    returns_T = return_to_go(
        told.reward, told.terminal, gamma, tail=told.tail, tail_value=label.worst_return(gamma, told.reward)
    )
    next_T, reward_T, discount_T = n_step_sums(told.reward, told.terminal, gamma, n_step)
    usable_T = np.ones(steps, bool)
    usable_T[-1] = told.terminal[-1]
    return np.arange(start, start + steps), start + next_T, reward_T, discount_T, returns_T, usable_T


def n_step_sums(reward_T: Float, terminal_T: Bool, gamma: float, n_step: int) -> tuple[Int, Float, Float]:
    """(next step, reward sum, discount) of each step of one episode, each (T,); see `transitions`."""
    steps = len(reward_T)
    t = np.arange(steps)
    total, discount = np.zeros(steps), np.ones(steps)
    going = np.ones(steps, bool)  # no terminal step met so far
    for k in range(n_step):
        at = np.minimum(t + k, steps - 1)
        # The last observation bootstraps the step before it: its own reward is only summed where it starts or is terminal.
        taken = going & ((t + k < steps - 1) | ((t + k == steps - 1) & ((k == 0) | terminal_T[at])))
        total += np.where(taken, gamma**k * reward_T[at], 0.0)
        discount = np.where(taken, gamma ** (k + 1), discount)
        going &= ~(taken & terminal_T[at])
    end = (t == steps - 1) | ~going
    return (
        np.minimum(t + n_step, steps - 1),
        total.astype(np.float32),
        np.where(end, 0.0, discount).astype(np.float32),
    )


def require_finite(source: EpisodeSource) -> None:
    """Raise DataError naming the first episode and step whose action, proprio or reward is NaN or infinite."""
    for name in ("actions", "proprio", "rewards"):
        column = getattr(source, name)
        good = np.isfinite(column).reshape(len(column), -1).all(axis=1)
        if not good.all():
            _raise_for_bad_row(source.episodes, good, name)


def _raise_for_bad_row(table: EpisodeTable, good: Bool, name: str) -> None:
    for e in range(len(table)):
        bad = np.flatnonzero(~good[table.start[e] : table.start[e] + table.length[e]])
        if len(bad):
            raise DataError(
                f"{name} of episode {e} of {table.dataset[e] or 'the data'} hold NaN or Inf at step {int(bad[0])} "
                f"(task {table.task[e]!r}); drop or repair that episode and start again."
            )


def _empty() -> Transitions:
    rows, values = np.zeros(0, np.int64), np.zeros(0, np.float32)
    return Transitions(
        row=rows, next_row=rows, reward=values, discount=values, return_to_go=values, episode=rows, without_next=0
    )
