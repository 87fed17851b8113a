"""/clock, from a message to what waits for it: clocks, timers and what may not be set; nobody's wall clock is asked."""

from __future__ import annotations

from typing import Any

import builtin_interfaces.msg
import pytest
from rclpy.clock import Clock, ClockChange, JumpThreshold, TimeJump
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.time_source import CLOCK_TOPIC
from rosgraph_msgs.msg import Clock as ClockMsg

DOMAIN = 212
S = 10**9


class World:
    """Says what time it is, and a node that believes it."""

    def __init__(self, graph: Any):
        self.graph = graph
        self.node = graph.node("believer", parameter_overrides=[Parameter("use_sim_time", value=True)])
        self._says = graph.node("world").create_publisher(ClockMsg, CLOCK_TOPIC, QoSProfile(depth=1))
        assert graph.spin_until(self._says.get_subscription_count)

    def is_now(self, now_ns: int) -> None:
        """Say it until the node's clock shows it."""
        seconds, rest = divmod(now_ns, S)
        message = ClockMsg(clock=builtin_interfaces.msg.Time(sec=seconds, nanosec=rest))
        clock = self.node.get_clock()
        assert self.graph.spin_until(lambda: self._says.publish(message) or clock.now().nanoseconds == now_ns)


@pytest.fixture
def world(graph: Any) -> World:
    return World(graph)


def test_a_node_told_to_at_its_start_believes_the_clock_and_nothing_else(world: World) -> None:
    clock = world.node.get_clock()
    assert clock.ros_time_is_active
    assert clock.now().nanoseconds == 0, "before anybody said anything"
    for now_ns in (5 * S + 7, 6 * S, 3 * S):
        world.is_now(now_ns)
        assert (clock.now().nanoseconds, clock.now().clock_type) == (now_ns, ClockType.ROS_TIME)
    assert Clock().now().nanoseconds > 10**18, "clocks of other kinds go on"


def test_timers_of_simulated_time_fire_as_it_goes_and_those_of_others_by_themselves(world: World) -> None:
    fired: list[int] = []
    world.is_now(10 * S)
    world.node.create_timer(0.5, lambda: fired.append(world.node.get_clock().now().nanoseconds))
    steady: list[int] = []
    world.node.create_timer(0.01, lambda: steady.append(1), clock=Clock(clock_type=ClockType.STEADY_TIME))
    assert world.graph.spin_until(lambda: len(steady) > 5)
    assert fired == [], "time stands still"
    for now_ns in (10 * S + S // 4, 10 * S + S // 2, 10 * S + 3 * S // 4, 11 * S):
        world.is_now(now_ns)
        seen = len(steady)
        assert world.graph.spin_until(lambda seen=seen: len(steady) > seen + 2)
    assert fired == [10 * S + S // 2, 11 * S]


def test_who_waits_for_a_jump_hears_of_it_from_the_topic(world: World) -> None:
    jumps: list[TimeJump] = []
    threshold = JumpThreshold(
        min_forward=Duration(seconds=2), min_backward=Duration(seconds=-1), on_clock_change=True
    )  # fmt: skip
    world.is_now(20 * S)
    handle = world.node.get_clock().create_jump_callback(threshold, post_callback=jumps.append)
    world.is_now(21 * S)
    assert jumps == [], "a step of a simulator is no jump"
    world.is_now(25 * S)
    world.is_now(22 * S)
    assert [jump.delta.nanoseconds for jump in jumps] == [4 * S, -3 * S]
    assert {jump.clock_change for jump in jumps} == {ClockChange.ROS_TIME_NO_CHANGE}
    assert world.node.set_parameters([Parameter("use_sim_time", value=False)])[0].successful
    assert jumps[-1].clock_change == ClockChange.ROS_TIME_DEACTIVATED
    handle.unregister()


def test_it_is_switched_by_the_parameter_alone_and_only_by_a_bool(world: World) -> None:
    node, clock = world.node, world.node.get_clock()
    world.is_now(4 * S)
    for wrong in (1, "yes", 1.0):
        result = node.set_parameters([Parameter("use_sim_time", value=wrong)])[0]
        assert not result.successful
        assert "use_sim_time" in result.reason or "type" in result.reason
        assert clock.ros_time_is_active
    assert node.set_parameters([Parameter("use_sim_time", value=False)])[0].successful
    assert clock.now().nanoseconds > 10**18
    assert world.graph.spin_until(lambda: node.count_subscribers(CLOCK_TOPIC) == 0), "it does not even listen"
    assert node.set_parameters([Parameter("use_sim_time", value=True)])[0].successful
    assert clock.now().nanoseconds == 4 * S, "as last heard"
    world.is_now(9 * S)


def test_an_override_of_another_kind_is_refused_at_the_start(graph: Any) -> None:
    with pytest.raises(InvalidParameterTypeException, match="use_sim_time"):
        graph.node("stubborn", parameter_overrides=[Parameter("use_sim_time", value="true")])
