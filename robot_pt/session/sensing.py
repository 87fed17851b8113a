"""Latest samples of cameras and arm -> one Observation, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from robot_pt.alignment import proprio_of
from robot_pt.commands import ArmState, Float64
from robot_pt.errors import UserError
from robot_pt.schema import Image, Observation
from robot_pt.session.rings import SampleRing
from robot_pt.session.settings import SessionSettings

ARM = "arm"
"""Name of the arm among the sources."""


class Sensed(NamedTuple):
    """What one tick looks at."""

    observation: Observation
    T_base_tool: Float64  # (4, 4) as measured
    stamps_ns: Mapping[str, int]
    ages_s: Mapping[str, float]


class Senses:
    """A ring per camera and one for the arm. `image` and `arm` may be called from another thread than `look`."""

    def __init__(
        self,
        cameras: Mapping[str, tuple[int, int]],
        joint_names: Sequence[str],
        fk: Callable[[Float64], Float64],
        settings: SessionSettings,
    ):
        """`cameras`: role -> (height, width) [px] they deliver. Raises UserError for an age limit of a camera that is not there."""
        ages = settings.max_obs_age_s
        unknown = sorted(set(ages) - {"image", "joint", *cameras})
        if unknown:
            raise UserError(f"max_obs_age_s names {unknown}; the sources are image, joint and {sorted(cameras)}.")
        self.rings = {role: SampleRing[Image](f"camera {role!r}", ages.get(role, ages["image"])) for role in cameras}
        self.joints = SampleRing[ArmState]("the arm's joint state", ages["joint"])
        self._cameras, self._joint_count, self._fk = dict(cameras), len(joint_names), fk
        self._latest = settings.sync_policy == "latest"
        self._slop_s = None if self._latest else settings.sync_slop_s
        self._max_frozen_s = settings.max_frozen_s
        self._pictures: dict[str, tuple[int, int]] = {}  # role -> (fingerprint, stamp since when)

    def image(self, camera: str, stamp_ns: int, frame: Image, now_ns: int | None = None) -> bool:
        """Take one RGB frame (H, W, 3) uint8; False where it is refused, counted in the ring's `refused`.

        A camera nobody looks at is refused without a count.
        """
        ring = self.rings.get(camera)
        if ring is None:
            return False
        values = np.asarray(frame)
        if values.dtype != np.uint8 or values.shape != (*self._cameras[camera], 3):
            height, width = self._cameras[camera]
            return ring.refuse(f"{values.dtype} {values.shape} instead of uint8 ({height}, {width}, 3)")
        if self._max_frozen_s is not None and not self._lively(camera, stamp_ns, values):
            return ring.refuse("a flat picture")
        return ring.add(stamp_ns, values, now_ns)

    def arm(self, state: ArmState, now_ns: int | None = None) -> bool:
        """Take one reading of the arm; False where it is refused, counted in the ring's `refused`."""
        q = np.asarray(state.q, np.float64)
        if q.shape != (self._joint_count,):
            return self.joints.refuse(f"{q.shape} joints instead of ({self._joint_count},)")
        if not (np.isfinite(q).all() and np.isfinite(state.gripper)):
            return self.joints.refuse("NaN or Inf")
        return self.joints.add(state.stamp_ns, state._replace(q=q), now_ns)

    def look(self, now_ns: int) -> Sensed | str:
        """The observation to decide on at `now_ns`, or why there is none, as a sentence without its full stop."""
        complaint = self.complaint(now_ns)
        if complaint:
            return complaint
        newest = {role: ring.newest(now_ns) or 0 for role, ring in self.rings.items()}
        newest[ARM] = self.joints.newest(now_ns) or 0
        common = min(newest.values())
        wanted = newest if self._latest else dict.fromkeys(newest, common)
        frames = {role: ring.nearest(wanted[role]) for role, ring in self.rings.items()}
        read_ns, state = self.joints.nearest(wanted[ARM])
        stamps = {**{role: stamp for role, (stamp, _) in frames.items()}, ARM: read_ns}
        apart = self._apart(stamps, common)
        if apart:
            return apart
        pose = self._fk(state.q)
        observation = Observation(
            images={role: frame for role, (_, frame) in frames.items()},
            proprio=proprio_of(pose, state.gripper).astype(np.float32),
            time_ns=min(stamps.values()),
            joint_positions=state.q.astype(np.float32),
        )
        return Sensed(observation, pose, stamps, {name: (now_ns - stamp) / 1e9 for name, stamp in stamps.items()})

    def _apart(self, stamps: Mapping[str, int], common_ns: int) -> str:
        """The first source without a sample near enough to the time that all have reached, as `complaint`."""
        for name, stamp_ns in stamps.items():
            off_s = abs(stamp_ns - common_ns) / 1e9
            if self._slop_s is not None and off_s > self._slop_s:
                return f"{name} has a sample {off_s:.3f} s from the time of the others, sync_slop_s allows {self._slop_s:g} s"
        return ""

    def complaint(self, now_ns: int) -> str:
        """The first source that is silent, old or frozen, as the start of a sentence; "" where all are fresh."""
        for ring in self._all():
            complaint = ring.complaint(now_ns)
            if complaint:
                return complaint
        for role, (_, since_ns) in list(self._pictures.items()):
            frozen_s = ((self.rings[role].newest(now_ns) or since_ns) - since_ns) / 1e9
            if self._max_frozen_s is not None and frozen_s > self._max_frozen_s:
                return f"camera {role!r} has shown the very same picture for {frozen_s:.2f} s"
        return ""

    def refused(self) -> dict[str, int]:
        """ "source: reason" -> how many samples were refused."""
        rings: dict[str, SampleRing[Any]] = {ARM: self.joints, **self.rings}
        return {f"{name}: {reason}": n for name, ring in rings.items() for reason, n in list(ring.refused.items())}

    def clear(self) -> None:
        """Forget every sample, so that older stamps may come again."""
        for ring in self._all():
            ring.clear()
        self._pictures.clear()

    def _all(self) -> list[SampleRing[Any]]:
        return [self.joints, *self.rings.values()]

    def _lively(self, camera: str, stamp_ns: int, frame: Image) -> bool:
        """False for a flat picture; notes since when the picture is what it is, by every eighth pixel."""
        sample = frame[::8, ::8]
        fingerprint = crc32(sample.tobytes())
        known = self._pictures.get(camera)
        if known is None or known[0] != fingerprint:
            self._pictures[camera] = (fingerprint, stamp_ns)
        return bool(np.ptp(sample) > 0)
