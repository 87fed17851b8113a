"""Parameters of nodes in this process: declaration, types, ranges, callbacks, events, overrides."""

from __future__ import annotations

import array
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    ParameterEvent,
    ParameterValue,
    SetParametersResult,
)
from rclpy.exceptions import (
    InvalidParameterException,
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterAlreadyDeclaredException,
    ParameterImmutableException,
    ParameterNotDeclaredException,
    ParameterUninitializedException,
)
from rclpy.parameter import Parameter, get_parameter_value, parameter_dict_from_yaml_file, parameter_value_to_python

DOMAIN = 41
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    st.lists(st.binary(min_size=1, max_size=1), min_size=1, max_size=5),
    st.lists(st.booleans(), min_size=1, max_size=5),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5),
    st.lists(st.floats(allow_nan=False), min_size=1, max_size=5),
    st.lists(st.sampled_from(["", "a", "bc"]), min_size=1, max_size=5),
)


@given(VALUES)
def test_parameters_survive_messages(value) -> None:
    parameter = Parameter("p", value=value)
    back = Parameter.from_parameter_msg(parameter.to_parameter_msg())
    assert (back.name, back.type_, back.value) == ("p", parameter.type_, value)
    assert parameter_value_to_python(parameter.get_parameter_value()) == value
    assert parameter.type_.check(value)


def test_parameter_types() -> None:
    kinds = Parameter.Type
    assert kinds.from_parameter_value(True) == kinds.BOOL
    assert kinds.from_parameter_value([]) == kinds.BYTE_ARRAY  # rclpy's own oddity
    assert kinds.from_parameter_value(array.array("d", [1.0])) == kinds.DOUBLE_ARRAY
    assert not kinds.BYTE_ARRAY.check([b"ab"])
    assert not kinds.DOUBLE.check(1)
    for bad in ([1, "a"], {1: 2}, object()):
        with pytest.raises(TypeError, match="allowed types"):
            kinds.from_parameter_value(bad)
    with pytest.raises(ValueError, match="do not agree"):
        Parameter("p", kinds.DOUBLE, 1)
    with pytest.raises(TypeError, match="must be an instance"):
        Parameter("p", 3, 1.0)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="unexpected parameter type 77"):
        parameter_value_to_python(ParameterValue(type=77))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1.5", 1.5),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ("a", "a"),
        ("[1, a]", "[1, a]"),
        ("", ""),
        ("{", "{"),
    ],
)
def test_values_of_strings(text: str, value: object) -> None:
    assert parameter_value_to_python(get_parameter_value(text)) == value


def test_parameter_files_as_dictionaries(tmp_path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "/**:\n  ros__parameters: {a: 1, b: x}\nnode:\n  ros__parameters: {a: 2, deep: {c: [1.0]}}\nbad: {a: 1}\n"
    )

    def values(**arguments):
        found = parameter_dict_from_yaml_file(str(file), **arguments)
        return {name: parameter_value_to_python(message.value) for name, message in found.items()}

    assert values(target_nodes=["node"]) == {"a": 2, "deep.c": [1.0]}
    assert values(target_nodes=["node"], use_wildcard=True) == {"a": 2, "b": "x", "deep.c": [1.0]}
    assert values(target_nodes=["node"], namespace="ns.") == {"ns.a": 2, "ns.deep.c": [1.0]}
    with pytest.raises(RuntimeError, match="does not contain parameters for other"):
        values(target_nodes=["other"])
    with pytest.raises(RuntimeError, match="not a valid ROS parameter file for node bad"):
        values()
    file.write_text("/**:\n  ros__parameters: {a: 1}\n")
    with pytest.raises(RuntimeError, match="selected"):
        values()
    file.write_text("- 1")
    with pytest.raises(RuntimeError, match="not a valid"):
        values()


