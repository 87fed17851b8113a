"""What a rule of checkpoint selection loses against an oracle that knows every checkpoint's success rate. numpy only.

All checkpoints of a run play the same N episodes. The best of C measured rates is high by luck too, so two numbers frame the loss:

* `seen`: the oracle's episodes are those it is judged on. Too large on average: rules are charged for luck.
* `fresh`: it picks the best checkpoint on one half of the episodes and is judged on the other, and the other way round. What somebody
  with N / 2 trials per checkpoint on the robot would really gain; below 0 where such trials choose worse than the rule.

Shapes: C checkpoints, N episodes, B resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import MismatchError, UserError
from robot_pt.intervals import Interval
from robot_pt.schema import Bool
from robot_pt.selection import Score, SelectionRule, choose

Array = NDArray[np.float64]


class Trials(NamedTuple):
    """One run: what a rule may look at, and how its checkpoints fared."""

    scores: Sequence[Score]  # C, on held-out demonstrations
    success_CN: Bool  # episode n is the same start for every checkpoint


class Regret(NamedTuple):
    """Mean over runs, as shares of episodes."""

    rate: float  # success of what the rule chose
    seen: float
    fresh: float
    interval: Interval  # 95 % of `fresh`, runs and episodes resampled


Rule = Callable[[Sequence[Score]], Mapping[int, float]]
"""Scores of a run -> step of a checkpoint -> how often it is taken."""


def by_values(scores: Sequence[Score]) -> Mapping[int, float]:
    """`robot_pt.selection`: on the plateau of rising values the policy that acts closest to the held-out demos."""
    return {choose(scores, SelectionRule()).step: 1.0}


def earliest_on_plateau(scores: Sequence[Score]) -> Mapping[int, float]:
    """The same plateau, its first checkpoint; imitation where nothing rises."""
    rule = SelectionRule()
    rises = {s.step: s.rise for s in scores if s.rise is not None and s.rise >= rule.threshold}
    if not rises:
        return by_imitation(scores)
    return {min(step for step, value in rises.items() if value >= max(rises.values()) - rule.tolerance): 1.0}


def by_imitation(scores: Sequence[Score]) -> Mapping[int, float]:
    """The lowest action error on the held-out demos, the earliest of equals."""
    return {min(scores, key=lambda s: (s.action_error, s.step)).step: 1.0}


def last(scores: Sequence[Score]) -> Mapping[int, float]:
    return {max(s.step for s in scores): 1.0}


def at_random(scores: Sequence[Score]) -> Mapping[int, float]:
    """Any, each as often: what selection is worth at all."""
    return {s.step: 1 / len(scores) for s in scores}


RULES: Mapping[str, Rule] = {
    "values, then imitation": by_values,
    "first of the plateau": earliest_on_plateau,
    "imitation alone": by_imitation,
    "last": last,
    "at random": at_random,
}


def regret(runs: Sequence[Trials], rule: Rule, *, resamples: int = 2000, seed: int = 0) -> Regret:
    """What `rule` loses in these runs.

    Raises UserError without runs, or with fewer than 4 episodes or no checkpoint in one; MismatchError where scores and trials differ.
    """
    if not runs:
        raise UserError("no run was given; name at least one whose checkpoints were evaluated.")
    rng = np.random.default_rng(seed)
    rates, seen, fresh, drawn = [], [], [], []
    for run in runs:
        weight_C, success_CN = _weights(run, rule), np.asarray(run.success_CN, np.float64)
        rate_C = success_CN.mean(1)
        rates.append(float(weight_C @ rate_C))
        seen.append(float(rate_C.max() - weight_C @ rate_C))
        halves = success_CN[:, 0::2], success_CN[:, 1::2]
        fresh.append(float(_crossed(halves[0].mean(1), halves[1].mean(1), weight_C)))
        again = [half[:, rng.integers(0, half.shape[1], (resamples, half.shape[1]))].mean(2).T for half in halves]
        drawn.append(_crossed(again[0], again[1], weight_C))
    picked = rng.integers(0, len(runs), (resamples, len(runs)))
    means_B = np.stack(drawn)[picked, np.arange(resamples)[:, None]].mean(1)
    low, high = np.quantile(means_B, [0.025, 0.975])
    return Regret(float(np.mean(rates)), float(np.mean(seen)), float(np.mean(fresh)), Interval(float(low), float(high)))


def _weights(run: Trials, rule: Rule) -> Array:
    checkpoints, episodes = np.shape(run.success_CN)
    if checkpoints != len(run.scores):
        raise MismatchError(
            f"{len(run.scores)} checkpoints have scores and {checkpoints} were evaluated; evaluate all of them on the same starts."
        )
    if not checkpoints or episodes < 4:
        raise UserError(
            f"{checkpoints} checkpoints with {episodes} episodes each say nothing of a rule; evaluate at least 1, each with at least 4."
        )
    chosen = rule(run.scores)
    return np.array([chosen.get(s.step, 0.0) for s in run.scores])


def _crossed(one_BC: Array, other_BC: Array, weight_C: Array) -> Array:
    """(...,) mean over both ways round of: the best on one half less the rule's choice, both judged on the other half."""
    gains = [_judged(a, b) - b @ weight_C for a, b in ((one_BC, other_BC), (other_BC, one_BC))]
    out: Array = (gains[0] + gains[1]) / 2
    return out


def _judged(choosing_BC: Array, judging_BC: Array) -> Array:
    """(...,) mean rate, on the judging half, of the checkpoints that are best on the choosing half."""
    best = choosing_BC >= choosing_BC.max(-1, keepdims=True) - 1e-12
    out: Array = (judging_BC * best).sum(-1) / best.sum(-1)
    return out
