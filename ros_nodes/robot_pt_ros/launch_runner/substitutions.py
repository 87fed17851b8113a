"""What `$(...)` stands for: the substitutions of launch and launch_ros (Jazzy) that a launch file needs, by name.

Left out on purpose: `command` and `file-content` (a launch file is not a script), `param`, `exec-in-pkg`, and `any`/`all`, which
launch's own YAML reader cannot build (its constructor takes other arguments than its parser gives).
"""

from __future__ import annotations

import math
import os
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from robot_pt.errors import UserError
from robot_pt_ros.launch_runner import expression, packages
from robot_pt_ros.launch_runner.document import Where
from robot_pt_ros.launch_runner.template import Call, Template, Text


@dataclass
class Context:
    """What changes while a launch file is read: arguments and `let`, the environment, the file we are in."""

    file: Path
    configurations: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    anonymous: dict[str, str] = field(default_factory=dict)


class _Function(NamedTuple):
    least: int
    most: int
    apply: Callable[..., str]  # (context, *arguments as text)


def check(template: Template, where: Where) -> None:
    """Raises DataError for a substitution that does not exist or has another number of arguments."""
    for part in template:
        if isinstance(part, Text):
            continue
        function = _FUNCTIONS.get(part.name)
        if function is None:
            where.fail(
                f"$({part.name} ...) is no substitution that robot-pt launch knows; it knows {', '.join(sorted(_FUNCTIONS))}."
            )
        if not function.least <= len(part.arguments) <= function.most:
            counts = f"{function.least}" if function.least == function.most else f"{function.least} or {function.most}"
            where.fail(
                f"$({part.name} ...) has {len(part.arguments)} arguments, and takes {counts}; quote text with spaces."
            )
        if part.name in ("equals", "not-equals") and () in part.arguments:
            where.fail(
                f"launch takes '' in $({part.name} ...) for []; put a letter before both, as in $({part.name} x$(var a) x)."
            )
        for argument in part.arguments:
            check(argument, where)


def perform(template: Template, context: Context, where: Where) -> str:
    """The template as text. Raises DataError: an argument that does not exist, a package that is not found, a failing expression."""
    return "".join(part.text if isinstance(part, Text) else _call(part, context, where) for part in template)


def _call(call: Call, context: Context, where: Where) -> str:
    if call.name == "if":  # only the branch that is taken is looked at
        chosen = 1 if _truth(perform(call.arguments[0], context, where), where) else 2
        return perform(call.arguments[chosen], context, where) if chosen < len(call.arguments) else ""
    arguments = [perform(argument, context, where) for argument in call.arguments[:1]]
    lazy = call.name in ("var", "env")  # their second argument is a default
    known = {"var": context.configurations, "env": context.environment}.get(call.name, {})
    if not (lazy and arguments[0] in known):
        arguments += [perform(argument, context, where) for argument in call.arguments[1:]]
    try:
        return _FUNCTIONS[call.name].apply(context, *arguments)
    except (UserError, ValueError) as error:
        where.fail(str(error))


def _truth(text: str, where: Where) -> bool:
    try:
        return bool(coerce(text, "bool"))
    except ValueError as error:
        where.fail(f"{error}; give true or false.")


def condition(text: str) -> bool:
    """launch's own rule for `if` and `unless`: true/1 and false/0, in any case. Raises ValueError for anything else."""
    word = text.strip().lower()
    if word not in ("true", "1", "false", "0"):
        raise ValueError(f"a condition is {text!r}; launch takes true, 1, false and 0 there")
    return word in ("true", "1")


def coerce(text: str, kind: str | None) -> bool | int | float | str | list[bool | int | float | str]:
    """Text of a substitution as a parameter value of `kind` (str, bool, int, float; None: as YAML reads it, lists too).

    Raises ValueError where it does not become that.
    """
    import yaml

    if kind == "str" or (kind is None and text == ""):
        return text
    if kind in ("int", "float"):
        try:
            return int(text) if kind == "int" else float(text)
        except ValueError:
            raise ValueError(f"{text!r} is no {'whole number' if kind == 'int' else 'number'}") from None
    if kind == "bool" and text in ("0", "1"):
        return text == "1"
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ValueError(f"{text!r} cannot be read as YAML; give the parameter `type: str`") from None
    if kind == "bool" and not isinstance(value, bool):
        raise ValueError(f"{text!r} is neither true nor false")
    items = value if isinstance(value, list) else [value]
    if not items or any(type(v) not in (bool, int, float, str) for v in items) or len({type(v) for v in items}) > 1:
        raise ValueError(f"{text!r} is no scalar or list of one kind; give the parameter `type: str` if text is meant")
    made: bool | int | float | str | list[bool | int | float | str] = value
    return made


def _variable(context: Context, name: str, default: str | None = None) -> str:
    found = context.configurations.get(name, default)
    if found is None:
        known = ", ".join(sorted(context.configurations)) or "none"
        raise ValueError(f"$(var {name}) is no argument and was not set by `let`; known here: {known}.")
    return found


def _environment(context: Context, name: str, default: str | None = None) -> str:
    found = context.environment.get(name, default)
    if found is None:
        raise ValueError(f"$(env {name}) is not set; export {name}, or give a default: $(env {name} VALUE).")
    return found


def _anonymous(context: Context, name: str) -> str:
    made = f"{name}_{os.getpid()}_{random.randint(0, sys.maxsize)}"
    return context.anonymous.setdefault(name, made)


def _equals(left: str, right: str) -> bool:
    words = {"true": True, "1": True, "false": False, "0": False}
    if left.lower() in words and right.lower() in words:
        return words[left.lower()] is words[right.lower()]
    try:
        return math.isclose(float(left), float(right))
    except ValueError:
        return left == right


def _boolean(*texts: str) -> list[bool]:
    return [bool(coerce(text, "bool")) for text in texts]


def _word(value: bool) -> str:
    return "true" if value else "false"


def _find_executable(context: Context, name: str) -> str:
    found = shutil.which(name, path=context.environment.get("PATH"))
    if found is None:
        raise ValueError(f"$(find-exec {name}) found no such program on the PATH.")
    return found


_FUNCTIONS: dict[str, _Function] = {
    "var": _Function(1, 2, _variable),
    "env": _Function(1, 2, _environment),
    "dirname": _Function(0, 0, lambda context: str(context.file.parent)),
    "filename": _Function(0, 0, lambda context: str(context.file)),
    "find-pkg-share": _Function(1, 1, lambda context, name: str(packages.share(name, context.environment))),
    "find-pkg-prefix": _Function(1, 1, lambda context, name: str(packages.prefix(name, context.environment))),
    "find-exec": _Function(1, 1, _find_executable),
    "eval": _Function(1, 1, lambda context, text: expression.evaluate(text)),
    "anon": _Function(1, 1, _anonymous),
    "not": _Function(1, 1, lambda context, a: _word(not _boolean(a)[0])),
    "and": _Function(2, 2, lambda context, a, b: _word(all(_boolean(a, b)))),
    "or": _Function(2, 2, lambda context, a, b: _word(any(_boolean(a, b)))),
    "equals": _Function(2, 2, lambda context, a, b: _word(_equals(a, b))),
    "not-equals": _Function(2, 2, lambda context, a, b: _word(not _equals(a, b))),
    "if": _Function(2, 3, lambda context, *arguments: ""),  # performed in _call
}
