"""A lifecycle change is asked for again exactly where its request was lost."""

import os
import signal
import time

import pytest
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.task import Future

from robot_pt_ros.bringup import Step
from robot_pt_ros.state_changes import LOST_BEATS, StateChange
from tests.ros import graph as graphs
from tests.ros.node_process import NodeProcess

DOMAIN = 94


class Service:
    """Keeps what was asked, to be answered by the test."""

    def __init__(self):
        self.requests, self.futures = [], []

    def call_async(self, request):
        self.requests.append(request)
        self.futures.append(Future())
        return self.futures[-1]


@pytest.fixture
def asked():
    change, state = Service(), Service()
    return StateChange(Step("arm", "configure"), change, state), change, state


def beats(asked, count=LOST_BEATS):
    for _ in range(count):
        asked[0].beat()
    return asked[0].outcome()


def is_in(state):
    return GetState.Response(current_state=State(id=state))


@pytest.mark.parametrize("success", [True, False])
def test_an_answer_is_the_outcome(asked, success):
    change, service, _ = asked
    assert service.requests == [ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))]
    assert change.outcome() is None
    service.futures[0].set_result(ChangeState.Response(success=success))
    assert change.outcome() is success


def test_a_node_that_works_on_it_does_not_beat_and_is_left_alone(asked):
    assert beats(asked, LOST_BEATS - 1) is None
    assert not asked[2].requests
    for _ in range(100):
        assert asked[0].outcome() is None
    assert (len(asked[1].requests), len(asked[2].requests)) == (1, 0)


def test_a_lost_request_is_made_again_and_a_lost_answer_is_not(asked):
    _, change, state = asked
    assert beats(asked) is None
    assert len(state.requests) == 1
    state.futures[0].set_result(is_in(State.PRIMARY_STATE_UNCONFIGURED))
    assert asked[0].outcome() is None
    assert len(change.requests) == 2
    assert beats(asked) is None
    state.futures[1].set_result(is_in(State.PRIMARY_STATE_INACTIVE))
    assert asked[0].outcome() is True
    assert len(change.requests) == 2


def test_a_look_that_is_lost_too_is_taken_again(asked):
    beats(asked)
    assert beats(asked) is None
    assert len(asked[2].requests) == 2
    assert len(asked[1].requests) == 1


def test_of_two_requests_that_both_came_the_one_that_was_followed_counts(asked):
    _, change, state = asked
    beats(asked)
    state.futures[0].set_result(is_in(State.PRIMARY_STATE_UNCONFIGURED))
    asked[0].outcome()
    change.futures[0].set_result(ChangeState.Response(success=True))
    change.futures[1].set_result(ChangeState.Response(success=False))  # configured already
    assert asked[0].outcome() is True


@pytest.mark.parametrize(
    ("action", "goal"),
    [("configure", State.PRIMARY_STATE_INACTIVE), ("activate", State.PRIMARY_STATE_ACTIVE),
     ("deactivate", State.PRIMARY_STATE_INACTIVE), ("cleanup", State.PRIMARY_STATE_UNCONFIGURED)],
)  # fmt: skip
def test_every_change_knows_where_it_leads(action, goal):
    change, state = Service(), Service()
    asked = StateChange(Step("arm", action), change, state), change, state
    beats(asked)
    state.futures[0].set_result(is_in(goal))
    assert asked[0].outcome() is True


def test_a_node_that_was_killed_while_it_was_asked_is_brought_up_when_it_is_started_again(tmp_path):
    """The request went to the dead one, whose service DDS goes on showing for a while."""
    watcher, started = graphs.Watcher(DOMAIN), []

    def start(node):
        started.append(NodeProcess("supervisor", DOMAIN, tmp_path, "-r", f"__node:={node}", robot="panda"))
        return started[-1]

    try:
        arm = start("arm")
        manager = NodeProcess("manager", DOMAIN, tmp_path, "-p", "nodes:=[late, arm]")
        started.append(manager)
        watcher.until(lambda: watcher.node.count_subscribers("manager/heartbeat"), 20, "no manager")
        watcher.until(lambda: watcher.node.count_publishers("manager/heartbeat"), 20, "no node")
        time.sleep(1.0)  # for the manager to know the arm's services
        os.kill(arm.process.pid, signal.SIGSTOP)
        start("late")
        watcher.until(lambda: "late: configure done" in manager.text, 30, manager.text)
        time.sleep(0.5)
        os.kill(arm.process.pid, signal.SIGKILL)
        start("arm")
        watcher.until(lambda: "the graph is active" in manager.text, 30, "the manager waits for the dead one")
        assert manager.text.count("arm: configure done") == 1
    finally:
        for node in started:
            node.close()
        watcher.close()
