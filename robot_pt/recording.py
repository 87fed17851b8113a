"""One episode while it is recorded: a bounded queue, and one thread that writes the journal and makes steps."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from robot_pt.alignment import JPEG_QUALITY, Alignment
from robot_pt.disk import DiskLimits, free_bytes
from robot_pt.errors import DataError
from robot_pt.images import encode_jpeg
from robot_pt.journal import JournalWriter
from robot_pt.journal_episode import Assembly, Header
from robot_pt.messages import RAW, Message, camera_of, encode, topic_of
from robot_pt.samples import Frame, Sample

Item = Message | Sample


class Limits(NamedTuple):
    """When a recording ends by itself, and how much may wait to be written."""

    disk: DiskLimits = DiskLimits()
    queue_bytes: int = 64_000_000
    longest_s: float = 600.0
    answer_s: float = 30.0
    """How long the end of an episode waits for the disk."""


class Recording:
    """Takes items from any thread until it is ended. Nothing is dropped silently: `dropped` counts by topic.

    Args:
        journal: closed or deleted by `close` and `delete`.
        on_fault: called once per kind of fault with one sentence, from the thread that found it; must return soon, and not
            end the recording itself.
    """

    def __init__(self, header: Header, journal: JournalWriter, limits: Limits, on_fault: Callable[[str], None]):
        self._assembly = Assembly(header)
        self.header, self.journal, self.failed = header, journal, ""
        self.torn = False
        """The journal could not be written to its end; its ``.part`` has what was flushed."""
        self.dropped: Counter[str] = Counter()
        self._limits, self._on_fault, self._told = limits, on_fault, set[str]()
        self._queue: deque[tuple[Item, int]] = deque()
        self._bytes, self._ending = 0, False
        self._changed = threading.Condition()
        self._begun = self._checked = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"recorder-{header.episode_id}", daemon=True)
        self._thread.start()

    @property
    def steps(self) -> int:
        """Steps made so far; the last seconds are still open."""
        return len(self._assembly.aligner)

    @property
    def queued_bytes(self) -> int:
        return self._bytes

    def put(self, item: Item, received_ns: int) -> None:
        """Queue one item; returns at once. What finds no room, or comes after a failure, is counted as dropped."""
        size = _size(item)
        with self._changed:
            full = self._bytes + size > self._limits.queue_bytes
            if not (full or self.failed or self._ending):
                self._queue.append((item, received_ns))
                self._bytes += size
                self._changed.notify()
                return
            self.dropped[self._topic(item)] += 1
        if full:
            self._tell(
                "full", "the recorder cannot keep up: messages were dropped; use a faster disk or fewer cameras."
            )

    def drain(self) -> None:
        """Write all that is queued and end the thread; a disk that does not answer is a failure."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(self._limits.answer_s)
        if self._thread.is_alive():
            self.torn = True
            self._fail(f"disk: no answer for {self._limits.answer_s:g} s")

    def finish(self, end_ns: int | None) -> Alignment:
        """Every step, after `drain`; raises DataError where there is none."""
        assert not self._thread.is_alive(), "drain first"
        return self._assembly.finish(end_ns)

    def _run(self) -> None:
        try:
            while self._work():
                pass
        except OSError as error:
            self.torn = True
            self.journal.drop()
            self._fail(f"disk: {error.strerror or error}")
        finally:
            if not self._ending and not self.failed:
                self._fail("the recorder's thread ended by a mistake of its own")

    def _work(self) -> bool:
        """One item, and the disk. False when there is nothing left to do."""
        with self._changed:
            if not self._queue and not self._ending:
                self._changed.wait(0.1)
            item, received_ns = self._queue.popleft() if self._queue else (None, 0)
        if item is not None:
            self._record(item, received_ns)
            with self._changed:
                self._bytes -= _size(item)
        self.journal.flush_when_due()
        self._check()
        return not self.failed and (item is not None or not self._ending)

    def _record(self, item: Item, received_ns: int) -> None:
        try:
            for message in self._messages(item):
                self.journal.write(message, received_ns)
                self._assembly.add(message, received_ns)
        except DataError as error:
            self.dropped[self._topic(item)] += 1
            self._tell(self._topic(item), str(error))
        except OSError:
            self.dropped[self._topic(item)] += 1
            raise

    def _messages(self, item: Item) -> list[Message]:
        """As they go into the journal: raw frames as JPEG."""
        cameras = self.header.cameras
        if isinstance(item, Message):
            if item.type != RAW or camera_of(item.topic) not in cameras.values():
                return [item]
            sample = self._assembly.decoder.decode(item, 0)
            if not isinstance(sample, Frame):
                raise DataError(f"{item.topic}: {self._assembly.decoder.reasons.get(item.topic, 'no frame')}.")
            item = sample
        if isinstance(item, Frame) and isinstance(item.image, np.ndarray) and item.image.ndim == 3:
            item = item._replace(image=encode_jpeg(np.ascontiguousarray(item.image), JPEG_QUALITY))
        return encode(item, self.header.joint_names, cameras)

    def _check(self) -> None:
        now = time.monotonic()
        if now - self._checked < 1.0:
            return
        self._checked = now
        free = free_bytes(self.journal.path.parent)
        if free < self._limits.disk.hard_min:
            self._fail(f"disk: {free / 1e6:.0f} MB left")
        elif now - self._begun > self._limits.longest_s:
            self._fail(f"longer than {self._limits.longest_s:.0f} s")

    def _fail(self, reason: str) -> None:
        self.failed = reason
        with self._changed:
            self.dropped.update(self._topic(item) for item, _ in self._queue)
            self._queue.clear()
        self._tell("failed", f"the recording of {self.header.episode_id} ended: {reason}.")

    def _topic(self, item: Item) -> str:
        return item.topic if isinstance(item, Message) else topic_of(item, self.header.cameras)

    def _tell(self, kind: str, sentence: str) -> None:
        if kind not in self._told:
            self._told.add(kind)
            self._on_fault(sentence)


def _size(item: Item) -> int:
    if isinstance(item, Message):
        return len(item.cdr) + 64
    image = item.image if isinstance(item, Frame) else None
    return 512 + (image.nbytes if isinstance(image, np.ndarray) else len(image or b""))
