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
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, Protocol

from robot_pt.endings import ended
from robot_pt.errors import UserError
from robot_pt.orphans import leave_with_parent
from robot_pt_sim.rendering import PACKAGES, PROBED, Redrawing, RendererFailed

MEMORY_PER_WORKER = "about 1 GB each with a scene of robosuite, 0.2 GB with a kitchen"
"""Resident memory of one process that renders."""
_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP}


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


def run_jobs(
    setup: Setup, jobs: Sequence[Any], workers: int, *, what: str = "job", apart: bool = False
) -> Generator[Any, None, None]:
    """Yield the result of each job in order; `workers` = 1 runs them in this process, unless it has loaded TensorFlow or they are to be `apart`:
    then this process lives to say how that one died. `what`: before a job, what it is in a sentence.

    Closing the iterator or Ctrl-C lets the jobs already started end and drops the others; the processes end with this one if it is killed. A job whose renderer fails is done again in
    fresh processes, see `rendering.Redrawing`. Raises UserError for what a worker refuses, for a worker that dies, for a renderer that
    keeps failing, and for fewer than one worker.
    """
    if workers < 1:
        raise UserError(f"{workers} simulation workers were asked for; give at least 1.")
    count = min(workers, len(jobs))
    left, redrawing = deque(jobs), Redrawing()
    here = count <= 1 and not apart and "tensorflow" not in sys.modules  # which cannot live beside a software renderer
    with ExitStack() as chosen:
        while left:
            before = len(left)
            lost = yield from (_run_here(setup, left) if here else _run_in_pool(setup, left, count, what))
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


def _run_in_pool(setup: Setup, left: deque[Any], workers: int, what: str) -> Generator[Any, None, _Lost | None]:
    """As `_run_here`; what later jobs came to meanwhile is dropped when a renderer is lost."""
    context = multiprocessing.get_context("spawn")  # OpenGL and torch do not survive a fork
    jobs = tuple(left)
    at = context.RawArray("q", len(jobs))  # the process that is at each job, 0 for none
    threads = 1 if workers > 1 else _threads_here()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_enter, initargs=(setup, at, threads))
    pending: deque[Future[Any]] = deque()
    processes: dict[int, BaseProcess] = {}
    waiting = iter(range(len(jobs)))
    try:
        with _one_thread_each() if workers > 1 else nullcontext():
            while True:
                while len(pending) < 2 * workers and (number := next(waiting, None)) is not None:
                    with _interrupts_held():  # the first submit starts the processes, which inherit the mask
                        pending.append(pool.submit(_do, number, jobs[number]))
                    processes.update(pool._processes or {})
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
        pool.shutdown(wait=True)
        codes = {number: process.exitcode for number, process in processes.items()}
        left_at = {number: job for number, job in zip(at, jobs, strict=True) if number}
        raise UserError(_death(codes, left_at, workers, what)) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _death(codes: Mapping[int, int | None], left_at: Mapping[int, Any], workers: int, what: str) -> str:
    """A sentence about the process that died first. codes: process -> exit code. left_at: process -> job that it did not finish.

    A pool that has lost one ends the others by SIGTERM: of several that ended so nobody knows which was first.
    """
    own = [number for number, code in codes.items() if code not in (None, -signal.SIGTERM)]
    own = own or (list(codes) if len(codes) == 1 else [])
    first = next((number for number in own if number in left_at), own[0] if own else 0)
    code, where = codes.get(first, -signal.SIGTERM), f" at {what} {left_at[first]}" if first in left_at else ""
    others = " or ".join(name for name in PACKAGES if name != os.environ.get("MUJOCO_GL", "").strip().lower())
    room = f"; {workers} at once): use fewer workers or" if workers > 1 else "):"
    memory = f"memory ({MEMORY_PER_WORKER}{room} free some"
    if code == -signal.SIGKILL:
        why = f"most likely for lack of {memory}"
    elif code is not None and -code in _CRASHES:
        why = f"most likely by a fault of the OpenGL driver: try MUJOCO_GL={others}; else for lack of {memory}"
    else:
        why = f"by somebody, or for lack of {memory}"
    return f"a simulation process {ended(code)}{where}, {why}; what is finished is kept."


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits; a process started meanwhile never sees one, not even while Python starts in it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _threads_here() -> int:
    """Threads of torch in this process; 0 where it is not loaded."""
    return int(sys.modules["torch"].get_num_threads()) if "torch" in sys.modules else 0


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
_at: Any = ()
_threads = 0


def _enter(setup: Setup, at: Any, threads: int) -> None:
    global _setup, _at, _threads
    leave_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _setup, _at, _threads = setup, at, threads


def _do(number: int, job: Any) -> Any:
    global _worker
    assert _setup is not None, "the process was not entered"
    _at[number] = os.getpid()
    try:
        if _worker is None:
            _worker = _setup()
            if "torch" in sys.modules and _threads:
                sys.modules["torch"].set_num_threads(_threads)
        return _worker(job)
    except RendererFailed as error:
        return _Lost(error.backend, error.why)
    except UserError as error:
        return _Refused(str(error))
    finally:
        _at[number] = 0