def test_declaring(graph) -> None:
    node = graph.node()
    assert node.declare_parameter("rate", 5.0).value == 5.0
    assert [p.name for p in node.declare_parameters("a", [("x", 1), ("y", "s", ParameterDescriptor())])] == [
        "a.x",
        "a.y",
    ]
    assert node.get_parameter("a.y").value == "s"
    assert node.has_parameter("rate")
    assert node.get_parameter_type("rate") == Parameter.Type.DOUBLE.value
    assert node.get_parameter_types(["a.x"]) == [Parameter.Type.INTEGER.value]
    assert [p.value for p in node.get_parameters(["rate", "a.x"])] == [5.0, 1]
    assert {name: p.value for name, p in node.get_parameters_by_prefix("a").items()} == {"x": 1, "y": "s"}
    assert "use_sim_time" in node.get_parameters_by_prefix("")
    assert node.describe_parameter("rate").type == Parameter.Type.DOUBLE.value
    assert node.describe_parameters(["rate"])[0].name == "rate"
    node.undeclare_parameter("rate")
    assert not node.has_parameter("rate")
    assert node.get_parameter_or("rate").type_ == Parameter.Type.NOT_SET
    assert node.get_parameter_or("rate", Parameter("rate", value=2.0)).value == 2.0
    assert node.get_parameter_or("a.x").value == 1


def test_declarations_that_are_refused(graph) -> None:
    node = graph.node()
    node.declare_parameter("known", 1)
    node.declare_parameter("fixed", 1, ParameterDescriptor(read_only=True))
    with pytest.raises(ParameterAlreadyDeclaredException, match="known"):
        node.declare_parameter("known", 2)
    with pytest.raises(InvalidParameterException):
        node.declare_parameter("", 1)
    with pytest.raises(ValueError, match="PARAMETER_NOT_SET"):
        node.declare_parameter("nothing", None, ParameterDescriptor())
    with pytest.raises(ValueError, match="NOT_SET"):
        node.declare_parameter("nothing", Parameter.Type.NOT_SET)
    with pytest.raises(ValueError, match="dynamic_typing"):
        node.declare_parameter("both", Parameter.Type.BOOL, ParameterDescriptor(dynamic_typing=True))
    for bad in ([()], [(1, 2)], [("a", 1, 2)], [("a", 1, ParameterDescriptor(), 4)], [("a", object())]):
        with pytest.raises(TypeError):
            node.declare_parameters("", bad)
    with pytest.warns(UserWarning, match="deprecated"):
        node.declare_parameter("only_a_name")
    with pytest.raises(ParameterNotDeclaredException, match="unknown"):
        node.get_parameter("unknown")
    with pytest.raises(ParameterNotDeclaredException):
        node.get_parameter_type("unknown")
    with pytest.raises(ParameterNotDeclaredException):
        node.describe_parameter("unknown")
    with pytest.raises(ParameterNotDeclaredException):
        node.undeclare_parameter("unknown")
    with pytest.raises(ParameterImmutableException, match="fixed"):
        node.undeclare_parameter("fixed")
    with pytest.raises(TypeError):
        node.get_parameters([1])
    with pytest.raises(TypeError):
        node.get_parameter_types([1])


def test_typed_parameters_without_a_value(graph) -> None:
    node = graph.node()
    node.declare_parameter("must", Parameter.Type.STRING)
    with pytest.raises(ParameterUninitializedException, match="must"):
        node.get_parameter("must")
    assert node.get_parameter_or("must", Parameter("must", value="x")).value == "x"
    assert not node.set_parameters([Parameter("must", value=1)])[0].successful
    assert node.set_parameters([Parameter("must", value="given")])[0].successful
    assert node.get_parameter("must").value == "given"


def test_types_are_kept_unless_dynamic(graph) -> None:
    node = graph.node()
    node.declare_parameter("typed", 1.0)
    node.declare_parameter("free", 1, ParameterDescriptor(dynamic_typing=True))
    result = node.set_parameters([Parameter("typed", value=2)])[0]
    assert not result.successful
    assert "Wrong parameter type" in result.reason
    assert not node.set_parameters([Parameter("typed")])[0].successful
    assert node.set_parameters([Parameter("free", value="now a string")])[0].successful
    assert node.describe_parameter("free").type == Parameter.Type.STRING.value
    assert node.set_parameters([Parameter("free")])[0].successful  # not set: undeclared
    assert not node.has_parameter("free")


@pytest.mark.parametrize(("value", "fine"), [(0, True), (10, True), (4, True), (5, False), (-1, False), (11, False)])
def test_integer_ranges(graph, value: int, fine: bool) -> None:
    node = graph.node()
    descriptor = ParameterDescriptor(integer_range=[IntegerRange(from_value=10, to_value=0, step=2)])
    node.declare_parameter("p", 0, descriptor)
    assert node.set_parameters([Parameter("p", value=value)])[0].successful is fine
    assert node.get_parameter("p").value == (value if fine else 0)


