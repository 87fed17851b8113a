"""Stamped samples -> steps at the control rate, the same code on live topics and on a file.

A step is an anchor time and the control period after it. Of every sensor it takes the sample nearest to the anchor, never
interpolated, held where none is near, its age kept. Its action begins when the first request after the anchor was made, with
the latency of the policy or operator, and ends where that of the next step begins. Executed action: from the last command
before its begin to the last one before its end; requested action: from the same start to the last request in between. So an
action is what was commanded because of its observation, at whatever rate a gate spreads it over the period.

The first anchor is the first stamp that the slowest sensor reached. The next is the policy's own observation where there is
one within half a period of the expected time, else a frame of the slowest camera within a twentieth, else one period on.

All decisions are made by header stamps, `patience_s` after the newest one seen: samples that arrive later than that are
counted and left out, those that arrive earlier may come in any order. Nothing here reads a clock.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np

from robot_pt.alignment import Alignment, Step, proprio_of
from robot_pt.commands import Float64, JointCommand, PoseTarget
from robot_pt.errors import DataError
from robot_pt.images import image_size
from robot_pt.samples import Frame, Gripper, Joints, Mode, PolicyStep, Request, Reward, Sample, ToolPose, Version, fault
from robot_pt.schema import Spec
from robot_pt.targets import action_between

T = TypeVar("T")

FUTURE_NS = 500_000_000
"""A stamp this far ahead of its arrival comes from another clock and is left out."""
GAP_NS = 5_000_000_000
"""The steps end where no sensor at all said anything for this long."""
_LATCHED = (Mode, Version)


class Track(Generic[T]):
    """Samples of one source in the order of their stamps."""

    def __init__(self) -> None:
        self.stamps: list[int] = []
        self.values: list[T] = []

    def insert(self, stamp_ns: int, value: T) -> None:
        at = bisect_right(self.stamps, stamp_ns)
        self.stamps.insert(at, stamp_ns)
        self.values.insert(at, value)

    def has(self, stamp_ns: int) -> bool:
        at = bisect_left(self.stamps, stamp_ns)
        return at < len(self.stamps) and self.stamps[at] == stamp_ns

    def nearest(self, stamp_ns: int) -> tuple[int, T]:
        """(stamp, value) closest to `stamp_ns`, the earlier of two equally close; the track must not be empty."""
        at = bisect_left(self.stamps, stamp_ns)
        if at and (at == len(self.stamps) or stamp_ns - self.stamps[at - 1] <= self.stamps[at] - stamp_ns):
            at -= 1
        return self.stamps[at], self.values[at]

    def before(self, stamp_ns: int, since_ns: int = 0) -> T | None:
        """The last value with since_ns <= stamp < stamp_ns."""
        at = bisect_left(self.stamps, stamp_ns) - 1
        return self.values[at] if at >= 0 and self.stamps[at] >= since_ns else None

    def within(self, first_ns: int, last_ns: int) -> list[T]:
        """Values with first_ns <= stamp < last_ns."""
        return self.values[bisect_left(self.stamps, first_ns) : bisect_left(self.stamps, last_ns)]

    def drop_after(self, stamp_ns: int) -> None:
        """Forget what is stamped later."""
        cut = bisect_right(self.stamps, stamp_ns)
        del self.stamps[cut:], self.values[cut:]

    def drop_before(self, stamp_ns: int) -> None:
        """Forget what is before the last sample before `stamp_ns`."""
        cut = max(bisect_left(self.stamps, stamp_ns) - 1, 0)
        del self.stamps[:cut], self.values[:cut]


class Aligner:
    """Takes samples as they arrive, gives steps.

    Args:
        joints: number of arm joints; where None, joint positions are not asked for.
        fk: joints (J,) [rad] -> T_base_tool (4, 4), used where no tool pose is among the samples.
        patience_s: how much later than others a sample may arrive, in stamps.
        max_age_s: older frames and states count as held.
        teleop: what a step under the operator's hand is called, "teleop" or "scripted".
    """

    def __init__(
        self,
        spec: Spec,
        *,
        joints: int | None = None,
        fk: Callable[[Float64], Float64] | None = None,
        patience_s: float = 2.0,
        max_age_s: float = 0.15,
        teleop: str = "teleop",
    ):
        self.spec, self._fk, self._teleop, self._joints = spec, fk, teleop, joints
        self._period = round(1e9 / spec.control_hz)
        self._patience, self._max_age = round(patience_s * 1e9), round(max_age_s * 1e9)
        self._tracks: defaultdict[str, Track[Any]] = defaultdict(Track)
        self._newest: dict[str, int] = {}
        self._first: dict[str, int] = {}
        self._frame_stamps: dict[str, list[int]] = {camera: [] for camera in spec.cameras}
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self._anchor: int | None = None  # of the first step that is not settled
        self._begin = 0
        """When the action of that step begins."""
        self._latency = 0
        self._slowest = ""
        self._target: PoseTarget | JointCommand | None = None
        self._used: dict[str, int] = {}
        self._owner, self._policy_ran, self._ended = "unknown", False, False
        self.steps: list[Step] = []

    def __len__(self) -> int:
        return len(self.steps)

    def add(self, sample: Sample, received_ns: int | None = None) -> None:
        """Take one sample in; unusable ones are counted by source and reason in `counts`, never raised.

        Args:
            received_ns: time of arrival by the same clock, against which stamps from the future are told.
        """
        source = _source(sample)
        reason = self._refusal(sample, source, received_ns)
        if reason is not None:
            self.counts[reason][source] += 1
            return
        stamp, newest = sample.stamp_ns, self._newest.get(source, 0)
        self._tracks[source].insert(stamp, sample)
        if isinstance(sample, Frame):
            self._frame_stamps[sample.camera].append(stamp)
        if not isinstance(sample, _LATCHED):
            self.counts["reordered"][source] += stamp < newest
            self._newest[source] = max(stamp, newest)
            self._first[source] = min(stamp, self._first.get(source, stamp))
            if stamp > newest:
                self._settle(max(self._newest.values()) - self._patience)

    def finish(self, end_ns: int | None = None) -> Alignment:
        """Settle what is left up to `end_ns` (at most one period after the newest sample) and return everything.

        A step whose period had not passed by then is left out, and so is what was stamped later: whether a sample from after the
        end came before the end was told is chance. Rewards are taken whenever they came: those have no stamps of their own. Raises DataError when there is no step, saying which source
        kept them from starting.
        """
        newest, tail = max(self._newest.values(), default=0), 0.0
        if end_ns is not None:
            newest = min(newest, end_ns)
            tail = self._cut(end_ns)
        end = min(max(newest, end_ns or 0), newest + self._period) + self._period // 20
        self._start(newest + self._period)
        while self._anchor is not None and not self._ended and (following := self._next_anchor(self._anchor)) <= end:
            self._settle_one(self._anchor, following)
        if not self.steps:
            raise DataError(self._why_nothing())
        assert self._anchor is not None
        tail += sum(reward.value for reward in self._tracks["reward"].within(self._anchor, 1 << 63))
        if tail:
            self.steps[-1] = self.steps[-1]._replace(reward=self.steps[-1].reward + tail)
        lost = {camera: _lost(stamps) for camera, stamps in self._frame_stamps.items()}
        counts = {reason: dict(by) for reason, by in self.counts.items() if by.total()}
        counts = {reason: {source: n for source, n in sorted(by.items()) if n} for reason, by in counts.items()}
        if found := {camera: n for camera, n in lost.items() if n}:
            counts["lost"] = found
        return Alignment(self.spec, self.steps, counts)

    def _cut(self, end_ns: int) -> float:
        """What is stamped after the end never was, steps among it; returns their rewards."""
        for source, track in self._tracks.items():
            if source != "reward":
                track.drop_after(end_ns)
        self._frame_stamps = {c: [s for s in stamps if s <= end_ns] for c, stamps in self._frame_stamps.items()}
        self._first = {source: first for source, first in self._first.items() if first <= end_ns}
        rewards = 0.0
        while self.steps and self.steps[-1].anchor_ns + self._period > end_ns + self._period // 20:
            rewards += self.steps.pop().reward
            self._ended = True
        return rewards

    def _refusal(self, sample: Sample, source: str, received_ns: int | None) -> str | None:
        reason = fault(sample) or self._spec_fault(sample) or ("after a gap" if self._ended else None)
        if reason is not None:
            return reason
        stamp = sample.stamp_ns
        if received_ns is not None and stamp > received_ns + FUTURE_NS:
            return "stamp from the future"
        if isinstance(sample, _LATCHED):
            return None
        if stamp < self._newest.get(source, 0) - self._patience:
            return "clock stepped back"
        if self._anchor is not None and self.steps and stamp < self._anchor:
            return "late"
        return "duplicate" if not isinstance(sample, Reward) and self._tracks[source].has(stamp) else None

    def _spec_fault(self, sample: Sample) -> str | None:
        if isinstance(sample, Joints):
            return None if self._joints in (None, len(sample.q)) else f"{len(sample.q)} joints, not {self._joints}"
        if not isinstance(sample, Frame):
            return None
        expected = self.spec.cameras.get(sample.camera)
        if expected is None:
            return "a camera that the spec does not have"
        try:
            raw = isinstance(sample.image, np.ndarray) and sample.image.ndim == 3
            size = np.shape(sample.image) if raw else image_size(sample.image)
        except DataError:
            return "frames that are no image"
        return None if tuple(size[:2]) == expected else f"frames of {size[0]}x{size[1]}"

    def _required(self) -> list[str]:
        states = ["gripper", *(["joints"] if self._joints is not None or self._fk is not None else [])]
        return [*self.spec.cameras, *states, *([] if self._fk is not None else ["pose"])]

    def _settle(self, watermark: int) -> None:
        """Make every step of which nothing can change any more."""
        if self._anchor is None:
            self._start(watermark)
            if self._anchor is None:
                for track in self._tracks.values():
                    track.drop_before(watermark - self._period)
                return
        while not self._ended and self._anchor + 5 * self._period // 2 <= watermark:
            self._settle_one(self._anchor, self._next_anchor(self._anchor))

    def _start(self, watermark: int) -> None:
        required = self._required()
        if self._anchor is not None or any(source not in self._first for source in required):
            return
        slowest = max(required, key=lambda source: self._first[source])
        if self._first[slowest] + self._period <= watermark:
            self._anchor = self._first[slowest]
            self._begin = self._action_begin(self._anchor)
            self._slowest = max(self.spec.cameras, key=lambda c: self._first[c], default="")

    def _next_anchor(self, anchor: int) -> int:
        expected, half = anchor + self._period, self._period // 2
        seen: set[int] = {s.observation_ns for s in self._tracks["step"].values}
        seen |= {s.target.observation_ns for s in self._tracks["policy"].values}
        near = [stamp for stamp in seen if abs(stamp - expected) < half]
        if near:
            return min(near, key=lambda stamp: (abs(stamp - expected), stamp))
        frames = self._tracks[self._slowest]
        frame = frames.nearest(expected)[0] if frames.stamps else 0
        return frame if abs(frame - expected) <= self._period // 20 else expected

    def _action_begin(self, anchor: int) -> int:
        """Stamp of the first request in the period from `anchor` on that the gate listened to; without one as late as the last."""
        mode = self._tracks["mode"]
        heard: list[int] = []
        for source in ("policy", "teleop"):
            for request in self._tracks[source].within(anchor, anchor + self._period):
                now = mode.before(request.stamp_ns + 1)
                if now is None or now.name == source:
                    heard.append(request.stamp_ns)
        if heard:
            self._latency = min(heard) - anchor
        return anchor + self._latency

    def _silent(self, anchor: int) -> bool:
        return all(abs(anchor - self._tracks[source].nearest(anchor)[0]) > GAP_NS for source in self._required())

    def _settle_one(self, anchor: int, following: int) -> None:
        if self._silent(anchor):
            self._ended = True
            self.counts["gap"]["steps"] += 1
            return
        tracks, mode = self._tracks, self._tracks["mode"].before(following)
        frames = {camera: self._take(camera, anchor) for camera in self.spec.cameras}
        gripper = self._take("gripper", anchor)
        joints = self._take("joints", anchor) if tracks["joints"].stamps else None
        measured = self._measured(anchor, joints)
        begin, end = self._begin, self._action_begin(following)
        start = self._target or tracks["executed"].before(begin, begin - 5 * self._period // 2)
        if (
            start is None
        ):  # nothing was commanded for as long as a session counts as driven: it starts from where the arm is
            start = PoseTarget(anchor, measured, gripper.opening)
        executed = tracks["executed"].before(end, begin) or start
        request, operator = self._request(mode.name if mode else None, begin, end)
        self.counts["without request"]["steps"] += request is None
        version = tracks["version"].before(end)
        action = action_between(start, executed)
        requested, told = action, None
        if request is not None:
            requested = action_between(start, request.target)
            if operator == "policy" and tracks["step"].has(request.stamp_ns):
                told = tracks["step"].nearest(request.stamp_ns)[1]
        self.steps.append(
            Step(
                anchor,
                {camera: frame.image for camera, frame in frames.items()},
                {source: anchor - stamp for source, stamp in self._used.items()},
                proprio_of(measured, gripper.opening),
                None if joints is None else joints.q,
                action,
                requested if told is None or told.action is None else told.action,
                float(sum(r.value for r in tracks["reward"].within(anchor, following))),
                operator,
                version.version if version else "",
                None if told is None else (told.inference_ms, told.tick_interval_ms),
            )
        )
        self._target, self._anchor, self._begin = executed, following, end
        for track in tracks.values():
            track.drop_before(following)

    def _take(self, source: str, anchor: int) -> Any:
        stamp, sample = self._tracks[source].nearest(anchor)
        self.counts["held"][source] += abs(anchor - stamp) > self._max_age
        self.counts["repeated"][source] += self._used.get(source) == stamp
        self._used[source] = stamp
        return sample

    def _measured(self, anchor: int, joints: Joints | None) -> Float64:
        if self._tracks["pose"].stamps:
            pose: Float64 = self._take("pose", anchor).T_base_tool
            return pose
        assert self._fk is not None, "no step starts without a pose"
        assert joints is not None, "no step starts without joints"
        return self._fk(joints.q)

    def _request(self, mode: str | None, begin: int, end: int) -> tuple[Request | None, str]:
        """The last request of whom the gate listened to, and what the step is called."""
        asked = {source: self._tracks[source].before(end, begin) for source in ("policy", "teleop")}
        if mode is None:  # no gate in the graph: the newest request moved the arm
            found = max((r for r in asked.values() if r), key=lambda r: r.stamp_ns, default=None)
            mode = found.source if found else "hold"
        if mode == "policy":
            self._owner, self._policy_ran = "policy", True
        elif mode == "teleop":
            self._owner = "intervention" if self._policy_ran else self._teleop
        return asked.get(mode), self._owner

    def _why_nothing(self) -> str:
        missing = [source for source in self._required() if source not in self._first]
        wrong = {reason: dict(by) for reason, by in self.counts.items() if by.total()}
        detail = f"; refused were {wrong}" if wrong else ""
        if missing:
            return f"no step could be made: nothing usable came from {missing}{detail}; check these topics and record again."
        return f"no step could be made: the sources do not overlap for one control period{detail}; record for longer."


def _source(sample: Sample) -> str:
    match sample:
        case Frame():
            return sample.camera
        case Request():
            return sample.source
    return _NAMES[type(sample)]


_NAMES: dict[type, str] = {
    Joints: "joints", Gripper: "gripper", ToolPose: "pose", JointCommand: "executed", PolicyStep: "step", Mode: "mode",
    Version: "version", Reward: "reward",
}  # fmt: skip


def _lost(stamps: list[int]) -> int:
    """Frames that are missing between those that came, by gaps of more than one and a half median periods."""
    if len(stamps) < 4:
        return 0
    ordered = np.sort(np.array(stamps, np.int64))
    gaps = (ordered[1:] - ordered[:-1]).astype(np.float64)
    period = float(np.median(gaps))
    return int((np.round(gaps[gaps > 1.5 * period] / period) - 1).sum())
