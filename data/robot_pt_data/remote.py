"""An RLDS data set behind a URL (gs://, s3://, https://, ...): metadata mirrored, shards fetched once to index them,
images by byte ranges through fsspec. Indexing holds one shard in memory at a time.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import DataError
from robot_pt.remote_files import open_url, refusals
from robot_pt.schema import Int
from robot_pt_data.array_record import ArrayRecordShard
from robot_pt_data.shards import Shards

Bytes = NDArray[np.uint8]

_METADATA = ("dataset_info.json", "features.json")
_OPTIONAL = ("robot_pt_mapping.toml", "robot_pt_mapping.json", "robot_pt.json")


class RemoteFiles:
    """The data set at a URL ``.../<name>/<version>``.

    Raises DataError when there is none or the server cannot be reached, MissingExtraError without fsspec.
    """

    def __init__(self, url: str, cache: Path):
        self.place = url
        self._fs, self._root = open_url(url)
        parts: list[str] = ["data", *self._root.strip("/").split("/")]
        name, version = parts[-2:]
        self.folder = cache / "remote" / hashlib.sha256(url.encode()).hexdigest()[:10] / name / version
        self.folder.mkdir(parents=True, exist_ok=True)
        for file in (*_METADATA, *_OPTIONAL):
            self._mirror(file, optional=file in _OPTIONAL)
        self._sizes: dict[str, list[Any]] | None = None

    def stamp(self, name: str) -> list[Any]:
        if self._sizes is None:  # one listing for all shards
            listed = self._ask(lambda: self._fs.ls(self._root, detail=True), "list the folder")
            self._sizes = {entry["name"].rsplit("/", 1)[-1]: [int(entry["size"]), _tag(entry)] for entry in listed}
        return self._sizes.get(name, [-1, ""])

    def load(self, name: str) -> Bytes:
        raw = self._ask(lambda: self._fs.cat_file(f"{self._root}/{name}"), f"fetch {name}")
        return np.frombuffer(raw, np.uint8)

    def array_record(self, name: str) -> ArrayRecordShard:
        raise DataError(f"{self.place} keeps ArrayRecord shards, which are read from a local disk only; copy it there")

    def images(self, names: list[str], file_format: str) -> Shards:
        if file_format != "tfrecord":
            self.array_record(names[0])
        return RemoteShards(self, names)

    def ranges(self, names: list[str], first: list[int], last: list[int]) -> list[Bytes]:
        """The given byte ranges, fetched together."""
        paths = [f"{self._root}/{name}" for name in names]
        parts = self._ask(lambda: self._fs.cat_ranges(paths, first, last, on_error="raise"), "fetch images")
        return [np.frombuffer(part, np.uint8) for part in parts]

    def _mirror(self, name: str, optional: bool) -> None:
        path = f"{self._root}/{name}"
        if optional and not self._ask(lambda: self._fs.exists(path), f"look for {name}"):
            (self.folder / name).unlink(missing_ok=True)
            return
        content = self._ask(lambda: self._fs.cat_file(path), f"fetch {name}")
        if not (self.folder / name).is_file() or (self.folder / name).read_bytes() != content:
            (self.folder / name).write_bytes(content)

    def _ask(self, request: Any, doing: str) -> Any:
        try:
            return request()
        except FileNotFoundError:
            raise DataError(
                f"{self.place} is no RLDS data set: it was impossible to {doing}; give the URL of <name>/<version>."
            ) from None
        except refusals() as error:
            raise DataError(f"{self.place} did not answer when asked to {doing} ({error}); try again.") from None


class RemoteShards:
    """Encoded images by byte ranges, one request per image, all of a call at once."""

    def __init__(self, files: RemoteFiles, names: list[str]):
        self._files, self._names = files, names

    def fetch(self, shard: NDArray[np.int32], record: NDArray[np.int32], offset: Int, size: Int) -> list[Bytes]:
        names = [self._names[i] for i in shard.tolist()]
        parts = self._files.ranges(names, offset.tolist(), (offset + size).tolist())
        for part, n, name in zip(parts, size.tolist(), names, strict=True):
            if len(part) != n:
                raise DataError(
                    f"{name} at {self._files.place} has become shorter since it was indexed; index it again."
                )
        return parts


def _tag(entry: dict[str, Any]) -> str:
    """What changes when the object does, whichever of these the store reports."""
    for key in ("etag", "ETag", "md5Hash", "generation", "mtime", "created", "LastModified", "last_modified"):
        if entry.get(key) is not None:
            return str(entry[key])
    return ""
