"""Is there room to record, before and while an episode runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from robot_pt.errors import UserError


class DiskLimits(NamedTuple):
    """Free bytes below which nothing is started, and below which what runs is ended."""

    min_free: int = 5_000_000_000
    hard_min: int = 500_000_000


def free_bytes(folder: Path) -> int:
    """What an ordinary user can still write below `folder`, in bytes; raises OSError as the system does."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def require_room(folder: Path, limits: DiskLimits) -> None:
    """Raise UserError when `folder` has less than `limits.min_free` or cannot be asked."""
    try:
        free = free_bytes(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be recorded to ({error.strerror}); mount it or record elsewhere.") from None
    if free < limits.min_free:
        raise UserError(
            f"{folder} has {free / 1e9:.2f} GB left, recording starts with {limits.min_free / 1e9:.2f} GB; free space, record "
            "elsewhere, or lower min_free_bytes."
        )
