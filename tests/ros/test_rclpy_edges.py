"""The seams: two contexts, a failing source, queues without bound, simulated rates, events that merge, early shutdown."""

from __future__ import annotations

import threading
import time

import pytest
from rclpy.callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.context import Context
from rclpy.event_handler import (
    EventHandler,
    QoSLivelinessChangedInfo,
    QoSMessageLostInfo,
    QoSPublisherEventType,
    QoSRequestedDeadlineMissedInfo,
    QoSSubscriptionEventType,
)
from rclpy.exceptions import NotInitializedException
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.guard_condition import GuardCondition
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import HistoryPolicy, QoSPolicyKind, QoSProfile, qos_policy_name_from_kind
from rclpy.signals import SignalHandlerGuardCondition
from rclpy.task import Future
from rclpy.time import Time
from rclpy.time_source import TimeSource
from rclpy.utilities import get_available_rmw_implementations, get_rmw_implementation_identifier
from std_msgs.msg import Int64

from robot_pt_ros.wire.events import Event

DOMAIN = 54


def test_two_contexts_in_one_process_hear_each_other(graph) -> None:
    here, received = graph.node("here"), []
    here.create_subscription(Int64, "numbers", lambda m: received.append(m.data), 10)
    other = Context()
    other.init([], domain_id=DOMAIN)
    node = Node("there", context=other)
    publisher = node.create_publisher(Int64, "numbers", 10)
    assert graph.spin_until(lambda: publisher.get_subscription_count() == 1)
    publisher.publish(Int64(data=4))
    assert graph.spin_until(lambda: received == [4])
    other.shutdown()
    assert graph.context.ok()
    assert here.count_publishers("numbers") == 1  # its node still stands
    node.destroy_node()
    assert graph.spin_until(lambda: here.count_publishers("numbers") == 0)
    other.destroy()


def test_a_failing_source_does_not_deafen_the_others(graph, capsys: pytest.CaptureFixture[str]) -> None:
    node, received = graph.node(), []
    broken = node.create_subscription(Int64, "broken", print, 10)

    def fail() -> None:
        broken._wire.take_raw(10)
        raise RuntimeError("a bad source")

    broken._session._ready[broken._wire] = fail
    node.create_subscription(Int64, "whole", lambda m: received.append(m.data), 10)
    publishers = [node.create_publisher(Int64, name, 10) for name in ("broken", "whole")]
    assert graph.spin_until(lambda: all(p.get_subscription_count() == 1 for p in publishers))
    for publisher in publishers:
        publisher.publish(Int64(data=1))
    assert graph.spin_until(lambda: received == [1])
    assert "a bad source" in capsys.readouterr().err


def test_keep_all_keeps_all(graph) -> None:
    node, received = graph.node(), []
    everything = QoSProfile(history=HistoryPolicy.KEEP_ALL)
    subscription = node.create_subscription(Int64, "numbers", lambda m: received.append(m.data), everything)
    publisher = node.create_publisher(Int64, "numbers", everything)
    assert graph.spin_until(lambda: publisher.get_subscription_count() == 1)
    assert subscription._queue.maxlen is None
    for number in range(300):
        publisher.publish(Int64(data=number))
    assert graph.spin_until(lambda: len(received) == 300)
    assert received == list(range(300))


def test_rates_sleep_in_simulated_time(graph) -> None:
    node = graph.node()
    assert node.set_parameters([Parameter("use_sim_time", value=True)])[0].successful
    clock, woken = node.get_clock(), []
    rate = node.create_rate(10.0)

    def sleep_twice() -> None:
        for _ in range(2):
            rate.sleep()
            woken.append(clock.now().nanoseconds)

    sleeper = threading.Thread(target=sleep_twice)
    sleeper.start()
    graph.spin_for(0.2)
    assert woken == []
    for step in (1, 2):
        clock.set_ros_time_override(Time(nanoseconds=step * 10**8, clock_type=ClockType.ROS_TIME))
        assert graph.spin_until(lambda step=step: len(woken) == step)
        time.sleep(0.5)  # until it sleeps again
    sleeper.join(5)
    assert woken == [10**8, 2 * 10**8]


