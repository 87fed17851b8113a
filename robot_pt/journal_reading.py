"""Reads journals through a memory map, also torn ones: every message up to the last whole chunk, none copied.

The layout is the mcap specification's (https://mcap.dev/spec): records of opcode, length and content after 8 bytes of magic;
chunks hold schemas, channels and messages. Libraries for it copy every chunk and give up where a file ends early.
"""

from __future__ import annotations

import json
import mmap
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from robot_pt.errors import DataError

MAGIC = b"\x89MCAP0\r\n"
BEGIN, END = "robot_pt", "robot_pt_end"
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _METADATA = 0x02, 0x03, 0x04, 0x05, 0x06, 0x0C


class Entry(NamedTuple):
    """One message in a journal."""

    channel: int
    log_ns: int
    """When it arrived."""
    sequence: int
    cdr: memoryview
    """A view into the memory map."""
    offset: int
    """Of its content in the file."""


class Journal:
    """A journal of which the whole records are known.

    `channels`: id -> (topic, type, definition). `records`: name -> JSON values of the metadata records. `torn`: the file ends
    before its end. `compressed`: some chunk is, and cannot be read here.
    """

    def __init__(self, path: Path, content: memoryview):
        self.path, self._content = path, content
        self.channels: dict[int, tuple[str, str, bytes]] = {}
        self.records: dict[str, dict[str, Any]] = {}
        self.torn, self.compressed = True, False
        self._suspect = content[-len(MAGIC) :] != MAGIC  # a file that was closed is not summed up again
        self._schemas: dict[int, tuple[str, bytes]] = {}
        self._chunks: list[tuple[int, int]] = []
        self._walk()

    def messages(self) -> Iterator[Entry]:
        """Every message in the order of writing."""
        for start, end in self._chunks:
            for opcode, first, last in _records(self._content, start, end):
                if opcode == _MESSAGE:
                    channel, sequence, log_ns, _ = struct.unpack_from("<HIQQ", self._content, first)
                    if channel in self.channels:
                        yield Entry(channel, log_ns, sequence, self._content[first + 22 : last], first + 22)

    def _walk(self) -> None:
        content = self._content
        for opcode, first, last in _records(content, len(MAGIC), len(content)):
            try:
                if opcode == _CHUNK:
                    if not self._take_chunk(first, last):
                        return
                elif opcode == _METADATA:
                    name, at = _text(content, first)
                    self.records[name] = _json_value(content, at)
                elif opcode in (_SCHEMA, _CHANNEL):
                    self._define(opcode, first)
            except (struct.error, UnicodeDecodeError):
                return
            if opcode == _FOOTER:
                self.torn = self._suspect
                return

    def _take_chunk(self, first: int, last: int) -> bool:
        _, _, size, crc = struct.unpack_from("<QQQI", self._content, first)
        compression, at = _text(self._content, first + 28)
        start = at + 8
        if compression:
            self.compressed = True
            return True
        if start + size > last or (self._suspect and crc and zlib.crc32(self._content[start : start + size]) != crc):
            return False
        for opcode, inner, _ in _records(self._content, start, start + size):
            if opcode in (_SCHEMA, _CHANNEL):
                self._define(opcode, inner)
        self._chunks.append((start, start + size))
        return True

    def _define(self, opcode: int, at: int) -> None:
        if opcode == _SCHEMA:
            (number,) = struct.unpack_from("<H", self._content, at)
            name, at = _text(self._content, at + 2)
            _, at = _text(self._content, at)
            (size,) = struct.unpack_from("<I", self._content, at)
            self._schemas[number] = name, bytes(self._content[at + 4 : at + 4 + size])
            return
        number, schema = struct.unpack_from("<HH", self._content, at)
        topic, at = _text(self._content, at + 4)
        encoding, _ = _text(self._content, at)
        if encoding == "cdr" and schema in self._schemas:
            self.channels[number] = topic, *self._schemas[schema]


def read(path: Path) -> Journal:
    """Map a journal; raises DataError when it is none."""
    try:
        with open(path, "rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise DataError(f"{path} is empty; nothing was recorded in it.") from None
    if content[: len(MAGIC)] != MAGIC:
        raise DataError(f"{path} is no mcap file; its first bytes are {bytes(content[:8]).hex(' ')}.")
    return Journal(path, content)


def _records(content: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(opcode, start, end) of the content of every whole record."""
    at = start
    while at + 9 <= end:
        opcode, length = struct.unpack_from("<BQ", content, at)
        if at + 9 + length > end:
            return
        yield opcode, at + 9, at + 9 + length
        at += 9 + length


def _text(content: memoryview, at: int) -> tuple[str, int]:
    (size,) = struct.unpack_from("<I", content, at)
    return str(content[at + 4 : at + 4 + size], "utf-8"), at + 4 + size


def _json_value(content: memoryview, at: int) -> dict[str, Any]:
    """The value of the key "json" of a metadata record's map, {} where there is none."""
    (size,) = struct.unpack_from("<I", content, at)
    end, at = at + 4 + size, at + 4
    while at < end:
        key, at = _text(content, at)
        value, at = _text(content, at)
        if key == "json":
            try:
                found = json.loads(value)
            except ValueError:
                return {}
            return found if isinstance(found, dict) else {}
    return {}
