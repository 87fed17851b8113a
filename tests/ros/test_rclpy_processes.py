"""Programs in processes of their own: topics, services, parameters, lifecycle, simulated time, signals."""

from __future__ import annotations

import os
import signal
import time

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import Log
from rclpy.clock_type import ClockType
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.parameter_client import AsyncParameterClient
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from rosgraph_msgs.msg import Clock as ClockMsg
from std_msgs.msg import Int64, String
from std_srvs.srv import SetBool

DOMAIN = 47

ECHO = """
import rclpy
from rclpy.executors import ExternalShutdownException
from std_msgs.msg import Int64
from std_srvs.srv import SetBool

class Echo(rclpy.node.Node):
    def __init__(self):
        super().__init__('echo')
        self.declare_parameter('factor', 2)
        self.out = self.create_publisher(Int64, 'out', 10)
        self.create_subscription(Int64, 'in', self.answer, 10)
        self.create_service(SetBool, 'flip', self.flip)
    def answer(self, message):
        self.out.publish(Int64(data=message.data * self.get_parameter('factor').value))
    def flip(self, request, response):
        response.success = not request.data
        return response

import rclpy.node
rclpy.init()
node = Echo()
print('ready')
try:
    rclpy.spin(node)
except KeyboardInterrupt:
    print('interrupted', rclpy.ok())
except ExternalShutdownException:
    print('shut down', rclpy.ok())
finally:
    node.destroy_node()
    rclpy.try_shutdown()
    print('ended')
""".replace("import rclpy\nfrom", "import rclpy\nimport rclpy.node\nfrom", 1)


def await_ready(process) -> None:
    line = process.stdout.readline()
    assert line == "ready\n", line + process.stderr.read()


def answered(graph, future):
    assert graph.spin_until(future.done)
    return future.result()


def test_another_process_answers_on_topics_services_and_parameters(graph, program) -> None:
    process = program(ECHO, "--ros-args", "-r", "__ns:=/far", "-p", "factor:=3", "-r", "in:=/numbers")
    await_ready(process)
    node, received = graph.node(), []
    node.create_subscription(Int64, "/far/out", lambda m: received.append(m.data), 10)
    publisher = node.create_publisher(Int64, "/numbers", 10)
    assert graph.spin_until(lambda: publisher.get_subscription_count() and node.count_publishers("/far/out"))
    assert graph.spin_until(lambda: next(node.subscriptions).get_publisher_count())
    publisher.publish(Int64(data=7))
    assert graph.spin_until(lambda: received == [21])
    client = node.create_client(SetBool, "/far/flip")
    assert client.wait_for_service(10)
    assert answered(graph, client.call_async(SetBool.Request(data=False))).success
    parameters = AsyncParameterClient(node, "/far/echo")
    assert parameters.wait_for_services(10)
    values = answered(graph, parameters.get_parameters(["factor"])).values
    assert parameter_value_to_python(values[0]) == 3
    assert answered(graph, parameters.set_parameters([Parameter("factor", value=5)])).results[0].successful
    publisher.publish(Int64(data=7))
    assert graph.spin_until(lambda: received == [21, 35])
    assert ("echo", "/far") in node.get_node_names_and_namespaces()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert graph.spin_until(lambda: "echo" not in node.get_node_names())


@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGINT, "interrupted False"), (signal.SIGTERM, "shut down False")]
)
def test_signals_end_a_spin(program, number: int, said: str) -> None:
    process = program(ECHO)
    await_ready(process)
    time.sleep(0.2)
    start_s = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    # The context goes down in a thread of its own, so KeyboardInterrupt may be the first to be seen.
    assert out.splitlines()[0] in (said, said.replace("False", "True")), err
    assert out.endswith("ended\n")
    assert process.returncode == 0
    assert time.monotonic() - start_s < 30


NO_HANDLERS = """
import signal, time
import rclpy
from rclpy.signals import SignalHandlerOptions, get_current_signal_handlers_options
asked = []
signal.signal(signal.SIGINT, lambda *_: asked.append('int'))
rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
assert get_current_signal_handlers_options() == SignalHandlerOptions.NO
node = rclpy.create_node('own')
print('ready')
while not asked:
    rclpy.spin_once(node, timeout_sec=0.05)
print('still', rclpy.ok())
node.destroy_node()
rclpy.shutdown()
"""


