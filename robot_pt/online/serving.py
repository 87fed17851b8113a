"""Which policy actors and robots take next: one small file, swapped atomically, with the way back in it. Imports no torch.

RUN/serving.json  {number, version, step, folder, held, stamp_ns, check}       folder relative to RUN
RUN/selected      -> versions/000012, so that everything that takes a RUN takes the policy that serves
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from robot_pt import zarr_files
from robot_pt.errors import DataError, UserError
from robot_pt.online.locks import held
from robot_pt.safe_files import read_json, sync_folder

POINTER, VERSIONS, HISTORY = "serving.json", "versions", "publications.jsonl"


class Serving(NamedTuple):
    """The policy that serves."""

    number: int  # of the publication, ascending; never used twice
    version: str  # of the policy: a hash
    step: int  # updates behind it
    folder: str  # below the run
    held: bool = False  # True after a rollback: the learner publishes nothing until it is released
    stamp_ns: int = 0  # when it began to serve
    check: Mapping[str, Any] = {}

    def path(self, run: Path) -> Path:
        return run / self.folder


def read_serving(run: Path) -> Serving | None:
    """The pointer; None where nothing was published yet. Raises DataError when it is damaged."""
    path = run / POINTER
    if not path.exists():
        return None
    document = read_json(path)
    try:
        found = Serving(**document)
    except TypeError:
        found = None
    if (
        found is None
        or not isinstance(found.number, int)
        or not isinstance(found.step, int)
        or not isinstance(found.version, str)
        or not isinstance(found.held, bool)
        or not isinstance(found.folder, str)
        or Path(found.folder).is_absolute()
        or ".." in Path(found.folder).parts
    ):
        raise DataError(
            f"{path} is damaged; point it to one of {run / VERSIONS} with `robot-pt online --rollback {run}`."
        )
    return found


def versions(run: Path) -> list[int]:
    """Numbers of the versions on disk, ascending."""
    folder = run / VERSIONS
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal()) if folder.is_dir() else []


def folder_of(run: Path, number: int) -> Path:
    return run / VERSIONS / f"{number:06d}"


def serve(run: Path, serving: Serving) -> None:
    """Swap the pointer; on disk when this returns. Raises OSError as the disk gives it; the old one serves then."""
    zarr_files.replace_file(run / POINTER, json.dumps(serving._asdict(), indent=1, allow_nan=False).encode())
    link, fresh = run / "selected", run / ".selected.part"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(serving.folder, target_is_directory=True)
    fresh.replace(link)
    sync_folder(run)


def lock(run: Path) -> Any:
    """Held while the pointer is read, judged and swapped: by the learner, and by whoever rolls back."""
    return held(run / ".serving.lock", f"another publication of {run}", wait_s=30)


def rollback(run: Path) -> Serving:
    """Serve the version before the one that serves, and hold it. Raises UserError where there is none."""
    if not (run / VERSIONS).is_dir():
        raise UserError(f"{run} has published no policy; give the --out folder of `robot-pt online`.")
    with lock(run):
        current = _current(run)
        earlier = [n for n in versions(run) if current is None or n < current.number]
        if not earlier:
            number = "nothing" if current is None else f"version {current.number}"
            raise UserError(f"{run} serves {number} and has no earlier version; versions on disk: {versions(run)}.")
        policy = read_json(folder_of(run, earlier[-1]) / "policy.json")
        back = Serving(
            earlier[-1],
            str(policy["version"]),
            int(policy["step"]),
            f"{VERSIONS}/{earlier[-1]:06d}",
            True,
            time.time_ns(),
        )
        _swap(run, back, "rollback")
    return back


def release(run: Path) -> Serving:
    """Let the learner publish again. Raises UserError where nothing is held."""
    with lock(run):
        current = read_serving(run)
        if current is None or not current.held:
            raise UserError(f"{run} holds no version back; there is nothing to release.")
        free = current._replace(held=False)
        _swap(run, free, "release")
    return free


def _current(run: Path) -> Serving | None:
    """The pointer, or None where it is damaged: rolling back is what mends it."""
    try:
        return read_serving(run)
    except DataError:
        return None


def _swap(run: Path, serving: Serving, event: str) -> None:
    try:
        serve(run, serving)
        note(run, {"event": event, **serving._asdict()})
    except OSError as error:
        now, why = _current(run), error.strerror or error
        if now is None or (now.number, now.held) != (serving.number, serving.held):
            raise DataError(
                f"{run} could not be written: {why}; free disk space, what served before still serves."
            ) from None
        state = "held" if serving.held else "released"
        raise DataError(
            f"version {serving.number} serves now and is {state}, but {run / HISTORY} or {run / 'selected'} could not be written: {why}; "
            f"free disk space, and do not ask for the {event} again."
        ) from None


def note(run: Path, event: Mapping[str, Any]) -> None:
    """One line in publications.jsonl. Raises OSError as the disk gives it."""
    line = json.dumps(dict(event), allow_nan=False, default=str).encode() + b"\n"
    with (run / HISTORY).open("a+b") as file:
        if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
            file.write(b"\n")  # a kill tore the last line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def is_noted(run: Path, serving: Serving) -> bool:
    """Whether publications.jsonl says that this version was published; a torn line says nothing."""
    try:
        lines = (run / HISTORY).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return False
    for line in lines:
        with suppress(ValueError):
            event = json.loads(line)
            if (event.get("event"), event.get("version")) == ("published", serving.version):
                return True
    return False
