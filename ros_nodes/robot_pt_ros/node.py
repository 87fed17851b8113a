"""What every lifecycle node does alike: one readable sentence where it cannot start, a heartbeat, a step by itself on request."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_msgs.msg import String

from robot_pt.errors import UserError
from robot_pt_ros import topics
from robot_pt_ros.qos_check import require_heard

N = TypeVar("N", bound=LifecycleNode)
Callback = Callable[[N, LifecycleState], TransitionCallbackReturn]

HEARTBEAT_S = 0.2


def configuring(callback: Callback[N]) -> Callback[N]:
    """Turn a user's mistake into FAILURE and one sentence in the log; nothing is left half started.

    What the callback makes is destroyed by `unmake`, which a node calls when it is cleaned up. Meanwhile the node `is_configuring`.
    """

    @wraps(callback)
    def configure(node: N, state: LifecycleState) -> TransitionCallbackReturn:
        node.before_configuring, node.is_configuring = _entities(node), True
        try:
            result = callback(node, state)
            require_heard(node)
            settle()
            return result
        except UserError as error:
            node.get_logger().error(str(error))
            unmake(node)
            return TransitionCallbackReturn.FAILURE
        except Exception:  # a mistake of ours, of which rclpy itself says nothing
            node.get_logger().error(traceback.format_exc())
            raise
        finally:
            node.is_configuring = False

    return configure


def settle() -> None:
    """What is there now is not looked through for garbage again: with torch that takes 0.1 s, in the midst of a tick."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def unmake(node: LifecycleNode) -> TransitionCallbackReturn:
    """Destroy what was made since the node was configured, so that it can be configured again; for `on_cleanup`."""
    before = getattr(node, "before_configuring", None)
    if before is None:
        return TransitionCallbackReturn.SUCCESS
    for kind, made in _entities(node).items():
        destroy = node.destroy_lifecycle_publisher if kind == "publisher" else getattr(node, f"destroy_{kind}")
        for entity in made - before[kind]:
            destroy(entity)
    return TransitionCallbackReturn.SUCCESS


def _entities(node: LifecycleNode) -> dict[str, set[Any]]:
    return {
        "timer": set(node.timers), "subscription": set(node.subscriptions), "service": set(node.services),
        "client": set(node.clients), "publisher": set(node.publishers),
    }  # fmt: skip


class Heartbeat:
    """Says five times a second that the process lives and its executor runs, on `manager/heartbeat`."""

    def __init__(self, node: LifecycleNode):
        self._name = node.get_fully_qualified_name()
        self._publisher = node.create_publisher(String, topics.HEARTBEAT, topics.recorded(10))
        self._timer = node.create_timer(HEARTBEAT_S, self._beat, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _beat(self) -> None:
        self._publisher.publish(String(data=self._name))


def text(node: Any, name: str) -> str:
    """A string parameter."""
    return str(node.get_parameter(name).value)


def number(node: Any, name: str) -> float:
    """A number parameter."""
    return float(node.get_parameter(name).value)


def flag(node: Any, name: str) -> bool:
    """A yes/no parameter."""
    return bool(node.get_parameter(name).value)


def texts(node: Any, name: str) -> list[str]:
    """A list of strings; empty entries, which YAML needs to type an empty list, are left out."""
    return [str(v) for v in (node.get_parameter(name).value or []) if str(v)]


def numbers(node: Any, name: str) -> list[float]:
    """A list of numbers."""
    return [float(v) for v in (node.get_parameter(name).value or [])]


def size(node: Any, name: str) -> tuple[int, int]:
    """Height and width [px]. Raises UserError for anything else."""
    found = numbers(node, name)
    if len(found) != 2 or min(found) < 0:
        raise UserError(f"{name} is {[int(v) for v in found]}; give height and width [px], e.g. [480, 640].")
    return int(found[0]), int(found[1])
