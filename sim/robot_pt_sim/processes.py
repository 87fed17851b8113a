"""Jobs over simulators in processes of their own, results in the order of the jobs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, NamedTuple, Protocol

from robot_pt.errors import UserError
from robot_pt.orphans import leave_with_parent
from robot_pt_sim.rendering import PROBED, Redrawing, RendererFailed

MEMORY_PER_WORKER = "about 1 GB each with a scene of robosuite, 0.2 GB with a kitchen"
"""Resident memory of one process that renders."""


class Worker(Protocol):
    """Lives in one process and does one job after the other."""

    def __call__(self, job: Any, /) -> Any: ...

    def close(self) -> None: ...


Setup = Callable[[], Worker]
"""Builds a worker; it is pickled, the worker is not."""


class _Refused(NamedTuple):
    """A user's mistake found in a worker: exceptions with arguments of their own do not survive pickling."""

    sentence: str


class _Lost(NamedTuple):
    """A renderer failed in a worker, which cannot draw any more."""

    backend: str
    why: str


def default_workers() -> int:
    """One process per core this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def run_jobs(setup: Setup, jobs: Sequence[Any], workers: int) -> Generator[Any, None, None]:
    """Yield the result of each job in order; `workers` = 1 runs them in this process, unless it has loaded TensorFlow.

    Closing the iterator or Ctrl-C lets the jobs already started end and drops the others; the processes end with this one if it is killed. A job whose renderer fails is done again in
    fresh processes, see `rendering.Redrawing`. Raises UserError for what a worker refuses, for a worker that dies, for a renderer that
    keeps failing, and for fewer than one worker.
    """
    if workers < 1:
        raise UserError(f"{workers} simulation workers were asked for; give at least 1.")
    count = min(workers, len(jobs))
    left, redrawing = deque(jobs), Redrawing()
    here = count <= 1 and "tensorflow" not in sys.modules  # which cannot live beside a software renderer
    with ExitStack() as chosen:
        while left:
            before = len(left)
            lost = yield from (_run_here(setup, left) if here else _run_in_pool(setup, left, count))
            if lost is not None:
                backend, here = redrawing.next(lost.backend, lost.why, progress=len(left) < before), False
                chosen.enter_context(_environment({"MUJOCO_GL": backend, PROBED: backend}))


def _run_here(setup: Setup, left: deque[Any]) -> Generator[Any, None, _Lost | None]:
    """Takes from `left` what is done; returns how a renderer was lost, None at the end."""
    worker: Worker | None = None
    try:
        worker = setup()
        while left:
            result = worker(left[0])
            left.popleft()
            yield result
    except RendererFailed as error:
        return _Lost(error.backend, error.why)
    finally:
        if worker is not None:
            worker.close()
    return None


def _run_in_pool(setup: Setup, left: deque[Any], workers: int) -> Generator[Any, None, _Lost | None]:
    """As `_run_here`; what later jobs came to meanwhile is dropped when a renderer is lost."""
    context = multiprocessing.get_context("spawn")  # OpenGL and torch do not survive a fork
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_enter, initargs=(setup,))
    pending: deque[Future[Any]] = deque()
    waiting = iter(tuple(left))
    try:
        with _one_thread_each():
            while True:
                while len(pending) < 2 * workers and (job := next(waiting, None)) is not None:
                    with _interrupts_held():  # the first submit starts the processes, which inherit the mask
                        pending.append(pool.submit(_do, job))
                if not pending:
                    return None
                result = pending.popleft().result()
                if isinstance(result, _Refused):
                    raise UserError(result.sentence)
                if isinstance(result, _Lost):
                    return result
                left.popleft()
                yield result
    except BrokenProcessPool as error:
        raise UserError(
            f"a simulation process died, most likely for lack of memory ({MEMORY_PER_WORKER}); "
            f"{workers} were running, use fewer workers."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits; a process started meanwhile never sees one, not even while Python starts in it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _one_thread_each() -> AbstractContextManager[None]:
    """Numeric libraries and the software renderer read these when a child starts: one core per process."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LP_NUM_THREADS")
    return _environment(dict.fromkeys(names, "1"))


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """These variables meanwhile, and before and after what they were."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_setup: Setup | None = None
_worker: Worker | None = None


def _enter(setup: Setup) -> None:
    global _setup
    leave_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _setup = setup


def _do(job: Any) -> Any:
    global _worker
    assert _setup is not None, "the process was not entered"
    try:
        if _worker is None:
            _worker = _setup()
            if "torch" in sys.modules:
                sys.modules["torch"].set_num_threads(1)
        return _worker(job)
    except RendererFailed as error:
        return _Lost(error.backend, error.why)
    except UserError as error:
        return _Refused(str(error))
