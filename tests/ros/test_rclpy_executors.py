"""Futures, tasks, groups and executors: order, fairness, coroutines, exceptions, threads, shutdown."""

from __future__ import annotations

import threading
import time

import pytest
import rclpy
from rclpy._rclpy_pybind11 import RCLError
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.context import Context
from rclpy.exceptions import InvalidHandle, NotInitializedException, ROSInterruptException
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.task import Future, Task

DOMAIN = 42


def test_futures_hold_results_and_exceptions() -> None:
    future, told = Future(), []
    future.add_done_callback(told.append)
    assert not future.done()
    assert future.result() is None
    future.set_result(3)
    assert (future.done(), future.result(), told) == (True, 3, [future])
    future.add_done_callback(told.append)
    assert told == [future, future]
    failed = Future()
    failed.set_exception(ValueError("no"))
    assert isinstance(failed.exception(), ValueError)
    with pytest.raises(ValueError, match="no"):
        failed.result()
    cancelled = Future()
    cancelled.add_done_callback(told.append)
    assert cancelled.remove_done_callback(told.append)
    assert not cancelled.remove_done_callback(told.append)
    cancelled.cancel()
    assert (cancelled.cancelled(), cancelled.done()) == (True, False)


def test_a_failing_done_callback_does_not_stop_the_others() -> None:
    future, told = Future(), []

    def fail(_: Future) -> None:
        raise ValueError("mine")

    future.add_done_callback(fail)
    future.add_done_callback(told.append)
    with pytest.warns(UserWarning, match="mine"):
        future.set_result(1)
    assert told == [future]


def test_exceptions_nobody_asked_for_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    future = Future()
    future.set_exception(ValueError("lost"))
    del future
    assert "lost" in capsys.readouterr().err


def test_tasks_run_functions_and_coroutines(graph) -> None:
    executor = graph.start().executor
    plain = executor.create_task(lambda a, b: a + b, 1, b=2)
    gate = Future()

    async def wait_for_gate() -> str:
        return f"got {await gate}"

    waiting = executor.create_task(wait_for_gate)
    assert graph.spin_until(plain.done)
    assert plain.result() == 3
    graph.spin_for(0.05)
    assert not waiting.done()
    gate.set_result("it")
    assert graph.spin_until(waiting.done)
    assert waiting.result() == "got it"
    task = Task(lambda: None)
    task()
    task()
    assert task.done()
    assert not task.executing()


def test_an_exception_in_a_task_ends_the_spin(graph) -> None:
    executor = graph.start().executor

    async def fail() -> None:
        raise KeyError("x")

    task = executor.create_task(fail)
    with pytest.raises(KeyError):
        executor.spin_once(timeout_sec=1)
    assert isinstance(task.exception(), KeyError)
    executor.spin_once(timeout_sec=0)


def test_a_waiting_coroutine_costs_no_cpu(graph) -> None:
    executor = graph.start().executor
    gate = Future()

    async def wait() -> None:
        await gate

    executor.create_task(wait)
    executor.spin_once(timeout_sec=0.1)
    start_s = time.process_time()
    executor.spin_once(timeout_sec=1.0)
    assert time.process_time() - start_s < 0.3


def test_spin_until_future_complete(graph) -> None:
    executor = graph.start().executor
    future = Future()
    start_s = time.monotonic()
    executor.spin_until_future_complete(future, timeout_sec=0.2)
    assert 0.2 <= time.monotonic() - start_s < 10
    threading.Timer(0.1, future.set_result, (1,)).start()
    executor.spin_until_future_complete(future, timeout_sec=100)
    assert future.result() == 1
    assert time.monotonic() - start_s < 30


def test_timers_fire_at_their_rate_and_stop(graph) -> None:
    node, turns = graph.node(), []
    timer = node.create_timer(
        0.02, lambda: turns.append(time.monotonic()), clock=Clock(clock_type=ClockType.STEADY_TIME)
    )
    begun_s = time.monotonic() - 0.02
    assert graph.spin_until(lambda: len(turns) >= 25)
    assert turns[-1] - begun_s >= (len(turns) - 1) * 0.02, "never more often"
    timer.cancel()
    turns.clear()
    graph.spin_for(0.1)
    assert not turns
    timer.reset()
    assert graph.spin_until(lambda: turns)
    assert node.destroy_timer(timer)
    assert not node.destroy_timer(timer)
    assert list(node.timers) == []


