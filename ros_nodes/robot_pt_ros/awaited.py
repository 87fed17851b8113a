"""What another thread works out, awaited in a callback: meanwhile the executor serves the rest, and the node's heartbeat goes on.

The callback needs a group of its own: an awaiting callback keeps the others of its group from running.
"""

from __future__ import annotations

import concurrent.futures
import threading
from typing import TypeVar

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future

T = TypeVar("T")


async def awaited(node: Node, work: concurrent.futures.Future[T], longest_s: float, late: T) -> T:
    """What `work` gives, or `late` where that takes longer. Raises what `work` raises."""
    done, lock = Future(executor=node.executor), threading.Lock()

    def give_up() -> None:
        with lock:
            if not done.done():
                done.set_result(late)

    def tell(ended: concurrent.futures.Future[T]) -> None:
        error = ended.exception()
        with lock:
            if done.done():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(ended.result())

    timer = node.create_timer(longest_s, give_up, clock=Clock(clock_type=ClockType.STEADY_TIME))
    work.add_done_callback(tell)
    try:
        found: T = await done
        return found
    finally:
        node.destroy_timer(timer)
