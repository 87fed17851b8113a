"""Recorder: one episode at a time from stamped samples into a demo store, with a journal beside it as insurance.

``<store>/journals/<episode id>.mcap`` holds every message of an episode as it came; the store holds its steps, aligned. What a
crash cut off is finished when the next recorder starts: an episode up to its last flushed second, split "recovered".
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from robot_pt import journal, journal_episode
from robot_pt.alignment import Outcome
from robot_pt.commands import JointCommand
from robot_pt.disk import free_bytes, require_room
from robot_pt.errors import DataError, UserError
from robot_pt.journal_episode import KEPT, NO_STEPS, Ending, Header
from robot_pt.messages import LATCHED, Message, encode
from robot_pt.recording import Item, Limits, Recording
from robot_pt.recovery import recover
from robot_pt.samples import Mode, Sample, Version
from robot_pt.schema import Spec
from robot_pt.simulated import Release, require_of_store, version_in, versions_of
from robot_pt.store import DemoStore

JOURNALS, DISCARDED = "journals", "discarded"


class Report(NamedTuple):
    """What became of one episode."""

    episode_id: str
    outcome: str
    """success, failure, unknown, aborted, or discarded."""
    stored: str
    """Id in the store; "" where it is not in there."""
    steps: int
    written: dict[str, int]
    """Topic -> messages in the journal, counted in the file itself."""
    dropped: dict[str, int]
    faults: list[str]
    """One sentence each."""


class Status(NamedTuple):
    """For an operator's display."""

    episode_id: str
    """Of the episode that runs; "" when none does."""
    steps: int
    queued_bytes: int
    dropped: dict[str, int]
    free_bytes: int
    faults: list[str]
    failed: str = ""
    """Why the episode ended by itself; it takes nothing more and is to be stopped."""