def test_without_handlers_signals_are_the_programs_own(program) -> None:
    process = program(NO_HANDLERS)
    await_ready(process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert out == "still True\n", err
    assert process.returncode == 0


EARLY = """
import os, signal, time
import rclpy
rclpy.init()
node = rclpy.create_node('early')
os.kill(os.getpid(), signal.SIGTERM)
while rclpy.ok():
    time.sleep(0.01)
rclpy.spin(node)  # nothing to do any more
node.destroy_node()
rclpy.try_shutdown()
print('ended')
"""


def test_a_signal_before_the_spin_ends_it_too(program) -> None:
    out, err = program(EARLY).communicate(timeout=60)
    assert out == "ended\n", err


CHAINED = """
import signal
import rclpy
signal.signal(signal.SIGTERM, lambda *_: print('mine too', flush=True))
rclpy.init()
node = rclpy.create_node('chained')
rclpy.get_default_context().on_shutdown(lambda: print('told'))
print('ready')
try:
    rclpy.spin(node)
except rclpy.executors.ExternalShutdownException:
    pass
node.destroy_node()
rclpy.try_shutdown()
assert signal.getsignal(signal.SIGINT) in (signal.default_int_handler, rclpy.signals._on_signal)
"""


def test_a_handler_from_before_is_called_as_well(program) -> None:
    process = program(CHAINED)
    await_ready(process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert out.splitlines() == ["mine too", "told"], err
    assert process.returncode == 0, err


MANAGED = """
import rclpy
import rclpy.executors
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
class Managed(LifecycleNode):
    def on_configure(self, state):
        self.get_logger().info(f'configure from {state.label}')
        if self.declare_parameter('broken', False).value:
            raise RuntimeError('no camera')
        return TransitionCallbackReturn.SUCCESS
rclpy.init()
node = Managed('managed')
print('ready')
try:
    rclpy.spin(node)
except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
    pass
"""


@pytest.mark.parametrize(("broken", "state"), [("false", "inactive"), ("true", "finalized")])
def test_managed_nodes_are_driven_from_another_process(graph, program, broken: str, state: str) -> None:
    if broken == "true":
        source = MANAGED.replace(
            "rclpy.init()", "Managed.on_error = lambda *_: TransitionCallbackReturn.FAILURE\nrclpy.init()"
        )
    else:
        source = MANAGED
    process = program(source, "--ros-args", "-p", f"broken:={broken}", "--log-level", "info")
    await_ready(process)
    node, logs = graph.node(), []
    latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    node.create_subscription(Log, "/rosout", logs.append, latched)
    change, get = (
        node.create_client(ChangeState, "managed/change_state"),
        node.create_client(GetState, "managed/get_state"),
    )
    assert change.wait_for_service(10)
    assert get.wait_for_service(10)
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    assert answered(graph, change.call_async(request)).success is (broken == "false")
    assert answered(graph, get.call_async(GetState.Request())).current_state.label == state
    assert graph.spin_until(lambda: any(log.msg == "configure from unconfigured" for log in logs))
    if broken == "true":
        assert graph.spin_until(lambda: any("no camera" in log.msg for log in logs))


SIMULATED = """
import rclpy
from std_msgs.msg import Int64
rclpy.init()
node = rclpy.create_node('simulated')
out = node.create_publisher(Int64, 'ticks', 100)
node.create_timer(0.1, lambda: out.publish(Int64(data=node.get_clock().now().nanoseconds)))
print('ready')
rclpy.spin(node)
"""


def test_timers_follow_simulated_time(graph, program) -> None:
    process = program(SIMULATED, "--ros-args", "-p", "use_sim_time:=true")
    await_ready(process)
    node, ticks = graph.node(), []
    node.create_subscription(Int64, "ticks", lambda m: ticks.append(m.data), 100)
    clock = node.create_publisher(ClockMsg, "/clock", 10)
    assert graph.spin_until(lambda: clock.get_subscription_count() and next(node.subscriptions).get_publisher_count())
    graph.spin_for(0.3)
    assert ticks == []  # time stands still
    for step in range(1, 11):
        clock.publish(ClockMsg(clock=Time(nanoseconds=step * 10**8, clock_type=ClockType.ROS_TIME).to_msg()))
        assert graph.spin_until(lambda step=step: len(ticks) == step)
    assert ticks == [step * 10**8 for step in range(1, 11)]
    clock.publish(ClockMsg(clock=Time(seconds=0.5).to_msg()))  # back: starts over
    graph.spin_for(0.2)
    assert len(ticks) == 10
    clock.publish(ClockMsg(clock=Time(seconds=0.6).to_msg()))
    assert graph.spin_until(lambda: len(ticks) == 11)
    assert ticks[-1] == 6 * 10**8


def test_use_sim_time_can_be_switched(graph) -> None:
    node, feeder = graph.node("switched"), graph.node("feeder")
    clock = feeder.create_publisher(ClockMsg, "/clock", 10)
    assert not node.get_clock().ros_time_is_active
    assert node.set_parameters([Parameter("use_sim_time", value=True)])[0].successful
    assert node.get_clock().ros_time_is_active
    assert graph.spin_until(lambda: clock.get_subscription_count() == 1)
    clock.publish(ClockMsg(clock=Time(seconds=5).to_msg()))
    assert graph.spin_until(lambda: node.get_clock().now().nanoseconds == 5 * 10**9)
    assert not node.set_parameters([Parameter("use_sim_time", value=1)])[0].successful
    assert node.set_parameters([Parameter("use_sim_time", value=False)])[0].successful
    assert abs(node.get_clock().now().nanoseconds - time.time_ns()) < 10**9
    assert graph.spin_until(lambda: clock.get_subscription_count() == 0)


@pytest.mark.slow  # DDS waits ten seconds for a participant that says nothing
def test_a_killed_process_leaves_the_graph(graph, program) -> None:
    process = program(ECHO)
    await_ready(process)
    node = graph.node()
    publisher = node.create_publisher(Int64, "in", 10)
    assert graph.spin_until(lambda: publisher.get_subscription_count() == 1)
    os.kill(process.pid, signal.SIGKILL)
    assert graph.spin_until(lambda: publisher.get_subscription_count() == 0, timeout_s=30)
    publisher.publish(Int64(data=1))  # to nobody, without blocking


def test_programs_with_bad_arguments_end_at_once(program) -> None:
    process = program("import rclpy\nrclpy.init()\n", "--ros-args", "--params-file", "/none.yaml")
    assert "/none.yaml" in process.communicate(timeout=60)[1]
    assert process.returncode != 0
    process = program("import rclpy\nrclpy.init()\n", "--ros-args", "--nonsense")
    assert "UnknownROSArgsError" in process.communicate(timeout=60)[1]
    quiet = program(
        "import rclpy\nrclpy.init()\nn = rclpy.create_node('n')\nn.get_logger().info('hush')\nn.get_logger().error('loud')",
        "--ros-args",
        "--log-level",
        "n:=error",
        "-e",
        "/enclave",
    )
    err = quiet.communicate(timeout=60)[1]
    assert "loud" in err
    assert "hush" not in err
    assert "'-e /enclave' is ignored" in err


def test_strings_of_any_text_survive(graph, program) -> None:
    source = """
import rclpy
from std_msgs.msg import String
rclpy.init()
node = rclpy.create_node('n')
out = node.create_publisher(String, 'back', 10)
node.create_subscription(String, 'there', out.publish, 10)
print('ready')
rclpy.spin(node)
"""
    await_ready(program(source))
    node, received = graph.node(), []
    node.create_subscription(String, "back", lambda m: received.append(m.data), 10)
    there = node.create_publisher(String, "there", 10)
    assert graph.spin_until(lambda: there.get_subscription_count() and next(node.subscriptions).get_publisher_count())
    for text in ("", "plain", "ä€𝄞", "x" * 200_000):
        there.publish(String(data=text))
        assert graph.spin_until(lambda text=text: received and received[-1] == text)


BUSY = """
import sys
import rclpy
from rclpy._rclpy_pybind11 import RCLError
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from std_msgs.msg import Int64
rclpy.init()
node = rclpy.create_node('busy')
out = node.create_publisher(Int64, 'x', 10)
node.create_subscription(Int64, 'x', lambda _: None, 10)
def tick():
    try:
        out.publish(Int64(data=1))
    except RCLError:  # shut down between the two
        assert not rclpy.ok()
node.create_timer(0.0005, tick)
executor = MultiThreadedExecutor(3) if sys.argv[1] == 'threads' else None
print('ready')
try:
    rclpy.spin(node, executor)
except (KeyboardInterrupt, ExternalShutdownException):
    pass
finally:
    if executor:
        executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    print('ended')
"""


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["single", "threads"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_at_any_moment_end_a_busy_program(program, executor: str, number: int) -> None:
    for attempt in range(6):
        process = program(BUSY, executor)
        await_ready(process)
        time.sleep(0.037 * attempt)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert out == "ended\n", err
        # CPython ends by SIGINT, and silently, where a KeyboardInterrupt that is caught later went through the `eval` of a string
        assert process.returncode in (0, -signal.SIGINT if number == signal.SIGINT else 0), err
