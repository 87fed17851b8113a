"""What a node has made, and the executor that serves it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from itertools import count
from operator import itemgetter
from typing import Any

from rclpy.client import Client
from rclpy.event_handler import EventHandler
from rclpy.guard_condition import GuardCondition
from rclpy.publisher import Publisher
from rclpy.service import Service
from rclpy.subscription import Subscription
from rclpy.timer import Timer

_TURN = (Subscription, GuardCondition, EventHandler, Client, Service)
"""In which order a turn serves what is ready, after timers; of one kind, what was made first."""


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
        self._arrivals = _Arrivals(self._wake_executor)

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

    def _ready_entities(self) -> list[Any]:
        """In the order in which a turn serves them: timers before what arrived, whoever publishes fast."""
        return [*(timer for timer in list(self._timers) if timer._is_ready()), *self._arrivals.ready()]


class _Arrivals:
    """Which entities of a node are ready, without asking each: they say when something came, from any thread."""

    def __init__(self, wake_executor: Callable[[], None]):
        self._wake_executor = wake_executor
        self._turns: dict[Any, tuple[int, int]] = {}
        self._made = count()
        self._stirred: dict[Any, None] = {}
        """Entities for which something came, as long as they are ready."""

    def serve(self, entity: Any) -> None:
        """Look at it whenever it wakes, and once for what came before it could."""
        self._turns[entity] = next(n for n, kind in enumerate(_TURN) if isinstance(entity, kind)), next(self._made)

        def wake() -> None:
            self._stirred[entity] = None
            self._wake_executor()

        entity._wake = wake
        self._stirred[entity] = None

    def forget(self, entity: Any) -> None:
        """Of a destroyed entity."""
        self._turns.pop(entity, None)
        self._stirred.pop(entity, None)

    def ready(self) -> list[Any]:
        """In the order of their turns."""
        found: list[tuple[tuple[int, int], Any]] = []
        for entity in list(self._stirred):
            self._stirred.pop(entity, None)  # before it is asked: what comes meanwhile puts it back
            turn = self._turns.get(entity)
            if turn is not None and entity._is_ready():
                self._stirred[entity] = None
                found.append((turn, entity))
        return [entity for _, entity in sorted(found, key=itemgetter(0))]
