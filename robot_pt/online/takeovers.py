"""What the policy's own steps are worth where a person took over: as if the episode had ended there, without success.

A takeover says that the policy would have failed from there. Labelled by what the helped episode reached, the steps that led to it
carry the operator's success, and a policy that imitates what succeeds learns to wait for the operator. Sirius (arXiv 2211.08416) gives
the steps before an intervention the weight 0, RLIF (arXiv 2311.12996) a penalty. Here a run of own steps that a takeover ends is an
episode of its own, which did not succeed:

    return-to-go  that of a failed episode of these steps, so `least_return` leaves them out of imitation as it leaves out failures
    reward        of these steps alone: none of the rewarded last steps of the success reaches back over the takeover
    bootstrap     from the observation at which the person took over, as everywhere: a critic asks what the policy would do there

Cal-QL's bound (arXiv 2303.05479) is the value of a policy that Q may not be pressed below. That of policy and operator together is no
bound for the policy, who acts alone later; a failure's return is one, as nothing can be worth less. What the person did, and own steps
after it that nobody interrupted, keep the return that followed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from robot_pt.rewards import RewardLabel, return_to_go
from robot_pt.schema import FAILURE, Bool, Episode
from robot_pt.transitions import Transitions, n_step_sums


class OwnRun(NamedTuple):
    """Steps [start, taken) of the policy's own; at step `taken` a person drives."""

    start: int
    taken: int


def driven_by_person(episode: Episode) -> Bool:
    """(T,) True where a person took over."""
    return np.array([o == "intervention" for o in episode.operator or ["policy"] * len(episode)], bool)


def before_takeovers(driven_T: Bool) -> list[OwnRun]:
    """The runs of own steps that end in a takeover, in order."""
    steps = np.flatnonzero(driven_T[1:] & ~driven_T[:-1]) + 1
    runs = []
    for taken in steps.tolist():
        earlier = np.flatnonzero(driven_T[:taken])
        runs.append(OwnRun(int(earlier[-1]) + 1 if len(earlier) else 0, taken))
    return runs


def without_help(
    index: Transitions, episode: Episode, label: RewardLabel, gamma: float, n_step: int = 1
) -> Transitions:
    """`index`, of this one episode, with what own steps before a takeover get replaced; the same object where nobody took over."""
    runs = before_takeovers(driven_by_person(episode))
    if not runs:
        return index
    columns: dict[str, Any] = {
        name: getattr(index, name).copy() for name in ("next_row", "reward", "discount", "return_to_go")
    }
    for run in runs:
        here = (index.row >= run.start) & (index.row < run.taken)
        at = index.row[here] - run.start
        for name, values in _failed(episode, run, label, gamma, n_step).items():
            columns[name][here] = values[at]
    return replace(index, **columns)


def _failed(episode: Episode, run: OwnRun, label: RewardLabel, gamma: float, n_step: int) -> dict[str, Any]:
    """Columns of the run's steps, each (run.taken - run.start,), as of an episode that was cut there."""
    span = slice(run.start, run.taken)
    told = label.label(episode.rewards[span], episode.terminated[span], FAILURE)
    returns = return_to_go(
        told.reward, told.terminal, gamma, tail=told.tail, tail_value=label.worst_return(gamma, told.reward)
    )
    # One row more, the observation at the takeover, which the last steps bootstrap from; its reward is summed by none of them.
    reward, terminal = np.append(told.reward, np.float32(0.0)), np.append(told.terminal, False)
    following, sums, discount = n_step_sums(reward, terminal, gamma, n_step)
    columns: dict[str, Any] = {"next_row": run.start + following, "reward": sums, "discount": discount}
    return {"return_to_go": returns, **{name: values[:-1] for name, values in columns.items()}}
