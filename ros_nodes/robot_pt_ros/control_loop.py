"""Work at a fixed rate on a monotonic clock, in a thread of its own: no message and no other callback makes it late."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class ControlLoop:
    """Calls `work` every `period_s` from `start` to `stop`. A turn that takes too long skips whole periods, never bunches them."""

    def __init__(self, period_s: float, work: Callable[[], None], name: str = "control"):
        self._period_s, self._work, self._name = period_s, work, name
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.skipped = 0
        """Periods lost to turns that took too long."""
        self.error: BaseException | None = None
        """What ended the loop before `stop`."""

    def start(self) -> None:
        """Begin; the first call comes at once."""
        assert self._thread is None, "started once"
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the call under way; idempotent."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            try:
                self._work()
            except BaseException as error:
                self.error = error
                raise
            due += self._period_s
            late = time.monotonic() - due
            if late > 0:
                lost = int(late / self._period_s) + 1
                self.skipped, due = self.skipped + lost, due + lost * self._period_s
            self._stop.wait(max(0.0, due - time.monotonic()))
