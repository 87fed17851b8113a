"""One RLDS episode as the bytes of a ``tf.train.Example``, without TensorFlow.

Wire format as in `robot_pt_data.example`: ``Features{1: entry{1: key, 2: Feature{1: bytes | 2: floats | 3: ints}}}``,
numbers packed, keys in order, so equal columns give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Column = Sequence[bytes] | NDArray[Any]
"""Byte strings, or numbers of any shape in row-major order: floats are kept as float32, others as int64."""


def encode_example(columns: Mapping[str, Column]) -> bytes:
    """Serialise columns by key."""
    entries = []
    for key in sorted(columns):
        feature = _field(2, _feature(columns[key]))
        entries.append(_field(1, _field(1, key.encode()) + feature))
    return _field(1, b"".join(entries))


def _feature(column: Column) -> bytes:
    if not isinstance(column, np.ndarray):
        return _field(1, b"".join(_field(1, value) for value in column))
    if np.issubdtype(column.dtype, np.floating):
        return _field(2, _field(1, np.ascontiguousarray(column, "<f4").tobytes()))
    return _field(3, _field(1, b"".join(_varint(int(v) & 0xFFFFFFFFFFFFFFFF) for v in column.ravel().tolist())))


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
