"""One started program: a process group of its own, its output line by line, its end as an event.

A node whose `env` sets ROBOT_PT_TERMINAL stays in our process group: only the foreground group of a terminal may read its keys.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from robot_pt.errors import UserError
from robot_pt_ros.launch_runner.evaluate import Process

_LONGEST_LINE = 65_536
TERMINAL = "ROBOT_PT_TERMINAL"


class Running:
    """Started on construction. Raises UserError: the program cannot be started.

    `line(text)` is called for every line of output, `ended(exit_code)` once, both from threads; a negative exit code is a signal's number.
    """

    def __init__(
        self,
        process: Process,
        parameter_files: Path,
        line: Callable[[str], None],
        ended: Callable[[int], None],
    ):
        self.process = process
        self.exit_code: int | None = None
        self.shares_terminal = bool(process.environment.get(TERMINAL))
        argv = write_parameters(process, parameter_files)
        try:
            with _held(signal.SIGINT, signal.SIGTERM) if argv[0] == process.interpreter else contextlib.nullcontext():
                self._popen = subprocess.Popen(
                    argv, env={"PYTHONUNBUFFERED": "1", **process.environment}, cwd=process.directory, stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=None if self.shares_terminal else 0,
                )  # fmt: skip
        except OSError as error:
            raise UserError(f"{process.label} cannot be started: {error.strerror}: {argv[0]}.") from None
        self.pid = self._popen.pid
        assert self._popen.stdout is not None
        self._reader = threading.Thread(target=_read, args=(self._popen.stdout, line), daemon=True)
        self._reader.start()
        threading.Thread(target=self._wait, args=(ended,), daemon=True).start()

    def send(self, number: signal.Signals) -> None:
        """The signal to the whole group; nothing where the process has ended."""
        if self.exit_code is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if self.shares_terminal:
                os.kill(self.pid, number)
            else:
                os.killpg(self.pid, number)

    def _wait(self, ended: Callable[[int], None]) -> None:
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)  # not reaped yet: the id is still ours
        if not self.shares_terminal:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGTERM)  # what it left behind has nobody to work for
        self.exit_code = self._popen.wait()
        self._reader.join(timeout=2.0)  # its last words come before its end
        ended(self.exit_code)


@contextlib.contextmanager
def _held(*numbers: signal.Signals) -> Iterator[None]:
    """A process started meanwhile gets these signals when it asks for them (`robot_pt_ros.executables`), not before it can answer."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def write_parameters(process: Process, folder: Path) -> list[str]:
    """The command line with its parameter files written to `folder`."""
    argv = list(process.argv)
    for i, text in enumerate(process.parameters):
        path = folder / f"{process.label.replace('/', '_')}_{i}.yaml"
        path.write_text(text, encoding="utf-8")
        argv[argv.index(f"{{params:{i}}}")] = str(path)
    return argv


def _read(stream: IO[bytes], line: Callable[[str], None]) -> None:
    with stream:
        while raw := stream.readline(_LONGEST_LINE):
            line(raw.decode(errors="replace").rstrip("\r\n"))
