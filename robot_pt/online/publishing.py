"""Publishing policies: checked on stored observations, written whole, then pointed to. A bad one is never pointed to."""

from __future__ import annotations

import math
import re
import shutil
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from robot_pt import checkpoint
from robot_pt.checkpoint import Learner
from robot_pt.errors import DataError, UserError
from robot_pt.networks.modes import evaluating
from robot_pt.online.serving import (
    HISTORY,
    VERSIONS,
    Serving,
    folder_of,
    is_noted,
    lock,
    note,
    read_serving,
    serve,
    versions,
)
from robot_pt.policy_record import PolicyRecord
from robot_pt.schema import Batch

AT_BOUND = 0.98
"""A normalised action this far out counts as at its bound."""


@dataclass(frozen=True, kw_only=True)
class CheckLimits:
    """What a candidate may do on stored observations. Not finite is refused always."""

    bound_share: float = 1.0
    """Largest share of action numbers at their bounds; 1 refuses none, which suits a simulator."""
    change: float = math.inf
    """Largest root-mean-square change of the action against the serving policy, in half ranges."""

    def __post_init__(self) -> None:
        if not 0 <= self.bound_share <= 1 or not self.change > 0:
            raise UserError(
                f"check limits are bound_share {self.bound_share} and change {self.change}; give 0 to 1, and above 0."
            )


class Check(NamedTuple):
    """A candidate on stored observations."""

    observations: int
    bound_share: float  # of action numbers beyond AT_BOUND
    change: float | None  # RMS against the policy that serves, in half ranges; None for the first
    refusal: str = ""  # why it must not serve; empty where it may

    def to_json(self) -> dict[str, Any]:
        values = self._asdict()
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


