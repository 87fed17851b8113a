"""Zarr v3 groups and single-chunk arrays as plain files, with durable and atomic writes.

zarr-python takes 30 ms to write and 10 ms to read a group of twelve arrays and leaves fsync to chance; these files are the
same format (its own reader opens them, which the tests hold), one JSON document and one raw chunk per array.
Format: https://zarr-specs.readthedocs.io/en/latest/v3/core/, arrays uncompressed and little-endian, one chunk each.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import DataError

assert sys.byteorder == "little", "arrays are written as they lie in memory"

DTYPES = frozenset({"bool", "uint8", "int64", "float32", "float64"})


class Group(NamedTuple):
    """A zarr group's document: its attributes, and its arrays' documents where they are consolidated in it."""

    attributes: dict[str, Any]
    arrays: dict[str, dict[str, Any]]


def chunk_name(ndim: int) -> str:
    """File name of the only chunk of an array of `ndim` dimensions."""
    return ".".join(["c", *["0"] * ndim])


def write_array(folder: Path, array: NDArray[Any]) -> tuple[dict[str, Any], int]:
    """Write an array into a new `folder`; returns its document and the CRC32C of its bytes."""
    assert str(array.dtype) in DTYPES, f"no zarr type for {array.dtype}"
    assert array.ndim > 0, "scalars are attributes"
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(array.shape),
        "data_type": str(array.dtype),
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [max(n, 1) for n in array.shape]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": False if array.dtype == bool else 0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {},
    }
    raw = array.tobytes()
    folder.mkdir()
    (folder / "zarr.json").write_text(json.dumps(document))
    if raw:
        (folder / chunk_name(array.ndim)).write_bytes(raw)
    return document, int(google_crc32c.value(raw))


def read_array(folder: Path, document: Mapping[str, Any], crc: int | None = None) -> NDArray[Any]:
    """Read what `write_array` wrote; raises DataError when bytes are missing or changed, KeyError never."""
    try:
        shape, dtype = tuple(int(n) for n in document["shape"]), np.dtype(str(document["data_type"]))
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{folder / 'zarr.json'} is not the document of an array.") from None
    if dtype.name not in DTYPES or min(shape, default=-1) < 0:
        raise DataError(f"{folder / 'zarr.json'} declares {dtype} {shape}, which this version does not read.")
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    path = folder / chunk_name(len(shape))
    try:
        raw = path.read_bytes() if size else b""
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    if len(raw) != size:
        raise DataError(f"{path} holds {len(raw)} bytes, its shape {shape} {dtype} needs {size}: it is truncated.")
    if crc is not None and google_crc32c.value(raw) != crc:
        raise DataError(f"{path} is damaged: its checksum differs from the one taken when it was written.")
    return np.frombuffer(raw, dtype).reshape(shape)


def write_group(folder: Path, attributes: Mapping[str, Any], arrays: Mapping[str, Any] | None = None) -> None:
    """Write the document of a group whose folder exists, durable and atomic; `arrays` are consolidated in it."""
    document: dict[str, Any] = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}
    if arrays is not None:
        document["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": dict(arrays)}
    replace_file(folder / "zarr.json", json.dumps(document).encode())


def read_group(folder: Path) -> Group | None:
    """The document of a group; None where there is no zarr.json; raises DataError where it is not one."""
    path = folder / "zarr.json"
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise DataError(f"{path} is not JSON: the file is damaged.") from None
    if not isinstance(document, dict) or document.get("node_type") != "group":
        raise DataError(f"{path} is not the document of a zarr v3 group.")
    consolidated = document.get("consolidated_metadata") or {}
    return Group(dict(document.get("attributes") or {}), dict(consolidated.get("metadata") or {}))


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; on disk when this returns. Raises OSError as the system does."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """fsync one file or folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """fsync every file and folder below `folder`, then `folder` itself."""
    for root, _, files in os.walk(folder, topdown=False):
        for name in files:
            sync(Path(root, name))
        sync(Path(root))
