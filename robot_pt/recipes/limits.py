"""What a number or a folder on the command line must be, checked before any data is opened."""

from __future__ import annotations

from pathlib import Path

from robot_pt.errors import DataError, UserError
from robot_pt.online.hearts import FOLDER
from robot_pt.safe_files import read_json


def at_least(least: int, **given: int) -> None:
    """Raise UserError naming the first command-line option below `least`."""
    for name, value in given.items():
        if value < least:
            raise UserError(f"--{name.replace('_', '-')} is {value}; give {least} or more.")


def require_room(out: Path) -> None:
    """Refuse a folder of something else, above all a data set: a run's files would lie among the user's.

    Allowed are a new path, an empty folder, a run that was started (it has the config.json of one, which models of other programs have
    too), and one whose robot lives already while its learner has yet to start: heartbeats alone. Raises UserError.
    """
    try:
        there = sorted(p.name for p in out.iterdir() if not p.name.startswith(".")) if out.is_dir() else []
    except OSError as error:
        raise UserError(f"{out} cannot be read ({error.strerror}); check its rights or choose another --out.") from None
    if set(there) - {FOLDER} and not ("config.json" in there and _is_of_a_run(out / "config.json")):
        raise UserError(f"{out} is no run and not empty, it holds {there[:3]}; choose another --out.")


def require_own(out: Path, mark: str, what: str) -> None:
    """Refuse a folder that is neither new nor empty and lacks the file `mark`, which `what` ("a demo") begins with. Raises UserError."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; choose another --out.")
    if out.is_dir() and not (out / mark).is_file() and any(not p.name.startswith(".") for p in out.iterdir()):
        raise UserError(f"{out} holds something else than {what}; choose another --out.")


def _is_of_a_run(path: Path) -> bool:
    try:
        return {"format_version", "verb", "arguments"} <= read_json(path).keys()
    except DataError:
        return False
