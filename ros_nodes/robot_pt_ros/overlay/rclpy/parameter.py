"""Parameters and their conversions from and to messages and YAML files."""

from __future__ import annotations

import array
from enum import Enum
from typing import Any

import yaml
from rcl_interfaces.msg import Parameter as ParameterMsg
from rcl_interfaces.msg import ParameterType as ParameterType
from rcl_interfaces.msg import ParameterValue

PARAMETER_SEPARATOR_STRING = "."
_LISTS = (list, tuple, array.array)


class Parameter:
    """A name with a typed value. Raises TypeError on values of no parameter type, ValueError where type and value differ."""

    class Type(Enum):
        NOT_SET = ParameterType.PARAMETER_NOT_SET
        BOOL = ParameterType.PARAMETER_BOOL
        INTEGER = ParameterType.PARAMETER_INTEGER
        DOUBLE = ParameterType.PARAMETER_DOUBLE
        STRING = ParameterType.PARAMETER_STRING
        BYTE_ARRAY = ParameterType.PARAMETER_BYTE_ARRAY
        BOOL_ARRAY = ParameterType.PARAMETER_BOOL_ARRAY
        INTEGER_ARRAY = ParameterType.PARAMETER_INTEGER_ARRAY
        DOUBLE_ARRAY = ParameterType.PARAMETER_DOUBLE_ARRAY
        STRING_ARRAY = ParameterType.PARAMETER_STRING_ARRAY

        @classmethod
        def from_parameter_value(cls, parameter_value: Any) -> Parameter.Type:
            """The type of a Python value; an empty list counts as BYTE_ARRAY, as in rclpy. Raises TypeError."""
            if parameter_value is None:
                return cls.NOT_SET
            for kind, python in _SCALARS.items():
                if isinstance(parameter_value, python):
                    return cls[kind]
            if isinstance(parameter_value, _LISTS):
                for kind, python in _ITEMS.items():
                    if all(isinstance(item, python) for item in parameter_value):
                        return cls[kind]
                raise TypeError(f"The given value is not a list of one of the allowed types '{parameter_value}'.")
            raise TypeError(f"The given value is not one of the allowed types '{parameter_value}'.")

        def check(self, parameter_value: Any) -> bool:
            """Whether a value is of this type."""
            if self is Parameter.Type.NOT_SET:
                return parameter_value is None
            if self.name in _SCALARS:
                return isinstance(parameter_value, _SCALARS[self.name])
            holders = _LISTS if self.name in ("INTEGER_ARRAY", "DOUBLE_ARRAY") else (list, tuple)
            if not isinstance(parameter_value, holders):
                return False
            if self is Parameter.Type.BYTE_ARRAY and any(len(item) != 1 for item in parameter_value):
                return False
            return all(isinstance(item, _ITEMS[self.name]) for item in parameter_value)

    def __init__(self, name: str, type_: Parameter.Type | None = None, value: Any = None) -> None:
        if type_ is None:
            type_ = Parameter.Type.from_parameter_value(value)
        if not isinstance(type_, Parameter.Type):
            raise TypeError(f"type must be an instance of '{Parameter.Type!r}'")
        if not type_.check(value):
            raise ValueError(f"Type '{type_}' and value '{value}' do not agree")
        self._type_ = type_
        self._name = name
        self._value = value

    @classmethod
    def from_parameter_msg(cls, param_msg: ParameterMsg) -> Parameter:
        type_ = Parameter.Type(param_msg.value.type)
        return cls(param_msg.name, type_, parameter_value_to_python(param_msg.value))

    @property
    def name(self) -> str:
        return self._name

    @property
    def type_(self) -> Parameter.Type:
        return self._type_

    @property
    def value(self) -> Any:
        return self._value

    def get_parameter_value(self) -> ParameterValue:
        if self._type_ is Parameter.Type.NOT_SET:
            return ParameterValue(type=self._type_.value)
        return ParameterValue(type=self._type_.value, **{_FIELDS[self._type_.name]: self._value})

    def to_parameter_msg(self) -> ParameterMsg:
        return ParameterMsg(name=self._name, value=self.get_parameter_value())

    def __repr__(self) -> str:
        return f"Parameter(name={self._name!r}, type_={self._type_}, value={self._value!r})"


# In the order of the checks: a bool is an int to Python.
_SCALARS: dict[str, type] = {"BOOL": bool, "INTEGER": int, "DOUBLE": float, "STRING": str}
_ITEMS: dict[str, type] = {
    "BYTE_ARRAY": bytes,
    "BOOL_ARRAY": bool,
    "INTEGER_ARRAY": int,
    "DOUBLE_ARRAY": float,
    "STRING_ARRAY": str,
}
_FIELDS = {name: f"{name.lower()}_value" for name in (*_SCALARS, *_ITEMS)}


def get_parameter_value(string_value: str) -> ParameterValue:
    """The parameter that a string means, read as YAML; a string where it means nothing else."""
    try:
        value = yaml.safe_load(string_value)
    except yaml.YAMLError:
        value = string_value
    if value is None:
        value = string_value
    try:
        return Parameter("", value=value).get_parameter_value()
    except TypeError:
        return Parameter("", value=string_value).get_parameter_value()


def parameter_value_to_python(parameter_value: ParameterValue) -> Any:
    """The Python value of a message, None where it is not set. Raises RuntimeError on an unknown type number."""
    try:
        type_ = Parameter.Type(parameter_value.type)
    except ValueError:
        raise RuntimeError(f"unexpected parameter type {parameter_value.type}") from None
    if type_ is Parameter.Type.NOT_SET:
        return None
    value = getattr(parameter_value, _FIELDS[type_.name])
    return list(value) if type_.name in _ITEMS else value


def parameter_dict_from_yaml_file(
    parameter_file: str, use_wildcard: bool = False, target_nodes: list[str] | None = None, namespace: str = ""
) -> dict[str, ParameterMsg]:
    """Parameter messages by name, of all nodes in a file or of `target_nodes`, after those of ``/**`` if `use_wildcard`.

    Raises RuntimeError where a target is not in the file, nothing is selected, or it is no parameter file.
    """
    with open(parameter_file, encoding="utf-8") as file:
        content = yaml.safe_load(file)
    if not isinstance(content, dict):
        raise RuntimeError(f"YAML file {parameter_file!r} is not a valid ROS parameter file")
    keys = ["/**"] if use_wildcard and "/**" in content else []
    for target in target_nodes or []:
        if target not in content:
            raise RuntimeError(f"Param file does not contain parameters for {target},only for nodes: {list(content)} ")
    keys += target_nodes or [key for key in content if key != "/**"]
    if not keys:
        raise RuntimeError("Param file does not contain selected parameters")
    selected: dict[str, Any] = {}
    for key in keys:
        if not isinstance(content[key], dict) or "ros__parameters" not in content[key]:
            raise RuntimeError(f"YAML file is not a valid ROS parameter file for node {key}")
        selected.update(content[key]["ros__parameters"])
    return _flattened(namespace, selected)


def _flattened(prefix: str, nested: dict[str, Any]) -> dict[str, ParameterMsg]:
    flat: dict[str, ParameterMsg] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            flat.update(_flattened(f"{prefix}{key}{PARAMETER_SEPARATOR_STRING}", value))
        else:
            flat[prefix + key] = ParameterMsg(name=prefix + key, value=get_parameter_value(str(value)))
    return flat
