"""What a number or a folder on the command line must be, checked before any data is opened."""

from __future__ import annotations

from pathlib import Path

from robot_pt.errors import UserError
from robot_pt.online.hearts import FOLDER


def at_least(least: int, **given: int) -> None:
    """Raise UserError naming the first command-line option below `least`."""
    for name, value in given.items():
        if value < least:
            raise UserError(f"--{name.replace('_', '-')} is {value}; give {least} or more.")


def require_room(out: Path) -> None:
    """Refuse a folder of something else, above all a data set: a run's files would lie among the user's.

    Allowed are a new path, an empty folder, a run that was started (it has config.json), and one whose robot lives already while its
    learner has yet to start: heartbeats alone. Raises UserError.
    """
    try:
        there = sorted(p.name for p in out.iterdir() if not p.name.startswith(".")) if out.is_dir() else []
    except OSError as error:
        raise UserError(f"{out} cannot be read ({error.strerror}); check its rights or choose another --out.") from None
    if set(there) - {FOLDER} and "config.json" not in there:
        raise UserError(f"{out} is no run and not empty, it holds {there[:3]}; choose another --out.")
