"""Asks the policy node for another policy: checkpoint, then policy/prepare or policy/reload, none of them waited for in a callback."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

ANSWER_S = 120.0
"""A large policy on a slow disk takes its time; a policy node that died never answers."""
Done = Callable[[bool, str], None]


class PolicyCalls:
    """One request at a time; call `look` often."""

    def __init__(self, node: Node):
        self._parameters = node.create_client(SetParameters, "policy/set_parameters")
        self._clients = {kind: node.create_client(Trigger, f"policy/{kind}") for kind in ("prepare", "reload")}
        self._pending: tuple[Any, Any, Callable[[Any], None]] | None = None  # client, future, what follows
        self._done: Done | None = None
        self._until_s = 0.0

    @property
    def busy(self) -> bool:
        return self._done is not None

    def ask(self, kind: str, folder: str, done: Done) -> None:
        """prepare or reload the checkpoint in `folder`; `done` gets whether that went well, and a sentence."""
        assert not self.busy
        self._done = done
        self._until_s = time.monotonic() + ANSWER_S
        named = [Parameter("checkpoint", value=folder).to_parameter_msg()]
        self._send(self._parameters, SetParameters.Request(parameters=named), lambda reply: self._named(kind, reply))

    def name(self, folder: str) -> None:
        """Let `checkpoint` name what acts again, for whoever reloads by hand."""
        if not self.busy and folder and self._parameters.service_is_ready():
            named = [Parameter("checkpoint", value=folder).to_parameter_msg()]
            self._parameters.call_async(SetParameters.Request(parameters=named))

    def look(self) -> None:
        """Take an answer, or give up."""
        if self._pending is None:
            return
        client, future, follows = self._pending
        if future.done():
            self._pending = None
            failure = future.exception()
            if failure is not None:
                self._finish(False, f"{client.srv_name}: {failure}")
            else:
                follows(future.result())
        elif time.monotonic() > self._until_s:
            client.remove_pending_request(future)
            self._finish(False, f"{client.srv_name} has not answered for {ANSWER_S:g} s; is the policy node alive?")

    def _send(self, client: Any, request: Any, follows: Callable[[Any], None]) -> None:
        if not client.service_is_ready():
            self._finish(False, f"nobody serves {client.srv_name}; is the policy node running and configured?")
            return
        self._pending = (client, client.call_async(request), follows)

    def _named(self, kind: str, reply: Any) -> None:
        result = reply.results[0]
        if not result.successful:
            self._finish(False, f"the policy node takes no other checkpoint: {result.reason}")
            return
        self._send(self._clients[kind], Trigger.Request(), lambda r: self._finish(bool(r.success), str(r.message)))

    def _finish(self, ok: bool, sentence: str) -> None:
        done, self._done, self._pending = self._done, None, None
        assert done is not None
        done(ok, sentence)
