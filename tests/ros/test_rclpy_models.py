"""Parameters, lifecycle, remaps, QoS and jumps against small models written anew from the ROS design articles."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rclpy import _arguments, _params_file
from rclpy._rclpy_pybind11 import RCLError
from rclpy._transport import profile_of, wire_qos
from rclpy.clock import ClockChange, JumpThreshold, ROSClock
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.exceptions import ParameterAlreadyDeclaredException, ParameterNotDeclaredException
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.time import Time

DOMAIN = 53
SLOW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TOKEN = st.sampled_from(["a", "b", "c"])
VALUES = st.sampled_from([True, False, 1, 2, 1.5, 2.5, "x", "y"])


class ParameterModel:
    """Declared once, typed for good, undeclared by name: a dict."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}

    def apply(self, action: str, name: str, value: object) -> object:
        if action == "declare":
            if name in self.values:
                return ParameterAlreadyDeclaredException
            self.values[name] = value
            return value
        if name not in self.values:
            return ParameterNotDeclaredException
        if action == "undeclare":
            del self.values[name]
            return None
        if action == "set":
            if type(self.values[name]) is not type(value):
                return False
            self.values[name] = value
            return True
        return self.values[name]


def on_node(node, action: str, name: str, value: object) -> object:
    try:
        if action == "declare":
            return node.declare_parameter(name, value).value
        if action == "undeclare":
            return node.undeclare_parameter(name)
        if action == "set":
            return node.set_parameters([Parameter(name, value=value)])[0].successful
        return node.get_parameter(name).value
    except (ParameterAlreadyDeclaredException, ParameterNotDeclaredException) as error:
        return type(error)


@SLOW
@given(
    st.lists(st.tuples(st.sampled_from(["declare", "undeclare", "set", "get"]), TOKEN, VALUES), min_size=5, max_size=30)
)
def test_parameters_are_a_typed_dict(graph, actions) -> None:
    if not graph.nodes:
        graph.node(enable_rosout=False, start_parameter_services=False)
    node, model = graph.nodes[0], ParameterModel()
    for action, name, value in actions:
        assert on_node(node, action, name, value) == model.apply(action, name, value)
    kept = {name: p.value for name, p in node.get_parameters_by_prefix("").items() if name != "use_sim_time"}
    assert kept == model.values
    for name in model.values:
        node.undeclare_parameter(name)


WAYS = {
    "unconfigured": {"configure": "inactive", "shutdown": "finalized"},
    "inactive": {"activate": "active", "cleanup": "unconfigured", "shutdown": "finalized"},
    "active": {"deactivate": "inactive", "shutdown": "finalized"},
    "finalized": {},
}


@SLOW
@given(
    st.lists(st.sampled_from(["configure", "activate", "deactivate", "cleanup"]), min_size=1, max_size=25),
    st.booleans(),
)
def test_any_walk_stays_on_the_graph_of_states(graph, steps: list[str], end: bool) -> None:
    node = graph.node(
        "walker",
        LifecycleNode,
        enable_communication_interface=False,
        enable_rosout=False,
        start_parameter_services=False,
    )
    state = "unconfigured"
    for step in steps + ["shutdown"] * end:
        if step in WAYS[state]:
            assert getattr(node, f"trigger_{step}")() == TransitionCallbackReturn.SUCCESS
            state = WAYS[state][step]
        else:
            with pytest.raises(RCLError, match=f"in state {state}"):
                getattr(node, f"trigger_{step}")()
        assert node._state_machine.label == state
    node.destroy_node()
    graph.nodes.remove(node)


def full(name: str, node: str, namespace: str) -> str:
    """Expansion as the article on names puts it."""
    if name.startswith("/"):
        return name
    base = namespace if namespace != "/" else ""
    return base + "/" + (node + name[1:] if name.startswith("~") else name)


NAME = st.builds(
    lambda prefix, parts: prefix + "/".join(parts),
    st.sampled_from(["", "/", "~/"]),
    st.lists(TOKEN, min_size=1, max_size=2),
)


@given(
    st.lists(st.tuples(st.sampled_from(["", "n:", "m:"]), NAME, NAME), max_size=6),
    NAME,
    st.sampled_from(["n", "m"]),
    st.sampled_from(["/", "/a", "/a/b"]),
)
def test_remaps_are_the_first_rule_that_fits(rules, name: str, node: str, namespace: str) -> None:
    words = [word for prefix, old, new in rules for word in ("-r", f"{prefix}{old}:={new}")]
    expected = None
    for prefix, old, new in rules:
        if prefix in ("", f"{node}:") and full(old, node, namespace) == full(name, node, namespace):
            expected = full(new, node, namespace)
            break
    found = _arguments.parse(words).remap(full(name, node, namespace), node, namespace, is_service=False)
    assert found == expected