class Publisher:
    """Publishes the acting network of an agent below `run`.

    Attributes:
        serving: what serves now, None before the first publication.
        trouble: why the last candidate does not serve, or what of its publication the disk refused; empty where all is well.
    """

    def __init__(self, run: Path, record: PolicyRecord, limits: CheckLimits | None = None, *, keep: int = 10):
        if keep < 2:
            raise UserError(f"{keep} versions would be kept; keep at least 2, so that there is a way back.")
        self._run, self._record, self._limits, self._keep = run, record, limits or CheckLimits(), keep
        self.serving, self.trouble = read_serving(run), ""
        self._judged: tuple[int, Tensor] | None = None  # number of a version, and its actions
        self._unnoted: deque[dict[str, Any]] = deque(maxlen=1000)  # lines that the history still misses, oldest first
        if self.serving is not None:
            self._heal()

    def publish(self, step: int, agent: Learner, observations: Batch | None) -> bool:
        """Offer the policy of update `step`; True when it serves. A full disk or a failed check leaves the last one serving. Where the disk
        refuses only what tells of it, the policy serves, `trouble` says what is missing, and the next publication writes it.

        observations: stored ones, as tensors on the agent's device, the same batch at every call so that changes compare; None while
            there are none, when only the weights are judged.
        """
        try:
            with lock(self._run):
                return self._publish(step, agent, observations)
        except OSError as error:
            self.trouble = f"update {step} was not published: {error.strerror or error}; the last policy serves on."
            return False

    def _publish(self, step: int, agent: Learner, observations: Batch | None) -> bool:
        self.serving = read_serving(self._run)  # someone may have rolled back
        if self.serving is not None and self.serving.held:
            self.trouble = f"version {self.serving.number} is held after a rollback; release it to publish again."
            return False
        actions = torch.zeros(0, 1) if observations is None else _actions(agent, observations)
        before = self._judged[1] if self._judged and self.serving and self._judged[0] == self.serving.number else None
        check = check_actions(actions, before, self._limits)
        check = (
            check if not check.refusal else check._replace(refusal=f"update {step} was not published: {check.refusal}")
        )
        bad = _not_finite(agent)
        if bad:
            check = check._replace(refusal=f"update {step} was not published: its weight {bad} is NaN or infinite.")
        if check.refusal:
            self.trouble = check.refusal
            self._note({"event": "refused", "step": step, **check.to_json()})
            return False
        number = 1 + max([0 if self.serving is None else self.serving.number, *versions(self._run)])
        version = checkpoint.save_policy(folder_of(self._run, number), step, agent, self._record)
        fresh = Serving(number, version, step, f"{VERSIONS}/{number:06d}", False, time.time_ns(), check.to_json())
        lacking = [self._serve(fresh)]
        self.serving, self._judged = fresh, (number, actions)
        lacking.append(self._note({"event": "published", **fresh._asdict()}))
        self.trouble = "; ".join(filter(None, lacking))
        if self.trouble:
            self.trouble = f"version {number} serves, but {self.trouble}; free disk space, the next publication writes what is missing."
        self._prune()
        return True

    def _serve(self, fresh: Serving) -> str:
        """Swap the pointer; why the link beside it, which nothing that acts follows, could not follow. Raises OSError where nothing was swapped."""
        try:
            serve(self._run, fresh)
        except OSError as error:
            now = read_serving(self._run)
            if now is None or now.number != fresh.number:
                raise
            return f"{self._run / 'selected'} could not be moved: {error.strerror or error}"
        return ""

    def _note(self, event: dict[str, Any]) -> str:
        """A line of the history, after those that it still misses; why it could not be written."""
        self._unnoted.append(event)
        try:
            while self._unnoted:
                note(self._run, self._unnoted[0])
                self._unnoted.popleft()
        except OSError as error:
            return f"{self._run / HISTORY} lacks its line: {error.strerror or error}"
        return ""

    def _prune(self) -> None:
        """Remove all but the newest versions. One that is being loaded meanwhile is asked for anew by who loads it."""
        assert self.serving is not None
        for number in versions(self._run)[: -self._keep]:
            if number != self.serving.number:
                shutil.rmtree(folder_of(self._run, number), ignore_errors=True)

    def _heal(self) -> None:
        """After a kill in mid-publication: no half-written version, `selected` where the pointer is, and what serves in the history."""
        assert self.serving is not None
        for part in (self._run / VERSIONS).glob(".*.part"):
            if re.fullmatch(r"\.\d+\.part", part.name):
                shutil.rmtree(part, ignore_errors=True)
        try:
            checkpoint.point(self._run, "selected", self.serving.path(self._run))
            if not is_noted(self._run, self.serving):
                note(self._run, {"event": "published", **self.serving._asdict()})
        except DataError as error:
            self.trouble = str(error)
        except OSError as error:
            self.trouble = f"{self._run / HISTORY} cannot be written: {error.strerror or error}; free disk space."


@torch.no_grad()
def _actions(agent: Learner, observations: Batch) -> Tensor:
    """(B, A) normalised, as the policy would act."""
    with evaluating(agent.acting):
        policy = agent.acting(observations.images, observations.proprio, observations.task, observations.language)
    mode: Tensor = policy.mode().float()
    return mode


def check_actions(actions_BA: Tensor, serving_BA: Tensor | None, limits: CheckLimits) -> Check:
    """Judge normalised actions on stored observations against limits and the actions of the policy that serves."""
    share = float((actions_BA.abs() > AT_BOUND).float().mean()) if len(actions_BA) else 0.0
    comparable = serving_BA is not None and serving_BA.shape == actions_BA.shape and len(actions_BA) > 0
    change = float((actions_BA - serving_BA).square().mean().sqrt()) if comparable else None  # type: ignore[operator]
    refusal = ""
    if not bool(torch.isfinite(actions_BA).all()):
        refusal = "its actions on stored observations are not finite."
    elif share > limits.bound_share:
        refusal = f"{share:.0%} of its actions on stored observations are at their bounds, {limits.bound_share:.0%} are allowed."
    elif change is not None and change > limits.change:
        refusal = f"its actions differ by {change:.2f} half ranges from those of the policy that serves, {limits.change:g} are allowed."
    return Check(len(actions_BA), share, change, refusal)


def _not_finite(agent: Learner) -> str:
    """Name of the first weight that is NaN or infinite."""
    for name, value in agent.acting.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            return name
    return ""
