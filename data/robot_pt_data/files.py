"""The files of one RLDS data set, on a disk or behind a URL: the same few questions to both."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import DataError
from robot_pt_data import tfrecord
from robot_pt_data.array_record import ArrayRecordShard
from robot_pt_data.shards import ArrayRecordShards, MappedShards, Shards

Bytes = NDArray[np.uint8]


class Files(Protocol):
    """Where the shards of a data set lie. `folder` holds dataset_info.json and features.json on the local disk."""

    folder: Path
    place: str  # as the user wrote it, for messages

    def stamp(self, name: str) -> list[Any]:
        """[size in bytes, something that changes with the file]; [-1, ""] when the file is absent."""
        ...

    def load(self, name: str) -> Bytes:
        """All bytes of a shard, mapped or fetched."""
        ...

    def array_record(self, name: str) -> ArrayRecordShard: ...

    def images(self, names: list[str], file_format: str) -> Shards:
        """Random access to the encoded images of these shards."""
        ...


class LocalFiles:
    """A folder on a mounted file system."""

    def __init__(self, folder: Path):
        self.folder, self.place = folder, str(folder)

    def stamp(self, name: str) -> list[Any]:
        try:
            stat = (self.folder / name).stat()
        except OSError:
            return [-1, ""]
        return [stat.st_size, str(stat.st_mtime_ns)]

    def load(self, name: str) -> Bytes:
        try:
            return tfrecord.map_file(self.folder / name)
        except OSError as error:
            raise DataError(
                f"the shard {self.folder / name} cannot be opened ({error.strerror}); fetch it again or check its rights."
            ) from None

    def array_record(self, name: str) -> ArrayRecordShard:
        return ArrayRecordShard(self.folder / name)

    def images(self, names: list[str], file_format: str) -> Shards:
        return (MappedShards if file_format == "tfrecord" else ArrayRecordShards)(self.folder, names)
