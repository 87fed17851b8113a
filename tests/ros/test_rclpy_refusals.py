"""What is refused, and how it is said: requests that end badly, peers that hang, names, types, states that follow by themselves."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from typing import Any

import pytest
from rclpy import _names
from rclpy._rclpy_pybind11 import RCLError
from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.exceptions import InvalidNodeNameException
from rclpy.executors import MultiThreadedExecutor, ShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, ManagedEntity, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.parameter_service import ParameterService
from rclpy.signals import (
    SignalHandlerOptions,
    get_current_signal_handlers_options,
    install_signal_handlers,
    uninstall_signal_handlers,
)
from rclpy.time import Time
from rclpy.type_hash import TypeHash
from std_msgs.msg import Int64
from std_srvs.srv import Trigger

DOMAIN = 147
CONFIGURE_SUCCEEDED, LISTENER = 10, """
import sys, rclpy
from std_msgs.msg import Int64
rclpy.init()
node = rclpy.create_node("listener")
node.create_subscription(Int64, "numbers", lambda m: None, 10)
sys.stdout.write("ready\\n")
sys.stdout.flush()
rclpy.spin(node)
"""  # fmt: skip


def test_what_goes_wrong_with_a_request_is_raised_where_it_is_waited_for(graph: Any) -> None:
    client = graph.node().create_client(Trigger, "nobody")
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            client.call(Trigger.Request(), timeout_sec=10.0)
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert graph.spin_until(lambda: client._pending_requests)
    (number,) = client._pending_requests
    client.get_pending_request(number).set_exception(RuntimeError("the server broke"))
    thread.join(10)
    assert [str(error) for error in raised] == ["the server broke"]
    with pytest.raises(KeyError):
        client.get_pending_request(number)


def test_two_requests_never_share_a_number(graph: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = graph.node().create_client(Trigger, "nobody")
    number = client.call_async(Trigger.Request()) and next(iter(client._pending_requests))
    monkeypatch.setattr(type(client._wire), "send", lambda wire, request: number)
    with pytest.raises(RuntimeError, match=rf"Sequence \({number}\) conflicts"):
        client.call_async(Trigger.Request())
    assert list(client._pending_requests) == [number]


def test_a_call_that_nobody_answers_in_time_leaves_nothing_behind(graph: Any) -> None:
    client = graph.node().create_client(Trigger, "nobody")
    assert client.call(Trigger.Request(), timeout_sec=0.05) is None
    assert not client._pending_requests


def test_a_reader_that_hangs_is_waited_for_as_long_as_asked_and_not_beyond_the_end(graph: Any, program: Any) -> None:
    listener = program(LISTENER)
    assert listener.stdout.readline() == "ready\n"
    context = Context()
    context.init([], domain_id=DOMAIN)
    node = Node("talker", context=context)
    publisher = node.create_publisher(Int64, "numbers", 10)
    assert graph.start().spin_until(lambda: publisher.get_subscription_count() == 1)
    publisher.publish(Int64(data=1))
    assert publisher.wait_for_all_acked(Duration(seconds=10))
    os.kill(listener.pid, signal.SIGSTOP)
    os.waitid(
        os.P_PID, listener.pid, os.WSTOPPED | os.WNOWAIT
    )  # all its threads stand still, also the one that acknowledges
    publisher.publish(Int64(data=2))
    begun = time.monotonic()
    assert not publisher.wait_for_all_acked(Duration(seconds=0.3))
    assert 0.25 < time.monotonic() - begun < 3
    threading.Timer(0.2, context.shutdown).start()
    with pytest.raises(RCLError, match="wait for all acknowledged"):
        publisher.wait_for_all_acked()
    os.kill(listener.pid, signal.SIGCONT)
    node.destroy_node()


@pytest.mark.parametrize(
    ("name", "why", "at"),
    [("", "empty", 0), ("a b", "alphanumerics", 1), ("9lives", "start with a number", 0), ("n" * 256, "length", 255)],
)
def test_node_names_and_why_not(graph: Any, name: str, why: str, at: int) -> None:
    found = _names.node_name_error(name)
    assert found is not None
    assert why in found[0]
    assert found[1] == at
    graph.start()
    with pytest.raises(InvalidNodeNameException, match=why):
        Node(name, context=graph.context)


def test_an_executor_that_was_shut_down_starts_nothing_more(graph: Any) -> None:
    node, calls = graph.node(), []
    node.create_timer(0.001, lambda: calls.append(1))
    assert graph.spin_until(lambda: calls)
    executor = SingleThreadedExecutor(context=graph.context)
    graph.executor.remove_node(node)
    executor.add_node(node)
    executor.shutdown()
    del calls[:]
    executor.spin_once(0.05)
    assert not calls
    with pytest.raises(ShutdownException):
        executor._next(0.0)
    assert not executor.get_nodes()


def test_one_thread_of_many_is_said_to_be_one(graph: Any, capsys: pytest.CaptureFixture[str]) -> None:
    graph.start()
    executors = [MultiThreadedExecutor(1, context=graph.context), MultiThreadedExecutor(context=graph.context)]
    assert capsys.readouterr().err.count("used with a single thread") == 1
    node, done = graph.node(), []
    graph.executor.remove_node(node)
    executors[1].add_node(node)
    node.create_timer(0.01, lambda: done.append(1))
    waited = node.create_client(Trigger, "nobody").call_async(Trigger.Request())
    executors[1].spin_once_until_future_complete(waited, timeout_sec=1.0)
    end = time.monotonic() + 5
    while not done and time.monotonic() < end:
        executors[1].spin_once(timeout_sec=0.1)
    assert done
    for executor in executors:
        assert executor.shutdown(2.0)


def test_states_that_follow_by_themselves_are_not_asked_for(graph: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    class Hurries(LifecycleNode):
        def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
            with pytest.raises(RCLError, match="follows by itself"):
                self._change_state(CONFIGURE_SUCCEEDED)
            return TransitionCallbackReturn.SUCCESS

    node = graph.node("life", kind=Hurries)
    client = graph.node("asker").create_client(ChangeState, "life/change_state")
    assert graph.spin_until(client.service_is_ready)
    future = client.call_async(ChangeState.Request(transition=Transition(id=CONFIGURE_SUCCEEDED)))
    assert graph.spin_until(future.done)
    assert not future.result().success
    assert "is not possible in state unconfigured" in capsys.readouterr().err
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS


def test_entities_that_do_not_care_agree_to_every_change() -> None:
    entity, state = ManagedEntity(), LifecycleState("unconfigured", 1)
    for change in ("configure", "cleanup", "shutdown", "activate", "deactivate", "error"):
        assert getattr(entity, f"on_{change}")(state) == TransitionCallbackReturn.SUCCESS


def test_an_error_that_the_node_can_mend_leads_back_to_the_start(graph: Any) -> None:
    class Breaks(LifecycleNode):
        def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
            raise ValueError("not today")

    node = graph.node("breaks", kind=Breaks)
    assert node.trigger_configure() == TransitionCallbackReturn.ERROR
    assert node._state_machine.label == "unconfigured"


def test_parameter_services_of_a_node_that_is_gone_say_so() -> None:
    class Gone:
        def create_service(self, *args: Any, **more: Any) -> None:
            """Nothing is served."""

    node = Gone()
    service = ParameterService(node)
    del node
    gc.collect()
    with pytest.raises(ReferenceError, match="valid node"):
        service._node()


def test_simulated_time_is_yes_or_no(graph: Any, capsys: pytest.CaptureFixture[str]) -> None:
    node = graph.node("clock")
    (result,) = node.set_parameters([Parameter("use_sim_time", value=True)])
    assert result.successful
    (result,) = node.set_parameters([Parameter("use_sim_time", value="perhaps")])
    assert not result.successful
    assert node.get_parameter("use_sim_time").value is True
    source = node._time_source
    assert source.ros_time_is_active is True


def test_whose_signals_are_handled_is_known() -> None:
    before = get_current_signal_handlers_options()
    uninstall_signal_handlers()
    assert get_current_signal_handlers_options() == SignalHandlerOptions.NO
    install_signal_handlers(SignalHandlerOptions.SIGTERM)
    try:
        assert get_current_signal_handlers_options() == SignalHandlerOptions.SIGTERM
        found: list[SignalHandlerOptions] = []
        thread = threading.Thread(target=lambda: (uninstall_signal_handlers(), install_signal_handlers()))
        thread.start()
        thread.join()
        found.append(get_current_signal_handlers_options())
        assert found == [SignalHandlerOptions.SIGTERM], "Python lets the main thread alone"
    finally:
        uninstall_signal_handlers()
        install_signal_handlers(before)


def test_values_compare_and_show_what_they_are() -> None:
    assert TypeHash(1, bytes(range(32))) == TypeHash(1, bytes(range(32)))
    assert TypeHash(1, bytes(range(32))) != TypeHash(1)
    assert "version=1" in repr(TypeHash(1))
    assert str(TypeHash()) == "INVALID"
    assert "'rate'" in repr(Parameter("rate", value=2.0))
    assert "DOUBLE" in repr(Parameter("rate", value=2.0))
    with pytest.raises(TypeError):
        Time(seconds=1) - 3  # type: ignore[operator]
    assert not Parameter.Type.BYTE_ARRAY.check([b"ab"])
    assert not Parameter.Type.DOUBLE_ARRAY.check("1.0")


def test_a_service_that_was_destroyed_serves_nobody(graph: Any) -> None:
    node = graph.node("server")
    service = node.create_service(Trigger, "work", lambda request, response: response)
    client = graph.node("asker").create_client(Trigger, "work")
    assert graph.spin_until(client.service_is_ready)
    assert node.destroy_service(service)
    assert not node.destroy_service(service)
    assert graph.spin_until(lambda: not client.service_is_ready())
    assert node.default_callback_group.has_entity(client) is False
    assert node.handle is not None
