"""Service servers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy._endpoint import Endpoint
from rclpy.qos import QoSProfile


class Service(Endpoint):
    """Made by `Node.create_service`."""

    def __init__(
        self,
        service_impl: Any,
        srv_type: Any,
        srv_name: str,
        callback: Callable[[Any, Any], Any],
        callback_group: Any,
        qos_profile: QoSProfile,
    ) -> None:
        wire, session, full_name = service_impl
        super().__init__(wire, session, callback_group)
        self.srv_type = srv_type
        self.srv_name = srv_name
        self.callback = callback
        self.qos_profile = qos_profile
        self._full_name = full_name
        self._requests: deque[tuple[Any, Any]] = deque()

    @property
    def service_name(self) -> str:
        """Fully qualified and remapped."""
        self._check()
        return self._full_name

    def send_response(self, response: Any, header: Any) -> None:
        """Answer one request. Raises TypeError on anything but the service's response."""
        if not isinstance(response, self.srv_type.Response):
            raise TypeError(
                f"the callback of service {self._full_name!r} must return {self.srv_type.Response}, "
                f"it returned {type(response)}"
            )
        with self._lock:
            if not self._destroyed:
                self._wire.reply(header, response)

    def _arrived(self) -> None:
        self._requests.extend(self._wire.take())
        if self._requests:
            self._wake()

    def _is_ready(self) -> bool:
        return bool(self._requests) and not self._destroyed

    def _take(self) -> Callable[[], Any] | None:
        try:
            header, request = self._requests.popleft()
        except IndexError:
            return None
        return partial(self._answer, header, request)

    async def _answer(self, header: Any, request: Any) -> None:
        from rclpy.executors import await_or_execute

        response = await await_or_execute(self.callback, request, self.srv_type.Response())
        self.send_response(response, header)