@given(
    st.lists(st.sampled_from(["*", "**", "a", "b"]), min_size=1, max_size=4), st.lists(TOKEN, min_size=1, max_size=4)
)
def test_node_patterns_are_globs_by_part(pattern: list[str], node: list[str]) -> None:
    def fits(left: list[str], right: list[str]) -> bool:
        if not left:
            return not right
        if left[0] == "**":
            return any(fits(left[1:], right[skip:]) for skip in range(len(right) + 1))
        return bool(right) and left[0] in ("*", right[0]) and fits(left[1:], right[1:])

    assert _params_file.matches("/" + "/".join(pattern), "/" + "/".join(node)) == fits(pattern, node)


@given(st.lists(st.sampled_from(["own", "--ros-args", "--", "-r", "x:=y"]), max_size=12))
def test_command_lines_are_split_by_their_marks(words: list[str]) -> None:
    own, ros = _arguments.split(words)
    text = " ".join(["--", *words])
    outside = re.split(r"(?<!\S)--ros-args(?!\S)", text)
    # Everything up to the first mark is the program's own, a "--" there included.
    expected = outside[0].split()[1:]
    for part in outside[1:]:
        expected += part.split("--", 1)[1].split() if re.search(r"(?<!\S)--(?!\S)", part) else []
    assert own == expected
    assert len(own) + len(ros) <= len(words)


DURATIONS = st.sampled_from([0, 1, 10**6, 10**9, 2**63 - 1])
PROFILES = st.builds(
    lambda depth, reliable, latched, deadline, lifespan, manual, lease: QoSProfile(
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        deadline=Duration(nanoseconds=deadline),
        lifespan=Duration(nanoseconds=lifespan),
        liveliness=LivelinessPolicy.MANUAL_BY_TOPIC if manual else LivelinessPolicy.AUTOMATIC,
        liveliness_lease_duration=Duration(nanoseconds=lease),
    ),
    st.integers(1, 1000),
    st.booleans(),
    st.booleans(),
    DURATIONS,
    DURATIONS,
    st.booleans(),
    DURATIONS,
)


@given(PROFILES)
def test_profiles_survive_the_wire_but_for_history(profile: QoSProfile) -> None:
    back = profile_of(wire_qos(profile))
    assert (back.history, back.depth) == (HistoryPolicy.UNKNOWN, 0)
    assert (back.reliability, back.durability, back.liveliness) == (
        profile.reliability,
        profile.durability,
        profile.liveliness,
    )
    for name in ("deadline", "lifespan", "liveliness_lease_duration"):
        given_ns = getattr(profile, name).nanoseconds
        assert getattr(back, name).nanoseconds == (given_ns or 2**63 - 1)  # zero is "not given": infinite
    assert wire_qos(profile).depth == profile.depth


@given(PROFILES, PROFILES)
def test_compatibility_is_offered_at_least_as_requested(offered: QoSProfile, requested: QoSProfile) -> None:
    def span(duration: Duration) -> int:
        return duration.nanoseconds or 2**63 - 1

    fits = (
        (offered.reliability == ReliabilityPolicy.RELIABLE or requested.reliability == ReliabilityPolicy.BEST_EFFORT)
        and (
            offered.durability == DurabilityPolicy.TRANSIENT_LOCAL or requested.durability == DurabilityPolicy.VOLATILE
        )
        and span(offered.deadline) <= span(requested.deadline)
        and (
            offered.liveliness == LivelinessPolicy.MANUAL_BY_TOPIC or requested.liveliness == LivelinessPolicy.AUTOMATIC
        )
        and span(offered.liveliness_lease_duration) <= span(requested.liveliness_lease_duration)
    )
    verdict, reason = qos_check_compatible(offered, requested)
    assert (verdict == QoSCompatibility.OK, reason == "") == (fits, fits)


@given(
    st.lists(st.integers(0, 10_000), min_size=1, max_size=20),
    st.one_of(st.none(), st.integers(1, 2000)),
    st.one_of(st.none(), st.integers(1, 2000)),
)
def test_jumps_are_told_by_their_size(moments: list[int], forward: int | None, backward: int | None) -> None:
    clock, told = ROSClock(), []
    clock._set_ros_time_is_active(True)
    threshold = JumpThreshold(
        min_forward=None if forward is None else Duration(nanoseconds=forward),
        min_backward=None if backward is None else Duration(nanoseconds=-backward),
    )
    with clock.create_jump_callback(threshold, post_callback=told.append):
        for moment in moments:
            clock.set_ros_time_override(Time(nanoseconds=moment, clock_type=ClockType.ROS_TIME))
    steps = [new - old for old, new in zip([0, *moments], moments, strict=False)]
    expected = [
        step
        for step in steps
        if (forward is not None and step >= forward) or (backward is not None and step <= -backward)
    ]
    assert [jump.delta.nanoseconds for jump in told] == expected
    assert all(jump.clock_change == ClockChange.ROS_TIME_NO_CHANGE for jump in told)