@pytest.mark.parametrize(
    ("value", "fine"),
    [(0.0, True), (1.0, True), (0.3, True), (0.25, False), (1.1, False), (math.nan, False), (math.inf, False)],
)
def test_float_ranges(graph, value: float, fine: bool) -> None:
    node = graph.node()
    descriptor = ParameterDescriptor(floating_point_range=[FloatingPointRange(from_value=0.0, to_value=1.0, step=0.1)])
    node.declare_parameter("p", 0.5, descriptor)
    assert node.set_parameters([Parameter("p", value=value)])[0].successful is fine
    with pytest.raises(InvalidParameterValueException, match="out of range"):
        node.declare_parameter("q", 7.0, descriptor)


def test_read_only_parameters_are_set_by_declaration_only(graph) -> None:
    node = graph.node(parameter_overrides=[Parameter("p", value=2)])
    assert node.declare_parameter("p", 1, ParameterDescriptor(read_only=True)).value == 2
    result = node.set_parameters([Parameter("p", value=3)])[0]
    assert not result.successful
    assert "read-only" in result.reason


def test_atomic_sets_are_all_or_none(graph) -> None:
    node = graph.node()
    node.declare_parameters("", [("a", 1), ("b", 1.0)])
    assert not node.set_parameters_atomically([Parameter("a", value=2), Parameter("b", value=2)]).successful
    assert node.get_parameter("a").value == 1
    assert node.set_parameters_atomically([Parameter("a", value=2), Parameter("b", value=2.0)]).successful
    assert (node.get_parameter("a").value, node.get_parameter("b").value) == (2, 2.0)
    with pytest.raises(ParameterNotDeclaredException, match="unknown"):
        node.set_parameters([Parameter("unknown", value=1)])
    with pytest.raises(TypeError):
        node.set_parameters_atomically(["a"])


def test_callbacks_change_refuse_and_follow(graph) -> None:
    node = graph.node()
    node.declare_parameter("p", 1)
    told: list[str] = []

    def before(parameters):
        told.append("pre")
        return [Parameter(p.name, value=p.value * 10) for p in parameters]

    def check(parameters):
        told.append("on")
        return SetParametersResult(successful=parameters[0].value < 100, reason="too large")

    def after(parameters):
        told.append(f"post {parameters[0].value}")

    node.add_pre_set_parameters_callback(before)
    node.add_on_set_parameters_callback(check)
    node.add_post_set_parameters_callback(after)
    assert node.set_parameters([Parameter("p", value=2)])[0].successful
    assert told == ["pre", "on", "post 20"]
    result = node.set_parameters([Parameter("p", value=20)])[0]
    assert (result.successful, result.reason) == (False, "too large")
    assert node.get_parameter("p").value == 20
    node.remove_pre_set_parameters_callback(before)
    with pytest.raises(InvalidParameterValueException, match="too large"):
        node.declare_parameter("q", 100)
    node.remove_on_set_parameters_callback(check)
    node.remove_post_set_parameters_callback(after)
    node.add_pre_set_parameters_callback(lambda parameters: [])
    assert "empty" in node.set_parameters([Parameter("p", value=2)])[0].reason
    for remove in (node.remove_on_set_parameters_callback, node.remove_post_set_parameters_callback):
        with pytest.raises(ValueError):
            remove(check)


def test_undeclared_parameters_where_allowed(graph) -> None:
    node = graph.node(allow_undeclared_parameters=True)
    assert node.get_parameter("any").type_ == Parameter.Type.NOT_SET
    assert node.set_parameters([Parameter("any", value=1)])[0].successful
    assert node.set_parameters([Parameter("any", value="other type")])[0].successful
    assert node.get_parameter("any").value == "other type"
    assert node.get_parameter_type("none") == Parameter.Type.NOT_SET
    assert node.describe_parameter("none") == ParameterDescriptor()
    assert node.set_descriptor("none", ParameterDescriptor()).type == 0


