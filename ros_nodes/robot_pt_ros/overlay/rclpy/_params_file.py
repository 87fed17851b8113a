"""Parameter files and values: YAML as rcl's parser types it, which is neither YAML 1.1 nor 1.2.

Facts: rcl_yaml_param_parser: plain scalars are booleans in eleven spellings each, then integers of any C base, then
floats, else strings; quoted scalars are strings; a sequence holds one type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from rclpy._rclpy_pybind11 import RCLInvalidROSArgsError

EVERY_NODE = "/**"
_KEY = "ros__parameters"
_TRUE = {"Y", "y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"}
_FALSE = {"N", "n", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"}
_SPECIAL_FLOAT = re.compile(r"([-+]?)\.(inf|Inf|INF|nan|NaN|NAN)")
_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|[0-9]+)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def matches(pattern: str, full_node_name: str) -> bool:
    """Whether a node key of a file (``/ns/node``, ``/*/node``, ``/**``) means this node."""
    tokens = [token for token in pattern.split("/") if token]
    expression = "".join(
        "(/[^/]+)*" if token == "**" else "/[^/]+" if token == "*" else "/" + re.escape(token) for token in tokens
    )
    return re.fullmatch(expression, full_node_name) is not None


def read(path: str) -> list[tuple[str, str, Any]]:
    """(node pattern, parameter name, value) in the order of the file. Raises RCLInvalidROSArgsError."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        aliases = [
            t.start_mark.line + 1 for t in yaml.scan(text, Loader=yaml.SafeLoader) if isinstance(t, yaml.AliasToken)
        ]
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise RCLInvalidROSArgsError(f"Couldn't open the parameter file {path!r}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RCLInvalidROSArgsError(f"Couldn't parse the parameter file {path!r}: {error}.") from error
    if aliases:
        raise RCLInvalidROSArgsError(
            f"The parameter file {path!r} has an alias (*) in line {aliases[0]}, which rcl does not read."
        )
    if not isinstance(root, yaml.MappingNode):
        raise RCLInvalidROSArgsError(f"The parameter file {path!r} holds no mapping of nodes to {_KEY}.")
    return list(_nodes(root, "", path))


def _nodes(node: yaml.MappingNode, name: str, path: str) -> Iterator[tuple[str, str, Any]]:
    for key, value in node.value:
        if not isinstance(value, yaml.MappingNode):
            raise RCLInvalidROSArgsError(
                f"The parameter file {path!r} has a value at {name or '/'}, line {key.start_mark.line + 1}, "
                f"outside of a {_KEY} mapping."
            )
        if key.value == _KEY:
            if not name:
                raise RCLInvalidROSArgsError(f"The parameter file {path!r} has {_KEY} without a node above it.")
            for parameter, read_value in _parameters(value, "", path):
                yield name, parameter, read_value
        else:
            yield from _nodes(value, f"{name}/{key.value.strip('/')}", path)


def _parameters(node: yaml.MappingNode, prefix: str, path: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.value:
        name = prefix + key.value
        if isinstance(value, yaml.MappingNode):
            yield from _parameters(value, name + ".", path)
        else:
            yield name, _value(value, f"{name} in {path!r}, line {key.start_mark.line + 1}")


def value_of(text: str, where: str) -> Any:
    """The value of a ``-p name:=text``. Raises RCLInvalidROSArgsError."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise RCLInvalidROSArgsError(f"Couldn't parse the value of {where}: {error}.") from error
    return "" if node is None else _value(node, where)


def _value(node: yaml.Node, where: str) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if not isinstance(node, yaml.SequenceNode):
        raise RCLInvalidROSArgsError(
            f"The value of {where} is a mapping; a parameter is a scalar or a list of scalars."
        )
    if not node.value:
        raise RCLInvalidROSArgsError(
            f"The value of {where} is an empty list, which has no type; leave the parameter out."
        )
    if not all(isinstance(item, yaml.ScalarNode) for item in node.value):
        raise RCLInvalidROSArgsError(f"The value of {where} is nested; a parameter is a scalar or a list of scalars.")
    values = [_scalar(item) for item in node.value]
    if len({type(value) for value in values}) > 1:
        raise RCLInvalidROSArgsError(f"The list of {where} mixes types: {values}; write 1.0 for a float among floats.")
    return values


def _scalar(node: yaml.ScalarNode) -> bool | int | float | str:
    text: str = node.value
    if node.style is not None or _says_string(node):
        return text
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _INTEGER.fullmatch(text):
        return int(text, 16 if "x" in text.lower() else 10)
    special = _SPECIAL_FLOAT.fullmatch(text)
    if special:
        return float(special[1] + special[2])
    return float(text) if _FLOAT.fullmatch(text) else text


def _says_string(node: yaml.ScalarNode) -> bool:
    """An explicit ``!!str``: the tag is not what the plain text would get by itself."""
    by_itself = yaml.SafeLoader("").resolve(yaml.ScalarNode, node.value, (True, False))
    return str(node.tag).endswith(":str") and by_itself != node.tag
