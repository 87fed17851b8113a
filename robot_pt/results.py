"""What an evaluation is: results per episode, the rate with its interval, a paired comparison. Imports numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from robot_pt.errors import DataError, MismatchError
from robot_pt.intervals import (
    Interval,
    PairedCounts,
    count_pairs,
    mcnemar,
    paired_difference,
    probability_of_improvement,
    wilson,
)
from robot_pt.schema import Image

SCHEMA_VERSION = 1
PLAYED_IN = {"kitchen": "kitchens", "robosuite": "robosuite"}
"""Simulator -> the setting of an evaluation that says which version of it was played in."""
RESULT_FIELDS: dict[str, type | tuple[type, ...]] = {
    "seed": int,
    "success": bool,
    "steps": int,
    "total_reward": (int, float),
    "initial_conditions": dict,
    "policy_version": str,
}


@dataclass(frozen=True, kw_only=True)
class EpisodeResult:
    """How one rollout went. `frames` stays in memory; everything else is one line of the log."""

    seed: int
    success: bool
    steps: int  # control steps played
    total_reward: float = 0.0  # undiscounted sum
    initial_conditions: Mapping[str, Any] = field(default_factory=dict)  # JSON values: object poses
    policy_version: str = ""
    frames: Image | None = field(default=None, compare=False, repr=False)  # (steps, H, W, 3) uint8 RGB

    def to_json(self) -> dict[str, Any]:
        return {
            "seed": int(self.seed),
            "success": bool(self.success),
            "steps": int(self.steps),
            "total_reward": float(self.total_reward),
            "initial_conditions": _plain(self.initial_conditions),
            "policy_version": self.policy_version,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EpisodeResult:
        """Raises DataError on missing, unknown or wrongly typed fields."""
        if set(values) != set(RESULT_FIELDS) or any(not isinstance(values[k], t) for k, t in RESULT_FIELDS.items()):
            raise DataError(f"an episode result has the fields {sorted(RESULT_FIELDS)}; the file gives {dict(values)}.")
        return cls(**dict(values))


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Episodes of one policy on one task, sorted by seed."""

    name: str
    """What readers call the policy: "PTR, AWR extraction", "images blanked"."""
    task: str
    seed: int
    """The user's --seed; the episodes' own seeds follow from it (`episode_seeds`)."""
    results: tuple[EpisodeResult, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """JSON values that the outcome depends on: checkpoint, cameras, placement, horizon."""

    @property
    def n(self) -> int:
        return len(self.results)

    @property
    def successes(self) -> int:
        return sum(r.success for r in self.results)

    @property
    def rate(self) -> float:
        return self.successes / self.n

    @property
    def interval(self) -> Interval:
        """Wilson, 95 %."""
        return wilson(self.successes, self.n)

    @property
    def seeds(self) -> list[int]:
        return [r.seed for r in self.results]

    @property
    def policy_versions(self) -> list[str]:
        return sorted({r.policy_version for r in self.results})

    def summary(self) -> dict[str, Any]:
        """The numbers of one report row, as JSON values."""
        steps = [r.steps for r in self.results if r.success]
        return {
            "name": self.name,
            "task": self.task,
            "n": self.n,
            "successes": self.successes,
            "rate": self.rate,
            "interval": list(self.interval),
            "median_steps_to_success": float(np.median(steps)) if steps else None,
            "seed": self.seed,
            "policy_versions": self.policy_versions,
        }

    def to_json(self) -> dict[str, Any]:
        return {
            **make_header(self.name, self.task, self.seed, self.settings),
            "results": [r.to_json() for r in self.results],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Evaluation:
        """Raises DataError when `values` is not what `to_json` writes."""
        check_header(values, "this evaluation")
        results = tuple(EpisodeResult.from_json(r) for r in values.get("results", []))
        return collect(values, {r.seed: r for r in results}, [r.seed for r in results])


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two policies on the same episodes; the difference is a - b."""

    a: str
    b: str
    counts: PairedCounts
    difference: float
    interval: Interval
    p_value: float
    probability_of_improvement: float

    def to_json(self) -> dict[str, Any]:
        return {
            "a": self.a,
            "b": self.b,
            **self.counts._asdict(),
            "difference": self.difference,
            "interval": list(self.interval),
            "p_value": self.p_value,
            "probability_of_improvement": self.probability_of_improvement,
        }


def compare(a: Evaluation, b: Evaluation) -> Comparison:
    """Paired comparison. Raises MismatchError unless both met the same task, seeds, initial conditions and simulator."""
    if a.task != b.task or a.seeds != b.seeds:
        raise MismatchError(
            f"a paired comparison needs the same episodes: {a.name!r} ran {a.n} of {a.task!r} from --seed {a.seed}, {b.name!r} "
            f"ran {b.n} of {b.task!r} from --seed {b.seed}; evaluate both with the same --task, --episodes and --seed."
        )
    for setting in PLAYED_IN.values():
        in_a, in_b = a.settings.get(setting), b.settings.get(setting)
        if in_a and in_b and in_a != in_b:
            raise MismatchError(
                f"{a.name!r} was played in version {in_a} of {setting} and {b.name!r} in version {in_b}, where the same actions end elsewhere; "
                "evaluate both again with one version."
            )
    for x, y in zip(a.results, b.results, strict=True):
        if x.initial_conditions and y.initial_conditions and not _same(x.initial_conditions, y.initial_conditions):
            raise MismatchError(
                f"seed {x.seed} started differently for {a.name!r} and {b.name!r}, so the simulator or its settings changed between "
                "the two; evaluate both again with one version."
            )
    counts = count_pairs([r.success for r in a.results], [r.success for r in b.results])
    return Comparison(
        a=a.name,
        b=b.name,
        counts=counts,
        difference=a.rate - b.rate,
        interval=paired_difference(counts),
        p_value=mcnemar(counts),
        probability_of_improvement=probability_of_improvement(counts),
    )


def collect(header: Mapping[str, Any], done: Mapping[int, EpisodeResult], seeds: Sequence[int]) -> Evaluation:
    return Evaluation(
        name=header["name"],
        task=header["task"],
        seed=header["seed"],
        settings=header["settings"],
        results=tuple(done[s] for s in sorted(seeds)),
    )


def make_header(name: str, task: str, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": "robot-pt evaluation",
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "task": task,
        "seed": seed,
        "settings": _plain(settings),
    }


def check_header(header: Any, where: str) -> None:
    if not isinstance(header, Mapping) or header.get("kind") != "robot-pt evaluation":
        raise DataError(f"{where} is not an evaluation log: its first line is not the header that robot-pt writes.")
    if header.get("schema_version") != SCHEMA_VERSION:
        raise DataError(
            f"{where} has schema version {header.get('schema_version')}; this robot-pt reads version {SCHEMA_VERSION}."
        )
    kinds: dict[str, type] = {"name": str, "task": str, "seed": int, "settings": Mapping}
    wrong = [k for k, kind in kinds.items() if not isinstance(header.get(k), kind)]
    if wrong:
        raise DataError(f"{where} misses {wrong} in its header; it cannot be read back, so evaluate again.")


def _plain(value: Any) -> Any:
    """JSON values of what simulators hand out: arrays become lists, numpy scalars numbers, tuples lists."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def _same(a: Any, b: Any, tolerance: float = 1e-6) -> bool:
    a, b = _plain(a), _plain(b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k], tolerance) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_same(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return abs(a - b) <= tolerance
    return bool(a == b)
