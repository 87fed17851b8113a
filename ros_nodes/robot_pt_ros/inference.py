"""Inference in a thread of its own, while the last chunk of actions plays on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from robot_pt.errors import UserError
from robot_pt.session import Session

POLL_S = 0.002


class InferenceThread:
    """Asks the session what to infer, lets its policy act, and delivers. `lock` guards the session, not the inference."""

    def __init__(self, session: Callable[[], Session], now_ns: Callable[[], int], lock: threading.RLock):
        self._session, self._now_ns, self._lock = session, now_ns, lock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the inference under way; idempotent."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                session = self._session()
                request = session.inference_due()
            if request is None:
                time.sleep(POLL_S)
                continue
            try:
                chunk = session.policy.act(list(request.history))
            except (UserError, RuntimeError) as error:
                with self._lock:
                    session.fail(str(error))
                continue
            with self._lock:
                session.deliver(chunk, request.observation_ns, self._now_ns())
