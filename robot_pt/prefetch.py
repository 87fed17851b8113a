"""Compute f(0), f(1), f(2), ... ahead of time in a few threads, handed out in order; the place can be read and set."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

from robot_pt.errors import UserError

T = TypeVar("T")


class Prefetch(Generic[T]):
    """Threads start at the first `next` and stop at `close`; an error of f(n) is raised by the `next` that would return it."""

    def __init__(self, compute: Callable[[int], T], *, threads: int, ahead: int):
        if threads < 1 or ahead < 1:
            raise UserError(f"threads is {threads} and prefetch {ahead}; give at least 1 of each.")
        self._compute, self._threads, self._ahead = compute, threads, ahead
        self._workers: ThreadPoolExecutor | None = None
        self._jobs: deque[Future[T]] = deque()
        self._position = 0

    @property
    def position(self) -> int:
        """The n that `next` returns next; what is already under way does not count."""
        return self._position

    def next(self) -> T:
        """f(position), then one further."""
        if self._workers is None:
            self._workers = ThreadPoolExecutor(self._threads, thread_name_prefix="prefetch")
        while len(self._jobs) < self._ahead:
            self._jobs.append(self._workers.submit(self._compute, self._position + len(self._jobs)))
        value = self._jobs[0].result()
        self._jobs.popleft()
        self._position += 1
        return value

    def seek(self, position: int) -> None:
        """Go on at `position`; what is under way is dropped."""
        for job in self._jobs:
            job.cancel()
        self._jobs.clear()
        self._position = position

    def close(self) -> None:
        """Stop the threads; `next` starts them anew at the same position."""
        self.seek(self._position)
        if self._workers is not None:
            self._workers.shutdown(wait=True, cancel_futures=True)
            self._workers = None
