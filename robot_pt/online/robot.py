"""Which version a robot acts with, which one is offered, and when it may be taken: decided here, without ROS, torch or clock.

RUN/serving.json ── offered ── confirmed ── prepared ── (episode ends) ── acting
                       └── refused: bounds, or a policy node that could not load it; what acts goes on
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from robot_pt.commands import Answer
from robot_pt.errors import UserError
from robot_pt.online.serving import Serving

AGAIN_S = 30.0
"""A version that could not be loaded is tried again after so long: it may have been pruned, or the machine busy."""


SOON_S = 0.3
"""A reload that was refused is asked for again after so long."""
RELOADS = 20
"""So many refused reloads of one version are taken for its own fault."""


@dataclass
class RobotRules:
    """What it takes for a version to reach the robot. Raises UserError on a value that cannot be meant."""

    confirm: bool = True
    """An operator confirms each new version; one that has acted since the start needs it no more."""
    max_bound_share: float = 0.5
    """Largest share of action numbers at their bounds on stored observations; 1 refuses none. Policies that learned have some 0.1, the gripper's
    number most of it; one whose actor has run away has nearly all."""
    max_change: float = math.inf
    """Largest root-mean-square change against the version before, in half ranges."""
    beside: bool = True
    """Load during episodes too, beside the policy that acts; False: between them only."""

    def __post_init__(self) -> None:
        if not 0 <= self.max_bound_share <= 1 or not self.max_change > 0:
            raise UserError(
                f"max_bound_share is {self.max_bound_share} and max_change {self.max_change}; give 0 to 1, and above 0."
            )

    def complaint(self, check: Mapping[str, Any]) -> str:
        """Why a version with this check on stored observations is not offered; "" where it is. A number that is missing is none."""
        share, change = check.get("bound_share"), check.get("change")
        if isinstance(share, int | float) and not share <= self.max_bound_share:
            return f"{share:.0%} of its actions are at their bounds, {self.max_bound_share:.0%} are allowed here."
        if isinstance(change, int | float) and not change <= self.max_change:
            return f"its actions change by {change:.2f} half ranges, {self.max_change:g} are allowed here."
        return ""


class Step(NamedTuple):
    """What to ask the policy node for."""

    kind: Literal["prepare", "reload"]
    serving: Serving


@dataclass
class RobotVersions:
    """Told what is heard; asked what is next. Versions are hashes, numbers those of the run.

    Attributes:
        acting: version the policy node says it acts with; "" before it said so.
        serving: what the run offers now; None before anything was published.
        refusals: version -> why it is not taken.
    """

    rules: RobotRules
    acting: str = ""
    serving: Serving | None = None
    refusals: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._trusted: set[str] = set()  # confirmed, or has acted
        self._again_s: dict[str, float] = {}
        self._target: Serving | None = None  # being taken; a newer one has to wait for its turn
        self._prepared, self._reloads_refused = "", 0
        self._numbers: dict[str, int] = {}

    def heard(self, version: str) -> None:
        """policy/version."""
        if version != self.acting:
            self.acting, self._prepared = version, ""
        self._trusted.add(version)

    def saw(self, serving: Serving | None, numbers: Mapping[str, int]) -> None:
        """serving.json, and the numbers of the versions in the run's folder."""
        self._numbers.update(numbers)
        if serving is not None:
            self._numbers[serving.version] = serving.number
        self.serving = serving
        target = self._target
        if (
            target is not None
            and serving is not None
            and (serving.number < target.number or serving.version == self.acting)
        ):
            self._target = None  # rolled back meanwhile

    @property
    def acting_number(self) -> int | None:
        """Of the version that acts; None where it is none of the run's."""
        return self._numbers.get(self.acting)

    @property
    def offered(self) -> Serving | None:
        """What could be taken next: it serves, it does not act, and its check allows it."""
        serving = self.serving
        if serving is None or not self.acting or serving.version == self.acting:
            return None
        return None if self.rules.complaint(serving.check) else serving

    @property
    def waits_for_operator(self) -> bool:
        """Something is offered that only an operator may let pass."""
        offered = self.offered if self._target is None else None
        return offered is not None and self.rules.confirm and offered.version not in self._trusted

    def next(self, episode_runs: bool, now_s: float) -> Step | None:
        """What to do now; nothing that touches the policy while an episode runs.

        A version that was begun with is seen through: where versions come faster than episodes end, none would ever be taken.
        """
        target = self._target
        if target is None:
            target = self.offered
            if target is None or self.waits_for_operator:
                return None
        if now_s < self._again_s.get(target.version, -math.inf):
            return None
        if self._prepared != target.version:
            if episode_runs and not self.rules.beside:
                return None
            self._target = target
            return Step("prepare", target)
        return None if episode_runs else Step("reload", target)

    def done(self, step: Step, ok: bool, sentence: str, now_s: float) -> None:
        """How `step` went. A reload is refused where an episode began meanwhile: it is asked for again soon."""
        version = step.serving.version
        if ok and step.kind == "prepare":
            self._prepared, self._reloads_refused = version, 0
        elif ok:
            self.heard(version)
            self._target = None
        elif step.kind == "reload" and self._reloads_refused < RELOADS:
            self._reloads_refused += 1
            self._again_s[version] = now_s + SOON_S
        else:
            self._again_s[version], self._target, self._prepared = now_s + AGAIN_S, None, ""
        if ok:
            self.refusals.pop(version, None)
        else:
            self.refusals[version] = sentence

    def confirm(self) -> Answer:
        """The operator takes what is offered: that version, and none that comes later."""
        offered = self.offered
        if offered is None:
            return Answer(False, f"nothing waits for a confirmation: {self.sentence()}")
        self._trusted.add(offered.version)
        self._target = offered
        return Answer(True, f"{_name(offered)} is taken when no episode runs.")

    def trust(self, version: str) -> None:
        """An operator chose this one, by rolling back to it."""
        self._trusted.add(version)
        self._again_s.pop(version, None)
        self._target = None

    def sentence(self) -> str:
        """Where it stands, for the operator."""
        serving = self.serving
        if serving is None:
            return "the run has published no policy yet."
        if not self.acting:
            return "the policy node has not said yet which version acts."
        if serving.version == self.acting:
            return f"{_name(serving)} acts{', held after a rollback' if serving.held else ''}."
        if self._target is not None:
            return f"{_name(self._target)} is taken when no episode runs."
        complaint = self.rules.complaint(serving.check) or self.refusals.get(serving.version, "")
        if complaint:
            return f"{_name(serving)} is not taken: {complaint}"
        if self.waits_for_operator:
            return f"{_name(serving)} waits for online/confirm ({_checked(serving.check)})."
        return f"{_name(serving)} is taken when no episode runs."

    def values(self) -> dict[str, Any]:
        """Flat JSON values."""
        serving = self.serving
        of = {} if serving is None else {f"check/{name}": value for name, value in serving.check.items()}
        return {
            "acting": self.acting, "acting_number": self.acting_number, "serving": serving.version if serving else "",
            "serving_number": serving.number if serving else None, "held": bool(serving and serving.held),
            "waits_for_operator": self.waits_for_operator, **of,
        }  # fmt: skip


def _name(serving: Serving) -> str:
    return f"version {serving.number} ({serving.version[:12]}, {serving.step} updates)"


def _checked(check: Mapping[str, Any]) -> str:
    """What the learner's check on stored observations found."""
    count, share, change = (check.get(name) for name in ("observations", "bound_share", "change"))
    if not isinstance(count, int) or not isinstance(share, int | float) or not count:
        return "not checked on stored observations"
    moved = f", actions change by {change:.2f} half ranges" if isinstance(change, int | float) else ""
    return f"{count} stored observations: {share:.0%} of actions at bounds{moved}"
