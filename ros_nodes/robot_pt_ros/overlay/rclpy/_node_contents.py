"""What a node has made, and the executor that serves it."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

from rclpy.client import Client
from rclpy.guard_condition import GuardCondition
from rclpy.publisher import Publisher
from rclpy.service import Service
from rclpy.subscription import Subscription
from rclpy.timer import Timer


class NodeContents:
    """Mixed into `Node`."""

    def _init_contents(self) -> None:
        self._publishers: list[Publisher] = []
        self._subscriptions: list[Subscription] = []
        self._clients: list[Client] = []
        self._services: list[Service] = []
        self._timers: list[Timer] = []
        self._guards: list[GuardCondition] = []
        self._executor_ref: weakref.ReferenceType[Any] | None = None

    @property
    def publishers(self) -> Iterator[Publisher]:
        yield from self._publishers

    @property
    def subscriptions(self) -> Iterator[Subscription]:
        yield from self._subscriptions

    @property
    def clients(self) -> Iterator[Client]:
        yield from self._clients

    @property
    def services(self) -> Iterator[Service]:
        yield from self._services

    @property
    def timers(self) -> Iterator[Timer]:
        yield from self._timers

    @property
    def guards(self) -> Iterator[GuardCondition]:
        yield from self._guards

    @property
    def executor(self) -> Any:
        """The executor this node was added to last, or None."""
        return self._executor_ref() if self._executor_ref is not None else None

    @executor.setter
    def executor(self, new_executor: Any) -> None:
        current = self.executor
        if current is new_executor:
            return
        if current is not None:
            current.remove_node(self)
        if new_executor is None:
            self._executor_ref = None
        else:
            self._executor_ref = weakref.ref(new_executor)
            new_executor.add_node(self)

    def _wake_executor(self) -> None:
        executor = self.executor
        if executor is not None:
            executor.wake()

    def _executable_entities(self) -> list[Any]:
        """In the order in which a turn serves them: timers before what arrived, whoever publishes fast."""
        endpoints = [*self._publishers, *self._subscriptions]
        events = [handler for endpoint in endpoints for handler in endpoint.event_handlers]
        return [*self._timers, *self._subscriptions, *self._guards, *events, *self._clients, *self._services]
