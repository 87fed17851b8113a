"""Progress bars with rates on stderr: stdout stays for results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
    """A bar that a library drives by calling the yielded function with (done, total)."""
    columns = (
        TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), RateColumn(unit),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=stderr, refresh_per_second=4) as progress:
        task = progress.add_task(description, total=None)

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield advance


def say(sentence: str) -> None:
    """One line for the user on stderr."""
    stderr.print(sentence, highlight=False)


def warn(sentence: str) -> None:
    """One line that should not be missed."""
    stderr.print(f"[bold yellow]warning:[/] {sentence}", highlight=False)
