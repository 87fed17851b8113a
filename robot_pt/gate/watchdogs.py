"""What notices silence: ages of inputs, late ticks, frozen images, and whether the arm is at rest. Times are int ns.

Nothing here reads a clock. A time that lies before the last one means that the clock was set back: whoever holds these objects
then calls `forget`, and everything counts as never heard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np

from robot_pt.commands import Float64

NS = 1_000_000_000


@dataclass
class Watchdog:
    """Fresh while fed within `timeout_ns`; never fed is not fresh."""

    timeout_ns: int
    fed_ns: int | None = None

    def feed(self, now_ns: int) -> None:
        self.fed_ns = now_ns

    def forget(self) -> None:
        self.fed_ns = None

    def fresh(self, now_ns: int) -> bool:
        return self.fed_ns is not None and now_ns - self.fed_ns <= self.timeout_ns

    def age_s(self, now_ns: int) -> float | None:
        return None if self.fed_ns is None else (now_ns - self.fed_ns) / NS


class Deadman:
    """Hold-to-run from heartbeats: held while the newest says so and is young. A release is heard at once."""

    def __init__(self, timeout_ns: int):
        self._alive = Watchdog(timeout_ns)
        self._pressed = False

    def heartbeat(self, now_ns: int, pressed: object) -> None:
        """Anything but a plain True is a release."""
        self._pressed = isinstance(pressed, bool | np.bool_) and bool(pressed)
        self._alive.feed(now_ns)

    def forget(self) -> None:
        self._pressed = False
        self._alive.forget()

    def held(self, now_ns: int) -> bool:
        return self._pressed and self._alive.fresh(now_ns)

    def present(self, now_ns: int) -> bool:
        """A device sends heartbeats, pressed or not."""
        return self._alive.fresh(now_ns)

    def age_s(self, now_ns: int) -> float | None:
        return self._alive.age_s(now_ns)


class RestMonitor:
    """Speed of the measured joints over at least 0.1 s, so that encoder steps between two readings do not count."""

    _WINDOW_NS, _OLDEST_NS = NS // 10, NS

    def __init__(self) -> None:
        self._samples: deque[tuple[int, Float64]] = deque(maxlen=256)

    def add(self, now_ns: int, q: Float64) -> None:
        self._samples.append((now_ns, q))

    def forget(self) -> None:
        self._samples.clear()

    def speed_rad_s(self) -> float | None:
        """Of the fastest joint; None while too little was measured to tell."""
        if not self._samples:
            return None
        last_ns, last = self._samples[-1]
        for then_ns, then in reversed(self._samples):
            if self._WINDOW_NS <= last_ns - then_ns <= self._OLDEST_NS:
                return float(np.abs(last - then).max()) * NS / (last_ns - then_ns)
        return None


class FrameWatch:
    """One camera: is something new coming, and does the picture change?"""

    def __init__(self, timeout_ns: int, frozen_ns: float, motion_rad: float):
        """`frozen_ns` inf: pictures are not compared."""
        self._alive = Watchdog(timeout_ns)
        self._frozen_ns, self._motion = frozen_ns, motion_rad
        self._stamp_ns: int | None = None
        self._digest: Hashable = None
        self._since_ns = 0
        self._q: Float64 | None = None

    def add(self, now_ns: int, stamp_ns: int, digest: Hashable, q: Float64 | None) -> None:
        """A frame with a digest of its pixels, seen with the joints at `q`.

        A frame with an old stamp is no news, and the same stamp never is. But where nothing newer came in time the camera's
        clock was set back, and its sequence begins anew: one stamp too high must not silence it for ever.
        """
        last_ns = self._stamp_ns
        if last_ns is not None and (stamp_ns == last_ns or (stamp_ns < last_ns and self.fresh(now_ns))):
            return
        self._stamp_ns = stamp_ns
        self._alive.feed(now_ns)
        if digest != self._digest or self._q is None:
            self._digest, self._since_ns, self._q = digest, now_ns, q

    def forget(self) -> None:
        self._stamp_ns, self._digest, self._q = None, None, None
        self._alive.forget()

    def fresh(self, now_ns: int) -> bool:
        return self._alive.fresh(now_ns)

    def frozen(self, now_ns: int, q: Float64 | None) -> bool:
        """The same picture for too long while the arm moved by more than the motion that counts."""
        if self._q is None or q is None or now_ns - self._since_ns <= self._frozen_ns:
            return False
        return self._motion <= 0 or bool(np.abs(q - self._q).max() > self._motion)


@dataclass
class JitterMonitor:
    """Intervals between ticks, the last 256."""

    warn_ns: float
    fault_ns: float
    intervals_ns: deque[int] = field(default_factory=lambda: deque(maxlen=256))
    late: int = 0
    """Ticks later than warn_ns."""

    def add(self, interval_ns: int, nominal_ns: int) -> bool:
        """True where this tick came so late that it is a fault."""
        self.intervals_ns.append(interval_ns)
        self.late += interval_ns - nominal_ns > self.warn_ns
        return interval_ns - nominal_ns > self.fault_ns

    def summary_ms(self) -> dict[str, float]:
        """Median, 99th percentile and longest interval [ms]; empty before the second tick."""
        if not self.intervals_ns:
            return {}
        values = np.percentile(np.fromiter(self.intervals_ns, np.float64), [50, 99, 100]) / 1e6
        return {name: round(float(v), 3) for name, v in zip(("p50", "p99", "max"), values, strict=True)}
