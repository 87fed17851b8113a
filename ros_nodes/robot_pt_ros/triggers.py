"""Trigger services that are pulled one after the other once the graph is up: safety/arm, safety/start_policy, policy/start."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from rclpy.node import Node
from std_srvs.srv import Trigger

TRIES_S = 10.0
"""How long a refused trigger is asked again [s]; later it could start what an operator has stopped meanwhile."""
PAUSE_S = 0.2
ANSWER_S = 3.0
"""A trigger that is not answered for so long is pulled again: it may have gone to a process that is no more [s]."""


class Triggers:
    """One after the other: the policy may ask for motion only when the supervisor listens to it. What fails ends the row."""

    def __init__(self, node: Node, names: Sequence[str]):
        self._log = node.get_logger()
        self._left = [(name, node.create_client(Trigger, name)) for name in names]
        self._at = self._until = 0.0
        self._refusal = ""

    def pull(self) -> None:
        """The next one, if it is time; called often."""
        now = time.monotonic()
        if not self._left or now < self._at:
            return
        name, client = self._left[0]
        if self._until and now > self._until:
            self._left.clear()
            silent = f"it has not answered for {TRIES_S:g} s; call it by hand when its node runs."
            self._log.error(f"{name}: {self._refusal or silent}")
        elif client.service_is_ready():
            self._at = now + ANSWER_S
            self._until = self._until or now + TRIES_S
            client.call_async(Trigger.Request()).add_done_callback(partial(self._on_pulled, name))

    def _on_pulled(self, name: str, future: Any) -> None:
        """A refused one is asked again for a while: an arm must be known to be at rest before it is armed."""
        if not self._left or self._left[0][0] != name:  # the second answer of one that was pulled twice
            return
        now, reply, self._at = time.monotonic(), future.result(), 0.0
        if reply.success:
            self._left.pop(0)
        elif now < self._until:
            self._at, self._refusal = now + PAUSE_S, str(reply.message)
            return
        else:
            self._left.clear()  # what follows depends on it
        self._until, self._refusal = 0.0, ""
        log = self._log.info if reply.success else self._log.error
        log(f"{name}: {reply.message}")
