"""How long the arm stays after a signal: it is the last to leave, for the supervisor's hold has to be followed."""

from __future__ import annotations

from collections.abc import Callable

FOLLOW_S = 2.0
"""The supervisor's hold is followed so long, or until its publisher is gone."""
ALONE_S = 0.2
"""... and this much longer, in which the supervisor's process ends too."""


class Farewell:
    """From a signal until the arm may leave."""

    def __init__(self, supervised: Callable[[], bool], now_s: float):
        """`supervised`: whether a supervisor publishes commands. `now_s` [s] is monotonic."""
        self._supervised = supervised
        self._begun_s = self._supervised_s = now_s

    def is_over(self, now_s: float) -> bool:
        """The supervisor is gone, or had its time."""
        if self._supervised():
            self._supervised_s = now_s
        return now_s >= min(self._supervised_s + ALONE_S, self._begun_s + FOLLOW_S)
