"""Starts the processes of a launch file and takes them down: SIGINT to all at once, then SIGTERM, then SIGKILL, as `ros2 launch` does.

A SIGINT, SIGTERM or SIGHUP to this process, or the end of a process with `on_exit: shutdown`, begins the way down.
"""

from __future__ import annotations

import queue
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from robot_pt.errors import UserError
from robot_pt_ros.launch_runner import interpreter
from robot_pt_ros.launch_runner.evaluate import Process
from robot_pt_ros.launch_runner.process import Running
from robot_pt_ros.wire.config import domain_id

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PEACEFUL = frozenset({0, -signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGTERM})

Show = Callable[[str, str], None]
"""(label, line): one line of a process, or of launch itself where the label is empty."""


class Outcome(NamedTuple):
    stopped_by: str
    exit_codes: dict[str, int]  # by label; negative: the signal that ended it
    failed: tuple[str, ...]  # labels: died by itself, or did not stop when asked


def check(processes: Sequence[Process]) -> None:
    """Raises UserError, before anything is started: a program that is not there, an interpreter or a domain that our nodes cannot run in."""
    asked = set()
    for process in processes:
        if process.interpreter is not None:
            domain_id(process.environment)
        path, python_path = process.environment.get("PATH"), process.environment.get("PYTHONPATH")
        key = (process.interpreter, path, python_path)
        if process.interpreter is not None and key not in asked:
            interpreter.check(process.interpreter, process.environment)
        asked.add(key)
        found = Path(process.directory or ".", process.argv[0]) if "/" in process.argv[0] else process.argv[0]
        if shutil.which(found, path=path) is None:
            raise UserError(f"{process.label} cannot be started: {process.argv[0]} is no program that can be run.")


def run(processes: Sequence[Process], show: Show) -> Outcome:
    """Run until every process has ended. Raises UserError: one cannot be started (those that were are stopped first)."""
    check(processes)
    with tempfile.TemporaryDirectory(prefix="robot_pt_launch_") as folder:
        launch = _Launch(show)
        with launch.signals():
            try:
                launch.start(processes, Path(folder))
            finally:
                launch.watch()
        return launch.outcome()


class _Launch:
    """Everything happens in one thread: others only put callables in the queue."""

    def __init__(self, show: Show):
        self._show = show
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._running: list[Running] = []
        self._codes: dict[str, int] = {}  # of those that have ended, by label
        self._failed: list[str] = []
        self._stopped_by = ""
        self._deadlines: list[tuple[float, Running, signal.Signals]] = []  # of SIGTERM and SIGKILL, while stopping

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Handlers only queue the signal; outside the main thread, where none can be set, nothing is changed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {n: signal.signal(n, lambda got, _: self._events.put(lambda: self._on_signal(got))) for n in _STOPS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def start(self, processes: Sequence[Process], folder: Path) -> None:
        try:
            for process in processes:
                while not self._events.empty():
                    self._events.get()()
                if self._stopped_by:
                    return
                self._start(process, folder)
        except BaseException:
            self._stop("a process that cannot be started", at_terminal=False)
            raise

    def _start(self, process: Process, folder: Path) -> None:
        running: list[Running] = []
        running.append(
            Running(
                process, folder,
                line=lambda text: self._show(process.label, text),
                ended=lambda code: self._events.put(lambda: self._on_end(running[0], code)),
            )
        )  # fmt: skip
        self._running += running
        self._show("", f"{process.label}: started with pid {running[0].pid}")

    def watch(self) -> None:
        """Handle events until every process has ended."""
        while len(self._codes) < len(self._running):
            wait_s = None if not self._deadlines else max(self._deadlines[0][0] - time.monotonic(), 0.0)
            try:
                self._events.get(timeout=wait_s)()
            except queue.Empty:
                self._escalate()

    def outcome(self) -> Outcome:
        return Outcome(self._stopped_by or "the end of every process", dict(self._codes), tuple(self._failed))

    def _on_signal(self, number: int) -> None:
        name = signal.Signals(number).name
        if self._stopped_by:
            self._show("", f"{name} again: already stopping; processes that stay get SIGTERM and then SIGKILL")
        else:
            self._stop(name, at_terminal=number == signal.SIGINT)

    def _on_end(self, running: Running, code: int) -> None:
        process = running.process
        self._codes[process.label] = code
        self._deadlines = [d for d in self._deadlines if d[1] is not running]
        if code == 0 or (self._stopped_by and code in _PEACEFUL):
            self._show("", f"{process.label}: has finished")
        else:
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            self._show("", f"{process.label}: has died ({how})")
            self._fail(running)
        if process.required and not self._stopped_by:
            self._stop(f"the end of {process.label}", at_terminal=False)

    def _stop(self, reason: str, *, at_terminal: bool) -> None:
        """SIGINT to everybody now; a process in our own group got that of a terminal already."""
        self._stopped_by = reason
        self._show("", f"stopping: {reason}")
        now = time.monotonic()
        for running in self._running:
            if running.process.label in self._codes:
                continue
            if not (at_terminal and running.shares_terminal and sys.stdin is not None and sys.stdin.isatty()):
                running.send(signal.SIGINT)
            term_at = now + running.process.sigterm_timeout_s
            kill_at = term_at + running.process.sigkill_timeout_s
            self._deadlines += [(term_at, running, signal.SIGTERM), (kill_at, running, signal.SIGKILL)]
        self._deadlines.sort(key=lambda d: d[0])

    def _escalate(self) -> None:
        while self._deadlines and self._deadlines[0][0] <= time.monotonic():
            _, running, number = self._deadlines.pop(0)
            self._show("", f"{running.process.label}: did not stop, sending {number.name}")
            self._fail(running)
            running.send(number)

    def _fail(self, running: Running) -> None:
        if running.process.label not in self._failed:
            self._failed.append(running.process.label)
