"""ROS arguments on a command line: ``--ros-args ... --``, as rcl reads them.

Facts: design.ros2.org/articles/ros_command_line_arguments.html; remaps apply once, the first rule that matches wins, a
node's own arguments come before the process's. rcl keeps parameters by node key, `/**` for those of the command line, in the order in
which each key first came (rcl_yaml_param_parser, find_node), and rclpy applies the keys that match in that order: the last one wins.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rclpy import _params_file
from rclpy._names import expand_topic_name, full_name_error, node_name_error, topic_name_error
from rclpy._rclpy_pybind11 import RCLInvalidROSArgsError, UnknownROSArgsError

_SWITCHES = ("rosout-logs", "stdout-logs", "external-lib-logs")
_LEVELS = {"DEBUG": 10, "INFO": 20, "WARN": 30, "ERROR": 40, "FATAL": 50}


class Remap(NamedTuple):
    """``[node:]match:=replacement``."""

    kind: str
    """"node", "namespace", "topic", "service" or "name", which is both of the last two."""
    node: str | None
    match: str
    replacement: str


class ParameterRule(NamedTuple):
    """One override: for nodes whose full name matches, in order."""

    node_pattern: str
    name: str
    value: Any


@dataclass
class Arguments:
    """What a command line says to ROS."""

    remaps: list[Remap] = field(default_factory=list)
    parameters: list[ParameterRule] = field(default_factory=list)
    log_levels: dict[str, int] = field(default_factory=dict)
    """By logger name; "" is the default of all."""
    rosout: bool = True
    stdout: bool = True
    ignored: list[str] = field(default_factory=list)
    """Options that mean nothing here, to be said once."""

    def node_name(self, name: str) -> str | None:
        """The name that replaces a node's, if a rule says so."""
        return self._whole("node", name)

    def namespace(self, node_name: str) -> str | None:
        return self._whole("namespace", node_name)

    def _whole(self, kind: str, node_name: str) -> str | None:
        for rule in self.remaps:
            if rule.kind == kind and rule.node in (None, node_name):
                return rule.replacement
        return None

    def remap(self, full_name: str, node_name: str, namespace: str, *, is_service: bool) -> str | None:
        """What replaces a fully qualified topic or service name, if a rule says so."""
        for rule in self.remaps:
            if rule.kind not in ("name", "service" if is_service else "topic") or rule.node not in (None, node_name):
                continue
            if expand_topic_name(rule.match, node_name, namespace) == full_name:
                return expand_topic_name(rule.replacement, node_name, namespace)
        return None

    def overrides(self, full_node_name: str) -> dict[str, Any]:
        """Parameter values for one node, by name."""
        return {
            rule.name: rule.value for rule in self.parameters if _params_file.matches(rule.node_pattern, full_node_name)
        }


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is the program's own and what is ROS's, without the markers."""
    own: list[str] = []
    ros: list[str] = []
    inside = False
    for word in argv:
        if word == "--ros-args":
            inside = True
        elif inside and word == "--":
            inside = False
        else:
            (ros if inside else own).append(word)
    return own, ros


def parse(ros: Iterable[str]) -> Arguments:
    """Read ROS arguments. Raises RCLInvalidROSArgsError and UnknownROSArgsError."""
    arguments = Arguments()
    unknown: list[str] = []
    words = iter(ros)
    for word in words:
        if not _option(arguments, word, words):
            unknown.append(word)
    if unknown:
        raise UnknownROSArgsError(f"Found unknown ROS arguments: {unknown}")
    arguments.parameters = _by_key(arguments.parameters)
    return arguments


def _by_key(rules: Sequence[ParameterRule]) -> list[ParameterRule]:
    """Rules of one node key together, where its first one stands."""
    first: dict[str, int] = {}
    for rule in rules:
        first.setdefault(rule.node_pattern, len(first))
    return sorted(rules, key=lambda rule: first[rule.node_pattern])


def _option(arguments: Arguments, word: str, rest: Any) -> bool:
    def value() -> str:
        try:
            return next(rest)
        except StopIteration:
            raise RCLInvalidROSArgsError(f"Couldn't parse trailing {word} flag. No value after it.") from None

    if word in ("-r", "--remap"):
        arguments.remaps.append(_remap(value()))
    elif word in ("-p", "--param"):
        arguments.parameters.append(_parameter(value()))
    elif word == "--params-file":
        arguments.parameters.extend(ParameterRule(*rule) for rule in _params_file.read(value()))
    elif word == "--log-level":
        _log_level(arguments, value())
    elif word in ("-e", "--enclave", "--log-config-file", "--log-file-name"):
        arguments.ignored.append(f"{word} {value()}")
    elif word in [f"--{way}-{switch}" for way in ("enable", "disable") for switch in _SWITCHES]:
        way, _, switch = word.lstrip("-").partition("-")
        if switch != "external-lib-logs":
            setattr(arguments, switch.partition("-")[0], way == "enable")
    else:
        return False
    return True


def _remap(text: str) -> Remap:
    def bad(why: str) -> RCLInvalidROSArgsError:
        return RCLInvalidROSArgsError(f"Couldn't parse remap rule: '-r {text}'. {why}.")

    parts = re.fullmatch(
        r"(?:(?P<node>\w+):(?!//))?(?:(?P<scheme>rostopic|rosservice)://)?(?P<match>[^:]+):=(?P<to>.*)", text
    )
    if parts is None:
        raise bad("A rule is [node:]from:=to")
    node, scheme, match, replacement = parts.groups()
    if match in ("__node", "__name"):
        error = node_name_error(replacement)
        kind = "node"
    elif match == "__ns":
        error = full_name_error(replacement, "namespace")
        kind = "namespace"
    else:
        error = topic_name_error(match) or topic_name_error(replacement)
        kind = {"rostopic": "topic", "rosservice": "service"}.get(scheme, "name")
    if error is not None:
        raise bad(error[0])
    return Remap(kind, node, match, replacement)


def _parameter(text: str) -> ParameterRule:
    left, marker, right = text.partition(":=")
    node, _, name = left.rpartition(":")
    if not marker or not name:
        raise RCLInvalidROSArgsError(
            f"Couldn't parse parameter override rule: '-p {text}'. A rule is [node:]name:=value."
        )
    pattern = _params_file.EVERY_NODE if not node else (node if "/" in node else f"{_params_file.EVERY_NODE}/{node}")
    return ParameterRule(pattern, name, _params_file.value_of(right, where=f"-p {text}"))


def _log_level(arguments: Arguments, text: str) -> None:
    name, _, level = text.rpartition(":=")
    if level.upper() not in _LEVELS:
        raise RCLInvalidROSArgsError(
            f"Couldn't parse log level rule: '--log-level {text}'. Levels are {', '.join(_LEVELS).lower()}."
        )
    arguments.log_levels[name] = _LEVELS[level.upper()]


def from_command_line(args: Sequence[str] | None) -> Arguments:
    """Of a whole command line, ``sys.argv`` by default."""
    return parse(split(sys.argv if args is None else args)[1])


def chain(own: Arguments | None, process: Arguments | None) -> Arguments:
    """A node's arguments before its process's; parameters the other way round, since the last one wins."""
    first, second = own or Arguments(), process or Arguments()
    return Arguments(
        remaps=first.remaps + second.remaps,
        parameters=second.parameters + first.parameters,
        log_levels={**second.log_levels, **first.log_levels},
        rosout=first.rosout and second.rosout,
        stdout=first.stdout and second.stdout,
    )