def test_a_fast_timer_does_not_starve_the_others(graph) -> None:
    node, counts = graph.node(), {"fast": 0, "slow": 0, "guard": 0}

    def count(name: str) -> None:
        counts[name] += 1

    node.create_timer(0.0, lambda: count("fast"))
    node.create_timer(0.05, lambda: count("slow"))
    guard = node.create_guard_condition(lambda: count("guard"))
    guard.trigger()
    assert graph.spin_until(lambda: counts["slow"] >= 5 and counts["fast"] > 100)
    assert counts["guard"] == 1


def test_single_spins_serve_all_in_turn(graph) -> None:
    """`rclpy.spin_once` adds and removes the node each time; what comes first must not be served alone for ever."""
    node, told = graph.node(), []
    for name in "abc":
        node.create_timer(0.0, lambda name=name: told.append(name))
    for _ in range(9):
        rclpy.spin_once(node, executor=graph.executor, timeout_sec=1)
        graph.executor.remove_node(node)
        graph.executor.add_node(node)
    assert sorted(told) == list("aaabbbccc")


def test_guard_conditions_wake_from_other_threads(graph) -> None:
    node, turns = graph.node(), []
    guard = node.create_guard_condition(lambda: turns.append(1))
    threading.Timer(0.1, guard.trigger).start()
    start_s = time.monotonic()
    graph.executor.spin_once(timeout_sec=10)
    assert turns == [1]
    assert time.monotonic() - start_s < 5
    assert list(node.guards) == [guard]
    assert node.destroy_guard_condition(guard)
    with pytest.raises(InvalidHandle):
        guard.trigger()


def test_coroutine_callbacks_hold_their_group(graph) -> None:
    node, gate, told = graph.node(), Future(), []

    async def slow() -> None:
        told.append("begin")
        await gate
        told.append("end")

    first, second = node.create_guard_condition(slow), node.create_guard_condition(lambda: told.append("second"))
    first.trigger()
    assert graph.spin_until(lambda: told == ["begin"])
    second.trigger()
    graph.spin_for(0.05)
    assert told == ["begin"]
    gate.set_result(None)
    assert graph.spin_until(lambda: len(told) == 3)
    assert told == ["begin", "end", "second"]


def test_reentrant_groups_do_not_wait(graph) -> None:
    node, gate, told = graph.node(), Future(), []
    group = ReentrantCallbackGroup()

    async def slow() -> None:
        told.append("begin")
        await gate

    guard = node.create_guard_condition(slow, callback_group=group)
    guard.trigger()
    assert graph.spin_until(lambda: len(told) == 1)
    guard.trigger()
    assert graph.spin_until(lambda: len(told) == 2)
    assert group.has_entity(guard)
    assert not group.has_entity(node)
    gate.set_result(None)


def multi_threaded(graph, threads: int) -> MultiThreadedExecutor:
    graph.start()
    graph._executor = MultiThreadedExecutor(threads, context=graph.context)
    return graph._executor


@pytest.mark.parametrize(("group", "together"), [(ReentrantCallbackGroup, 3), (MutuallyExclusiveCallbackGroup, 1)])
def test_threads_run_as_many_as_groups_allow(graph, group, together: int) -> None:
    multi_threaded(graph, 4)
    node, lock, running, most, ended = graph.node(), threading.Lock(), [0], [0], []
    shared, enough = group(), threading.Event()

    def work() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
            if running[0] == together:
                enough.set()
        assert enough.wait(30)
        time.sleep(0.1)  # time for one too many
        with lock:
            running[0] -= 1
            ended.append(1)

    guards = [node.create_guard_condition(work, callback_group=shared) for _ in range(3)]
    for guard in guards:
        guard.trigger()
    assert graph.spin_until(lambda: len(ended) == 3)
    assert most[0] == together
    assert running[0] == 0


def test_an_exception_in_a_thread_surfaces_while_spinning(graph) -> None:
    multi_threaded(graph, 2)

    def fail() -> None:
        raise ValueError("from a thread")

    graph.node().create_guard_condition(fail).trigger()
    with pytest.raises(ValueError, match="from a thread"):
        graph.spin_until(lambda: False, timeout_s=30)


