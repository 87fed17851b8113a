"""Managed nodes: every transition and outcome against the table of rcl_lifecycle, services, events, publishers."""

from __future__ import annotations

import pytest
from lifecycle_msgs.msg import State, Transition, TransitionEvent
from lifecycle_msgs.srv import ChangeState, GetAvailableStates, GetAvailableTransitions, GetState
from rclpy._rclpy_pybind11 import RCLError
from rclpy.lifecycle import (
    LifecycleNode,
    LifecycleState,
    ManagedEntity,
    Node,
    Publisher,
    SimpleManagedEntity,
    TransitionCallbackReturn,
)
from rclpy.lifecycle._state_machine import STATES, TRANSITIONS
from std_msgs.msg import Int64

DOMAIN = 45
SUCCESS, FAILURE, ERROR = TransitionCallbackReturn


class Scripted(LifecycleNode):
    """Returns what the test says, by callback; an exception is raised."""

    def __init__(self, name: str, **arguments):
        self.script: dict[str, object] = {}
        self.told: list[tuple[str, LifecycleState]] = []
        super().__init__(name, **arguments)

    def _play(self, name: str, state: LifecycleState):
        self.told.append((name, state))
        outcome = self.script.get(name, SUCCESS)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def on_configure(self, state):
        return self._play("configure", state)

    def on_activate(self, state):
        return self._play("activate", state)

    def on_deactivate(self, state):
        return self._play("deactivate", state)

    def on_cleanup(self, state):
        return self._play("cleanup", state)

    def on_shutdown(self, state):
        return self._play("shutdown", state)

    def on_error(self, state):
        return self._play("error", state)


def test_numbers_are_those_of_the_messages() -> None:
    """lifecycle_msgs names every state and transition; the table here must use its numbers."""
    for number, label in STATES.items():
        name = {"unknown": "UNKNOWN"}.get(label, label.upper())
        prefix = "TRANSITION_STATE_" if number >= 10 else "PRIMARY_STATE_"
        assert getattr(State, prefix + name) == number
    named = {
        "configure": Transition.TRANSITION_CONFIGURE,
        "cleanup": Transition.TRANSITION_CLEANUP,
        "activate": Transition.TRANSITION_ACTIVATE,
        "deactivate": Transition.TRANSITION_DEACTIVATE,
    }
    for label, number in named.items():
        assert [t.number for t in TRANSITIONS if t.label == label] == [number]
    assert [t.number for t in TRANSITIONS if t.label == "shutdown"] == [
        Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
        Transition.TRANSITION_INACTIVE_SHUTDOWN,
        Transition.TRANSITION_ACTIVE_SHUTDOWN,
    ]
    outcomes = {t.number: (t.label, STATES[t.start]) for t in TRANSITIONS if t.number >= 10}
    for step, state in (
        ("CONFIGURE", "configuring"),
        ("CLEANUP", "cleaningup"),
        ("ACTIVATE", "activating"),
        ("DEACTIVATE", "deactivating"),
        ("SHUTDOWN", "shuttingdown"),
        ("ERROR", "errorprocessing"),
    ):
        for outcome in ("success", "failure", "error"):
            number = getattr(Transition, f"TRANSITION_ON_{step}_{outcome.upper()}")
            assert outcomes[number] == (f"transition_{outcome}", state)
    assert SUCCESS.value == Transition.TRANSITION_CALLBACK_SUCCESS
    assert FAILURE.value == Transition.TRANSITION_CALLBACK_FAILURE
    assert ERROR.value == Transition.TRANSITION_CALLBACK_ERROR


PATHS = {"unconfigured": (), "inactive": ("configure",), "active": ("configure", "activate")}
# (from, transition) -> where success and failure lead; design.ros2.org/articles/node_lifecycle.html
GOALS = {
    ("unconfigured", "configure"): ("inactive", "unconfigured"),
    ("inactive", "activate"): ("active", "inactive"),
    ("active", "deactivate"): ("inactive", "active"),
    ("inactive", "cleanup"): ("unconfigured", "inactive"),
    ("unconfigured", "shutdown"): ("finalized", "finalized"),
    ("inactive", "shutdown"): ("finalized", "finalized"),
    ("active", "shutdown"): ("finalized", "finalized"),
}


@pytest.mark.parametrize(("start", "step"), GOALS)
@pytest.mark.parametrize("outcome", [SUCCESS, FAILURE, ERROR, ValueError("mine"), None])
@pytest.mark.parametrize("recovery", [SUCCESS, FAILURE, ERROR, ValueError("again")])
def test_every_outcome_leads_where_it_should(graph, start: str, step: str, outcome, recovery) -> None:
    node = graph.node("managed", Scripted, enable_communication_interface=False, start_parameter_services=False)
    for way in PATHS[start]:
        getattr(node, f"trigger_{way}")()
    assert node._state_machine.label == start
    node.script = {step: outcome, "error": recovery}
    node.told.clear()
    result = getattr(node, f"trigger_{step}")()
    is_error = outcome not in (SUCCESS, FAILURE)
    assert result == (ERROR if is_error else outcome)
    success, failure = GOALS[start, step]
    recovered = "unconfigured" if recovery == SUCCESS else "finalized"
    goal = recovered if is_error else (success if outcome == SUCCESS else failure)
    assert node._state_machine.label == goal
    assert [name for name, _ in node.told] == ([step, "error"] if is_error else [step])
    assert all(state.label == start for _, state in node.told)