def test_descriptors_can_be_replaced(graph) -> None:
    node = graph.node()
    node.declare_parameter("p", 5)
    node.declare_parameter("fixed", 5, ParameterDescriptor(read_only=True))

    def narrow() -> ParameterDescriptor:
        return ParameterDescriptor(
            type=Parameter.Type.INTEGER.value, integer_range=[IntegerRange(from_value=0, to_value=3)]
        )

    with pytest.raises(InvalidParameterValueException):
        node.set_descriptor("p", narrow())
    assert node.set_descriptor("p", narrow(), Parameter("", value=3).get_parameter_value()).integer_value == 3
    assert not node.set_parameters([Parameter("p", value=4)])[0].successful
    with pytest.raises(ParameterNotDeclaredException):
        node.set_descriptor("none", narrow())
    with pytest.raises(ParameterImmutableException):
        node.set_descriptor("fixed", narrow())


def test_listing_by_prefix_and_depth(graph) -> None:
    node = graph.node()
    node.declare_parameters("", [("a", 1), ("b.c", 1), ("b.d.e", 1), ("bc", 1)])

    def names(prefixes, depth):
        return [name for name in node.list_parameters(prefixes, depth).names if name != "use_sim_time"]

    assert names([], 0) == ["a", "b.c", "b.d.e", "bc"]
    assert names([], 1) == ["a", "bc"]
    assert names(["b"], 0) == ["b.c", "b.d.e"]
    assert names(["b"], 1) == ["b.c"]
    assert names(["a", "b.d"], 1) == ["a", "b.d.e"]
    assert node.list_parameters(["b"], 0).prefixes == ["b", "b.d"]
    for arguments in (("b", 0), ([1], 0), ([], 1.5)):
        with pytest.raises(TypeError):
            node.list_parameters(*arguments)
    with pytest.raises(ValueError):
        node.list_parameters([], -1)


def test_overrides_come_from_the_command_line_and_keep_their_type(graph, tmp_path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("/**:\n  ros__parameters: {rate: 2.0, count: 3}\n/ns/n:\n  ros__parameters: {name: here}\n")
    graph.start(("--ros-args", "--params-file", str(file), "-p", "count:=4", "-p", "other:only:=1"))
    node = graph.node("n", namespace="ns", cli_args=["-p", "own:=true"])
    assert node.declare_parameter("rate", 1.0).value == 2.0
    assert node.declare_parameter("name", "").value == "here"
    assert node.declare_parameter("own", False).value is True
    assert node.declare_parameter("only", 0).value == 0
    with pytest.raises(InvalidParameterTypeException, match="'INTEGER', expecting type 'DOUBLE'"):
        node.declare_parameter("count", 1.0)
    assert node.declare_parameter("count", 1.0, ignore_override=True).value == 1.0
    declared = graph.node("m", automatically_declare_parameters_from_overrides=True)
    assert (declared.get_parameter("count").value, declared.get_parameter("rate").value) == (4, 2.0)
    alone = graph.node("k", use_global_arguments=False)
    assert alone.declare_parameter("rate", 1.0).value == 1.0


def test_every_change_is_an_event(graph) -> None:
    node, watcher = graph.node("changed", namespace="/ns"), graph.node("watcher")
    events: list[ParameterEvent] = []
    watcher.create_subscription(
        ParameterEvent, "/parameter_events", lambda e: events.append(e) if e.node == "/ns/changed" else None, 10
    )
    assert graph.spin_until(lambda: node._parameter_event_publisher.get_subscription_count() == 1)
    node.declare_parameter("p", 1, ParameterDescriptor(dynamic_typing=True))
    node.set_parameters([Parameter("p", value=2)])
    node.set_parameters([Parameter("p")])
    assert graph.spin_until(lambda: len(events) == 3)
    assert [p.value.integer_value for p in events[0].new_parameters] == [1]
    assert [p.value.integer_value for p in events[1].changed_parameters] == [2]
    assert [p.name for p in events[2].deleted_parameters] == ["p"]
    assert events[0].stamp.sec > 0


def test_a_node_that_cannot_start_leaves_nothing_behind(graph) -> None:
    graph.start(("--ros-args", "-p", "use_sim_time:=1"))
    with pytest.raises(InvalidParameterTypeException, match="use_sim_time"):
        graph.node("half")
    watcher = graph.node("watcher", use_global_arguments=False)
    assert "half" not in watcher.get_node_names()
    assert watcher.count_publishers("/rosout") == 1
