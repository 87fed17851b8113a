"""What a report can show. Every part is optional."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from robot_pt.errors import UserError
from robot_pt.results import Comparison, Evaluation
from robot_pt.schema import Float

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One rollout to look at."""

    video: bytes  # an MP4 file
    seed: int
    success: bool
    steps: int


@dataclass(frozen=True, kw_only=True)
class Selection:
    """How the checkpoint was chosen."""

    rule: str
    """The written rule, in words."""
    rows: Sequence[Row]
    """One per checkpoint: "step" and the numbers that the rule looked at."""
    chosen: int
    """Step of the checkpoint the rule took."""


@dataclass(frozen=True, kw_only=True)
class Online:
    """Learning on the job."""

    metrics: Sequence[Row]
    """Rows of metrics.jsonl; those with "probe/..." say what the critic believed."""
    successes: Sequence[bool | None]
    """One per episode in the order they came; None where nobody said."""
    updates: Sequence[int]
    """Updates done when each episode came."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One frame to look at."""

    jpeg: bytes
    caption: str


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What an encoder makes of frames."""

    summary: str
    """One paragraph: what the columns are."""
    rows: Sequence[Picture]
    """One strip of frames each."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a success classifier gets right."""

    summary: str
    """One paragraph: at which threshold, on what."""
    thresholds: Sequence[Row]
    """One row per threshold: confusion counts, precision and recall with intervals."""
    chosen: float
    """The threshold in force."""
    recall: Sequence[float]
    """The precision-recall curve, a point per distinct probability."""
    precision: Sequence[float]
    false_positives: Sequence[Picture] = ()
    """Called a success with most confidence that are none."""
    false_negatives: Sequence[Picture] = ()


@dataclass(frozen=True, kw_only=True)
class Point:
    """One value with its interval; None was not measured."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    control: bool = False


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One kind of number, of several things."""

    title: str
    points: Sequence[Point]
    reference: float | None = None
    """What chance or a control reaches: a dashed line."""
    better: int = 0
    """1: more is better, -1: less is, 0: neither."""
    ends: tuple[float, float] | None = None
    """What the axis spans at least: the same for charts that are read beside each other."""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything a page can show."""

    title: str
    subtitle: str = ""
    command: str = ""
    """What to type to make this again."""
    policy: str = ""
    """Name of the evaluation that the page is about; default the first."""
    evaluations: Sequence[Evaluation] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    """Evaluation name -> one line that says what it is."""
    controls: Sequence[str] = ()
    """Names of evaluations that must stay under half of the policy's rate, else the task tests nothing."""
    comparisons: Sequence[Comparison] = ()
    clips: Mapping[str, Sequence[Clip]] = field(default_factory=dict)
    route: tuple[str, str] | None = None
    """(name, explanation) of how the policy was taken from the critic."""
    values: Sequence[Float] = ()
    """Q(s_t, a_t) along each held-out demonstration, (T,) each."""
    selection: Selection | None = None
    online: Online | None = None
    judged: Judged | None = None
    measured: Sequence[Measured] = ()
    seen: Seen | None = None
    curves: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    """Phase ("pretrain", "finetune") -> rows of its metrics.jsonl."""
    data: Sequence[Row] = ()
    """One row per data set: name, episodes, steps, successes."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Phase -> wall-clock time."""
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()

    @property
    def main(self) -> Evaluation | None:
        """The evaluation that the page is about. Raises UserError when the report names one it does not hold, or two share a name."""
        names = [e.name for e in self.evaluations]
        if len(set(names)) < len(names):
            raise UserError(f"the evaluations of a report need different names; these are {names}.")
        named = (*self.controls, *self.clips, *([self.policy] if self.policy else []))
        missing = [n for n in named if n not in names]
        if missing:
            raise UserError(f"the report names {missing}, but its evaluations are {names}; use one of those names.")
        if not names:
            return None
        return self.evaluations[names.index(self.policy) if self.policy else 0]
