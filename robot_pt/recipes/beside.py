"""Work in a second process while this one works too: half of the cores each, one terminal."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from robot_pt.errors import UserError
from robot_pt.orphans import leave_with_parent
from robot_pt.recipes.progress import bar
from robot_pt.report import read_metrics

_LEAVING_S = 60.0


@contextmanager
def beside(work: Callable[..., None], *arguments: Any, log: Path) -> Iterator[None]:
    """Run ``work(*arguments)`` in a spawned process during the block; what it prints goes to `log`.

    The end of the block waits for it. If the block fails, or Ctrl-C comes, the other is asked to stop, as by SIGTERM; if this
    process dies, the other ends too. With one core it runs before the block, in this process.

    Raises UserError where the other process failed, naming `log`.
    """
    cores = os.cpu_count() or 1
    if cores < 2:
        work(*arguments)
        yield
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    other = multiprocessing.get_context("spawn").Process(
        target=_child, args=(work, arguments, log, cores // 2), name=log.stem
    )
    threads = torch.get_num_threads()
    other.start()
    torch.set_num_threads(max(1, cores - cores // 2))
    try:
        yield
        other.join()
    finally:
        torch.set_num_threads(threads)
        if other.is_alive():
            other.terminate()
            other.join(_LEAVING_S)
            other.kill()
    if other.exitcode:
        raise UserError(f"the work beside this one failed; its last words are in {log}. Mend that and start again.")


def _child(work: Callable[..., None], arguments: Sequence[Any], log: Path, threads: int) -> None:
    leave_with_parent()
    torch.set_num_threads(threads)
    with log.open("a", buffering=1) as words:
        os.dup2(words.fileno(), 1)
        os.dup2(words.fileno(), 2)
    try:
        work(*arguments)
    except (UserError, KeyboardInterrupt) as error:
        sys.exit(str(error))


def wait_for_updates(description: str, policies: Sequence[Sequence[Path]], updates: int) -> None:
    """Show how far another process is with training these policies, each the runs of its phases; returns when it has ended.

    updates: of one policy, all phases together.
    """
    others = multiprocessing.active_children()
    with bar(description, "updates") as advance:
        while any(p.is_alive() for p in others):
            advance(sum(max(map(_newest_update, runs)) for runs in policies), updates * len(policies))
            time.sleep(1.0)


def _newest_update(run: Path) -> int:
    log = run / "metrics.jsonl"
    return max((int(row["step"]) for row in read_metrics(log)), default=0) if log.exists() else 0
