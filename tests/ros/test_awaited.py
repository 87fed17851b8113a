"""A callback that awaits what a thread works out: its result, its error, its being late. ROS domain 61."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from robot_pt_ros.awaited import awaited

pytest.importorskip("cyclonedds", reason="nodes need robot-pt[ros]")

DOMAIN = 61


def run(graph, node, work, longest_s):
    task = graph.executor.create_task(awaited(node, work, longest_s, "late"))
    assert graph.spin_until(task.done)
    return task


def test_the_executor_goes_on_while_a_thread_works(graph):
    node, ticks, told = graph.node("waits"), [], threading.Event()
    node.create_timer(0.01, lambda: (ticks.append(1), len(ticks) == 20 and told.set()))
    with ThreadPoolExecutor(1) as worker:
        work = worker.submit(lambda: told.wait(60) and "done")
        assert run(graph, node, work, 120.0).result() == "done"
    assert len(ticks) >= 20
    assert len(list(node.timers)) == 1, "its own is gone"


def test_what_was_done_before_is_there_at_once(graph):
    work = Future()
    work.set_result("done")
    assert run(graph, graph.node("waits"), work, 120.0).result() == "done"


def test_who_is_late_is_not_waited_for(graph):
    node, work = graph.node("waits"), Future()
    assert run(graph, node, work, 0.05).result() == "late"
    work.set_result("done")
    assert not list(node.timers)


def test_an_error_is_raised_where_it_is_awaited(graph):
    work = Future()
    work.set_exception(OSError("no space"))
    task = graph.executor.create_task(awaited(graph.node("waits"), work, 120.0, None))
    with pytest.raises(OSError, match="no space"):
        graph.spin_until(task.done)
