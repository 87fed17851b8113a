"""Files that are on the disk once written, and JSON that cannot harm when read. Imports no torch: robots need it too."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robot_pt.errors import DataError

MAX_JSON_BYTES = 1 << 24
"""Larger JSON files are refused before they are read (16 MiB; a task table of 100,000 names has 5)."""

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`. Raises DataError when it is missing, too large, damaged, or not an object."""
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise DataError(
                f"{path} has {size:,} bytes, more than any file of this kind; it is damaged or something else."
            )
        values = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; point to a complete checkpoint.") from None
    except (ValueError, RecursionError) as error:  # includes UnicodeDecodeError and JSONDecodeError
        raise DataError(f"{path} is damaged: it is no JSON ({str(error)[:100]}); restore it or use another.") from None
    if not isinstance(values, dict):
        raise DataError(
            f"{path} is damaged: it holds a {type(values).__name__}, not an object; restore it or use another."
        )
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write and fsync. Raises OSError as the disk gives it; ValueError for NaN, which JSON does not know."""
    _write(path, _as_json(values))


def replace_json(path: Path, values: Mapping[str, Any]) -> None:
    """As `write_json`, but readers see the old file or the whole new one."""
    replace_text(path, _as_json(values))


def replace_text(path: Path, text: str) -> None:
    """Write and fsync; readers see the old file or the whole new one, also after a cut. Raises OSError, and the old one stays."""
    part = path.with_name(f".{path.name}.part")
    _write(part, text)
    part.replace(path)
    sync_folder(path.parent)


def _as_json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=1, allow_nan=False, sort_keys=True)


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path, wait_s: float) -> Iterator[None]:
    """Hold the lock file `path`, which the system drops when its holder dies, however it dies.

    Raises BlockingIOError when another process keeps it for `wait_s`, OSError where it cannot be made.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)
        yield
    finally:
        os.close(handle)  # drops the lock


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def exchange(one: Path, other: Path) -> None:
    """Swap the names of two folders on one file system: at any moment each name means one of them. Raises OSError.

    Where the kernel or file system knows no such rename (all but Linux; NFS), `other` is absent for a moment between two.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "renameat2"):
        names = os.fsencode(one), os.fsencode(other)
        if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(code, os.strerror(code), str(other))
    aside = one.with_name(f"{one.name}.old.part")
    other.rename(aside)
    one.rename(other)
    aside.rename(one)
