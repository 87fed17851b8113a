"""Zarr v3 groups of single-chunk arrays: encoded by zarr-python, put on disk durably and atomically, read raw.

zarr-python makes every document and chunk, in memory. The files are written here: its own local store never fsyncs, is atomic
only since 3.1.3, and after Ctrl-C goes on writing in its threads, into a folder that was removed meanwhile. Reading is ours
too: zarr-python takes 4.5 ms for an episode's ten arrays (these functions 0.2 ms), 1 ms for a random step (a memory map 0.01)
and 0.13 s to import. It needs arrays uncompressed, little-endian and of one chunk, and a checksum kept beside them.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from robot_pt.errors import DataError

assert sys.byteorder == "little", "arrays are read as they lie in their files"

DTYPES = frozenset({"bool", "uint8", "int64", "float32", "float64"})


class Group(NamedTuple):
    """A zarr group's document: its attributes, and its arrays' documents where they are consolidated in it."""

    attributes: dict[str, Any]
    arrays: dict[str, dict[str, Any]]


def chunk_name(ndim: int) -> str:
    """File name of the only chunk of an array of `ndim` dimensions."""
    return ".".join(["c", *["0"] * ndim])


def checksum(array: NDArray[Any]) -> int:
    """CRC32C of an array's bytes in C order."""
    return int(google_crc32c.value(array.tobytes()))


def write_group(folder: Path, attributes: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None) -> None:
    """Write a group into a `folder` that exists; on disk when this returns, its document last and atomically.

    Args:
        arrays: written as members of one raw chunk each, their documents consolidated in the group's. Types in DTYPES.
    Raises:
        OSError: as the system does, after which files of the group may be left.
    """
    files = _encoded(attributes, arrays or {})
    document = files.pop("zarr.json")
    for key, content in files.items():
        (folder / key).parent.mkdir(exist_ok=True)
        (folder / key).write_bytes(content)
    if files:
        sync_tree(folder)
    replace_file(folder / "zarr.json", document)


def _encoded(attributes: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> dict[str, bytes]:
    """Path below the group's folder -> content, as zarr-python makes them."""
    import zarr  # 0.13 s
    from zarr.codecs import BytesCodec
    from zarr.storage import MemoryStore

    files: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(files), attributes=dict(attributes), zarr_format=3)
    for name, array in arrays.items():
        assert str(array.dtype) in DTYPES, f"{array.dtype} would not be read back"
        member = group.create_array(
            name,
            shape=array.shape,
            dtype=array.dtype,
            chunks=tuple(max(n, 1) for n in array.shape),
            chunk_key_encoding={"name": "default", "separator": "."},
            filters=None,
            serializer=BytesCodec(endian="little"),
            compressors=None,
            config={"write_empty_chunks": True},  # a chunk of zeros too is a file of its own
        )
        member[...] = array
    if arrays:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Consolidated metadata", UserWarning)  # part of no specification yet
            zarr.consolidate_metadata(group.store, zarr_format=3)
    return {key: content.to_bytes() for key, content in files.items()}


def read_array(folder: Path, document: Mapping[str, Any], crc: int | None = None) -> NDArray[Any]:
    """Read an array of `write_group`; raises DataError when bytes are missing or changed, KeyError never."""
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
