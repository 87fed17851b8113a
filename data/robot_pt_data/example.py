"""`tf.train.Example` without protobuf: where each feature lies, and its values as arrays over the same bytes.

Wire format: protobuf.dev/programming-guides/encoding; messages: tensorflow/core/example/{example,feature}.proto.
``Example{1: Features{1: map entry{1: key, 2: Feature{1: BytesList | 2: FloatList | 3: Int64List}}}}``. Every length is
checked against the bytes that are there before it is used, so a hostile record costs no more memory than its own size.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import DataError
from robot_pt.schema import Float, Int

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_KINDS = {1: "bytes", 2: "float", 3: "int"}


class Range(NamedTuple):
    """The value list of one feature: bytes `start` to `end` of the buffer hold its BytesList, FloatList or Int64List."""

    kind: str  # "bytes" | "float" | "int" | "" for a feature without values
    start: int
    end: int


def features(data: NDArray[np.uint8], start: int, end: int) -> dict[str, Range]:
    """Key -> Range of the Example in ``data[start:end]``; offsets are those of `data`. Raises DataError."""
    if not 0 <= start <= end <= len(data):
        raise DataError(f"an Example from byte {start} to {end} does not lie in a buffer of {len(data)} bytes.")
    view = memoryview(cast(Any, data))  # indexing a memoryview is ten times faster than indexing an array
    found: dict[str, Range] = {}
    for number, a, b in _fields(view, start, end):
        if number != 1:
            continue
        for inner, c, d in _fields(view, a, b):
            if inner == 1:
                key, value = _entry(view, c, d)
                found[key] = value  # the last of equal keys wins, as in protobuf maps
    return found


def byte_ranges(data: NDArray[np.uint8], where: Range) -> tuple[Int, Int]:
    """(offsets, lengths), each (n,), of the byte strings of a bytes feature."""
    _expect(where, "bytes")
    view = memoryview(cast(Any, data))
    spans = [(a, b - a) for number, a, b in _fields(view, where.start, where.end) if number == 1]
    table = np.array(spans, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def strings(data: NDArray[np.uint8], where: Range) -> list[bytes]:
    """The byte strings of a bytes feature, copied."""
    offsets, lengths = byte_ranges(data, where)
    return [data[o : o + n].tobytes() for o, n in zip(offsets.tolist(), lengths.tolist(), strict=True)]


def floats(data: NDArray[np.uint8], where: Range) -> Float:
    """(n,) float32 of a float feature, packed or not."""
    _expect(where, "float")
    view, parts = memoryview(cast(Any, data)), []
    for number, a, b in _fields(view, where.start, where.end):
        if number != 1:
            continue
        if (b - a) % 4:
            raise DataError(f"a packed float list of {b - a} bytes is not a whole number of float32.")
        parts.append(data[a:b].view("<f4") if (b - a) else np.zeros(0, "<f4"))
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)


def ints(data: NDArray[np.uint8], where: Range) -> Int:
    """(n,) int64 of an int feature, packed or not."""
    _expect(where, "int")
    view, parts = memoryview(cast(Any, data)), []
    at = where.start
    while at < where.end:
        tag, at = _varint(view, at, where.end)
        if tag >> 3 == 1 and tag & 7 == _LENGTH:
            length, at = _varint(view, at, where.end)
            if length > where.end - at:
                raise DataError(f"a packed int list at byte {at} claims {length} bytes, {where.end - at} are there.")
            parts.append(_packed_varints(data[at : at + length]))
            at += length
        elif tag >> 3 == 1 and tag & 7 == _VARINT:
            first = at
            _, at = _varint(view, at, where.end)
            parts.append(_packed_varints(data[first:at]))
        else:
            at = _skip(view, tag, at, where.end)[1]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _packed_varints(data: NDArray[np.uint8]) -> Int:
    """(n,) int64 of back-to-back varints, at most 10 bytes each."""
    last = np.flatnonzero(data < 0x80)
    if len(data) and (not len(last) or last[-1] != len(data) - 1):
        raise DataError("a packed int list ends inside a number.")
    first = np.concatenate([[0], last[:-1] + 1]) if len(last) else last
    width = last - first + 1
    if len(width) and int(width.max()) > 10:
        raise DataError("a packed int list holds a number of more than 64 bits.")
    value = np.zeros(len(last), np.uint64)
    for k in range(int(width.max()) if len(width) else 0):
        there = width > k
        value[there] |= (data[first[there] + k] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * k)
    return value.view(np.int64)


def _entry(view: memoryview, start: int, end: int) -> tuple[str, Range]:
    key, value = b"", Range("", start, start)
    for number, a, b in _fields(view, start, end):
        if number == 1:
            key = bytes(view[a:b])
        elif number == 2:
            value = Range("", a, a)
            for kind, c, d in _fields(view, a, b):
                if kind in _KINDS:  # a oneof: the last one set wins
                    value = Range(_KINDS[kind], c, d)
    try:
        return key.decode(), value
    except UnicodeDecodeError:
        raise DataError(f"a feature name is not UTF-8: {key[:32]!r}.") from None


def _fields(view: memoryview, start: int, end: int) -> list[tuple[int, int, int]]:
    """(field number, first byte, end) of every field; varints and fixed ones span their own bytes."""
    out, at = [], start
    while at < end:
        byte = view[at]
        if byte < 0x80 and byte & 7 == _LENGTH and at + 1 < end and view[at + 1] < 0x80:  # one-byte tag and length
            first = at + 2
            at = first + view[at + 1]
            if at > end:
                raise DataError(f"a field at byte {first} reaches {at - end} bytes past its message.")
            out.append((byte >> 3, first, at))
            continue
        tag, at = _varint(view, at, end)
        first, at = _skip(view, tag, at, end)
        out.append((tag >> 3, first, at))
    return out


def _skip(view: memoryview, tag: int, at: int, end: int) -> tuple[int, int]:
    """(first byte, end) of the value behind `tag`."""
    wire = tag & 7
    if wire == _VARINT:
        return at, _varint(view, at, end)[1]
    if wire == _LENGTH:
        length, at = _varint(view, at, end)
    elif wire in (_FIXED64, _FIXED32):
        length = 8 if wire == _FIXED64 else 4
    else:
        raise DataError(f"wire type {wire} at byte {at} is not one that tf.train.Example uses.")
    if length > end - at:
        raise DataError(f"a field at byte {at} claims {length} bytes, {end - at} are there.")
    return at, at + length


def _varint(view: memoryview, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise DataError(f"a number at byte {at} has more than 64 bits.")
    raise DataError(f"a number is cut off at byte {at}.")


def _expect(where: Range, kind: str) -> None:
    if where.kind not in (kind, ""):
        raise DataError(f"the feature holds {where.kind} values, not {kind} values.")
