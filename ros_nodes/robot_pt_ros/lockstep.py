"""Lock-step over a graph without order between topics: wait until everything that belongs to one simulated time has come.

One simulator stamps everything, and a source's samples come in order. So a stamp that lies before the source's last means that simulated
time was set back: what was heard before it is of another time, and waiting begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from robot_pt.gate.clocks import OUT_OF_STEP_NS


class Rendezvous:
    """A time is due once, when every source has sent its sample of that time and the last target was answered."""

    def __init__(self, sources: Iterable[str]):
        self._newest = dict.fromkeys(sources, 0)
        self._done_ns = self._asked_ns = self._answered_ns = self._given_up_ns = 0

    def set_back(self, source: str, stamp_ns: int) -> bool:
        """Whether time was set back before this sample; then everything heard and asked is forgotten."""
        if stamp_ns >= self._newest[source] - OUT_OF_STEP_NS:
            return False
        self._newest = dict.fromkeys(self._newest, 0)
        self._done_ns = self._asked_ns = self._answered_ns = self._given_up_ns = 0
        return True

    def came(self, source: str, stamp_ns: int) -> None:
        """A sample of this time."""
        self._newest[source] = max(self._newest[source], stamp_ns)

    def asked(self, stamp_ns: int) -> None:
        """A target of this stamp was sent."""
        self._asked_ns = stamp_ns

    def answered(self, stamp_ns: int) -> None:
        """A command of this stamp was heard."""
        self._answered_ns = max(self._answered_ns, stamp_ns)

    def give_up_waiting(self) -> None:
        """Called once a second: an answer that has not come twice in a row will not come, the simulator went on with a hold."""
        waiting = self._answered_ns < self._asked_ns and min(self._newest.values()) > self._done_ns
        if waiting and self._given_up_ns == self._asked_ns:
            self._answered_ns = self._asked_ns
        self._given_up_ns = self._asked_ns if waiting else 0

    def due(self) -> int | None:
        """The time to tick at, None while something is missing; a time that was given once is `done`."""
        first, last = min(self._newest.values()), max(self._newest.values())
        if first != last or first <= self._done_ns or self._answered_ns < self._asked_ns:
            return None
        return first

    def done(self, stamp_ns: int) -> None:
        """This time was ticked."""
        self._done_ns = stamp_ns


class Early:
    """Keeps what is stamped later than the newest joint state until that state has come."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._waiting: list[tuple[int, Callable[[], None]]] = []
        self._behind: list[
            tuple[int, Callable[[], None]]
        ] = []  # done at once; of the time to come where time is set back

    def run(self, stamp_ns: int, work: Callable[[], None]) -> None:
        """Do the work now, or when the time `stamp_ns` has come."""
        if stamp_ns <= self.now_ns:
            if stamp_ns < self.now_ns - OUT_OF_STEP_NS:
                self._behind = [*self._behind[-3:], (stamp_ns, work)]
            work()
        else:
            self._waiting = [*self._waiting[-63:], (stamp_ns, work)]

    def set_back(self, stamp_ns: int) -> bool:
        """Whether time was set back before the joint state of this time; then nothing of the old time is waited for."""
        if stamp_ns >= self.now_ns - OUT_OF_STEP_NS:
            return False
        self.now_ns, self._waiting = 0, self._behind
        return True

    def arrived(self, stamp_ns: int) -> None:
        """A joint state of this time came."""
        self.now_ns, self._behind = max(self.now_ns, stamp_ns), []
        ready = [work for at, work in self._waiting if at <= self.now_ns]
        self._waiting = [(at, work) for at, work in self._waiting if at > self.now_ns]
        for work in ready:
            work()
