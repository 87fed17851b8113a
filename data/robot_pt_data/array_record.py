"""ArrayRecord shards through the array_record package: random records, whatever the compression inside."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import DataError, MissingExtraError

Bytes = NDArray[np.uint8]


class ArrayRecordShard:
    """The records of one ``.array_record`` file. Safe to read from threads."""

    def __init__(self, path: Path):
        self._path = path
        self._lock = threading.Lock()
        self._reader = _open(path)
        self.records = int(self._reader.num_records())

    def read(self, number: int) -> Bytes:
        """The payload of record `number`; raises DataError naming shard and record."""
        with self._lock:
            try:
                payload = self._reader.read([number])[0]
            except (RuntimeError, ValueError, IndexError) as error:
                reason = str(error).split("\n")[0][:120]
                raise DataError(f"record {number} of {self._path.name} cannot be read ({reason})") from None
        return np.frombuffer(payload, np.uint8)

    def __iter__(self) -> Iterator[tuple[int, Bytes | DataError]]:
        """(number, payload), or the error in its place, so that the rest stays usable."""
        for number in range(self.records):
            try:
                yield number, self.read(number)
            except DataError as error:
                yield number, error


def _open(path: Path) -> Any:
    try:
        from array_record.python import array_record_module
    except ImportError:
        raise MissingExtraError("array-record", "rlds", "Reading ArrayRecord shards") from None
    reader = array_record_module.ArrayRecordReader(str(path))
    if not reader.ok():
        raise DataError(f"{path.name} is not a sound ArrayRecord shard ({path.stat().st_size} bytes)")
    return reader
