"""A thread that always holds the newest frame of a source, and gets the source back when it went away. No ROS here."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from robot_pt.errors import UserError
from robot_pt_ros.camera_sources import Captured, Rgb, Source

AGAIN_S = 1.0
"""Between two tries to open what went away."""
RATE_OVER = 60


class Stamped(NamedTuple):
    """One frame with the time it was captured."""

    stamp_ns: int
    rgb: Rgb  # (H, W, 3)


class Grabber:
    """Frames are taken with `take`; one that was not taken before the next came is counted as dropped.

    Args:
        opener: opens the source; its first call is the constructor's, with the first frame.
        clock_ns: time of the stamps.
        on_frame, on_news: called from the thread: a frame is there; a sentence about the source that came or went.
    Raises:
        UserError: the source cannot be opened or gives no frame.
    """

    def __init__(
        self,
        name: str,
        opener: Callable[[], Source],
        clock_ns: Callable[[], int],
        on_frame: Callable[[], None],
        on_news: Callable[[str], None],
    ):
        self._name, self._opener, self._clock_ns = name, opener, clock_ns
        self._on_frame, self._on_news = on_frame, on_news
        self._source: Source | None = opener()
        first = self._source.read()
        if first is None:
            self._source.close()
            raise UserError(f"camera {name} opens but gives no frame; check its cable or file, then start again.")
        self.size = first.rgb.shape[:2]
        self._newest: Stamped | None = self._stamped(first)
        self._lock, self._ending = threading.Lock(), threading.Event()
        self.frames, self.dropped, self.lost, self.ended = 1, 0, 0, False
        self._arrivals: deque[float] = deque([time.monotonic()], maxlen=RATE_OVER)
        self._thread = threading.Thread(target=self._run, name=f"camera-{name}", daemon=True)

    def start(self) -> None:
        """Begin to grab; the first frame waits already. A second call does nothing."""
        if self._thread.ident is None:
            self._thread.start()
            self._on_frame()

    def take(self) -> Stamped | None:
        """The newest frame, once."""
        with self._lock:
            found, self._newest = self._newest, None
        return found

    def close(self) -> None:
        """End the thread; one that hangs in a driver is left behind."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(1.0)

    def status(self) -> dict[str, Any]:
        """Counters, rate [Hz] and the age of the last frame [s]."""
        arrivals = list(self._arrivals)
        span = arrivals[-1] - arrivals[0]
        return {
            "frames": self.frames, "dropped": self.dropped, "lost_source": self.lost, "ended": self.ended,
            "rate_hz": round((len(arrivals) - 1) / span, 2) if span > 0 else 0.0,
            "silent_s": round(time.monotonic() - arrivals[-1], 3), "size": f"{self.size[0]}x{self.size[1]}",
        }  # fmt: skip

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ending.is_set():
            if self._source is None and not self._reopened():
                self._ending.wait(AGAIN_S)
                continue
            assert self._source is not None
            if self._source.period_s is not None:
                due = max(due + self._source.period_s, time.monotonic() - self._source.period_s)
                if self._ending.wait(max(due - time.monotonic(), 0)):
                    break
            self._grab(self._source)
        if self._source is not None:
            self._source.close()

    def _grab(self, source: Source) -> None:
        try:
            captured = source.read()
        except UserError as error:
            captured = None
            self._on_news(str(error))
        if captured is not None:
            self._keep(captured)
            return
        source.close()
        self._source = None
        if source.period_s is not None:
            self.ended = True
            self._on_news(f"camera {self._name}: its file ended.")
            self._ending.set()
            return
        self.lost += 1
        self._on_news(f"camera {self._name} went away; it is opened again every {AGAIN_S:g} s.")

    def _keep(self, captured: Captured) -> None:
        stamped = self._stamped(captured)
        with self._lock:
            self.dropped += self._newest is not None
            self._newest = stamped
        self.frames += 1
        self.size = captured.rgb.shape[:2]
        self._arrivals.append(time.monotonic())
        self._on_frame()

    def _stamped(self, captured: Captured) -> Stamped:
        return Stamped(self._clock_ns() - round((time.monotonic() - captured.at_s) * 1e9), captured.rgb)

    def _reopened(self) -> bool:
        try:
            source = self._opener()
            captured = source.read()
        except UserError:
            return False
        if captured is None:
            source.close()
            return False
        self._source = source
        self._on_news(f"camera {self._name} is back.")
        self._keep(captured)
        return True
