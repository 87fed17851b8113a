"""The shard files of one split, opened when first read: encoded images by (shard, record, offset, size)."""

from __future__ import annotations

import resource
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import DataError
from robot_pt.schema import Int
from robot_pt_data import tfrecord
from robot_pt_data.array_record import ArrayRecordShard

Bytes = NDArray[np.uint8]
Rows = NDArray[np.int32]


class Shards(Protocol):
    """Where encoded images come from."""

    def fetch(self, shard: Rows, record: Rows, offset: Int, size: Int) -> list[Bytes]:
        """One flat uint8 array per row of the four (n,) columns; raises DataError when the files are not what they were."""
        ...


def most_open() -> int:
    """Shards to keep open: well under the limit of open files (1,024 shards are common)."""
    return max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2, 16)


class MappedShards:
    """TFRecord shards as memory maps: nothing is copied, the page cache holds what is read."""

    def __init__(self, folder: Path, names: list[str]):
        self._folder, self._names = folder, names
        self._lock = threading.Lock()
        self._maps: OrderedDict[int, Bytes] = OrderedDict()
        self._limit = most_open()  # a map keeps its file open

    def fetch(self, shard: Rows, record: Rows, offset: Int, size: Int) -> list[Bytes]:
        maps = {i: self._map(i) for i in set(shard.tolist())}
        ends = (offset + size).tolist()
        out = [maps[i][a:b] for i, a, b in zip(shard.tolist(), offset.tolist(), ends, strict=True)]
        for image, n, i in zip(out, size.tolist(), shard.tolist(), strict=True):
            if len(image) != n:
                raise DataError(f"{self._names[i]} has become shorter since it was indexed; fetch it again.")
        return out

    def _map(self, i: int) -> Bytes:
        with self._lock:
            if i not in self._maps:
                path = self._folder / self._names[i]
                try:
                    self._maps[i] = tfrecord.map_file(path)
                except OSError as error:
                    raise DataError(f"the shard {path} cannot be opened ({error.strerror}); fetch it again.") from None
                if len(self._maps) > self._limit:
                    self._maps.popitem(last=False)
            self._maps.move_to_end(i)
            return self._maps[i]


class ArrayRecordShards:
    """ArrayRecord shards: a step costs reading its whole episode, unless that is among the last few read."""

    def __init__(self, folder: Path, names: list[str], keep: int = 8):
        self._folder, self._names, self._keep = folder, names, keep
        self._lock = threading.Lock()
        self._open: OrderedDict[int, ArrayRecordShard] = OrderedDict()
        self._recent: OrderedDict[tuple[int, int], Bytes] = OrderedDict()  # whole episodes, of all shards together
        self._limit = most_open()

    def fetch(self, shard: Rows, record: Rows, offset: Int, size: Int) -> list[Bytes]:
        out: list[Bytes] = [np.zeros(0, np.uint8)] * len(shard)
        for row in np.lexsort((record, shard)).tolist():  # steps of one episode together: one read each
            data = self._record(int(shard[row]), int(record[row]))
            first, last = int(offset[row]), int(offset[row]) + int(size[row])
            if last > len(data):
                raise DataError(f"{self._names[int(shard[row])]} has changed since it was indexed; index it again.")
            out[row] = data[first:last]
        return out

    def _record(self, i: int, number: int) -> Bytes:
        with self._lock:
            if (i, number) in self._recent:
                self._recent.move_to_end((i, number))
                return self._recent[i, number]
        data = self._shard(i).read(number)
        with self._lock:
            self._recent[i, number] = data
            while len(self._recent) > self._keep:
                self._recent.popitem(last=False)
        return data

    def _shard(self, i: int) -> ArrayRecordShard:
        with self._lock:
            if i not in self._open:
                self._open[i] = ArrayRecordShard(self._folder / self._names[i])
                if len(self._open) > self._limit:
                    self._open.popitem(last=False)  # its file closes when the last who reads from it is done
            self._open.move_to_end(i)
            return self._open[i]