def test_time_sources_drive_ros_clocks_only(graph) -> None:
    node, clock = graph.node(), Clock(clock_type=ClockType.ROS_TIME)
    source = TimeSource(node=node)
    with pytest.raises(ValueError, match="ROS_TIME"):
        source.attach_clock(Clock())  # type: ignore[arg-type]
    source.attach_clock(clock)
    source.ros_time_is_active = True
    source.ros_time_is_active = True
    assert clock.ros_time_is_active
    source.detach_node()
    assert not clock.ros_time_is_active


def handler(kind, told: list) -> EventHandler:
    return EventHandler(callback_group=MutuallyExclusiveCallbackGroup(), callback=told.append, event_type=kind)


@pytest.mark.parametrize(
    ("kind", "event", "info"),
    [
        (
            QoSSubscriptionEventType.RCL_SUBSCRIPTION_REQUESTED_DEADLINE_MISSED,
            Event("deadline_missed", 3, 2),
            QoSRequestedDeadlineMissedInfo(3, 2),
        ),
        (
            QoSSubscriptionEventType.RCL_SUBSCRIPTION_MESSAGE_LOST,
            Event("message_lost", 5, 5),
            QoSMessageLostInfo(5, 5),
        ),
        (
            QoSSubscriptionEventType.RCL_SUBSCRIPTION_LIVELINESS_CHANGED,
            Event("liveliness_changed", 3, 0, "", 1, 2, -1, 1),
            QoSLivelinessChangedInfo(1, 2, -1, 1),
        ),
    ],
)
def test_events_become_rclpys_payloads(kind, event: Event, info: object) -> None:
    told: list[object] = []
    made = handler(kind, told)
    assert not made._is_ready()
    assert made._take() is None
    made._happened(event)
    call = made._take()
    assert call is not None
    call()
    assert told == [info]
    assert type(told[0]) is type(info)
    made._happened(event)
    made.destroy()
    assert not made._is_ready()


def test_policies_that_rclpy_does_not_name_are_invalid() -> None:
    told: list[object] = []
    made = handler(QoSPublisherEventType.RCL_PUBLISHER_OFFERED_INCOMPATIBLE_QOS, told)
    made._happened(Event("incompatible_qos", 1, 1, "data representation"))
    made._take()()  # type: ignore[misc]
    assert told[0].last_policy_kind == QoSPolicyKind.INVALID  # type: ignore[attr-defined]
    assert qos_policy_name_from_kind(QoSPolicyKind.DEADLINE) == "DEADLINE"
    assert qos_policy_name_from_kind(1 << 4) == "RELIABILITY"


def test_nothing_starts_on_a_context_that_is_not_up() -> None:
    context = Context()
    with pytest.raises(NotInitializedException):
        GuardCondition(None, None, context=context)
    with pytest.raises(NotInitializedException):
        Node("n", context=context)
    context.init([], domain_id=DOMAIN)
    guard = SignalHandlerGuardCondition(context)
    context.shutdown()
    assert guard._is_ready()
    assert SingleThreadedExecutor(context=context).spin() is None


def test_the_bases_leave_their_work_to_others(graph) -> None:
    group = CallbackGroup()
    for call in (group.can_execute, group.beginning_execution, group.ending_execution):
        with pytest.raises(NotImplementedError):
            call(None)
    graph.start()
    base = Executor(context=graph.context)
    with pytest.raises(NotImplementedError):
        base.spin_once()
    with pytest.raises(NotImplementedError):
        base.spin_once_until_future_complete(Future())
    assert base.shutdown()


def test_cancelled_tasks_do_not_run(graph) -> None:
    executor, ran = graph.start().executor, []

    async def work() -> None:
        ran.append(1)

    executor.create_task(work).cancel()
    executor.create_task(ran.append, 2)
    assert graph.spin_until(lambda: ran and not executor._tasks)
    assert ran == [2]


