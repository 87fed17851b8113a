"""Services called one after the other, none of them waited for in a callback."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from robot_pt_ros.calls import Call

LOOK_S = 0.05
APPEAR_S = 5.0
ANSWER_S = 15.0
AGAIN_S = 0.2


Done = Callable[[bool, str, dict[str, str]], None]


class Errands:
    """Lists of calls, first come first served.

    Args:
        triggers, switches: names of the Trigger and SetBool services that may be called.
        said: called with (service, success, message) of every answer.
    """

    def __init__(
        self, node: Node, triggers: Iterable[str], switches: Iterable[str], said: Callable[[str, bool, str], None]
    ):  # fmt: skip
        self._said = said
        self._callers: dict[str, Any] = {name: node.create_client(Trigger, name) for name in triggers}
        self._callers |= {name: node.create_client(SetBool, name) for name in switches}
        self._lists: deque[tuple[deque[Call], Done]] = deque()
        self._future: Any = None
        self._since = self._again = 0.0
        self._messages: dict[str, str] = {}
        node.create_timer(LOOK_S, self._advance, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def busy(self) -> bool:
        return bool(self._lists)

    def serves(self, service: str) -> bool:
        """Whether somebody serves it now."""
        return bool(self._callers[service].service_is_ready())

    def run(self, calls: Sequence[Call], done: Done | None = None) -> None:
        """Ask in order until one fails; `done` gets whether all agreed, how the first failed, and what each said."""
        self._lists.append((deque(calls), done or (lambda ok, sentence, said: None)))
        if len(self._lists) == 1:
            self._begin()

    def abandon(self) -> None:
        """Forget all that is not answered yet; nobody is told."""
        if self._future is not None and self._lists and self._lists[0][0]:
            self._callers[self._lists[0][0][0].service].remove_pending_request(self._future)
        self._future = None
        self._lists.clear()

    def _begin(self) -> None:
        self._messages, self._since, self._again = {}, time.monotonic(), 0.0
        self._advance()

    def _advance(self) -> None:
        """One look: send, take an answer, give up."""
        if not self._lists:
            return
        calls, now = self._lists[0][0], time.monotonic()
        if not calls:
            self._finish(True, "")
        elif self._future is not None:
            self._await(calls[0], now)
        elif now >= self._again:
            self._send(calls[0], now)

    def _send(self, call: Call, now: float) -> None:
        client = self._callers[call.service]
        if client.service_is_ready():
            request = Trigger.Request() if call.data is None else SetBool.Request(data=call.data)
            self._future = client.call_async(request)
            self._future.add_done_callback(lambda future: self._advance())
        elif call.optional:
            self._next()
        elif now - self._since > APPEAR_S:
            self._finish(False, f"nobody serves {call.service}; is its node running and configured?")

    def _await(self, call: Call, now: float) -> None:
        if not self._future.done():
            if now - self._since > max(ANSWER_S, call.patience_s):
                self._callers[call.service].remove_pending_request(self._future)
                self._finish(False, f"{call.service} has not answered for {ANSWER_S:g} s.")
            return
        answered, self._future = self._future, None
        failure = answered.exception()
        if failure is not None:
            self._finish(False, f"{call.service}: {failure}")
            return
        answer = answered.result()
        if not answer.success and now - self._since < call.patience_s:
            self._again = now + AGAIN_S
            return
        self._said(call.service, bool(answer.success), str(answer.message))
        self._messages[call.service] = str(answer.message)
        if answer.success or call.may_refuse:
            self._next()
        else:
            self._finish(False, f"{call.service}: {answer.message}")

    def _next(self) -> None:
        self._lists[0][0].popleft()
        self._since, self._again = time.monotonic(), 0.0
        self._advance()

    def _finish(self, ok: bool, sentence: str) -> None:
        _, done = self._lists.popleft()
        self._future = None
        said = self._messages
        if self._lists:
            self._begin()
        done(ok, sentence, said)
