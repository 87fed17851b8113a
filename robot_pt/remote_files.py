"""URLs that fsspec opens: which text is one, how it is opened, and what may be raised when it is asked."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from robot_pt.errors import DataError, MissingExtraError, UserError

_URL = re.compile(r"^([a-z][a-z0-9+]+):/{1,2}(?!/)(.+?)/*$")
_BEGINS_LIKE_URL = re.compile(r"[a-z][a-z0-9+]+:/")
_DRIVER_ERRORS = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("aiohttp.client_exceptions", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
)


def remote_url(path: str | os.PathLike[str]) -> str | None:
    """The URL that `path` is, if it is one; a pathlib.Path has lost one of its slashes. Windows drives are none."""
    match = _URL.match(os.fspath(path))
    return None if match is None or Path(path).exists() else f"{match[1]}://{match[2]}"


def require_place(place: str, option: str) -> None:
    """Raise UserError for a text that begins like a URL and is none, such as one without a bucket: it would pass for a folder of that name."""
    if _BEGINS_LIKE_URL.match(place) and remote_url(place) is None and not Path(place).exists():
        raise UserError(
            f"{option} is {place}, neither a URL with its bucket (s3://BUCKET/STORE) nor a folder (/mnt/demos); give one of these."
        )


def open_url(url: str) -> tuple[Any, str]:
    """(fsspec file system, root below it). Raises DataError where there is no driver, MissingExtraError without fsspec."""
    try:
        import fsspec
    except ImportError:
        raise MissingExtraError("fsspec", "scale", f"Reading {url}") from None
    try:
        system, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise DataError(
            f"{url} cannot be opened: {error}; install the fsspec driver for it or copy the data."
        ) from None
    return system, str(root)


def refusals() -> tuple[type[Exception], ...]:
    """OSError, and what the drivers that are loaded raise beside it: no credentials, a refused request, a broken connection."""
    found: list[type[Exception] | None]
    found = [getattr(sys.modules.get(module), name, None) for module, name in _DRIVER_ERRORS]
    return (OSError, *(error for error in found if error is not None))