def test_transitions_that_do_not_start_here_are_refused(graph) -> None:
    node = graph.node("managed", Scripted)
    for step in ("activate", "deactivate", "cleanup"):
        with pytest.raises(RCLError, match=r"possible are: configure \(1\), shutdown \(5\)"):
            getattr(node, f"trigger_{step}")()
    assert node.trigger_shutdown() == SUCCESS
    assert node.trigger_shutdown() is None
    with pytest.raises(RCLError, match="none"):
        node.trigger_configure()
    assert node.told == [("shutdown", LifecycleState("unconfigured", 1))]


def test_managed_entities_are_told_in_order_until_one_refuses(graph) -> None:
    assert Node is LifecycleNode
    node, told = graph.node("managed", LifecycleNode), []

    class Entity(ManagedEntity):
        def __init__(self, name: str, outcome=SUCCESS):
            self.name, self.outcome = name, outcome

        def on_configure(self, state):
            told.append(self.name)
            return self.outcome

    for name, outcome in (("a", SUCCESS), ("b", FAILURE), ("c", SUCCESS)):
        node.add_managed_entity(Entity(name, outcome))
    assert node.trigger_configure() == FAILURE
    assert told == ["a", "b"]


def test_publishers_speak_only_while_active(graph) -> None:
    node, received = graph.node("managed", LifecycleNode), []
    publisher = node.create_lifecycle_publisher(Int64, "numbers", 10)
    assert isinstance(publisher, Publisher)
    node.create_subscription(Int64, "numbers", lambda m: received.append(m.data), 10)
    assert graph.spin_until(lambda: publisher.get_subscription_count() == 1)
    publisher.publish(Int64(data=1))
    node.trigger_configure()
    publisher.publish(Int64(data=2))
    node.trigger_activate()
    assert publisher.is_activated
    publisher.publish(Int64(data=3))
    node.trigger_deactivate()
    publisher.publish(Int64(data=4))
    node.trigger_activate()
    publisher.publish(Int64(data=5))
    assert graph.spin_until(lambda: 5 in received)
    assert received == [3, 5]
    with pytest.raises(TypeError, match="publisher_class"):
        node.create_lifecycle_publisher(Int64, "numbers", 10, publisher_class=Publisher)
    assert node.destroy_lifecycle_publisher(publisher)
    assert node.trigger_deactivate() == SUCCESS


def test_methods_can_be_guarded() -> None:
    class Entity(SimpleManagedEntity):
        @SimpleManagedEntity.when_enabled
        def plain(self):
            return "on"

        @SimpleManagedEntity.when_enabled(when_not_enabled=lambda: "off")
        def other(self):
            return "on"

    entity = Entity()
    assert (entity.plain(), entity.other()) == (None, "off")
    entity.on_activate(None)
    assert (entity.plain(), entity.other()) == ("on", "on")


def test_the_five_services_and_the_event_topic(graph) -> None:
    node, watcher = graph.node("managed", Scripted, namespace="/ns"), graph.node("watcher")
    events: list[TransitionEvent] = []
    watcher.create_subscription(TransitionEvent, "/ns/managed/transition_event", events.append, 20)

    def client(kind, name: str):
        made = watcher.create_client(kind, f"/ns/managed/{name}")
        assert made.wait_for_service(10)
        return made

    change, state = client(ChangeState, "change_state"), client(GetState, "get_state")
    states, graph_of = (
        client(GetAvailableStates, "get_available_states"),
        client(GetAvailableTransitions, "get_transition_graph"),
    )
    available = client(GetAvailableTransitions, "get_available_transitions")
    assert graph.spin_until(lambda: node._transition_events.get_subscription_count() == 1)

    def ask(service, request):
        future = service.call_async(request)
        assert graph.spin_until(future.done)
        return future.result()

    assert ask(state, GetState.Request()).current_state == State(id=1, label="unconfigured")
    found = ask(available, GetAvailableTransitions.Request()).available_transitions
    assert [(t.transition.label, t.goal_state.label) for t in found] == [
        ("configure", "configuring"),
        ("shutdown", "shuttingdown"),
    ]
    assert len(ask(graph_of, GetAvailableTransitions.Request()).available_transitions) == len(TRANSITIONS)
    assert len(ask(states, GetAvailableStates.Request()).available_states) == 11
    assert ask(change, ChangeState.Request(transition=Transition(id=1))).success
    assert ask(state, GetState.Request()).current_state.label == "inactive"
    assert ask(change, ChangeState.Request(transition=Transition(label="activate"))).success
    for refused in (Transition(id=1), Transition(label="nonsense"), Transition(id=40), Transition(id=200)):
        assert not ask(change, ChangeState.Request(transition=refused)).success
    assert ask(state, GetState.Request()).current_state == State(id=3, label="active")
    assert graph.spin_until(lambda: len(events) == 4)
    assert [(e.start_state.label, e.goal_state.label) for e in events] == [
        ("unconfigured", "configuring"),
        ("configuring", "inactive"),
        ("inactive", "activating"),
        ("activating", "active"),
    ]
    assert events[0].timestamp > 0
    node.script["deactivate"] = FAILURE
    assert not ask(change, ChangeState.Request(transition=Transition(id=4))).success