class Recorder:
    """The only writer of a store's recordings. Methods may be called from any thread; `feed` and `feed_message` return at once.

    Args:
        store_path: a demo store of this spec; made where there is none.
        cameras: role -> camera name in the topics, where they differ.
        joint_names: of the arm, the order of ``joint_positions``.
        robot: arm whose kinematics give the tool pose where no ``ee_pose`` is recorded.
        action_frame_rotation: (9) what that arm's poses call zero, as in `robot_pt.robots.load`, row by row; empty: the model's own.
        namespace: of the robot, put before the topics in the journal.
        teleop: what an operator's steps are called, "teleop" or "scripted".
        patience_s: how much later than others a message may arrive, in stamps.
        on_fault: called with one sentence when an episode ends by itself or messages are dropped, from another thread;
            must return soon and not call this recorder.
    Raises:
        DataError, MismatchError: `store_path` is something else, or a store of another spec.
        MissingExtraError: mcap or rosbags is not installed.
    """

    def __init__(
        self,
        store_path: str | os.PathLike[str],
        spec: Spec,
        *,
        cameras: Mapping[str, str] | None = None,
        joint_names: Sequence[str] = (),
        robot: str = "",
        action_frame_rotation: Sequence[float] = (),
        namespace: str = "/",
        dataset: str = "recorded",
        teleop: str = "teleop",
        patience_s: float = 2.0,
        limits: Limits | None = None,
        on_fault: Callable[[str], None] | None = None,
    ):
        if teleop not in ("teleop", "scripted"):
            raise UserError(f"teleop is {teleop!r}; call an operator's steps 'teleop' or 'scripted'.")
        self.store = DemoStore.create(store_path, spec, exist_ok=True)
        self.folder = self.store.path / JOURNALS
        self._limits, self._listener = limits or Limits(), on_fault
        self._template = Header(
            spec=spec,
            episode_id="",
            cameras={role: (cameras or {}).get(role, role) for role in spec.cameras},
            joint_names=list(joint_names),
            robot=robot,
            action_frame_rotation=[float(v) for v in action_frame_rotation],
            dataset=dataset,
            teleop=teleop,
            patience_s=patience_s,
            namespace=namespace,
            version=_own_version(),
        )
        self._lock = threading.RLock()
        self._current: Recording | None = None
        self._last: tuple[Header, Report] | None = None
        self._latched: defaultdict[str, deque[tuple[Message, int]]] = defaultdict(lambda: deque(maxlen=4))
        self._faults: list[str] = []
        self._release: Release | None = None
        """Of a simulator, which no episode in the store contradicts."""
        self._only = -1
        """Handle of the lock that makes this the only recorder of the store."""
        try:
            self.folder.mkdir(exist_ok=True)
            self._only = os.open(self.folder / ".recorder", os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(self._only, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.recovered = recover(self.store, self.folder)
            """Episode id -> id in the store of what an earlier recorder left unfinished, or why it is not in there."""
        except BlockingIOError:
            self.close()
            raise UserError(
                f"another recorder records to {self.store.path}; stop it, or record to another store."
            ) from None
        except OSError as error:
            self.close()
            raise DataError(f"{self.folder} cannot be written ({error.strerror}); free space or fix access.") from None

    def start(
        self,
        episode_id: str | None = None,
        *,
        task: str = "",
        instruction: str = "",
        metadata: Mapping[str, Any] | None = None,
        now_ns: int | None = None,
    ) -> str:
        """Begin an episode; returns its id.

        Args:
            now_ns: time by the clock of the stamps, against which latched messages are checked; else their own arrival.
        Raises:
            UserError: one is running, the id cannot name a file, or the disk has too little room.
            DataError: there is an episode of that id, or the disk refuses.
            MismatchError: `metadata` says another version of a simulator than the store's episodes.
        """
        with self._lock:
            if self._only < 0:
                raise UserError("this recorder was closed; make another.")
            if self._current is not None:
                raise UserError(
                    f"episode {self._current.header.episode_id} is being recorded; stop or discard it first."
                )
            name = episode_id or self._free_id()
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
                raise UserError(f"episode id {name!r} cannot name a file; use letters, digits, '.', '_' and '-'.")
            require_room(self.folder, self._limits.disk)
            if (self.folder / DISCARDED / f"{name}.mcap").exists():
                raise DataError(f"episode {name} was recorded and discarded; give another id.")
            self._require_one_release(metadata or {})
            given = {
                **self._template.to_json(), "episode_id": name, "task": task, "instruction": instruction,
                "metadata": dict(metadata or {}), "policy_version": self._policy_version(),
            }  # fmt: skip
            self._faults = []
            self._current = self._begun(Header.from_json(given))
            for kept in list(self._latched.values()):
                for message, received_ns in kept:
                    self._current.put(message, received_ns if now_ns is None else now_ns)
            return name

    def _begun(self, header: Header) -> Recording:
        """An episode with its journal on disk. Raises as `start`, and leaves no journal then."""
        try:
            writer = journal.JournalWriter(
                self.folder / f"{header.episode_id}.mcap", header.to_json(), header.namespace
            )
        except OSError as error:
            raise DataError(f"{self.folder} cannot be written ({error.strerror}); free space or fix access.") from None
        except (TypeError, ValueError):
            raise UserError(
                "episode metadata holds values that JSON cannot keep; give strings, numbers, lists."
            ) from None
        try:
            return Recording(header, writer, self._limits, self._fault)
        except UserError:
            writer.delete()
            raise

    def feed(self, sample: Sample, received_ns: int | None = None) -> None:
        """One sample of anything; `received_ns` is when it arrived by the clock of the stamps, its own stamp where None."""
        self._put(sample, sample.stamp_ns if received_ns is None else received_ns)

    def feed_message(self, message: Message, received_ns: int) -> None:
        """One message as it came off the wire, with its relative topic; kept as it is, raw frames as JPEG.

        Its bytes must not change afterwards.
        """
        self._put(message, received_ns)

    def stop(self, outcome: Outcome, *, end_ns: int | None = None) -> Report:
        """End the episode and append it to the store; `end_ns` is now by the clock of the stamps.

        An episode that cannot be stored is in the report's `faults`, its journal stays. Raises UserError when none runs.
        """
        if outcome not in KEPT:
            raise UserError(f"outcome is {outcome!r}; give success, failure or unknown.")
        with self._lock:
            current = self._ended()
            if current.failed:
                return self._close(current, "aborted", current.failed, 0)
            try:
                aligned = current.finish(end_ns)
            except DataError as error:
                self._faults.append(str(error))
                return self._close(current, outcome, NO_STEPS, end_ns or 0)
            report = self._close(current, outcome, "", end_ns or 0)
            ending = Ending(outcome, end_ns or 0, report.written, report.dropped, False)
            try:
                found = journal_episode.episode(aligned, current.header, ending)
                report = report._replace(stored=self.store.append(found), steps=len(found))
            except UserError as error:
                report.faults.append(f"{error} The journal {current.journal.path.name} has everything.")
            self._last = (current.header, report)
            return report

    def abort(self, reason: str) -> Report:
        """End the episode without storing it; its journal stays. Raises UserError when none runs."""
        with self._lock:
            return self._close(self._ended(), "aborted", reason, 0)

    def discard(self) -> Report:
        """Throw away the running episode, or else set the last one aside: split "discarded", journal in ``discarded/``.

        Raises UserError when there is neither.
        """
        with self._lock:
            if self._current is not None:
                current = self._ended()
                current.journal.delete()
                report = Report(current.header.episode_id, "discarded", "", 0, {}, dict(current.dropped), self._faults)
                self._last = (current.header, report)
                return report
            if self._last is None or self._last[1].outcome == "discarded":
                raise UserError("there is no episode to discard; record one first.")
            header, report = self._last
            if report.stored:
                self.store.relabel(report.stored, split=DISCARDED)
            (self.folder / DISCARDED).mkdir(exist_ok=True)
            name = f"{header.episode_id}.mcap"
            if (self.folder / name).exists():
                os.rename(self.folder / name, self.folder / DISCARDED / name)
            self._last = (header, report._replace(outcome="discarded"))
            return self._last[1]

    def redo(self, *, now_ns: int | None = None) -> str:
        """Discard the running or the last episode and begin another of the same task; returns its id."""
        with self._lock:
            if self._current is not None or (self._last is not None and self._last[1].outcome != "discarded"):
                self.discard()
            if self._last is None:
                raise UserError("there is no episode to do again; record one first.")
            header = self._last[0]
            return self.start(task=header.task, instruction=header.instruction, metadata=header.metadata, now_ns=now_ns)

    def status(self) -> Status:
        """Of the episode that runs; raises OSError when the disk cannot be asked."""
        current, free = self._current, free_bytes(self.store.path)
        if current is None:
            return Status("", 0, 0, {}, free, list(self._faults))
        dropped = dict(current.dropped)
        name, faults = current.header.episode_id, list(self._faults)
        return Status(name, current.steps, current.queued_bytes, dropped, free, faults, current.failed)

    def close(self) -> None:
        """End a running episode as aborted; the recorder takes nothing afterwards."""
        with self._lock:
            if self._current is not None:
                self.abort("the recorder was closed")
            if self._only >= 0:
                os.close(self._only)  # lets another recorder in
            self._only = -1

    def _put(self, item: Item, received_ns: int) -> None:
        messages = [item] if isinstance(item, Message) else self._as_latched(item)
        for message in messages:
            if message.topic in LATCHED:
                self._latched[message.topic].append((message, received_ns))
        current = self._current
        if current is not None:
            current.put(item, received_ns)

    def _require_one_release(self, metadata: Mapping[str, Any]) -> None:
        here = version_in(self._template.dataset, metadata)
        if here != self._release and len(self.store):
            stored = versions_of(self.store.source(skip_corrupt=True))
            require_of_store(self.store.path, stored, here, "record to another store")
        self._release = here

    def _as_latched(self, sample: Sample) -> list[Message]:
        if isinstance(sample, JointCommand | Mode | Version):
            with suppress(DataError):  # the recording counts it
                return encode(sample, self._template.joint_names)
        return []

    def _fault(self, sentence: str) -> None:
        self._faults.append(sentence)
        if self._listener is not None:
            self._listener(sentence)

    def _ended(self) -> Recording:
        """The running episode, every message of it written, and none running any more."""
        current = self._current
        if current is None:
            raise UserError("no episode is being recorded; start one first.")
        current.drain()
        self._current = None
        return current

    def _close(self, current: Recording, outcome: str, reason: str, end_ns: int) -> Report:
        """Close the journal and count what is really in it."""
        name, writer, dropped = current.header.episode_id, current.journal, dict(current.dropped)
        written = dict(writer.written)
        end = {
            "outcome": outcome, "reason": reason, "end_ns": end_ns, "written": written, "dropped": dropped,
            "truncated": outcome == "aborted",
        }  # fmt: skip
        try:
            if current.torn:
                raise OSError(0, current.failed)
            writer.close(end)
            found = journal_episode.counts(writer.path, current.header.namespace)
            if found != written:
                self._fault(f"journal {name} holds {found}, {written} were written: the disk lost some.")
            written = found
        except OSError as error:
            writer.drop()
            self._fault(
                f"journal {name} could not be closed ({error.strerror}); the next recorder recovers what is there."
            )
        if reason:
            self._faults.append(f"episode {name} is {outcome}: {reason}.")
        report = Report(name, outcome, "", current.steps, written, dropped, self._faults)
        self._last = (current.header, report)
        return report

    def _policy_version(self) -> str:
        from robot_pt.messages import Decoder

        decoder, latest = Decoder({}), self._latched["policy/version"]
        found = decoder.decode(*latest[-1]) if latest else None
        return found.version if isinstance(found, Version) else ""

    def _free_id(self) -> str:
        stamp, i = time.strftime("%Y%m%d-%H%M%S"), 0
        while any(self.folder.rglob(f"{stamp}-{i:02d}.mcap*")):
            i += 1
        return f"{stamp}-{i:02d}"


def _own_version() -> str:
    try:
        return version("robot-pt")
    except PackageNotFoundError:
        return ""
