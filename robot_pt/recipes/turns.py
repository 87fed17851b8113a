"""Several processes on one folder: what one makes the others wait for, and find."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robot_pt.online.locks import held, is_held
from robot_pt.recipes.progress import say


@contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Be the only process that makes `what`, in the folder of `path`; waits, and says so, while another one does."""
    lock = path.with_name(f".{path.name}.lock")
    if is_held(lock):
        say(f"another process makes {what}; waiting for it.")
    with held(lock, what, wait_s=math.inf):
        yield
