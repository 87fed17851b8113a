"""Where a node's ROS time comes from: ``use_sim_time`` switches it to what ``/clock`` says."""

from __future__ import annotations

import weakref
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rosgraph_msgs.msg import Clock as ClockMsg

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import ROSClock
from rclpy.clock_type import ClockType
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time

CLOCK_TOPIC = "/clock"
USE_SIM_TIME_NAME = "use_sim_time"


class TimeSource:
    """Declares ``use_sim_time`` on its node and drives the clocks attached to it."""

    def __init__(self, *, node: Any = None) -> None:
        self._clock_sub: Any = None
        self._node_weak_ref: Any = None
        self._associated_clocks: list[ROSClock] = []
        self._last_time_set = Time(clock_type=ClockType.ROS_TIME)
        self._ros_time_is_active = False
        # A group of its own: /clock must not wait for the node's callbacks, which may wait for it.
        self._callback_group = MutuallyExclusiveCallbackGroup()
        if node is not None:
            self.attach_node(node)

    @property
    def ros_time_is_active(self) -> bool:
        return self._ros_time_is_active

    @ros_time_is_active.setter
    def ros_time_is_active(self, enabled: bool) -> None:
        if self._ros_time_is_active == enabled:
            return
        self._ros_time_is_active = enabled
        for clock in self._associated_clocks:
            clock._set_ros_time_is_active(enabled)
        node = self._node_weak_ref() if self._node_weak_ref is not None else None
        if node is None:
            return
        if enabled and self._clock_sub is None:
            self._clock_sub = node.create_subscription(
                ClockMsg,
                CLOCK_TOPIC,
                self.clock_callback,
                QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
                callback_group=self._callback_group,
            )
        elif not enabled and self._clock_sub is not None:
            node.destroy_subscription(self._clock_sub)
            self._clock_sub = None

    def attach_node(self, node: Any) -> None:
        """Take ``use_sim_time`` from this node. Raises InvalidParameterTypeException where its override is no bool."""
        self._node_weak_ref = weakref.ref(node)
        if not node.has_parameter(USE_SIM_TIME_NAME):
            node.declare_parameter(USE_SIM_TIME_NAME, False)
        parameter = node.get_parameter(USE_SIM_TIME_NAME)
        if parameter.type_ == Parameter.Type.BOOL:
            self.ros_time_is_active = parameter.value
        else:
            node.get_logger().error(f"Invalid type for parameter '{USE_SIM_TIME_NAME}': {parameter.type_}, not a bool.")
        node.add_on_set_parameters_callback(self._on_parameter_event)

    def detach_node(self) -> None:
        self.ros_time_is_active = False
        self._node_weak_ref = None

    def attach_clock(self, clock: ROSClock) -> None:
        """Drive this clock too. Raises ValueError on a clock that is not of ROS time."""
        if not isinstance(clock, ROSClock):
            raise ValueError("Only clocks with type ROS_TIME can be attached.")
        clock.set_ros_time_override(self._last_time_set)
        clock._set_ros_time_is_active(self._ros_time_is_active)
        self._associated_clocks.append(clock)

    def clock_callback(self, msg: ClockMsg) -> None:
        self._last_time_set = Time.from_msg(msg.clock)
        for clock in self._associated_clocks:
            clock.set_ros_time_override(self._last_time_set)

    def _on_parameter_event(self, parameter_list: list[Parameter]) -> SetParametersResult:
        for parameter in parameter_list:
            if parameter.name != USE_SIM_TIME_NAME:
                continue
            if parameter.type_ != Parameter.Type.BOOL:
                return SetParametersResult(successful=False, reason=f"'{USE_SIM_TIME_NAME}' must be a bool")
            self.ros_time_is_active = parameter.value
        return SetParametersResult(successful=True)
