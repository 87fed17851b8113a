"""The gate's latches on disk: an e-stop survives the supervisor's restart."""

from __future__ import annotations

from pathlib import Path

from robot_pt.errors import DataError
from robot_pt.safe_files import read_json, replace_json


class LatchFile:
    """One small file; no path means that latches live as long as the process."""

    def __init__(self, path: Path | None):
        """Raises DataError where the folder cannot be written: an e-stop that is forgotten is none."""
        self._path, self._written = path, ""
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                if not path.exists():
                    replace_json(path, {"latches": ""})
            except OSError as error:
                raise DataError(
                    f"latch_file {path} cannot be written ({error.strerror}); give another path."
                ) from error

    def read(self) -> str:
        """What was latched; "" on a first start."""
        if self._path is None:
            return ""
        try:
            self._written = str(read_json(self._path)["latches"])
        except (DataError, KeyError):
            self._written = "unreadable"  # which the gate takes for a fault
        return self._written

    def write(self, latches: str) -> None:
        """Keep `latches`, if they are news. A full disk leaves the last ones; the gate keeps its own in memory."""
        if self._path is None or latches == self._written:
            return
        try:
            replace_json(self._path, {"latches": latches})
            self._written = latches
        except OSError:
            return
