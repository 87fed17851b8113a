"""The arguments of a launch file: which it declares (also through the files it includes), `name:=value` words, `--show-args`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from robot_pt.errors import UserError
from robot_pt_ros.launch_runner import description
from robot_pt_ros.launch_runner.description import Action, Argument, Include
from robot_pt_ros.launch_runner.substitutions import Context, perform
from robot_pt_ros.launch_runner.template import Template, Text

# launch reads these without a file declaring them
_BUILT_IN = ("launch-prefix", "launch-prefix-filter", "sigterm_timeout", "sigkill_timeout")


def parse(words: Sequence[str]) -> dict[str, str]:
    """`name:=value` words, the last of a name counts. Raises UserError: a word of another form."""
    given: dict[str, str] = {}
    for word in words:
        name, mark, value = word.partition(":=")
        if not mark or not name:
            raise UserError(f"{word!r} is no argument of a launch file; write name:=value, e.g. robot:=sim.")
        given[name] = value
    return given


def declared(
    file: Path, actions: tuple[Action, ...], environment: Mapping[str, str], depth: int = 0
) -> dict[str, Argument]:
    """Arguments by name: of this file first, then of included files whose path does not depend on an argument.

    Raises DataError: an included file cannot be read.
    """
    found = {a.name: a for a in reversed(list(description.walk(actions))) if isinstance(a, Argument)}
    found = dict(reversed(found.items()))
    for action in description.walk(actions):
        if isinstance(action, Include) and depth < 20 and not _depends(action.file):
            path = Path(perform(action.file, Context(file.resolve(), {}, dict(environment)), action.where))
            passed = {part.text for name, _ in action.arguments for part in name if isinstance(part, Text)}
            inner = declared(path, description.load(path), environment, depth + 1) if path.is_file() else {}
            found |= {name: a for name, a in inner.items() if name not in found and name not in passed}
    return found


def _depends(template: Template) -> bool:
    calls = [part for part in template if not isinstance(part, Text)]
    return any(part.name not in ("dirname", "find-pkg-share", "find-pkg-prefix") for part in calls)


def refuse_unknown(given: Mapping[str, str], known: Mapping[str, Argument], file: Path) -> None:
    """Raises UserError for an argument that the file does not declare: it would have no effect."""
    for name in given:
        if name not in known and name not in _BUILT_IN:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"it takes {', '.join(known) or 'none'}."
            raise UserError(f"{file} takes no argument {name}; {hint}")


def described(known: Mapping[str, Argument]) -> list[dict[str, object]]:
    """Name, description, default (as written; None: it must be given) and choices of every argument."""
    return [
        {
            "name": argument.name,
            "description": argument.description,
            "default": None if argument.default is None else written(argument.default),
            "choices": list(argument.choices),
        }
        for argument in known.values()
    ]


def written(template: Template) -> str:
    """A template as a file would have it."""
    return "".join(
        p.text if isinstance(p, Text) else f"$({' '.join([p.name, *map(_argument, p.arguments)])})" for p in template
    )


def _argument(template: Template) -> str:
    text = written(template)
    return text if text and " " not in text else f"'{text}'"


def table(known: Mapping[str, Argument]) -> str:
    """The arguments for a person to read."""
    if not known:
        return "This launch file takes no arguments."
    lines = ["Arguments (pass them as name:=value):"]
    for entry in described(known):
        default = "required" if entry["default"] is None else f"default: {entry['default']!r}"
        choices = argument.choices if (argument := known[str(entry["name"])]).choices else ()
        lines += ["", f"  {entry['name']}   ({default})"]
        lines += [f"      {entry['description']}"] if entry["description"] else []
        lines += [f"      one of: {', '.join(choices)}"] if choices else []
    return "\n".join(lines)
