"""Compute f(0), f(1), f(2), ... ahead of time in a few threads, handed out in order; the place can be read and set."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from robot_pt.errors import DataError, MismatchError, UserError

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

    def state(self, identity: Mapping[str, Any]) -> dict[str, Any]:
        """JSON values that make `load_state` continue with exactly the next batch; `identity` says of which sampling."""
        return {"next_batch": self._position, **identity}

    def load_state(self, state: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
        """Go on where `state` was taken. Raises MismatchError where its identity is another, DataError where it is damaged."""
        name = next((n for n in identity if state.get(n) != identity[n]), None)
        if name is not None:
            raise MismatchError(
                f"the run was recorded with {name} = {state.get(name)}, now it is {identity[name]}; "
                "resume with the same data and settings, or start a new run."
            )
        number = state.get("next_batch")
        if not isinstance(number, int) or number < 0:
            raise DataError(f"the replay state's next_batch is {number!r}; the checkpoint is damaged.")
        self.seek(number)

    def close(self) -> None:
        """Stop the threads; `next` starts them anew at the same position."""
        self.seek(self._position)
        if self._workers is not None:
            self._workers.shutdown(wait=True, cancel_futures=True)
            self._workers = None
