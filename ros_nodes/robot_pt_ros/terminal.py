"""Keys from the terminal of this process, one by one, also through SSH; the terminal is given back as it was. No ROS here."""

from __future__ import annotations

import atexit
import os
import select
import signal
import termios
import threading
import time
import tty
from collections.abc import Callable
from contextlib import suppress

from robot_pt.errors import UserError

TERMINAL = "/dev/tty"
_LOOK_S = 0.2


class Terminal:
    """Characters arrive as they are typed, unechoed; Ctrl-C stays a signal.

    Args:
        heard: called from a thread with (bytes, time.monotonic_ns() when they were read); b"" is the end of the terminal.
    Raises:
        UserError: there is no terminal, or this process is in its background.
    """

    def __init__(self, heard: Callable[[bytes, int], None]):
        self._heard = heard
        try:
            self._handle = os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY)
            self._before = termios.tcgetattr(self._handle)
        except (OSError, termios.error):
            raise UserError(
                "there is no terminal to read keys from; start the teleop node in one (python -m robot_pt_ros teleop "
                "--ros-args -p device:=keyboard), or choose another teleop device."
            ) from None
        if os.tcgetpgrp(self._handle) != os.getpgrp():
            os.close(self._handle)
            raise UserError(
                "the terminal belongs to another program: its keys cannot be read from the background; start the teleop node "
                "in a terminal of its own, or choose another teleop device."
            )
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # it may be given back from the background
        signal.signal(
            signal.SIGHUP, signal.SIG_IGN
        )  # a hang-up is heard as the end, and told before the process leaves
        atexit.register(self.close)
        tty.setcbreak(self._handle, termios.TCSADRAIN)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._read, name="terminal", daemon=True)
        self._thread.start()

    def show(self, text: str) -> None:
        """Write lines to the operator."""
        with suppress(OSError):
            os.write(self._handle, (text.rstrip("\n") + "\n").encode())

    def close(self) -> None:
        """Give the terminal back as it was; a second call does nothing."""
        if self._ending.is_set():
            return
        self._ending.set()
        with suppress(OSError, termios.error):
            termios.tcsetattr(self._handle, termios.TCSADRAIN, self._before)
        self._thread.join(2 * _LOOK_S)
        with suppress(OSError):
            os.close(self._handle)
        atexit.unregister(self.close)

    def _read(self) -> None:
        while not self._ending.is_set():
            try:
                ready, _, _ = select.select([self._handle], [], [], _LOOK_S)
                data = os.read(self._handle, 1024) if ready else None
            except (OSError, ValueError):
                data = b""
            if data is None or self._ending.is_set():
                continue
            self._heard(data, time.monotonic_ns())
            if not data:
                return
