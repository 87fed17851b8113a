"""Which messages belong to which episode, and the recorder's slow work in a thread of its own.

An episode is what is stamped from its begin to its end. Messages are kept one deep per topic meanwhile, so that what was said just
before a recorder heard of the begin (the observation of a simulator that waits, the gate's mode) is not lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, cast

from robot_pt.alignment import Outcome
from robot_pt.commands import Answer
from robot_pt.errors import UserError
from robot_pt.journal_episode import KEPT
from robot_pt.messages import COMPRESSED, LATCHED, POSE, RAW, STATE, TRAJECTORY, Message, header_stamp
from robot_pt.recorder import Recorder, Report

STAMPED = frozenset(
    {COMPRESSED, RAW, POSE, STATE, TRAJECTORY, "sensor_msgs/msg/CameraInfo", "geometry_msgs/msg/PoseArray"}
)
"""Types that begin with a Header."""


class Wish(NamedTuple):
    """One episode, as the episode manager tells of it."""

    episode_id: str
    task: str = ""
    instruction: str = ""
    metadata: Mapping[str, Any] = {}
    begin_ns: int = 0


class EpisodeRecorder:
    """Methods return at once and may be called from the node's thread only; `close` waits.

    Args:
        make: gives the recorder of an episode, from the newest message of every topic and the recorder there is.
        on_change: called from any thread when `state` is another.
    """

    def __init__(
        self, make: Callable[[Mapping[str, Message], Recorder | None], Recorder], on_change: Callable[[], None]
    ):
        self._make, self._on_change = make, on_change
        self._recorder: Recorder | None = None
        self._newest: dict[str, tuple[Message, int]] = {}
        self._pending: list[tuple[Message, int]] | None = None
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, "recorder")
        self._closing: Future[Answer] | None = None
        self._running = ""
        self._begin_ns, self._end_ns = 0, 0
        self.received = 0
        self.heard_s = 0.0
        """When the last stamped message came that belongs to the episode [s, monotonic]."""
        self.phase, self.episode_id, self.reason = "ready", "", ""
        self.last: dict[str, Any] = {}

    def use(self, recorder: Recorder) -> None:
        """Take a recorder that was made already."""
        self._recorder = recorder

    def message(self, message: Message, received_ns: int) -> None:
        """One message off the wire."""
        self.received += 1
        with self._lock:
            self._newest[message.topic] = (message, received_ns)
            if not self._belongs(message):
                return
            if message.type in STAMPED:
                self.heard_s = time.monotonic()
            if self._pending is not None:
                self._pending.append((message, received_ns))
            elif self._recorder is not None:
                self._recorder.feed_message(message, received_ns)

    def heard_of(self, topic: str) -> bool:
        """Whether anything came on this topic."""
        return topic in self._newest

    def _belongs(self, message: Message) -> bool:
        """Between begin and end, where it is stamped; always where it is not."""
        if not self._running or message.type not in STAMPED or len(message.cdr) < 12:
            return True
        stamp = header_stamp(message.cdr)
        return self._begin_ns <= stamp and (not self._end_ns or stamp <= self._end_ns)

    # what is asked for

    @property
    def running(self) -> str:
        """Id of the episode that was asked for and not ended; "" between episodes."""
        return self._running

    def start(self, wish: Wish, now_ns: int) -> Future[Answer]:
        """Begin; whether it could is in `state` and in the future."""
        with self._lock:
            self._running, self._begin_ns, self._end_ns = wish.episode_id, wish.begin_ns, 0
            self._pending = [
                found for found in self._newest.values() if found[0].type in STAMPED and self._belongs(found[0])
            ] if wish.begin_ns else []  # fmt: skip
        return self._do(lambda: self._start(wish, now_ns))

    def ends_at(self, end_ns: int) -> None:
        """Nothing stamped later belongs to the episode; 0: nothing more will come."""
        self._end_ns = end_ns

    def stop(self, outcome: str, reason: str = "") -> Future[Answer]:
        """End as success, failure or unknown; discarded; or, by any other word, aborted."""
        name, end_ns = self._running, self._end_ns
        return self._do(lambda: self._stop(name, outcome, reason, end_ns))

    def discard_last(self) -> Future[Answer]:
        """Set aside what was the last to end, or throw away what runs."""
        return self._do(self._discard)

    def look(self) -> None:
        """Notice an episode that ended by itself, as on a full disk; call it several times a second."""
        recorder = self._recorder
        if recorder is None or not self._running or self.phase != "recording":
            return
        try:
            failed = recorder.status().failed
        except OSError as error:
            failed = f"disk: {error.strerror}"
        if failed:
            self.phase = "failing"
            self.stop("aborted", failed)

    def state(self) -> dict[str, Any]:
        """phase (ready, recording, failed), of which episode, why, and what became of the last one; JSON values."""
        return {"phase": self.phase, "episode_id": self.episode_id, "reason": self.reason, "last": self.last}

    def status(self) -> dict[str, Any]:
        """For /diagnostics; free_bytes is -1 where the disk cannot be asked."""
        values: dict[str, Any] = {"phase": self.phase, "episode": self.episode_id, "received": self.received}
        if self._recorder is not None:
            try:
                values |= self._recorder.status()._asdict()
            except OSError:
                values["free_bytes"] = -1
        return {**values, **{f"last_{key}": value for key, value in self.last.items()}}

    def close(self, *, wait: bool = True) -> Future[Answer]:
        """End what runs as aborted, synced to disk; whatever is asked for afterwards is refused."""
        if self._closing is None:
            closing = self._do(self._close)
            self._closing = closing
            self._worker.shutdown(wait=wait)
        return self._closing

    # in the worker's thread

    def _do(self, work: Callable[[], Answer]) -> Future[Answer]:
        name = self._running
        if self._closing is not None:
            refused: Future[Answer] = Future()
            refused.set_result(Answer(False, "the recorder is closed."))
            return refused

        def guarded() -> Answer:
            try:
                answer = work()
            except (UserError, OSError) as error:
                answer = Answer(False, str(error))
                self._say("failed", name or self.episode_id, str(error))
                self._forget(name)
            self._on_change()
            return answer

        return self._worker.submit(guarded)

    def _start(self, wish: Wish, now_ns: int) -> Answer:
        with self._lock:
            newest = dict(self._newest)
        recorder = self._make({topic: message for topic, (message, _) in newest.items()}, self._recorder)
        if recorder is not self._recorder:
            for topic in LATCHED:
                if topic in newest:
                    recorder.feed_message(*newest[topic])
            self._recorder = recorder
        name = self._recorder.start(
            wish.episode_id or None, task=wish.task, instruction=wish.instruction, metadata=wish.metadata, now_ns=now_ns
        )
        with self._lock:
            waiting, self._pending, self._running = self._pending or [], None, name
            for message, received_ns in waiting:
                self._recorder.feed_message(message, received_ns)
        self._say("recording", name, "")
        return Answer(True, f"{name} is being recorded.")

    def _stop(self, name: str, outcome: str, reason: str, end_ns: int) -> Answer:
        recorder = self._require()
        if outcome == "discarded":
            report = recorder.discard()
        elif outcome in KEPT:
            report = recorder.stop(cast(Outcome, outcome), end_ns=end_ns or None)
        else:
            report = recorder.abort(reason or outcome)
        self._forget(name)
        failed = report.outcome == "aborted" and outcome != "discarded"
        lost = outcome in KEPT and not report.stored
        why = reason or "; ".join(report.faults)
        self._report(report)
        self._say("failed" if failed or lost else "ready", report.episode_id, why if failed or lost else "")
        return Answer(not (failed or lost), sentence(report))

    def _discard(self) -> Answer:
        report = self._require().discard()
        self._forget(report.episode_id)
        self._report(report)
        self._say("ready", report.episode_id, "")
        return Answer(True, sentence(report))

    def _close(self) -> Answer:
        if self._recorder is not None:
            self._recorder.close()
        self._forget(self._running)
        self._say("ready", self.episode_id, "the recorder is closed")
        return Answer(True, "closed.")

    def _require(self) -> Recorder:
        if self._recorder is None:
            raise UserError("nothing was recorded yet; start an episode first.")
        return self._recorder

    def _forget(self, name: str) -> None:
        """The episode is over; another may be asked for already."""
        with self._lock:
            if self._running == name:
                self._running, self._pending, self._end_ns = "", None, 0

    def _report(self, report: Report) -> None:
        self.last = report._asdict()

    def _say(self, phase: str, episode_id: str, reason: str) -> None:
        self.phase, self.episode_id, self.reason = phase, episode_id, reason


def sentence(report: Report) -> str:
    """What became of an episode, for the operator."""
    kept = f"stored as {report.stored}, {report.steps} steps" if report.stored else "not stored"
    dropped = f"; {sum(report.dropped.values())} messages were dropped" if any(report.dropped.values()) else ""
    faults = f"; {' '.join(report.faults)}" if report.faults else ""
    return f"{report.episode_id} is {report.outcome}: {kept}{dropped}{faults}."
