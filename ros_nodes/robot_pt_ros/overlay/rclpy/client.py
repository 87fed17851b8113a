"""Service clients."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from threading import Event
from typing import Any

from rclpy._endpoint import Endpoint
from rclpy._rclpy_pybind11 import RCLError
from rclpy.qos import QoSProfile
from rclpy.task import Future

_LOOK_AGAIN_S = 0.02


class Client(Endpoint):
    """Made by `Node.create_client`. Servers of another RMW than rmw_cyclonedds are refused with a UserError."""

    def __init__(
        self,
        context: Any,
        client_impl: Any,
        srv_type: Any,
        srv_name: str,
        qos_profile: QoSProfile,
        callback_group: Any,
    ) -> None:
        wire, session, full_name = client_impl
        super().__init__(wire, session, callback_group)
        self.context = context
        self.srv_type = srv_type
        self.srv_name = srv_name
        self.qos_profile = qos_profile
        self._full_name = full_name
        self._pending_requests: dict[int, Future] = {}
        self._responses: deque[tuple[int, Any]] = deque()
        self._executor_of_node: Callable[[], Any] = lambda: None

    @property
    def service_name(self) -> str:
        """Fully qualified and remapped."""
        self._check()
        return self._full_name

    def call(self, request: Any, timeout_sec: float | None = None) -> Any:
        """Ask and wait; None after `timeout_sec`. In a callback this waits for itself: use `call_async` there.

        Raises TypeError on anything but the service's request.
        """
        answered = Event()
        future = self.call_async(request)
        future.add_done_callback(lambda _: answered.set())
        if not future.done() and not answered.wait(timeout_sec):
            self.remove_pending_request(future)
        exception = future.exception()
        if exception is not None:
            raise exception
        return future.result()

    def call_async(self, request: Any) -> Future:
        """Ask; the future is done when an executor that spins the node has taken the answer. Raises TypeError."""
        if not isinstance(request, self.srv_type.Request):
            raise TypeError(f"Expected {self.srv_type.Request}, got {type(request)}")
        if not self.context._is_up:
            raise RCLError("Failed to send request: client's context is invalid")
        with self._lock:
            sequence = self._check().send(request)
            if sequence in self._pending_requests:
                raise RuntimeError(f"Sequence ({sequence}) conflicts with pending request")
            future = Future()
            self._pending_requests[sequence] = future
            future.add_done_callback(self.remove_pending_request)
        return future

    def get_pending_request(self, sequence_number: int) -> Future:
        """Raises KeyError where nothing waits for that number."""
        with self._lock:
            return self._pending_requests[sequence_number]

    def remove_pending_request(self, future: Future) -> None:
        """Forget a request; its answer is dropped."""
        with self._lock:
            for sequence, pending in self._pending_requests.items():
                if pending is future:
                    del self._pending_requests[sequence]
                    return

    def service_is_ready(self) -> bool:
        return self._check().ready()

    def wait_for_service(self, timeout_sec: float | None = None) -> bool:
        """Whether a server is there, waiting for one up to `timeout_sec` (None: for ever, or until shutdown)."""
        end_s = float("inf") if timeout_sec is None else time.monotonic() + timeout_sec
        while self.context.ok() and not self.service_is_ready() and time.monotonic() < end_s:
            time.sleep(min(_LOOK_AGAIN_S, max(0.0, end_s - time.monotonic())))
        return self.service_is_ready()

    def _arrived(self) -> None:
        self._responses.extend(self._wire.take())
        if self._responses:
            self._wake()

    def _is_ready(self) -> bool:
        return bool(self._responses) and not self._destroyed

    def _take(self) -> Callable[[], Any] | None:
        try:
            sequence, response = self._responses.popleft()
        except IndexError:
            return None
        return partial(self._deliver, sequence, response)

    def _deliver(self, sequence: int, response: Any) -> None:
        with self._lock:
            future = self._pending_requests.get(sequence)
        if future is not None:
            future._set_executor(self._executor_of_node())
            future.set_result(response)
