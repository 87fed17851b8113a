"""Executors: they wait for what is ready and run it, in this thread or in several."""

from __future__ import annotations

import inspect
import os
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future as PoolFuture
from concurrent.futures import ThreadPoolExecutor
from threading import Condition, RLock
from types import TracebackType
from typing import Any

from rclpy.logging import get_logger
from rclpy.task import Future, Task
from rclpy.utilities import _context_or_default

_POLL_S = 0.005
"""How often a coroutine is asked again that awaits something which is no rclpy future."""


async def await_or_execute(callback: Callable[..., Any], *args: Any) -> Any:
    """Call `callback`, and await what it returns if that is a coroutine."""
    result = callback(*args)
    return await result if inspect.iscoroutine(result) else result


class TimeoutException(Exception):
    """Nothing was ready in time."""


class ShutdownException(Exception):
    """The executor was shut down."""


class ExternalShutdownException(Exception):
    """The context was shut down, by a signal or another thread, while an executor waited."""

    def __init__(self) -> None:
        super().__init__("Context has been shutdown.")


class ConditionReachedException(Exception):
    """What was waited for has happened."""


class Executor:
    """The base of executors: it finds what may run next; a context manager that shuts itself down."""

    def __init__(self, *, context: Any = None) -> None:
        self._context = _context_or_default(context)
        self._nodes: dict[Any, None] = {}
        self._tasks: list[Task] = []
        self._round: deque[tuple[Any, Any]] = deque()
        """(node, entity) that were ready when this turn began; kept between spins, so that each is served before any twice."""
        self._lock = RLock()
        self._woken = False
        self._wakeup = Condition()
        self._running = 0
        self._is_shutdown = False
        self._forget = self._context._call_on_invalid(self.wake)

    @property
    def context(self) -> Any:
        return self._context

    def wake(self) -> None:
        """Make a wait look again; from any thread."""
        with self._wakeup:
            self._woken = True
            self._wakeup.notify_all()

    def create_task(self, callback: Any, *args: Any, **kwargs: Any) -> Task:
        """Run a callable, coroutine function or coroutine while spinning; the task is a future."""
        task = Task(callback, args, kwargs, executor=self)
        with self._lock:
            self._tasks.append(task)
        self.wake()
        return task

    def add_node(self, node: Any) -> bool:
        """False where it is here already."""
        with self._lock:
            if node in self._nodes:
                return False
            self._nodes[node] = None
        node.executor = self
        self.wake()
        return True

    def remove_node(self, node: Any) -> None:
        with self._lock:
            self._nodes.pop(node, None)
        self.wake()

    def get_nodes(self) -> list[Any]:
        with self._lock:
            return list(self._nodes)

    def can_execute(self, entity: Any) -> bool:
        return entity.callback_group.can_execute(entity)

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """Start nothing more and wait for what runs; False where that takes longer than `timeout_sec`."""
        self._is_shutdown = True
        self.wake()
        end_s = None if timeout_sec is None or timeout_sec < 0 else time.monotonic() + timeout_sec
        with self._wakeup:
            while self._running:
                left_s = None if end_s is None else end_s - time.monotonic()
                if left_s is not None and left_s <= 0:
                    return False
                self._wakeup.wait(left_s)
        with self._lock:
            self._nodes.clear()
            self._round.clear()
        self._forget()
        return True

    def spin(self) -> None:
        """Run callbacks until shutdown."""
        while self._context.ok() and not self._is_shutdown:
            self.spin_once()

    def spin_until_future_complete(self, future: Future, timeout_sec: float | None = None) -> None:
        """Run callbacks until the future is done, the time is over, or shutdown."""
        future.add_done_callback(lambda _: self.wake())
        end_s = None if timeout_sec is None or timeout_sec < 0 else time.monotonic() + timeout_sec
        while self._context.ok() and not future.done() and not future.cancelled() and not self._is_shutdown:
            left_s = None if end_s is None else max(0.0, end_s - time.monotonic())
            self.spin_once_until_future_complete(future, left_s)
            if end_s is not None and time.monotonic() >= end_s:
                return

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait for one callback and run it."""
        raise NotImplementedError

    def spin_once_until_future_complete(self, future: Future, timeout_sec: float | None = None) -> None:
        """As `spin_once`, waiting no longer once the future is done."""
        raise NotImplementedError

    def _next(self, timeout_sec: float | None, reached: Callable[[], bool] = lambda: False) -> Task:
        """The next thing to run, claimed for the caller. Raises the exceptions above."""
        end_s = None if timeout_sec is None or timeout_sec < 0 else time.monotonic() + timeout_sec
        while True:
            if self._is_shutdown:
                raise ShutdownException
            if not self._context.ok():
                raise ExternalShutdownException
            if reached():
                raise ConditionReachedException
            self._woken = False
            task = self._pick()
            if task is not None:
                return task
            wait_s = self._longest_wait_s()
            if end_s is not None:
                left_s = end_s - time.monotonic()
                if left_s <= 0:
                    raise TimeoutException
                wait_s = left_s if wait_s is None else min(wait_s, left_s)
            with self._wakeup:
                if not self._woken:
                    self._wakeup.wait(wait_s)

    def _pick(self) -> Task | None:
        with self._lock:
            task = self._pick_task()
            if task is not None:
                return task
            for fresh in (False, True):
                if fresh:
                    for node in self._nodes:
                        self._round.extend([(node, entity) for entity in node._ready_entities()])
                while self._round:
                    node, entity = self._round.popleft()
                    if node in self._nodes and entity._is_ready():
                        task = self._begin(entity)
                        if task is not None:
                            return task
            return None

    def _pick_task(self) -> Task | None:
        for task in self._tasks:
            if not (task._claimed or task._waiting or task._not_before_s > time.monotonic()):
                task._claimed = True
                return task
        return None

    def _begin(self, entity: Any) -> Task | None:
        group = entity.callback_group
        if not group.beginning_execution(entity):
            return None
        call = entity._take()
        if call is None:
            group.ending_execution(entity)
            return None
        task = Task(await_or_execute, (call,), executor=self)
        task._entity_ended = lambda: group.ending_execution(entity)
        task._claimed = True
        self._tasks.append(task)
        return task

    def _longest_wait_s(self) -> float | None:
        """Until a timer is due whose callback may run, None without one."""
        waits: list[float] = []
        with self._lock:
            for node in self._nodes:
                for timer in list(node._timers):
                    wait_s = timer._wait_s()
                    if wait_s is not None and (wait_s > 0 or timer.callback_group.can_execute(timer)):
                        waits.append(wait_s)
            waits.extend(
                max(0.0, task._not_before_s - time.monotonic())
                for task in self._tasks
                if task._not_before_s and not task._claimed and not task._waiting
            )
        return min(waits, default=None)

    def _run(self, task: Task) -> None:
        """Run or resume a claimed task. Raises what its callback raised."""
        with self._wakeup:
            self._running += 1
        try:
            if self._is_shutdown:
                task.cancel()
            else:
                task()
        finally:
            ended = task.done() or task.cancelled()
            if not ended and not task._waiting:
                task._not_before_s = time.monotonic() + _POLL_S
            with self._lock:
                if ended:
                    self._tasks.remove(task)
                task._claimed = False
            with self._wakeup:
                self._running -= 1
                self._woken = True
                self._wakeup.notify_all()
        if task.done() and task.exception() is not None:
            raise task.exception()  # type: ignore[misc]

    def __enter__(self) -> Executor:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        self.shutdown()


class SingleThreadedExecutor(Executor):
    """Callbacks one after the other in the thread that spins; an exception in one ends the spin."""

    def _spin_once(self, timeout_sec: float | None, reached: Callable[[], bool] = lambda: False) -> None:
        try:
            task = self._next(timeout_sec, reached)
        except (ShutdownException, TimeoutException, ConditionReachedException):
            return
        self._run(task)

    def spin_once(self, timeout_sec: float | None = None) -> None:
        self._spin_once(timeout_sec)

    def spin_once_until_future_complete(self, future: Future, timeout_sec: float | None = None) -> None:
        self._spin_once(timeout_sec, future.done)


class MultiThreadedExecutor(Executor):
    """Callbacks in a pool of threads, as far as their groups allow; an exception surfaces at a later spin."""

    def __init__(self, num_threads: int | None = None, *, context: Any = None) -> None:
        super().__init__(context=context)
        if num_threads is None:
            num_threads = os.cpu_count() or 2
        if num_threads == 1:
            get_logger("rclpy.executors").warning(
                "MultiThreadedExecutor is used with a single thread.\nUse the SingleThreadedExecutor instead."
            )
        self._executor = ThreadPoolExecutor(num_threads)
        self._futures: list[PoolFuture[None]] = []

    def _spin_once(self, timeout_sec: float | None, reached: Callable[[], bool] = lambda: False) -> None:
        try:
            task = self._next(timeout_sec, lambda: reached() or any(future.done() for future in self._futures))
        except (ShutdownException, TimeoutException, ConditionReachedException):
            pass
        else:
            self._futures.append(self._executor.submit(self._run, task))
        for future in [future for future in self._futures if future.done()]:
            self._futures.remove(future)
            future.result()

    def spin_once(self, timeout_sec: float | None = None) -> None:
        self._spin_once(timeout_sec)

    def spin_once_until_future_complete(self, future: Future, timeout_sec: float | None = None) -> None:
        self._spin_once(timeout_sec, future.done)

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        ended = super().shutdown(timeout_sec)
        self._executor.shutdown(wait=False)
        return ended
