"""TFRecord framing over a byte buffer: where each record lies, with both checksums proved.

A record is ``uint64 length | uint32 masked CRC32C(length) | payload | uint32 masked CRC32C(payload)``, little endian
(tensorflow.org/tutorials/load_data/tfrecord). Nothing is copied but the payload under its checksum, nothing is allocated
by what a length field claims.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import DataError

Bytes = NDArray[np.uint8]

_HEADER, _FOOTER = 12, 4
_MASK_DELTA = 0xA282EAD8
_RESYNC_CHUNK = 1 << 20  # bytes searched at a time for the next sound header


class Record(NamedTuple):
    """One record of a shard, or the reason why it cannot be used."""

    number: int  # from 0, in file order; after a lost header the count goes on with the next sound record
    offset: int  # of the payload in the shard [bytes]
    length: int  # of the payload [bytes]; 0 when the record is damaged
    fault: str = ""  # one sentence; "" when both checksums hold


def map_file(path: Path) -> Bytes:
    """The file as a read-only uint8 array over a memory map; an empty file gives an empty array."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            return np.zeros(0, np.uint8)
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def masked_crc(data: Any) -> int:
    """TFRecord's masked CRC32C of a bytes-like object, in [0, 2**32)."""
    crc = int(google_crc32c.value(data))
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def scan(data: Bytes, shard: str) -> Iterator[Record]:
    """Yield every record of a shard; damaged ones carry a `fault` and the scan goes on behind them.

    A damaged payload costs its own record. A damaged length costs what lies before the next header whose checksum holds,
    which is searched for byte by byte. `shard` is the name used in the sentences.
    """
    number, at, end, view = 0, 0, len(data), cast(Any, data)  # an array is a buffer; typing knows that from 3.12
    while at < end:
        if end - at < _HEADER + _FOOTER:
            yield Record(number, at, 0, f"record {number} of {shard} is cut off after {end - at} bytes")
            return
        length, length_crc = struct.unpack_from("<QI", view, at)
        if masked_crc(data[at : at + 8]) != length_crc:
            yield Record(number, at, 0, f"the length of record {number} of {shard} fails its checksum (byte {at})")
            at = _next_header(data, at + 1)
        elif length > end - at - _HEADER - _FOOTER:
            missing = length - (end - at - _HEADER - _FOOTER)
            yield Record(number, at, 0, f"record {number} of {shard} is cut off, {missing} bytes are missing")
            return
        else:
            start = at + _HEADER
            at = start + length + _FOOTER
            (crc,) = struct.unpack_from("<I", view, start + length)
            sound = masked_crc(data[start : start + length]) == crc
            fault = "" if sound else f"the payload of record {number} of {shard} fails its checksum"
            yield Record(number, start, length if sound else 0, fault)
        number += 1


def frame(payload: bytes) -> bytes:
    """The bytes of one record, for writers and tests."""
    if not isinstance(payload, bytes):
        raise DataError(f"a TFRecord payload is bytes, not {type(payload).__name__}.")
    length = struct.pack("<Q", len(payload))
    return length + struct.pack("<I", masked_crc(length)) + payload + struct.pack("<I", masked_crc(payload))


def _next_header(data: Bytes, start: int) -> int:
    """Offset of the next header at or after `start` whose checksum and length are sound, else the end of the data."""
    tables = _crc_tables()
    for first in range(start, len(data) - _HEADER - _FOOTER + 1, _RESYNC_CHUNK):
        window = np.asarray(data[first : first + _RESYNC_CHUNK + _HEADER - 1])
        count = len(window) - _HEADER + 1
        columns = [window[i : i + count] for i in range(_HEADER)]
        crc = np.zeros(count, np.uint32)
        for i in range(8):  # slicing-by-8 of an 8-byte message: one table per byte, the initial value in the first four
            crc ^= tables[7 - i][columns[i] ^ 0xFF if i < 4 else columns[i]]
        crc = ~crc
        masked = (crc >> 15 | crc << 17) + np.uint32(_MASK_DELTA)
        stored = sum(columns[8 + i].astype(np.uint32) << np.uint32(8 * i) for i in range(4))
        for hit in np.flatnonzero(masked == stored).tolist():
            (length,) = struct.unpack("<Q", window[hit : hit + 8].tobytes())
            if length <= len(data) - (first + hit) - _HEADER - _FOOTER:
                return first + hit
    return len(data)


@lru_cache(maxsize=1)
def _crc_tables() -> NDArray[np.uint32]:
    """(8, 256): CRC32C (Castagnoli) of each byte followed by 0 to 7 zero bytes."""
    tables = np.zeros((8, 256), np.uint32)
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & 1, crc >> 1 ^ np.uint32(0x82F63B78), crc >> 1).astype(np.uint32)
    tables[0] = crc
    for k in range(1, 8):
        tables[k] = tables[k - 1] >> 8 ^ tables[0][tables[k - 1] & 0xFF]
    return tables
