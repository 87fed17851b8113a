"""`param` of a node: `name`/`value` (with `type`, nested `param`) or `from` a file, typed as launch_ros types them.

A value that YAML gives a type keeps it; text that came through `$(...)` becomes what YAML reads in it (5 an int, 'true' a bool),
unless `type` says otherwise. A node that declares a float gets an int from "5": write `type: float`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from robot_pt.errors import DataError
from robot_pt_ros.launch_runner.document import Entity, Where
from robot_pt_ros.launch_runner.substitutions import Context, check, coerce, perform
from robot_pt_ros.launch_runner.template import Template, Text, plain

Value = bool | int | float | str
_SCALARS: dict[str, type] = {"str": str, "bool": bool, "float": float, "int": int}
_TYPES = (*_SCALARS, *(f"list_of_{name}" for name in _SCALARS), "yaml")


class Parameter(NamedTuple):
    """One `param` entry with a name; `values` has one entry per leaf, nested names joined by dots."""

    where: Where
    values: tuple[tuple[Template, str | None, Any], ...]  # name, type, value: a scalar, a Template, or a list of both


class ParameterFile(NamedTuple):
    where: Where
    path: Template


def parameters(node: Entity) -> tuple[Parameter | ParameterFile, ...]:
    """The `param` entries of a node, in order. Raises DataError: both or neither of `name` and `from`, or a value of a wrong type."""
    found: list[Parameter | ParameterFile] = []
    for entry in node.entities("param"):
        if entry.has("from") == entry.has("name"):
            entry.where.fail("`param` needs either `name` with a `value`, or `from` with a file.")
        if entry.has("from"):
            path = entry.required("from")
            check(path, entry.where)
            found.append(ParameterFile(entry.where, path))
            entry.finish()
        else:
            found.append(Parameter(entry.where, tuple(_leaves(entry, ()))))
    return tuple(found)


def _leaves(entry: Entity, above: Template) -> list[tuple[Template, str | None, Any]]:
    name = (*above, *entry.required("name"))
    check(name, entry.where)
    nested = entry.entities("param")
    if bool(nested) == entry.has("value"):
        entry.where.fail("`param` needs either a `value` or nested `param` entries.")
    if nested and entry.has("type"):
        entry.where.fail("`type` of a `param` belongs to a `value`, not to nested `param` entries.")
    kind = entry.typed("type", "text")
    if kind is not None and kind not in _TYPES:
        entry.where.fail(f"`type` of `param` is {kind!r}; give one of {', '.join(_TYPES)}.")
    found = [leaf for n in nested for leaf in _leaves(n, (*name, Text(".")))]
    if not nested:
        found.append((name, kind, _read(entry, entry.any("value"), kind)))
    entry.finish()
    return found


def _read(entry: Entity, value: Any, kind: str | None) -> Any:
    """The value as YAML gave it, strings parsed. Raises DataError: not a scalar or list of one kind, or not of type `kind`."""
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, Value) for item in items):
        entry.where.fail(
            f"`value` of `param` is {value!r}; give true or false, a number, text, or a list of one of these."
        )
    kinds = {type(item) for item in items} - {str}
    if len(kinds) > 1:
        entry.where.fail(
            f"`value` of `param` mixes kinds: {value!r}; ROS 2 lists hold one kind (write 1.0 beside 0.5)."
        )
    scalar = None if kind in (None, "yaml") else _SCALARS[str(kind).removeprefix("list_of_")]
    is_list = str(kind).startswith("list_of_")
    if scalar and (is_list != isinstance(value, list) or not kinds <= {scalar}):
        hint = "; leave `type` away where a $(...) gives the whole list" if is_list and isinstance(value, str) else ""
        entry.where.fail(f"`value` of `param` is {value!r}, which is not of its `type` {kind}{hint}.")
    made = [_item(entry, item) for item in items]
    return made if isinstance(value, list) else made[0]


def _item(entry: Entity, item: Value) -> Value | Template:
    """Text without `$(...)` stays text; with it, a Template to be typed later."""
    if not isinstance(item, str):
        return item
    parsed = entry.parsed(item)
    check(parsed, entry.where)
    text = plain(parsed)
    return parsed if text is None else text


def evaluate(parameter: Parameter, context: Context) -> dict[str, Value | list[Value]]:
    """Names and values as the node gets them. Raises DataError: text that does not become its type."""
    made: dict[str, Value | list[Value]] = {}
    for name, kind, value in parameter.values:
        full = perform(name, context, parameter.where)
        try:
            made[full] = _typed(value, kind, context, parameter.where)
        except ValueError as error:
            parameter.where.fail(f"parameter {full}: {error}.")
    return made


def _typed(value: Any, kind: str | None, context: Context, where: Where) -> Value | list[Value]:
    kind = None if kind == "yaml" else kind
    if isinstance(value, list):
        item_kind = None if kind is None else kind.removeprefix("list_of_")
        items = [_scalar(item, item_kind, context, where) for item in value]
        if len({type(item) for item in items}) > 1:
            raise ValueError(f"{items} mixes kinds; ROS 2 lists hold one kind")
        return items
    if isinstance(value, tuple):
        return coerce(perform(value, context, where), kind)
    if isinstance(value, str) and kind not in (None, "str"):
        return coerce(value, kind)
    checked: Value = value
    return checked


def _scalar(item: Any, kind: str | None, context: Context, where: Where) -> Value:
    if isinstance(item, tuple) or (isinstance(item, str) and kind not in (None, "str")):
        made = coerce(perform(item, context, where) if isinstance(item, tuple) else item, kind)
        if isinstance(made, list):
            raise ValueError(f"{made} is a list inside a list")
        return made
    checked: Value = item
    return checked


def dump(values: dict[str, Value | list[Value]], node: str | None) -> str:
    """The parameter file of one entry, for the node's full name, or for every node where it is unknown.

    Text is quoted always: ROS 2's own YAML reader takes y for true and 1e5 for a number where PyYAML does not.
    """
    import yaml

    for name, value in values.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, float) and not math.isfinite(item):
                raise DataError(f"parameter {name} is {item}; a robot takes finite numbers only.")
    dumper: Any = type("Dumper", (yaml.SafeDumper,), {})
    dumper.add_representer(str, lambda d, text: d.represent_scalar("tag:yaml.org,2002:str", text, style='"'))
    dumper.ignore_aliases = lambda *_: True
    made: str = yaml.dump(
        {node or "/**": {"ros__parameters": values}}, Dumper=dumper, default_flow_style=False, width=10**6
    )
    return made
