"""The last few samples of one source, by their capture stamps. Pure; may be filled from another thread than it is read from."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")

CAPACITY = 32
"""Joint states at 200 Hz then reach back 0.16 s, beyond the age at which a frame is refused."""
FUTURE_NS = 20_000_000
"""A stamp may be this far ahead of the reader's clock: two machines never agree exactly."""


class SampleRing(Generic[T]):
    """Newest `CAPACITY` samples with strictly increasing stamps; what does not fit is counted by reason in `refused`."""

    def __init__(self, name: str, max_age_s: float):
        self.name, self.max_age_s = name, max_age_s
        self.refused: Counter[str] = Counter()
        self.last_refusal = ""
        self._samples: tuple[tuple[int, T], ...] = ()
        self._lock = Lock()

    def add(self, stamp_ns: int, value: T, now_ns: int | None = None) -> bool:
        """Keep a sample; False and a count where its stamp is zero, not newer than the last, or (given `now_ns`) in the future.

        Given `now_ns`, samples from before a step back of the clock do not stand in the way of those after it.
        """
        with self._lock:
            if now_ns is not None:
                self._drop_future(now_ns)
            newest = self._samples[-1][0] if self._samples else 0
            if stamp_ns <= 0:
                return self._no("zero stamp")
            if now_ns is not None and stamp_ns > now_ns + FUTURE_NS:
                return self._no("stamp in the future")
            if stamp_ns <= newest:
                return self._no("repeated stamp" if stamp_ns == newest else "backward stamp")
            self._samples = (*self._samples[1 - CAPACITY :], (stamp_ns, value))
            return True

    def refuse(self, reason: str) -> bool:
        """Count a sample that is no good for another reason; always False."""
        with self._lock:
            return self._no(reason)

    def _no(self, reason: str) -> bool:
        self.refused[reason] += 1
        self.last_refusal = reason
        return False

    def newest(self, now_ns: int) -> int | None:
        """Stamp of the newest sample; those in the future are dropped and counted first."""
        with self._lock:
            self._drop_future(now_ns)
            return self._samples[-1][0] if self._samples else None

    def _drop_future(self, now_ns: int) -> None:
        while self._samples and self._samples[-1][0] > now_ns + FUTURE_NS:
            self._samples = self._samples[:-1]
            self._no("stamp in the future")

    def nearest(self, stamp_ns: int) -> tuple[int, T]:
        """(stamp, value) closest to `stamp_ns`, the earlier of two equally close; the ring must not be empty."""
        samples = self._samples
        assert samples, f"no sample of {self.name}"
        at = bisect_left(samples, stamp_ns, key=lambda sample: sample[0])
        if at and (at == len(samples) or stamp_ns - samples[at - 1][0] <= samples[at][0] - stamp_ns):
            at -= 1
        return samples[at]

    def complaint(self, now_ns: int) -> str:
        """Why nothing may be decided on this source now, as the rest of a sentence; "" where its newest sample is fresh."""
        newest = self.newest(now_ns)
        refused = f" (last refused: {self.last_refusal})" if self.last_refusal else ""
        if newest is None:
            return f"{self.name} has sent nothing usable{refused}"
        age_s = (now_ns - newest) / 1e9
        if age_s > self.max_age_s:
            return f"{self.name} is {age_s:.3f} s old, allowed are {self.max_age_s:g} s{refused}"
        return ""

    def clear(self) -> None:
        """Forget all samples, so that older stamps may come again."""
        with self._lock:
            self._samples = ()
