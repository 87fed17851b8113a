"""Alarms of learning on the job, each with a definition that can be computed from what is logged. Imports no torch.

divergence      The mean Q of data or policy actions lies outside [lowest return, highest return], widened on both sides by half
                its width, in `patience` probes in a row, or is not finite in one. Returns lie between the smallest reward for
                ever and the largest reward for ever, so no true value does.
scale collapse  The spread of Q over the probe's states is below a tenth of what it was at the switch from offline to online (the
                median of the first `reference` probes) in `patience` probes in a row: the critic no longer tells states apart.
unlearning dip  The upper end of the 95 % Wilson interval of the success rate over the last `window` episodes lies below the lower end
                of that of the policy online learning started from.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from robot_pt.errors import UserError
from robot_pt.intervals import wilson


class Alarm(NamedTuple):
    """What went wrong, first at which update."""

    kind: str  # divergence, scale collapse or unlearning dip
    update: int
    sentence: str


class Values(NamedTuple):
    """What `QAlarms` looks at of a probe."""

    data: float
    policy: float
    spread: float


@dataclass
class QAlarms:
    """Divergence and scale collapse, from probes in order. Each alarm is raised once, and again after it was over.

    Raises UserError for bounds that are not a range.
    """

    lowest: float
    """The smallest return possible: smallest reward / (1 - gamma), or the smallest reward where an episode ends with it."""
    highest: float
    patience: int = 3
    reference: int = 5
    _early: list[float] = field(default_factory=list)
    _outside: int = 0
    _flat: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lowest) and math.isfinite(self.highest) and self.lowest < self.highest):
            raise UserError(
                f"returns between {self.lowest} and {self.highest} are no range; give finite rewards that differ."
            )
        if self.patience < 1 or self.reference < 1:
            raise UserError(f"patience is {self.patience} and reference {self.reference}; give at least 1.")

    def add(self, update: int, values: Values) -> list[Alarm]:
        """Alarms that begin with this probe."""
        return [a for a in (self._divergence(update, values), self._collapse(update, values)) if a is not None]

    def _divergence(self, update: int, values: Values) -> Alarm | None:
        finite = all(map(math.isfinite, values))
        slack = (self.highest - self.lowest) / 2
        low, high = self.lowest - slack, self.highest + slack
        inside = finite and all(low <= q <= high for q in (values.data, values.policy))
        self._outside = 0 if inside else self._outside + 1
        if self._outside == self.patience or (not finite and self._outside <= self.patience):
            self._outside = max(self._outside, self.patience)
            return Alarm(
                "divergence", update,
                f"Q of data {values.data:.4g} and of the policy {values.policy:.4g} at update {update}: returns lie within "
                f"[{self.lowest:.4g}, {self.highest:.4g}]; lower the critic's learning rate or the update ratio, or use more heads with "
                "LayerNorm.",
            )  # fmt: skip
        return None

    def _collapse(self, update: int, values: Values) -> Alarm | None:
        if not math.isfinite(values.spread):
            return None
        if len(self._early) < self.reference:
            self._early.append(values.spread)
            return None
        usual = statistics.median(self._early)
        self._flat = self._flat + 1 if values.spread < 0.1 * usual else 0
        if self._flat != self.patience:
            return None
        return Alarm(
            "scale collapse", update,
            f"Q differs between states by {values.spread:.4g} at update {update}, at the switch it was {usual:.4g}: the critic no "
            "longer tells states apart; keep more offline data in the mix or calibrate (cal_ql).",
        )  # fmt: skip


@dataclass
class DipAlarm:
    """The unlearning dip, from episodes in order."""

    start_version: str
    """Policy version that online learning started from; its episodes are the base, else the first `window`."""
    window: int = 20
    least: int = 10
    """Fewest episodes a rate is taken over."""
    _base: list[bool] = field(default_factory=list)
    _first: list[bool] = field(default_factory=list)
    _last: deque[bool] = field(default_factory=deque)
    _on: bool = False

    def add(self, update: int, success: bool, version: str) -> list[Alarm]:
        """An alarm where the dip begins with this episode."""
        if version == self.start_version and len(self._base) < 10 * self.window:
            self._base.append(success)
        else:
            self._last.append(success)
        if len(self._first) < self.window:
            self._first.append(success)
        if len(self._last) > self.window:
            self._last.popleft()
        base = self._base if len(self._base) >= self.least else self._first if len(self._first) == self.window else []
        if not base or len(self._last) < self.least:
            return []
        now, then = wilson(sum(self._last), len(self._last)), wilson(sum(base), len(base))
        dips = now[1] < then[0]
        began, self._on = dips and not self._on, dips
        if not began:
            return []
        return [Alarm(
            "unlearning dip", update,
            f"success fell to {_percent(self._last)} over the last {len(self._last)} episodes at update {update}, it was {_percent(base)} "
            f"over {len(base)} at the start: more offline data in the mix, a smaller update ratio, or `--rollback`.",
        )]  # fmt: skip


def _percent(results: Sequence[bool]) -> str:
    return f"{sum(results) / len(results):.0%}"
