"""Services, clients, parameter services and their client, in this process."""

from __future__ import annotations

import threading
import time

import pytest
from rcl_interfaces.msg import LoggerLevel
from rcl_interfaces.srv import GetLoggerLevels, SetLoggerLevels
from rclpy._rclpy_pybind11 import InvalidHandle, RCLError
from rclpy.exceptions import InvalidServiceNameException
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.parameter_client import AsyncParameterClient
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

DOMAIN = 44


def answered(graph, future):
    assert graph.spin_until(future.done)
    return future.result()


def test_requests_are_answered_each_with_its_own(graph) -> None:
    server, asker = graph.node("server"), graph.node("asker")

    def answer(request, response):
        response.success = not request.data
        response.message = f"was {request.data}"
        return response

    service = server.create_service(SetBool, "flip", answer)
    client, other = asker.create_client(SetBool, "flip"), asker.create_client(SetBool, "flip")
    assert (service.service_name, client.service_name) == ("/flip", "/flip")
    assert client.wait_for_service(30)
    assert other.wait_for_service(30)
    futures = [client.call_async(SetBool.Request(data=bool(i % 2))) for i in range(6)]
    others = [other.call_async(SetBool.Request(data=True)) for _ in range(3)]
    assert graph.spin_until(lambda: all(future.done() for future in futures + others))
    assert [future.result().success for future in futures] == [i % 2 == 0 for i in range(6)]
    assert all(future.result().message == "was True" for future in others)
    assert graph.spin_until(lambda: not client._pending_requests)


def test_calls_are_checked_and_can_be_forgotten(graph) -> None:
    node, seen = graph.node(), []

    def answer(request, response):
        seen.append(request)
        return response

    node.create_service(Trigger, "do", answer)
    client = node.create_client(Trigger, "do")
    assert client.wait_for_service(30)
    with pytest.raises(TypeError, match="Expected"):
        client.call_async(SetBool.Request())
    future = client.call_async(Trigger.Request())
    sequence = next(iter(client._pending_requests))
    assert client.get_pending_request(sequence) is future
    client.remove_pending_request(future)
    with pytest.raises(KeyError):
        client.get_pending_request(sequence)
    assert graph.spin_until(lambda: seen)
    graph.spin_for(0.1)
    assert not future.done()
    with pytest.raises(InvalidServiceNameException):
        node.create_client(Trigger, "no-name")
    with pytest.raises(RuntimeError, match="not valid"):
        node.create_service(Trigger.Request, "do", answer)
    assert node.destroy_client(client)
    with pytest.raises(InvalidHandle):
        client.call_async(Trigger.Request())
    late = node.create_client(Trigger, "do")
    graph.context.shutdown()
    with pytest.raises(RCLError, match="context is invalid"):
        late.call_async(Trigger.Request())


def test_blocking_calls_wait_in_another_thread(graph) -> None:
    node = graph.node()
    node.create_service(Trigger, "do", lambda _, response: Trigger.Response(success=True, message="done"))
    client, silent = node.create_client(Trigger, "do"), node.create_client(Trigger, "silent")
    assert client.wait_for_service(30)
    assert not silent.service_is_ready()
    start_s = time.monotonic()
    assert not silent.wait_for_service(0.1)
    assert 0.1 <= time.monotonic() - start_s < 20
    results: list[object] = []
    caller = threading.Thread(target=lambda: results.append(client.call(Trigger.Request(), timeout_sec=10)))
    caller.start()
    assert graph.spin_until(lambda: results)
    caller.join(30)
    assert results[0].message == "done"  # type: ignore[attr-defined]
    assert client.call(Trigger.Request(), timeout_sec=0.05) is None  # nobody spins


def test_servers_may_be_coroutines(graph) -> None:
    node, gate = graph.node(), Future()

    async def answer(request, response):
        response.message = await gate
        return response

    node.create_service(Trigger, "do", answer)
    client = graph.node("asker").create_client(Trigger, "do")
    assert client.wait_for_service(30)
    future = client.call_async(Trigger.Request())
    graph.spin_for(0.1)
    assert not future.done()
    gate.set_result("later")
    assert answered(graph, future).message == "later"


def test_a_server_that_returns_no_response_is_told(graph) -> None:
    node = graph.node()
    node.create_service(Trigger, "do", lambda request, response: None)
    client = node.create_client(Trigger, "do")
    assert client.wait_for_service(30)
    client.call_async(Trigger.Request())
    with pytest.raises(TypeError, match="must return"):
        graph.spin_until(lambda: False, timeout_s=30)


def test_parameters_of_another_node(graph, tmp_path) -> None:
    remote, node = graph.node("remote"), graph.node("asker")
    remote.declare_parameters("", [("rate", 1.0), ("deep.count", 3)])
    remote.declare_parameter("must", Parameter.Type.STRING)
    client = AsyncParameterClient(node, "remote")
    assert client.wait_for_services(10)
    assert client.services_are_ready()
    told: list[Future] = []
    found = answered(graph, client.get_parameters(["rate", "none", "must"], told.append))
    assert [parameter_value_to_python(value) for value in found.values] == [1.0, None, None]
    assert graph.spin_until(lambda: told)
    assert list(answered(graph, client.get_parameter_types(["rate", "none"])).types) == [3, 0]
    assert answered(graph, client.list_parameters(["deep"], 1)).result.names == ["deep.count"]
    descriptors = answered(graph, client.describe_parameters(["rate", "none"])).descriptors
    assert [(d.name, d.type) for d in descriptors] == [("rate", 3), ("none", 0)]
    results = answered(graph, client.set_parameters([Parameter("rate", value=2.0), Parameter("rate", value=1)])).results
    assert [result.successful for result in results] == [True, False]
    assert "Wrong parameter type" in results[1].reason
    result = answered(graph, client.set_parameters_atomically([Parameter("rate", value=9.0), Parameter("x", value=1)]))
    assert not result.result.successful
    assert "undeclared" in result.result.reason
    assert remote.get_parameter("rate").value == 2.0
    unknown = Parameter("rate", value=1.0).to_parameter_msg()
    unknown.value.type = 99
    assert not answered(graph, client.set_parameters([unknown])).results[0].successful
    file = tmp_path / "p.yaml"
    file.write_text("remote:\n  ros__parameters: {rate: 4.0}\n")
    assert answered(graph, client.load_parameter_file(str(file))).results[0].successful
    assert remote.get_parameter("rate").value == 4.0
    assert not answered(graph, client.delete_parameters(["rate"])).results[0].successful


def test_logger_levels_from_outside(graph) -> None:
    node = graph.node("talks", enable_logger_service=True)
    setter = node.create_client(SetLoggerLevels, "~/set_logger_levels")
    getter = node.create_client(GetLoggerLevels, "~/get_logger_levels")
    assert setter.wait_for_service(30)
    assert getter.wait_for_service(30)
    wanted = [LoggerLevel(name="talks", level=40), LoggerLevel(name="talks", level=3)]
    results = answered(graph, setter.call_async(SetLoggerLevels.Request(levels=wanted))).results
    assert [result.successful for result in results] == [True, False]
    levels = answered(graph, getter.call_async(GetLoggerLevels.Request(names=["talks", "other"]))).levels
    assert [level.level for level in levels] == [40, 0]
    node.get_logger().set_level(20)


def test_nodes_without_parameter_services(graph) -> None:
    node = graph.node(start_parameter_services=False)
    assert list(node.services) == []
    assert len(list(graph.node("other").services)) == 6
