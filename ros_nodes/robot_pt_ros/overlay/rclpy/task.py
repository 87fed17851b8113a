"""Results that come later, and callables or coroutines that an executor runs to completion."""

from __future__ import annotations

import inspect
import sys
import warnings
import weakref
from collections.abc import Callable, Coroutine, Generator
from threading import Lock, RLock
from typing import Any


class Future:
    """The outcome of something later; thread-safe. Done callbacks run on `executor`, else in the thread that sets it."""

    def __init__(self, *, executor: Any = None) -> None:
        self._done = False
        self._cancelled = False
        self._result: Any = None
        self._exception: BaseException | None = None
        self._exception_fetched = False
        self._callbacks: list[Callable[[Future], Any]] = []
        self._resumed: list[Callable[[], None]] = []
        self._lock = RLock()
        self._executor: weakref.ReferenceType[Any] | None = None
        self._set_executor(executor)

    def __del__(self) -> None:
        if getattr(self, "_exception", None) is not None and not self._exception_fetched:
            sys.stderr.write(f"The following exception was never retrieved: {self._exception}\n")

    def __await__(self) -> Generator[Future, None, Any]:
        while not self._done and not self._cancelled:
            yield self
        return self.result()

    def cancel(self) -> None:
        """Ask for cancellation where it is not done yet."""
        with self._lock:
            if not self._done:
                self._cancelled = True
        self._finish()

    def cancelled(self) -> bool:
        return self._cancelled

    def done(self) -> bool:
        """True with a result or an exception; a cancelled future is not done."""
        return self._done

    def result(self) -> Any:
        """The result, None before there is one. Raises what `set_exception` was given."""
        exception = self.exception()
        if exception is not None:
            raise exception
        return self._result

    def exception(self) -> BaseException | None:
        self._exception_fetched = True
        return self._exception

    def set_result(self, result: Any) -> None:
        with self._lock:
            self._result = result
            self._done = True
            self._cancelled = False
        self._finish()

    def set_exception(self, exception: BaseException) -> None:
        with self._lock:
            self._exception = exception
            self._exception_fetched = False
            self._done = True
            self._cancelled = False
        self._finish()

    def _finish(self) -> None:
        with self._lock:
            callbacks, self._callbacks = self._callbacks, []
            resumed, self._resumed = self._resumed, []
        for resume in resumed:
            resume()
        for callback in callbacks:
            self._run(callback)

    def _run(self, callback: Callable[[Future], Any]) -> None:
        executor = self._executor() if self._executor is not None else None
        if executor is not None:
            executor.create_task(callback, self)
            return
        try:
            callback(self)
        except Exception as error:  # noqa: BLE001  # the other callbacks must still run
            warnings.warn(f"Unhandled exception in done callback: {error}", stacklevel=2)

    def _set_executor(self, executor: Any) -> None:
        with self._lock:
            self._executor = None if executor is None else weakref.ref(executor)

    def _on_resume(self, resume: Callable[[], None]) -> None:
        """Call `resume` once this is done or cancelled, at once if it is."""
        with self._lock:
            if not (self._done or self._cancelled):
                self._resumed.append(resume)
                return
        resume()

    def add_done_callback(self, callback: Callable[[Future], Any]) -> None:
        """Call `callback(self)` once done, at once (or on the executor) where it already is."""
        with self._lock:
            if not self._done:
                self._callbacks.append(callback)
                return
            executor = self._executor() if self._executor is not None else None
        if executor is not None:
            executor.create_task(callback, self)
        else:
            callback(self)

    def remove_done_callback(self, callback: Callable[[Future], Any]) -> bool:
        """Forget a callback; False where it was not there."""
        with self._lock:
            kept = [known for known in self._callbacks if known != callback]
            removed = len(kept) != len(self._callbacks)
            self._callbacks = kept
        return removed


class Task(Future):
    """A callable or coroutine that an executor calls until it is done; made by `Executor.create_task` only."""

    def __init__(
        self,
        handler: Callable[..., Any] | Coroutine[Any, Any, Any],
        args: Any = None,
        kwargs: dict[str, Any] | None = None,
        executor: Any = None,
    ) -> None:
        super().__init__(executor=executor)
        self._args = tuple(args or ())
        self._kwargs = kwargs or {}
        self._handler: Any = handler(*self._args, **self._kwargs) if inspect.iscoroutinefunction(handler) else handler
        self._executing = False
        self._task_lock = Lock()
        self._waiting = False
        """A suspended coroutine whose awaited future is not there yet: nothing to run."""
        self._claimed = False
        """In the hands of an executor's thread."""
        self._not_before_s = 0.0
        self._entity_ended: Callable[[], None] | None = None

    def __call__(self) -> None:
        """Run, or resume, without blocking on what it awaits."""
        if self._done or self._cancelled or self._executing or not self._task_lock.acquire(blocking=False):
            return
        try:
            if self._done:
                return
            self._executing = True
            self._advance()
        finally:
            self._executing = False
            self._task_lock.release()

    def _advance(self) -> None:
        try:
            if not inspect.iscoroutine(self._handler):
                outcome = self._handler(*self._args, **self._kwargs)
            else:
                self._suspend_on(self._handler.send(None))
                return
        except StopIteration as finished:
            outcome = finished.value
        except Exception as error:  # noqa: BLE001  # raised again by the executor and by `result`
            self._complete()
            self.set_exception(error)
            return
        except BaseException:  # Ctrl-C in a callback: over, and its group is free
            self._cancelled = True
            self._complete()
            raise
        self._complete()
        self.set_result(outcome)

    def _suspend_on(self, awaited: Any) -> None:
        executor = self._executor() if self._executor is not None else None
        if not isinstance(awaited, Future):
            return  # a bare yield: asked again on the next turn
        self._waiting = True

        def resume() -> None:
            self._waiting = False
            if executor is not None:
                executor.wake()

        awaited._on_resume(resume)

    def _complete(self) -> None:
        self._handler = None
        self._args = ()
        self._kwargs = {}
        ended, self._entity_ended = self._entity_ended, None
        if ended is not None:
            ended()

    def cancel(self) -> None:
        super().cancel()
        if inspect.iscoroutine(self._handler) and not self._executing:
            self._handler.close()
        if not self._executing:
            self._complete()

    def executing(self) -> bool:
        return self._executing
