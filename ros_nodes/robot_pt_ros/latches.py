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

    def write(self, latches: str) -> str:
        """Keep `latches`, if they are news. Returns what the operator must be told where they could not be kept, else "".

        A full disk leaves the last ones in the file; the gate keeps its own in memory, and the next call tries again.
        """
        if self._path is None or latches == self._written:
            return ""
        try:
            replace_json(self._path, {"latches": latches})
        except OSError as error:
            return (
                f"latch_file {self._path} could not be written ({error.strerror}): an e-stop or fault is latched in memory alone and "
                "would not survive a restart; make room."
            )
        self._written = latches
        return ""
