"""What a launch file says, before its arguments are known: entities that launch and launch_ros (Jazzy) read from YAML.

The whole file is read here, also what its conditions leave out, so that a mistake shows before anything is started. Attributes and
their types: `parse` methods in ros2/launch (launch/actions) and ros2/launch_ros (launch_ros/actions/node.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from robot_pt_ros.launch_runner import document
from robot_pt_ros.launch_runner.document import Entity, Where
from robot_pt_ros.launch_runner.parameters import Parameter, ParameterFile, parameters
from robot_pt_ros.launch_runner.substitutions import check
from robot_pt_ros.launch_runner.template import Template
from robot_pt_ros.launch_runner.words import Word, words


@dataclass(frozen=True, kw_only=True)
class Condition:
    template: Template
    expected: bool  # True: `if`, False: `unless`


@dataclass(frozen=True, kw_only=True)
class _Entity:
    where: Where
    condition: Condition | None


@dataclass(frozen=True, kw_only=True)
class Argument(_Entity):
    name: str
    default: Template | None
    description: str
    choices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Let(_Entity):
    name: Template
    value: Template


@dataclass(frozen=True, kw_only=True)
class SetEnvironment(_Entity):
    name: Template
    value: Template | None  # None: unset


@dataclass(frozen=True, kw_only=True)
class PushNamespace(_Entity):
    namespace: Template


@dataclass(frozen=True, kw_only=True)
class Include(_Entity):
    file: Template
    arguments: tuple[tuple[Template, Template], ...]


@dataclass(frozen=True, kw_only=True)
class Group(_Entity):
    scoped: bool
    actions: tuple[Action, ...]


@dataclass(frozen=True, kw_only=True)
class Program(_Entity):
    """Attributes that `executable` and `node` share."""

    label: Template | None
    prefix: Template | None
    output: Template | None
    directory: Template | None
    environment: tuple[tuple[Template, Template], ...]
    required: bool  # its exit takes everything down
    sigterm_timeout_s: float | None
    sigkill_timeout_s: float | None


@dataclass(frozen=True, kw_only=True)
class Executable(Program):
    command: tuple[Word, ...]


@dataclass(frozen=True, kw_only=True)
class Node(Program):
    package: Template | None
    executable: Template
    name: Template | None
    namespace: Template | None
    arguments: tuple[Word, ...]
    ros_arguments: tuple[Word, ...]
    parameters: tuple[Parameter | ParameterFile, ...]
    remaps: tuple[tuple[Template, Template], ...]


Action = Argument | Let | SetEnvironment | PushNamespace | Include | Group | Executable | Node


def load(path: Path) -> tuple[Action, ...]:
    """The entities of a launch file. Raises DataError, one sentence with file and line, for anything launch would not read."""
    return _actions(document.read(path))


def walk(actions: tuple[Action, ...]) -> Iterator[Action]:
    """Every entity, groups opened."""
    for action in actions:
        yield action
        if isinstance(action, Group):
            yield from walk(action.actions)


def _actions(entity: Entity) -> tuple[Action, ...]:
    found = []
    for child in entity.children():
        parse = _KINDS.get(child.kind)
        if parse is None:
            child.where.fail(
                f"`{child.kind}` is no entity that robot-pt launch knows; it knows {', '.join(sorted(_KINDS))}."
            )
        found.append(parse(child))
        child.finish()
    return tuple(found)


def _condition(entity: Entity) -> Condition | None:
    given = [name for name in ("if", "unless") if entity.has(name)]
    if len(given) == 2:
        entity.where.fail(f"`{entity.kind}` has both `if` and `unless`; keep one.")
    if not given:
        return None
    return Condition(template=_checked(entity, entity.required(given[0])), expected=given[0] == "if")


def _checked(entity: Entity, template: Template) -> Template:
    check(template, entity.where)
    return template


def _needed(entity: Entity, name: str) -> Template:
    return _checked(entity, entity.required(name))


def _optional(entity: Entity, name: str) -> Template | None:
    return _needed(entity, name) if entity.has(name) else None


def _pairs(entity: Entity, name: str, left: str, right: str) -> tuple[tuple[Template, Template], ...]:
    found = []
    for entry in entity.entities(name):
        found.append((_needed(entry, left), _needed(entry, right)))
        entry.finish()
    return tuple(found)


def _argument(entity: Entity) -> Argument:
    entity.any("name")
    choices = []
    for entry in entity.entities("choice"):
        entry.any("value")
        choices.append(entry.text("value") or "")
        entry.finish()
    return Argument(
        where=entity.where, condition=_condition(entity), name=entity.text("name") or "", choices=tuple(choices),
        default=_optional(entity, "default"), description=" ".join((entity.text("description") or "").split()),
    )  # fmt: skip


def _let(entity: Entity) -> Let:
    name, value = _needed(entity, "name"), _needed(entity, "value")
    return Let(where=entity.where, condition=_condition(entity), name=name, value=value)


def _set_environment(entity: Entity) -> SetEnvironment:
    name, value = _needed(entity, "name"), _needed(entity, "value")
    return SetEnvironment(where=entity.where, condition=_condition(entity), name=name, value=value)


def _unset_environment(entity: Entity) -> SetEnvironment:
    return SetEnvironment(where=entity.where, condition=_condition(entity), name=_needed(entity, "name"), value=None)


def _push_namespace(entity: Entity) -> PushNamespace:
    return PushNamespace(where=entity.where, condition=_condition(entity), namespace=_needed(entity, "namespace"))


def _include(entity: Entity) -> Include:
    arguments = _pairs(entity, "arg", "name", "value")
    return Include(where=entity.where, condition=_condition(entity), file=_needed(entity, "file"), arguments=arguments)


def _group(entity: Entity) -> Group:
    scoped = entity.typed("scoped", "true or false")
    condition = _condition(entity)
    return Group(
        where=entity.where, condition=condition, scoped=True if scoped is None else scoped, actions=_actions(entity)
    )


def _seconds(entity: Entity, name: str) -> float | None:
    value = entity.typed(name, "number with a point")
    if value is not None and not 0.0 <= value < float("inf"):
        entity.where.fail(f"`{name}` of `{entity.kind}` is {value}; give seconds >= 0.0.")
    return None if value is None else float(value)


def _program(entity: Entity) -> Program:
    on_exit = entity.typed("on_exit", "text")
    if on_exit not in (None, "shutdown"):
        entity.where.fail(f"`on_exit` is {on_exit!r}, and launch files in YAML know only `shutdown`.")
    respawn = entity.typed("respawn", "text")
    if respawn is not None and respawn.lower() != "false":
        entity.where.fail("`respawn` is refused: a node that restarts by itself can move an arm that nobody watches.")
    return Program(
        where=entity.where, condition=_condition(entity), label=None,
        prefix=_optional(entity, "launch-prefix"), output=_optional(entity, "output"), directory=_optional(entity, "cwd"),
        environment=_pairs(entity, "env", "name", "value"), required=on_exit == "shutdown",
        sigterm_timeout_s=_seconds(entity, "sigterm_timeout"), sigkill_timeout_s=_seconds(entity, "sigkill_timeout"),
    )  # fmt: skip


def _words(entity: Entity, name: str) -> tuple[Word, ...]:
    raw = entity.typed(name, "text")
    if raw is None:
        return ()
    found = words(entity.parsed(raw), entity.where)
    for word in found:
        check(word, entity.where)
    return found


def _executable(entity: Entity) -> Executable:
    entity.any("cmd")
    shared = {**vars(_program(entity)), "label": _optional(entity, "name")}
    command = _words(entity, "cmd")
    if not command:
        entity.where.fail("`cmd` of `executable` is empty; give a command.")
    return Executable(**shared, command=command)


def _node(entity: Entity) -> Node:
    shared = {**vars(_program(entity)), "label": _optional(entity, "exec_name")}
    return Node(
        **shared, package=_optional(entity, "pkg"), executable=_needed(entity, "exec"), name=_optional(entity, "name"),
        namespace=_optional(entity, "namespace"), arguments=_words(entity, "args"), ros_arguments=_words(entity, "ros_args"),
        parameters=parameters(entity), remaps=_pairs(entity, "remap", "from", "to"),
    )  # fmt: skip


_KINDS: dict[str, Callable[[Entity], Action]] = {
    "arg": _argument, "let": _let, "set_env": _set_environment, "unset_env": _unset_environment, "group": _group,
    "push_ros_namespace": _push_namespace, "push-ros-namespace": _push_namespace, "include": _include,
    "executable": _executable, "node": _node,
}  # fmt: skip
