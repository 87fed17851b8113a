"""Progress bars with rates on stderr: stdout stays for results."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

stderr = Console(stderr=True)


def is_spokesman() -> bool:
    """False in all processes of torchrun but the first: what all would say alike is said once."""
    return os.environ.get("RANK", "0") == "0"


Advance = Callable[[int, int], None]
"""(done, total) -> None, as every long call of the libraries reports."""


class RateColumn(ProgressColumn):
    """Units per second since the start."""

    def __init__(self, unit: str):
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f} {self._unit}/s", style="progress.data.speed")


@contextmanager
def bar(description: str, unit: str) -> Iterator[Advance]:
    """A bar that a library drives by calling the yielded function with (done, total); one that never moved is wiped."""
    columns = (
        TextColumn("{task.description}", style="bold", markup=False), BarColumn(), MofNCompleteColumn(), RateColumn(unit),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=stderr, refresh_per_second=4, disable=not is_spokesman()) as progress:
        task = progress.add_task(description, total=None)

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        try:
            yield advance
        finally:
            progress.live.transient = progress.tasks[0].completed == 0


def say(sentence: str) -> None:
    """One line for the user on stderr."""
    if is_spokesman():
        stderr.print(sentence, highlight=False, markup=False, soft_wrap=True)


def warn(sentence: str) -> None:
    """One line that should not be missed."""
    if is_spokesman():
        stderr.print(Text.assemble(("warning:", "bold yellow"), " ", sentence), soft_wrap=True)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Show what libraries `warnings.warn` as `warn` does, without Python's file name and source line."""

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int,
        file: TextIO | None = None, line: str | None = None,
    ) -> None:  # fmt: skip
        warn(" ".join(str(message).split()))

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
