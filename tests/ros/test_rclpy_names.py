"""Names, remaps and ROS arguments, against the rules of design.ros2.org and examples from its pages."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rclpy import _arguments, _params_file
from rclpy._rclpy_pybind11 import RCLInvalidROSArgsError, UnknownROSArgsError
from rclpy.exceptions import (
    InvalidNamespaceException,
    InvalidNodeNameException,
    InvalidParameterException,
    InvalidServiceNameException,
    InvalidTopicNameException,
)
from rclpy.expand_topic_name import expand_topic_name
from rclpy.topic_or_service_is_hidden import topic_or_service_is_hidden
from rclpy.utilities import remove_ros_args, timeout_sec_to_nsec
from rclpy.validate_full_topic_name import validate_full_topic_name
from rclpy.validate_namespace import validate_namespace
from rclpy.validate_node_name import validate_node_name
from rclpy.validate_parameter_name import validate_parameter_name
from rclpy.validate_topic_name import validate_topic_name

TOKEN = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


@given(st.text(max_size=12))
def test_node_names_are_identifiers(text: str) -> None:
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        assert validate_node_name(text)
    else:
        with pytest.raises(InvalidNodeNameException):
            validate_node_name(text)


@pytest.mark.parametrize("name", ["/", "/a", "/a/b_1", "/_a"])
def test_namespaces(name: str) -> None:
    assert validate_namespace(name)


@pytest.mark.parametrize("name", ["", "a", "/a/", "//a", "/a//b", "/1a", "/a-b", "/~", "/" + "a" * 300])
def test_bad_namespaces(name: str) -> None:
    with pytest.raises(InvalidNamespaceException):
        validate_namespace(name)


@pytest.mark.parametrize("name", ["chat", "/chat", "~/chat", "~", "a/b", "{node}/x", "{ns}/x", "_hidden", "a{node}b"])
def test_topic_names(name: str) -> None:
    assert validate_topic_name(name)
    assert validate_topic_name(name, is_service=True)


BAD_TOPICS = ["", "a/", "/", "a//b", "a~", "~a", "1a", "a/1", "a b", "a-b", "{", "a}", "{a-b}", "{1a}", "ä"]


@pytest.mark.parametrize("name", BAD_TOPICS)
def test_bad_topic_names(name: str) -> None:
    with pytest.raises(InvalidTopicNameException):
        validate_topic_name(name)
    with pytest.raises(InvalidServiceNameException):
        validate_topic_name(name, is_service=True)


def test_name_errors_point_at_the_place() -> None:
    with pytest.raises(InvalidTopicNameException) as error:
        validate_topic_name("ab-c")
    lines = str(error.value).splitlines()
    assert lines[1].index("-") == lines[2].index("^")


@given(TOKEN, st.lists(TOKEN, min_size=1, max_size=3), TOKEN)
def test_names_expand_relative_private_and_absolute(node: str, parts: list[str], topic: str) -> None:
    namespace = "/" + "/".join(parts)
    assert expand_topic_name(topic, node, namespace) == f"{namespace}/{topic}"
    assert expand_topic_name(f"~/{topic}", node, namespace) == f"{namespace}/{node}/{topic}"
    assert expand_topic_name(f"/{topic}", node, namespace) == f"/{topic}"
    assert expand_topic_name(topic, node, "/") == f"/{topic}"
    assert expand_topic_name("~", node, "/") == f"/{node}"
    assert expand_topic_name(f"{{node}}/{topic}", node, namespace) == f"{namespace}/{node}/{topic}"
    assert expand_topic_name(f"{{ns}}/{topic}", node, namespace) == f"{namespace}/{topic}"
    for full in (f"{namespace}/{topic}", f"/{topic}"):
        assert validate_full_topic_name(full)


def test_names_that_do_not_expand() -> None:
    with pytest.raises(ValueError, match="unknown substitution"):
        expand_topic_name("{robot}/x", "node", "/")
    with pytest.raises(InvalidTopicNameException):
        validate_full_topic_name("~/x")
    with pytest.raises(InvalidServiceNameException):
        validate_full_topic_name("relative", is_service=True)
    with pytest.raises(InvalidParameterException):
        validate_parameter_name("")
    assert validate_parameter_name("a.b")


def test_hidden_names() -> None:
    assert topic_or_service_is_hidden("/a/_b/c")
    assert not topic_or_service_is_hidden("/a/b_c")


def parsed(*words: str) -> _arguments.Arguments:
    return _arguments.from_command_line(["program", "--ros-args", *words])


def test_only_what_stands_between_the_marks_is_ros() -> None:
    words = ["p", "-r", "own", "--ros-args", "-r", "a:=b", "--", "-p", "own", "--ros-args", "-p", "k:=1"]
    assert remove_ros_args(words) == ["p", "-r", "own", "-p", "own"]
    arguments = _arguments.from_command_line(words)
    assert [rule.replacement for rule in arguments.remaps] == ["b"]
    assert arguments.overrides("/n") == {"k": 1}


def test_node_and_namespace_remaps() -> None:
    arguments = parsed("-r", "__node:=new", "-r", "__ns:=/there")
    assert arguments.node_name("old") == "new"
    assert arguments.namespace("new") == "/there"
    one = parsed("-r", "old:__node:=new", "-r", "new:__ns:=/there")
    assert (one.node_name("other"), one.namespace("other")) == (None, None)
    assert (one.node_name("old"), one.namespace("new")) == ("new", "/there")


def test_first_matching_remap_wins_and_applies_once() -> None:
    arguments = parsed("-r", "n:a:=mine", "-r", "a:=b", "-r", "b:=c", "-r", "a:=d")
    assert arguments.remap("/ns/a", "n", "/ns", is_service=False) == "/ns/mine"
    assert arguments.remap("/ns/a", "other", "/ns", is_service=False) == "/ns/b"
    assert arguments.remap("/a", "n", "/ns", is_service=False) is None
    private = parsed("-r", "~/x:=/abs", "-r", "/full:=~/y")
    assert private.remap("/ns/n/x", "n", "/ns", is_service=True) == "/abs"
    assert private.remap("/full", "n", "/ns", is_service=True) == "/ns/n/y"


def test_remaps_of_topics_or_services_only() -> None:
    arguments = parsed("-r", "rostopic://a:=t", "-r", "rosservice://a:=s")
    assert arguments.remap("/a", "n", "/", is_service=False) == "/t"
    assert arguments.remap("/a", "n", "/", is_service=True) == "/s"


def test_a_nodes_own_arguments_come_first() -> None:
    own = _arguments.parse(["-r", "a:=own", "-p", "k:=own"])
    both = _arguments.chain(own, parsed("-r", "a:=process", "-p", "k:=process", "-p", "l:=process"))
    assert both.remap("/a", "n", "/", is_service=False) == "/own"
    assert both.overrides("/n") == {"k": "own", "l": "process"}


@pytest.mark.parametrize(
    "words",
    [
        ["-r"],
        ["-r", "a"],
        ["-r", "a:=b c"],
        ["-r", "__node:=a/b"],
        ["-r", "__ns:=relative"],
        ["-p", "a"],
        ["-p", ":=1"],
        ["-p", "a:=[1, [2]]"],
        ["-p", "a:={b: 1}"],
        ["-p", "a:=[1, 2.0]"],
        ["-p", "a:=[]"],
        ["-p", "a:=["],
        ["--params-file", "/does/not/exist.yaml"],
        ["--log-level", "loud"],
    ],
)
def test_arguments_that_do_not_parse(words: list[str]) -> None:
    with pytest.raises(RCLInvalidROSArgsError):
        parsed(*words)


def test_unknown_arguments_are_named() -> None:
    with pytest.raises(UnknownROSArgsError, match=r"\['--typo', 'x'\]"):
        parsed("--typo", "x", "-r", "a:=b")


def test_log_levels_and_what_is_ignored() -> None:
    arguments = parsed("--log-level", "debug", "--log-level", "my.node:=ERROR", "-e", "/x", "--disable-rosout-logs")
    assert arguments.log_levels == {"": 10, "my.node": 40}
    assert arguments.ignored == ["-e /x"]
    assert not arguments.rosout
    assert parsed("--disable-stdout-logs", "--enable-external-lib-logs").stdout is False


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-7", -7),
        ("0x10", 16),
        ("1.0", 1.0),
        ("1e-3", 0.001),
        (".5", 0.5),
        (".inf", float("inf")),
        ("-.inf", float("-inf")),
        ("true", True),
        ("Off", False),
        ("y", True),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ('"true"', "true"),
        ("null", "null"),
        ("", ""),
        ("a b", "a b"),
        ("/a/b", "/a/b"),
        ("[1, 2]", [1, 2]),
        ("[1.0, .5]", [1.0, 0.5]),
        ("[a, 'b']", ["a", "b"]),
        ("[true, no]", [True, False]),
    ],
)
def test_values_are_typed_as_rcl_types_them(text: str, value: object) -> None:
    found = _params_file.value_of(text, "here")
    assert found == value
    assert type(found) is type(value)


@given(st.floats(allow_nan=False))
def test_any_python_float_is_a_float(number: float) -> None:
    text = repr(number).replace("inf", ".inf")
    assert _params_file.value_of(text, "here") == number


@pytest.mark.parametrize(
    ("pattern", "node", "fits"),
    [
        ("/**", "/n", True),
        ("/**", "/a/b/n", True),
        ("/*", "/n", True),
        ("/*", "/a/n", False),
        ("/n", "/n", True),
        ("/n", "/a/n", False),
        ("/a/n", "/a/n", True),
        ("/*/n", "/a/n", True),
        ("/*/n", "/n", False),
        ("/**/n", "/n", True),
        ("/**/n", "/a/b/n", True),
        ("/**/n", "/a/b/m", False),
        ("/a/**", "/a/b/n", True),
        ("/a/**", "/b/n", False),
    ],
)
def test_node_patterns(pattern: str, node: str, fits: bool) -> None:
    assert _params_file.matches(pattern, node) is fits


def test_parameter_files_hold_wildcards_and_namespaces(tmp_path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(
        "/**:\n  ros__parameters:\n    rate: 1.0\n    nested: {deep: {x: 1}}\n"
        "n:\n  ros__parameters:\n    rate: 2.0\n"
        "/robot:\n  n:\n    ros__parameters:\n      names: [a, b]\n"
    )
    arguments = parsed("--params-file", str(file), "-p", "last:=1", "-p", "n:only:=2", "-p", "other:not:=3")
    assert arguments.overrides("/n") == {"rate": 2.0, "nested.deep.x": 1, "last": 1, "only": 2}
    assert arguments.overrides("/robot/n") == {
        "rate": 1.0,
        "nested.deep.x": 1,
        "names": ["a", "b"],
        "last": 1,
        "only": 2,
    }
    later = parsed("--params-file", str(file), "-p", "rate:=3.0")
    assert later.overrides("/n")["rate"] == 2.0, "under the key of every node, which came before that of n"
    assert later.overrides("/m")["rate"] == 3.0


def test_keys_of_parameter_files_count_in_the_order_in_which_each_first_came(tmp_path) -> None:
    """As rcl and rclpy have it, whose keys are found again by their text."""
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("/**/n:\n  ros__parameters: {a: 1, b: 1}\n/**:\n  ros__parameters: {b: 2}\n")
    two.write_text("/s/n:\n  ros__parameters: {c: 3}\n/**/n:\n  ros__parameters: {a: 4, b: 4, c: 4}\n")
    found = parsed("--params-file", str(one), "--params-file", str(two), "-p", "b:=5").overrides("/s/n")
    assert found == {"a": 4, "b": 5, "c": 3}
    assert parsed("--params-file", str(two), "-p", "b:=5").overrides("/s/n") == {"a": 4, "b": 5, "c": 4}


@pytest.mark.parametrize(
    "content",
    ["", "- a", "n: 1", "n:\n  rate: 1", "ros__parameters:\n  a: 1", "n:\n  ros__parameters: 1", "n: [", "\tn: 1"],
)
def test_parameter_files_that_say_nothing_are_refused(tmp_path, content: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(content)
    with pytest.raises(RCLInvalidROSArgsError, match=re.escape(str(file))):
        parsed("--params-file", str(file))
    file.write_text("n:\n  ros__parameters: &same {a: 1}\nm:\n  ros__parameters: *same\n")
    with pytest.raises(RCLInvalidROSArgsError, match=r"alias .* line 4"):
        parsed("--params-file", str(file))
    file.write_bytes(b"n:\n  ros__parameters: {a: \xff}")
    with pytest.raises(RCLInvalidROSArgsError):
        parsed("--params-file", str(file))


def test_timeouts_in_nanoseconds() -> None:
    assert [timeout_sec_to_nsec(t) for t in (None, -1, 0, 1.5)] == [-1, -1, 0, 1_500_000_000]