def test_rates_sleep_while_others_spin(graph) -> None:
    node = graph.node()
    rate = node.create_rate(50.0, clock=Clock(clock_type=ClockType.STEADY_TIME))
    ended: list[str] = []

    def spin() -> None:
        try:
            graph.executor.spin()
        except ExternalShutdownException:
            ended.append("shut down")

    spinner = threading.Thread(target=spin)
    spinner.start()
    start_s = time.monotonic()
    for _ in range(10):
        rate.sleep()
    assert 0.15 <= time.monotonic() - start_s < 20

    def sleep_on() -> None:
        try:
            while True:
                rate.sleep()
        except ROSInterruptException:
            ended.append("interrupted")

    sleeper = threading.Thread(target=sleep_on)
    sleeper.start()
    graph.context.try_shutdown()
    sleeper.join(30)
    spinner.join(30)
    assert sorted(ended) == ["interrupted", "shut down"]
    with pytest.raises(ValueError, match="frequency"):
        node.create_rate(0)
    assert node.destroy_rate(rate)


def test_a_destroyed_rate_does_not_sleep(graph) -> None:
    node = graph.node()
    rate = node.create_rate(1.0)
    node.destroy_rate(rate)
    with pytest.raises(RuntimeError, match="destroyed"):
        rate.sleep()


def test_shutdown_waits_for_what_runs(graph) -> None:
    executor = multi_threaded(graph, 2)
    started, done = threading.Event(), []

    def work() -> None:
        started.set()
        time.sleep(0.3)
        done.append(1)

    graph.node().create_guard_condition(work).trigger()
    executor.spin_once(timeout_sec=30)
    assert started.wait(30)
    assert not executor.shutdown(timeout_sec=0.01)
    assert executor.shutdown(timeout_sec=30)
    assert done == [1]
    assert executor.get_nodes() == []
    executor.spin()  # returns at once


def test_shutdown_from_outside_ends_a_wait(graph) -> None:
    executor = graph.start().executor
    threading.Timer(0.1, graph.context.shutdown).start()
    with pytest.raises(ExternalShutdownException):
        executor.spin_once(timeout_sec=10)
    executor.spin()  # not ok any more: returns


def test_shutdown_from_a_callback_ends_the_spin(graph) -> None:
    node = graph.node()
    node.create_guard_condition(graph.context.shutdown).trigger()
    graph.executor.spin()
    assert not graph.context.ok()


def test_nodes_belong_to_one_executor(graph) -> None:
    node, first = graph.node(), graph.executor
    with SingleThreadedExecutor(context=graph.context) as second:
        assert not first.add_node(node)
        assert second.add_node(node)
        assert node.executor is second
        assert first.get_nodes() == []
        node.executor = None
        assert second.get_nodes() == []


def test_contexts_start_and_end_once() -> None:
    context, told = Context(), []
    assert not context.ok()
    with pytest.raises(RuntimeError, match="initialized"):
        context.shutdown()
    context.try_shutdown()
    with pytest.raises(RuntimeError, match="zero"):
        context.init([], domain_id=-1)
    with pytest.raises(RuntimeError):
        context.get_domain_id()
    context.init([], domain_id=DOMAIN)
    assert context.get_domain_id() == DOMAIN
    with pytest.raises(RuntimeError, match="once"):
        context.init([])
    context.on_shutdown(lambda: told.append("first"))
    with pytest.raises(TypeError):
        context.on_shutdown(3)  # type: ignore[arg-type]
    context.shutdown()
    assert told == ["first"]
    context.on_shutdown(lambda: told.append("late"))
    assert told == ["first", "late"]
    with pytest.raises(RCLError, match="already"):
        context.shutdown()
    context.try_shutdown()
    with pytest.raises(NotInitializedException):
        rclpy.create_node("n", context=context)


def test_the_default_context_comes_again() -> None:
    for _ in range(2):
        assert not rclpy.ok()
        rclpy.init(args=[], domain_id=DOMAIN)
        assert rclpy.ok()
        node = rclpy.create_node("n")
        turns: list[int] = []
        node.create_timer(0.01, lambda turns=turns: turns.append(1))
        rclpy.spin_once(node, timeout_sec=5)
        assert turns == [1]
        future = Future()
        node.create_timer(0.01, lambda future=future: future.set_result(1))
        rclpy.spin_until_future_complete(node, future, timeout_sec=5)
        assert future.done()
        node.create_timer(0.01, lambda: rclpy.shutdown())
        rclpy.spin(node)
        node.destroy_node()
        node.destroy_node()
    rclpy.try_shutdown()


def test_a_context_is_a_context_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(DOMAIN))
    monkeypatch.setattr("sys.argv", ["program"])
    with Context() as context:
        assert context.ok()
        assert context.get_domain_id() == DOMAIN
    assert not context.ok()
