"""Services safety/<request> (std_srvs/Trigger): arm, disarm, start_policy, stop_policy, reset_fault, clear_estop; takeover and
safety/estop_set (SetBool). What they latch is written to disk before they answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rclpy.lifecycle import LifecycleNode
from std_srvs.srv import SetBool, Trigger

from robot_pt.gate.gate import Gate
from robot_pt_ros.latches import LatchFile
from robot_pt_ros.node import text

REQUESTS = ("arm", "disarm", "start_policy", "stop_policy", "reset_fault", "clear_estop")


class Latches:
    """The gate's latches on disk, where there is a `latch_file`. Raises DataError where its folder cannot be written."""

    def __init__(self, node: LifecycleNode):
        self._node = node
        self._file = LatchFile(Path(text(node, "latch_file")) if text(node, "latch_file") else None)

    def read(self) -> str:
        """What an earlier process left; "" where there is nothing."""
        return self._file.read()

    def keep(self, gate: Gate) -> None:
        """Write what is latched now, where that is news; a disk that refuses is told to the operator."""
        complaint = self._file.write(gate.state_to_json())
        if complaint:
            self._node.get_logger().error(complaint, throttle_duration_sec=5.0)


class SupervisorRequests:
    """The operator's wishes to the gate. `decide` is called after each: what it changes is sent at once."""

    def __init__(
        self, node: LifecycleNode, gate: Gate, latches: Latches, now_ns: Callable[[], int], decide: Callable[[], None]
    ):  # fmt: skip
        self._node, self._gate, self._latches, self._now_ns, self._decide = node, gate, latches, now_ns, decide
        for request in REQUESTS:
            node.create_service(Trigger, f"safety/{request}", partial(self._serve, request))
        node.create_service(SetBool, "takeover", self._takeover)
        node.create_service(SetBool, "safety/estop_set", self._estop_set)

    def _serve(self, name: str, request: Any, response: Any) -> Any:
        reply = self._gate.request(self._now_ns(), name)
        response.success, response.message = reply.ok, reply.message
        self._node.get_logger().info(f"{name}: {reply.message}")
        self._latches.keep(self._gate)
        self._decide()
        return response

    def _takeover(self, request: Any, response: Any) -> Any:
        return self._serve("takeover" if request.data else "release", request, response)

    def _estop_set(self, request: Any, response: Any) -> Any:
        if not request.data:
            return self._serve("clear_estop", request, response)
        self._gate.on_estop(self._now_ns(), True)
        self._latches.keep(self._gate)
        response.success, response.message = True, "the software e-stop is latched."
        self._decide()
        return response
