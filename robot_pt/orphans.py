"""Processes that do not outlive the one that started them, however it ends. Imports the standard library only."""

from __future__ import annotations

import multiprocessing
import os
import threading


def leave_with_parent() -> None:
    """End this process, started by multiprocessing, as soon as its parent is gone: killed with -9 it cannot say so.

    A process pool's children would wait for their next job for good otherwise, as each holds the queue's other end itself.
    """
    threading.Thread(target=_leave_after_parent, name="leave-with-parent", daemon=True).start()


def _leave_after_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "not a child"
    parent.join()
    os._exit(1)
