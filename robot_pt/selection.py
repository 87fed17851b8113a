"""Which checkpoint of a run to use: a rule fixed before any trial, computed on held-out target demonstrations, and logged.

PTR's observation (arXiv 2210.05178; released code draws Q along held-out demos and a person picks): the demonstrations are
known to succeed, so the value of the data's actions must rise towards the end. As a rule:

1. score(checkpoint) = mean over held-out successful demos of Spearman's rank correlation between t and Q(s_t, a_t);
2. keep checkpoints with score >= threshold;
3. of those within `tolerance` of the best score, the plateau, take the one whose policy acts closest to the held-out demos (lowest
   action error), the earliest where several do. On a plateau the values no longer tell checkpoints apart; taking its first one
   lifted 13 of 40 cubes in `robot-pt demo` where a later one of the same plateau lifted 24, its actor having caught up.

Where nothing passes 2., the agent has no critic, or no held-out demo is known to succeed, imitation decides: the lowest error
of the policy's action on the held-out demos. `selection.json` holds every score and the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robot_pt import checkpoint
from robot_pt.errors import DataError, UserError
from robot_pt.networks.modes import evaluating
from robot_pt.networks.policy_network import PolicyNetwork
from robot_pt.replay import to_device
from robot_pt.rewards import RewardLabel
from robot_pt.safe_files import read_json, replace_json
from robot_pt.schema import Batch
from robot_pt.sources import EpisodeSource, EpisodeView, filter_episodes

FILE = "selection.json"


@dataclass(frozen=True, kw_only=True)
class SelectionRule:
    threshold: float = 0.5
    """Smallest mean rank correlation of a checkpoint whose values rise along demonstrations."""
    tolerance: float = 0.02
    """A checkpoint this close to the best score is already on the plateau."""

    def __post_init__(self) -> None:
        if not -1 <= self.threshold <= 1 or not 0 <= self.tolerance <= 2:
            raise UserError(
                f"selection threshold {self.threshold} and tolerance {self.tolerance}: give -1 to 1, and 0 to 2; they are rank correlations."
            )


class Judged(Protocol):
    """What is judged; `robot_pt.agents.Agent` is one."""

    @property
    def acting(self) -> PolicyNetwork: ...

    def values(self, batch: Batch) -> Tensor: ...


class Score(NamedTuple):
    """One checkpoint on the held-out demos. D demos of T_d steps."""

    step: int
    values: list[list[float]]  # D x T_d: Q(s_t, a_t); empty without a critic or without demos known to succeed
    spearman: list[float]  # D, as `values`
    action_error: float  # mean squared error of the policy's action, in half ranges of each dimension
    log_likelihood: float  # mean log density of the data's normalised action, nats

    @property
    def rise(self) -> float | None:
        """Mean rank correlation; None without values."""
        return float(np.mean(self.spearman)) if self.spearman else None


class Choice(NamedTuple):
    """The outcome of the rule."""

    step: int
    rule: str  # "values" or "imitation"
    reason: str


class Selector:
    """Scores checkpoints of `run` as they are written and keeps `selected` on the one the rule takes.

    Args:
        demos: held-out demonstrations, one numpy batch each (`robot_pt.replay.episode_batches`).
        successful: whether they are known to succeed; without, their values say nothing and imitation decides.
        start: on resume, scores of later updates are dropped.
    Raises:
        UserError: no demos. DataError: a damaged selection.json.
    """

    def __init__(
        self, run: Path, demos: Sequence[Batch], *, successful: bool, rule: SelectionRule | None = None,
        device: torch.device | str = "cpu", start: int = 0,
    ):  # fmt: skip
        if not demos:
            raise UserError(
                "checkpoint selection needs at least one held-out demonstration; hold some back or select by hand."
            )
        self._run, self._demos, self._successful, self._device = run, list(demos), successful, device
        self.rule = rule or SelectionRule()
        self.scores = [s for s in read_scores(run) if s.step <= start] if start else []

    def after(self, step: int, agent: Judged) -> Choice:
        """Score the checkpoint just written, choose among all so far, write selection.json and point `selected`."""
        fresh = score(step, agent, self._demos, successful=self._successful, device=self._device)
        self.scores = [s for s in self.scores if s.step != step] + [fresh]
        choice = self.choice()
        document = {
            "rule": {**asdict(self.rule), "text": " ".join((__doc__ or "").split())},
            "demos": [{"task": int(d.task[0]), "steps": len(d.action)} for d in self._demos],
            "scores": [{**s._asdict(), "mean_spearman": s.rise} for s in self.scores],
            "selected": choice.step, "by": choice.rule, "reason": choice.reason,
        }  # fmt: skip
        try:
            replace_json(self._run / FILE, document)
        except OSError as error:
            raise DataError(
                f"{self._run / FILE} could not be written: {error.strerror or error}; free disk space, resume."
            ) from None
        checkpoint.select(self._run, choice.step)
        return choice

    def choice(self) -> Choice:
        """The rule applied to the checkpoints scored so far that are still there."""
        there = checkpoint.steps(self._run)
        return choose([s for s in self.scores if s.step in there], self.rule)


def held_out_demos(source: EpisodeSource, reward: RewardLabel) -> tuple[EpisodeView, bool]:
    """(episodes to judge on, whether they are known to succeed): the successful ones, or all where none is known to be."""
    good = filter_episodes(
        source, lambda table, e: reward.counts_as_success(int(table.success[e])) and table.length[e] > 2
    )
    if len(good.episodes):
        return good, True
    return filter_episodes(source, lambda table, e: bool(table.length[e] > 0)), False


def score(
    step: int, agent: Judged, demos: Sequence[Batch], *, successful: bool, device: torch.device | str = "cpu"
) -> Score:
    """Judge `agent` on held-out demonstrations, images as they are."""
    values: list[list[float]] = []
    errors, densities = [], []
    with torch.no_grad(), evaluating(agent.acting):
        for demo in demos:
            batch = to_device(demo, device)
            policy = agent.acting.along(batch.images, batch.proprio, batch.task, batch.language)
            action = agent.acting.normalizer.encode(batch.action)
            errors.append(float((policy.mode() - action).square().mean()))
            densities.append(float(policy.log_prob(action).mean()))
            if successful:
                values += _values(agent, batch)
    return Score(
        step, values, [round(rise(np.array(v)), 6) for v in values], float(np.mean(errors)), float(np.mean(densities))
    )


def _values(agent: Judged, batch: Batch) -> list[list[float]]:
    try:
        return [[round(v, 5) for v in agent.values(batch).float().tolist()]]
    except UserError:  # no critic: the agent says so in this way
        return []


def choose(scores: Sequence[Score], rule: SelectionRule) -> Choice:
    """Apply the rule to the scores of one run, in any order."""
    assert scores, "scores to choose from"
    ordered = sorted(scores, key=lambda s: s.step)
    rises = {s.step: s.rise for s in ordered if s.rise is not None}
    kept = {step: value for step, value in rises.items() if value >= rule.threshold}
    if kept:
        best = max(kept.values())
        plateau = [s for s in ordered if s.step in kept and kept[s.step] >= best - rule.tolerance]
        chosen = min(plateau, key=lambda s: (s.action_error, s.step))
        return Choice(
            chosen.step, "values",
            f"values rise along the held-out demos with mean rank correlation {kept[chosen.step]:.3f}; of the {len(plateau)} "
            f"checkpoints within {rule.tolerance:g} of the best ({best:.3f}; {len(kept)} are at or above {rule.threshold:g}) its "
            f"policy acts closest to those demos (action error {chosen.action_error:.4g}).",
        )  # fmt: skip
    chosen = min(ordered, key=lambda s: (s.action_error, s.step))
    why = "there are no values on demos known to succeed"
    if rises:
        why = f"no checkpoint's values rise enough along the held-out demos (best {max(rises.values()):.3f}, needed {rule.threshold:g})"
    return Choice(
        chosen.step,
        "imitation",
        f"{why}; it has the lowest action error on the held-out demos ({chosen.action_error:.4g}).",
    )


def rise(values_T: NDArray[Any]) -> float:
    """Spearman's rank correlation between time and value, ties sharing their mean rank; 0 for constant values.

    NaN counts as no rise at all: -1.
    """
    if not np.isfinite(values_T).all():
        return -1.0
    if len(values_T) < 2 or (values_T == values_T[0]).all():
        return 0.0
    return float(np.corrcoef(np.arange(len(values_T)), ranks(values_T))[0, 1])


def ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """(N,) values -> ranks from 1, ties sharing their mean."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def read_scores(run: Path) -> list[Score]:
    """The scores in a run's selection.json, none where it has none. Raises DataError when it is damaged."""
    if not (run / FILE).exists():
        return []
    document = read_json(run / FILE)
    try:
        return [_score_from(entry) for entry in document["scores"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{run / FILE} is damaged ({error!r}); remove it, it is written again at the next checkpoint."
        ) from None


def _score_from(entry: Mapping[str, Any]) -> Score:
    values = [[float(v) for v in row] for row in entry["values"]]
    spearman = [float(v) for v in entry["spearman"]]
    return Score(int(entry["step"]), values, spearman, float(entry["action_error"]), float(entry["log_likelihood"]))