def test_a_coroutine_goes_on_when_what_it_awaits_is_set_elsewhere(graph) -> None:
    """By a thread, by a callback, before it was asked for, and never: cancelled."""
    executor = graph.start().executor
    later, there, given_up = Future(), Future(), Future()
    there.set_result("there")

    async def wait(future: Future) -> object:
        return await future

    tasks = [executor.create_task(wait, future) for future in (later, there, given_up)]
    assert graph.spin_until(lambda: tasks[1].done() and tasks[0]._waiting and tasks[2]._waiting)
    setter = threading.Thread(target=lambda: later.set_result("late"))
    setter.start()
    assert graph.spin_until(tasks[0].done)
    setter.join(5)
    given_up.cancel()
    assert graph.spin_until(lambda: tasks[2].done() or tasks[2].cancelled())
    assert [task.result() for task in tasks] == ["late", "there", None]


def test_done_callbacks_run_where_their_executor_spins(graph) -> None:
    executor, called = graph.start().executor, []
    future = Future(executor=executor)
    future.add_done_callback(lambda done: called.append(("before", done.result())))
    future.add_done_callback(called.append)
    assert future.remove_done_callback(called.append)
    assert not future.remove_done_callback(called.append)
    future.set_result(3)
    future.add_done_callback(lambda done: called.append(("after", done.result())))
    assert called == [], "not in the thread that sets it"
    assert graph.spin_until(lambda: len(called) == 2)
    assert called == [("before", 3), ("after", 3)]


def test_what_a_callback_shuts_down_is_cancelled_not_run(graph) -> None:
    executor, ran = graph.start().executor, []
    executor.create_task(lambda: executor.shutdown(0.0))
    waiting = executor.create_task(ran.append, 1)
    executor.spin_once(timeout_sec=5)
    executor._run(waiting)
    assert (ran, waiting.cancelled(), waiting.done()) == ([], True, False)


def test_an_executor_asks_the_group_whether_something_may_run(graph) -> None:
    node, group = graph.node(), MutuallyExclusiveCallbackGroup()
    first, second = (node.create_guard_condition(lambda: None, group) for _ in range(2))
    assert graph.executor.can_execute(first)
    assert group.beginning_execution(first)
    assert not graph.executor.can_execute(second)
    group.ending_execution(first)
    assert graph.executor.can_execute(second)


def test_a_callback_that_says_nothing_of_itself_gets_the_message(graph) -> None:
    """`set().update` has no signature to read: it is given the message alone, here its bytes."""
    node, heard = graph.node(), set()
    node.create_subscription(Int64, "raw", heard.update, 10, raw=True)
    publisher = node.create_publisher(Int64, "raw", 10)
    assert graph.spin_until(publisher.get_subscription_count)
    publisher.publish(Int64(data=0x7B))
    assert graph.spin_until(lambda: 0x7B in heard)
    (subscription,) = (one for one in node.subscriptions if one.topic_name == "/raw")
    assert subscription.callback == heard.update


def test_awaiting_something_else_is_polled(graph) -> None:
    executor, turns = graph.start().executor, []

    class Later:
        def __await__(self):
            for _ in range(3):
                turns.append(1)
                yield
            return "there"

    async def wait() -> str:
        return await Later()

    task = executor.create_task(wait)
    assert graph.spin_until(task.done)
    assert (task.result(), len(turns)) == ("there", 3)


def test_ctrl_c_in_a_callback_frees_its_group(graph) -> None:
    node, told = graph.node(), []

    def interrupted() -> None:
        raise KeyboardInterrupt

    first, second = node.create_guard_condition(interrupted), node.create_guard_condition(lambda: told.append(1))
    first.trigger()
    with pytest.raises(KeyboardInterrupt):
        graph.executor.spin_once(timeout_sec=1)
    second.trigger()
    assert graph.spin_until(lambda: told)


def test_whose_bytes_these_are() -> None:
    assert get_rmw_implementation_identifier() in get_available_rmw_implementations()
