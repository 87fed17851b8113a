"""Half messages in, whole targets out: a pose and a gripper opening of one source are a target when their stamps are equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from robot_pt.commands import Float64, PoseTarget, Source
from robot_pt.gate.limits import GateLimits
from robot_pt.gate.poses import is_pose
from robot_pt.gate.reasons import Reason
from robot_pt.gate.watchdogs import NS

MOST_HALVES = 16
"""Halves kept per source; more than that in `pair_timeout_s` is a flood, and the oldest go."""
LARGEST_OPENING = 100.0
"""A gripper opening beyond is no opening, rather than one to clip."""


class _Pose(NamedTuple):
    arrived_ns: int
    T_base_tool: Float64
    observation_ns: int


class _Opening(NamedTuple):
    arrived_ns: int
    gripper: float


class Arrived(NamedTuple):
    """A whole target and when its second half came, on the watchdogs' clock."""

    target: PoseTarget
    arrived_ns: int


class TargetInbox:
    """One source's messages, checked one by one. The newest whole target waits until `take`; it replaces an older one."""

    def __init__(self, source: Source, pair_timeout_ns: int, counts: Counter[Reason]):
        self.source = source
        self.malformed_in_a_row = 0
        self._timeout_ns, self._counts = pair_timeout_ns, counts
        self._poses: dict[int, _Pose] = {}
        self._openings: dict[int, _Opening] = {}
        self._halves: tuple[dict[int, Any], dict[int, Any]] = (self._poses, self._openings)
        self._bad_stamp: object = None
        self._waiting: Arrived | None = None

    def pose(self, now_ns: int, stamp_ns: int, T_base_tool: object, observation_ns: int = 0) -> None:
        T = as_array(T_base_tool)
        if T is None or not is_pose(T) or not _is_stamp(stamp_ns) or not _is_stamp(observation_ns):
            self.reject(stamp_ns)
            return
        self._poses[stamp_ns] = _Pose(now_ns, T.copy(), int(observation_ns))
        self._pair(stamp_ns)

    def opening(self, now_ns: int, stamp_ns: int, gripper: object, names: Sequence[str] = ("gripper",)) -> None:
        value = as_array(gripper)
        fine = value is not None and value.shape in ((), (1,)) and bool(np.abs(value).max() <= LARGEST_OPENING)
        if not fine or list(names) != ["gripper"] or not _is_stamp(stamp_ns):
            self.reject(stamp_ns)
            return
        assert value is not None
        self._openings[stamp_ns] = _Opening(now_ns, float(value.reshape(())))
        self._pair(stamp_ns)

    def reject(self, stamp_ns: object = None) -> None:
        """A message of this stamp could not be read; both halves of one frame count once."""
        self._counts["malformed"] += 1
        if stamp_ns is None or stamp_ns != self._bad_stamp:
            self.malformed_in_a_row += 1
        self._bad_stamp = stamp_ns

    def _pair(self, stamp_ns: int) -> None:
        for halves in self._halves:
            while len(halves) > MOST_HALVES:
                halves.pop(next(iter(halves)))
                self._counts["half_pair"] += 1
        if stamp_ns not in self._poses or stamp_ns not in self._openings:
            return
        pose, opening = self._poses.pop(stamp_ns), self._openings.pop(stamp_ns)
        target = PoseTarget(int(stamp_ns), pose.T_base_tool, opening.gripper, pose.observation_ns)
        self.malformed_in_a_row = 0
        if self._waiting is not None:
            self._counts["superseded"] += 1
            if self._waiting.target.stamp_ns >= target.stamp_ns:  # arrived out of order
                return
        self._waiting = Arrived(target, max(pose.arrived_ns, opening.arrived_ns))

    def sweep(self, now_ns: int) -> bool:
        """Drop halves that waited too long; True where there were any."""
        dropped = 0
        for halves in self._halves:
            for stamp in [s for s, half in halves.items() if now_ns - half.arrived_ns > self._timeout_ns]:
                halves.pop(stamp)
                dropped += 1
        self._counts["half_pair"] += dropped
        return dropped > 0

    @property
    def waiting(self) -> PoseTarget | None:
        """What `take` would give."""
        return None if self._waiting is None else self._waiting.target

    def take(self) -> Arrived | None:
        """The newest whole target, once."""
        arrived, self._waiting = self._waiting, None
        return arrived

    def clear(self) -> None:
        """Forget what waits; malformed messages stay counted."""
        for halves in self._halves:
            halves.clear()
        self._waiting = None


def faults_of(target: PoseTarget, source: Source, clock_ns: int, accepted_ns: int, limits: GateLimits) -> list[Reason]:
    """Why a target is too old, too new or out of order at `clock_ns`, after one stamped `accepted_ns`; empty where it is fine."""
    age_ns = clock_ns - target.stamp_ns
    faults: list[Reason] = []
    if age_ns > limits.max_command_age_s * NS:
        faults.append("command_old")
    if -age_ns > limits.max_future_s * NS:
        faults.append("command_future")
    if target.stamp_ns <= accepted_ns:
        faults.append("sequence")
    if source == "policy":
        observed_s = (target.stamp_ns - target.observation_ns) / NS
        if target.observation_ns == 0:
            faults.append("observation_missing")
        elif not 0 <= observed_s <= limits.max_observation_age_s:
            faults.append("observation_old")
    return faults


def as_array(values: object) -> Float64 | None:
    """float64, or None where there are no finite numbers."""
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return array if array.size and np.isfinite(array).all() else None


def _is_stamp(stamp_ns: object) -> bool:
    return isinstance(stamp_ns, int | np.integer) and not isinstance(stamp_ns, bool) and 0 <= int(stamp_ns) < 2**63
