"""Nodes that are configured, activated, deactivated and cleaned up from outside."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from threading import RLock
from typing import Any, NamedTuple

import lifecycle_msgs.msg
import lifecycle_msgs.srv

from rclpy._rclpy_pybind11 import RCLError
from rclpy.callback_groups import CallbackGroup
from rclpy.lifecycle._state_machine import STATES, TRANSITIONS, StateMachine, Transition
from rclpy.lifecycle.managed_entity import ManagedEntity, TransitionCallbackReturn
from rclpy.lifecycle.publisher import LifecyclePublisher
from rclpy.node import Node

_OWN_DECISIONS = (1, 2, 3, 4, 5, 6, 7)
"""Transitions that may be asked for; the others follow from what a callback returns."""


class LifecycleState(NamedTuple):
    label: str
    state_id: int


class LifecycleNodeMixin(ManagedEntity):
    """For a class that is a `Node` too, whose `__init__` has run."""

    def __init__(
        self, *, enable_communication_interface: bool = True, callback_group: CallbackGroup | None = None
    ) -> None:
        self._state_machine = StateMachine()
        self._transition_lock = RLock()
        self._managed_entities: dict[ManagedEntity, None] = {}
        self._transition_events: Any = None
        if enable_communication_interface:
            self._open_services(callback_group)

    def _open_services(self, group: CallbackGroup | None) -> None:
        services: tuple[tuple[Any, str, Callable[[Any, Any], Any]], ...] = (
            (lifecycle_msgs.srv.ChangeState, "change_state", self._on_change_state),
            (lifecycle_msgs.srv.GetState, "get_state", self._on_get_state),
            (lifecycle_msgs.srv.GetAvailableStates, "get_available_states", self._on_get_available_states),
            (lifecycle_msgs.srv.GetAvailableTransitions, "get_available_transitions", self._on_get_transitions),
            (lifecycle_msgs.srv.GetAvailableTransitions, "get_transition_graph", self._on_get_transition_graph),
        )
        node: Any = self
        self._transition_events = node.create_publisher(lifecycle_msgs.msg.TransitionEvent, "~/transition_event", 10)
        for srv_type, name, callback in services:
            node.create_service(srv_type, f"~/{name}", callback, callback_group=group)

    def trigger_configure(self) -> TransitionCallbackReturn:
        """Raises RCLError in a state where this cannot start; so do the next ones."""
        return self._change_state("configure")

    def trigger_cleanup(self) -> TransitionCallbackReturn:
        return self._change_state("cleanup")

    def trigger_shutdown(self) -> TransitionCallbackReturn | None:
        """None where the node is finalized already, or in between."""
        if self._state_machine.label not in ("unconfigured", "inactive", "active"):
            return None
        return self._change_state("shutdown")

    def trigger_activate(self) -> TransitionCallbackReturn:
        return self._change_state("activate")

    def trigger_deactivate(self) -> TransitionCallbackReturn:
        return self._change_state("deactivate")

    def add_managed_entity(self, entity: ManagedEntity) -> None:
        """Tell this entity of transitions too, in the order added."""
        self._managed_entities[entity] = None

    def _tell(self, callback: str, state: LifecycleState) -> TransitionCallbackReturn:
        for entity in list(self._managed_entities):
            result: TransitionCallbackReturn = getattr(entity, callback)(state)
            if result != TransitionCallbackReturn.SUCCESS:
                return result
        return TransitionCallbackReturn.SUCCESS

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Tells the managed entities; whoever overrides it calls it."""
        return self._tell("on_configure", state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._tell("on_cleanup", state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._tell("on_shutdown", state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._tell("on_activate", state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._tell("on_deactivate", state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._tell("on_error", state)

    def create_lifecycle_publisher(self, *args: Any, **kwargs: Any) -> LifecyclePublisher:
        """As `Node.create_publisher`, managed."""
        if "publisher_class" in kwargs:
            raise TypeError("create_publisher() got an unexpected keyword argument 'publisher_class'")
        node: Any = self
        publisher: LifecyclePublisher = node.create_publisher(*args, **kwargs, publisher_class=LifecyclePublisher)
        self.add_managed_entity(publisher)
        return publisher

    def destroy_lifecycle_publisher(self, publisher: LifecyclePublisher) -> bool:
        self._managed_entities.pop(publisher, None)
        node: Any = self
        return bool(node.destroy_publisher(publisher))

    def _run(self, previous: LifecycleState) -> TransitionCallbackReturn:
        """The callback of the transition state the node is in; an exception in it is an error."""
        callbacks = {
            "configuring": self.on_configure,
            "cleaningup": self.on_cleanup,
            "shuttingdown": self.on_shutdown,
            "activating": self.on_activate,
            "deactivating": self.on_deactivate,
            "errorprocessing": self.on_error,
        }
        node: Any = self
        label = self._state_machine.label
        try:
            result = callbacks[label](previous)
        except Exception as error:  # noqa: BLE001  # becomes the error state, where on_error decides
            node.get_logger().error(f"{label}: {error}\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR
        if not isinstance(result, TransitionCallbackReturn):
            node.get_logger().error(f"{label}: the callback returned {result!r}, not a TransitionCallbackReturn.")
            return TransitionCallbackReturn.ERROR
        return result

    def _change_state(self, wanted: str | int) -> TransitionCallbackReturn:
        machine = self._state_machine
        with self._transition_lock:
            transition = machine.by_label(wanted) if isinstance(wanted, str) else machine.by_number(wanted)
            if transition.number not in _OWN_DECISIONS:
                raise RCLError(
                    f"Transition {transition.label} ({transition.number}) follows by itself; it is not asked for."
                )
            previous = LifecycleState(machine.label, machine.state)
            self._go(transition)
            result = self._run(previous)
            self._go(machine.by_label(result.to_label()))
            if result == TransitionCallbackReturn.ERROR:
                self._go(machine.by_label(self._run(previous).to_label()))
            return result

    def _go(self, transition: Transition) -> None:
        self._state_machine.go(transition)
        events = self._transition_events
        node: Any = self
        if events is None or not node.context.ok() or events not in list(node.publishers):
            return
        events.publish(
            lifecycle_msgs.msg.TransitionEvent(
                timestamp=time.time_ns(),
                transition=lifecycle_msgs.msg.Transition(id=transition.number, label=transition.label),
                start_state=_state(transition.start),
                goal_state=_state(transition.goal),
            )
        )

    def _on_change_state(self, request: Any, response: Any) -> Any:
        node: Any = self
        try:
            response.success = (
                self._change_state(request.transition.label or request.transition.id)
                == TransitionCallbackReturn.SUCCESS
            )
        except RCLError as error:  # what a remote peer asks for must not end this node
            node.get_logger().warning(str(error))
            response.success = False
        return response

    def _on_get_state(self, request: Any, response: Any) -> Any:
        response.current_state = _state(self._state_machine.state)
        return response

    def _on_get_available_states(self, request: Any, response: Any) -> Any:
        response.available_states = [_state(number) for number in STATES]
        return response

    def _on_get_transitions(self, request: Any, response: Any) -> Any:
        response.available_transitions = [_described(transition) for transition in self._state_machine.available()]
        return response

    def _on_get_transition_graph(self, request: Any, response: Any) -> Any:
        response.available_transitions = [_described(transition) for transition in TRANSITIONS]
        return response


def _state(number: int) -> lifecycle_msgs.msg.State:
    return lifecycle_msgs.msg.State(id=number, label=STATES[number])


def _described(transition: Transition) -> lifecycle_msgs.msg.TransitionDescription:
    return lifecycle_msgs.msg.TransitionDescription(
        transition=lifecycle_msgs.msg.Transition(id=transition.number, label=transition.label),
        start_state=_state(transition.start),
        goal_state=_state(transition.goal),
    )


class LifecycleNode(LifecycleNodeMixin, Node):
    """A managed node: the mixin and the node in one."""

    def __init__(self, node_name: str, *, enable_communication_interface: bool = True, **kwargs: Any) -> None:
        Node.__init__(self, node_name, **kwargs)
        LifecycleNodeMixin.__init__(self, enable_communication_interface=enable_communication_interface)
