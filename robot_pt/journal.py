"""One mcap file per episode, written while it runs: the insurance against a crash, and what Foxglove and rosbag2 open.

Messages are ROS 2 CDR with their definitions (profile "ros2"), in uncompressed chunks of 256 KiB. The file is called
``<id>.mcap.part`` and is flushed and synced every second until it is closed, synced and renamed. Two metadata records of one
JSON value each say what was recorded: ``robot_pt`` at the start, ``robot_pt_end`` at the end.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from robot_pt.errors import DataError, MissingExtraError
from robot_pt.journal_reading import BEGIN, END, Journal, read
from robot_pt.messages import Message, typestore
from robot_pt.zarr_files import sync

CHUNK_BYTES = 262_144
SYNC_EVERY_S = 1.0
PART = ".mcap.part"


class JournalWriter:
    """Writes one journal. Every method raises OSError as the disk gives it; the file is then as good as it got.

    Args:
        path: ``<id>.mcap``; until `close` it is written beside, with ``.part`` at the end.
        header: JSON values for the record ``robot_pt``.
        namespace: put before relative topics, e.g. "/wx250s".
    Raises:
        DataError: a journal of that name exists.
        MissingExtraError: mcap or rosbags is not installed.
        TypeError, ValueError: the header is no JSON.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], namespace: str = "/"):
        writer = _writer_class()
        self.path, self._part = path, path.with_name(path.name + ".part")
        self._prefix = "/" + namespace.strip("/") + "/" if namespace.strip("/") else "/"
        self._channels: dict[tuple[str, str], int] = {}
        self._schemas: dict[str, int] = {}
        self.written: Counter[str] = Counter()
        """Relative topic -> messages in the file."""
        begin = json.dumps(header, allow_nan=False)
        if path.exists():
            raise DataError(f"{path} exists; give the episode another id.")
        try:
            self._file = open(self._part, "xb")  # noqa: SIM115
        except FileExistsError:
            raise DataError(f"{self._part} exists, an episode that was cut off; recover it first.") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # says to `recover` that it is being written
            self._mcap = writer(self._file, chunk_size=CHUNK_BYTES, compression=_no_compression())
            self._mcap.start(profile="ros2", library="robot-pt")
            self._mcap.add_metadata(BEGIN, {"json": begin})
            self.flush()
            sync(path.parent)
        except OSError:
            self.delete()
            raise

    def write(self, message: Message, received_ns: int) -> None:
        """Append one message. A crash may take what came after the last `flush`."""
        channel = self._channel(message.topic, message.type)
        stamp = min(max(received_ns, 0), (1 << 63) - 1)
        data = message.cdr if isinstance(message.cdr, bytes) else bytes(message.cdr)
        self._mcap.add_message(channel, stamp, data, stamp, self.written[message.topic])
        self.written[message.topic] += 1

    def flush(self) -> None:
        """End the chunk; everything so far is on the disk when this returns."""
        self._mcap.flush()
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def flush_when_due(self) -> None:
        """`flush` once a second."""
        if time.monotonic() - self._synced >= SYNC_EVERY_S:
            self.flush()

    def close(self, end: Mapping[str, Any]) -> None:
        """Write the record ``robot_pt_end`` and the index, give the file its name; durable when this returns."""
        self._mcap.add_metadata(END, {"json": json.dumps(end, allow_nan=False)})
        self._mcap.finish()
        self._file.flush()
        os.fsync(self._file.fileno())
        os.rename(self._part, self.path)
        self._file.close()
        sync(self.path.parent)

    def drop(self) -> None:
        """Close without finishing, after an error: the ``.part`` stays for `recover`."""
        with suppress(OSError):  # what could not be written once cannot be written now
            self._file.close()

    def delete(self) -> None:
        """Throw the episode away."""
        self.drop()
        self._part.unlink(missing_ok=True)

    def _channel(self, topic: str, type: str) -> int:
        known = self._channels.get((topic, type))
        if known is not None:
            return known
        if type not in self._schemas:
            self._schemas[type] = self._mcap.register_schema(type, "ros2msg", definition(type))
        about = {
            "offered_qos_profiles": "[]",
            "topic_type_hash": typestore().hash_rihs01(type),
        }  # as rosbag2 writes them
        channel = self._mcap.register_channel(self._prefix + topic, "cdr", self._schemas[type], about)
        self._channels[topic, type] = channel
        return int(channel)


def definition(type: str) -> bytes:
    """The text of a message type as bags carry it; raises DataError for a type that ROS 2 Jazzy does not bring."""
    store = typestore()
    if type not in store.types:
        raise DataError(f"messages of type {type!r} cannot be recorded; leave the topic out.")
    text, _ = store.generate_msgdef(type, ros_version=2)
    return bytes(text.encode())


def recover(folder: Path) -> dict[Path, str]:
    """Make whole what crashes left in `folder`: each ``<id>.mcap.part`` -> ``<id>.mcap`` up to its last whole chunk.

    Where the end record is missing the new file's says ``truncated`` and outcome "unknown". Files that another process is writing are left alone.
    Returns what became of each: the new path -> "recovered", or the part -> why it could not be. Raises OSError when the disk
    does not take the new file; the part is then kept.
    """
    report: dict[Path, str] = {}
    for leftover in folder.glob("*.mcap.rewritten"):
        leftover.unlink()
    for part in sorted(folder.glob("*" + PART)):
        with open(part, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            try:
                report[_rewrite(part)] = "recovered"
            except DataError as error:
                report[part] = str(error)
                os.rename(part, part.with_name(part.name + ".unreadable"))
    return report


def _rewrite(part: Path) -> Path:
    path = part.with_name(part.name.removesuffix(".part"))
    journal = read(part)
    if END in journal.records and not journal.torn:  # all was there but the name
        os.rename(part, path)
        sync(path.parent)
        return path
    if path.exists():
        raise DataError(f"{path} exists beside {part.name}; rename one of them.")
    target = part.with_name(path.name + ".rewritten")
    with open(target, "wb") as file:
        _copy(journal, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(target, path)
    part.unlink()
    sync(path.parent)
    return path


def _copy(journal: Journal, file: Any) -> None:
    mcap = _writer_class()(file, chunk_size=CHUNK_BYTES, compression=_no_compression())
    mcap.start(profile="ros2", library="robot-pt")
    mcap.add_metadata(BEGIN, {"json": json.dumps(journal.records.get(BEGIN, {}))})
    channels: dict[int, int] = {}
    for entry in journal.messages():
        if entry.channel not in channels:
            topic, type, text = journal.channels[entry.channel]
            schema = mcap.register_schema(type, "ros2msg", text)
            channels[entry.channel] = mcap.register_channel(topic, "cdr", schema, {"offered_qos_profiles": "[]"})
        mcap.add_message(channels[entry.channel], entry.log_ns, bytes(entry.cdr), entry.log_ns, entry.sequence)
    end = journal.records.get(END, {"outcome": "unknown", "truncated": True, "reason": "cut off"})
    mcap.add_metadata(END, {"json": json.dumps(end)})
    mcap.finish()


def _writer_class() -> Any:
    try:
        from mcap.writer import Writer
    except ImportError:
        raise MissingExtraError("mcap", "ros", "recording") from None
    return Writer


def _no_compression() -> Any:
    from mcap.writer import CompressionType

    return CompressionType.NONE
