"""Services arm/home, arm/sleep (Trigger) and arm/torque (SetBool) of the arm node."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from rclpy.lifecycle import LifecycleNode
from std_srvs.srv import SetBool, Trigger

from robot_pt.arm_adapter import ArmAdapter


class ArmRequests:
    """The operator's wishes to `ArmAdapter`, which refuses what is not safe now."""

    def __init__(self, node: LifecycleNode, adapter: ArmAdapter):
        self._node, self._adapter = node, adapter
        node.create_service(Trigger, "arm/home", partial(self._move, "home"))
        node.create_service(Trigger, "arm/sleep", partial(self._move, "sleep"))
        node.create_service(SetBool, "arm/torque", self._torque)

    def _move(self, place: Any, request: Any, response: Any) -> Any:
        return self._answered(f"arm/{place}", self._adapter.move_to(time.monotonic_ns(), place), response)

    def _torque(self, request: Any, response: Any) -> Any:
        return self._answered("arm/torque", self._adapter.torque(time.monotonic_ns(), bool(request.data)), response)

    def _answered(self, name: str, answer: Any, response: Any) -> Any:
        response.success, response.message = answer.ok, answer.sentence
        self._node.get_logger().info(f"{name}: {answer.sentence}")
        return response
