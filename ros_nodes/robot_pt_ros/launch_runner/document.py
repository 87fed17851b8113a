"""A YAML launch file as entities: one key per entity, typed attributes, every mistake with its file and line.

The typing is launch_yaml's: an attribute is a string unless launch asks for another type, and is never converted
(`default: 5` is refused there as here: write '5'). What nobody read is refused, as launch refuses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from robot_pt.errors import DataError, MissingExtraError
from robot_pt_ros.launch_runner import template
from robot_pt_ros.launch_runner.template import Template

_KINDS: dict[str, type | tuple[type, ...]] = {
    "text": str,
    "number with a point": float,
    "true or false": bool,
    "whole number": int,
}


class Where(NamedTuple):
    """A place in a launch file, for messages."""

    file: str
    line: int

    def fail(self, sentence: str) -> NoReturn:
        raise DataError(f"{self.file}:{self.line}: {sentence}")


class Entity:
    """`kind: {attributes}` or `kind: [children]`; remembers what was read, so that `finish` can refuse the rest."""

    def __init__(self, kind: str, value: Any, where: Where, lines: Mapping[int, int]):
        self.kind = kind
        self.where = where
        self._value = value
        self._lines = lines  # id of a list or dict -> its line
        self._read: set[str] = set()
        if not isinstance(value, dict | list):
            where.fail(f"`{kind}` needs attributes or a list of entities below it, and has {value!r}.")

    def has(self, name: str) -> bool:
        return isinstance(self._value, dict) and name in self._value

    def any(self, name: str) -> Any:
        """The attribute as YAML reads it. Raises DataError: there is none."""
        if not self.has(name):
            self.where.fail(f"`{self.kind}` needs the attribute `{name}`; add it.")
        self._read.add(name)
        return self._value[name]

    def typed(self, name: str, kind: str) -> Any:
        """The attribute, of a kind in `_KINDS`, or None where it is absent. Raises DataError: of another kind."""
        if not self.has(name):
            return None
        value = self.any(name)
        if not isinstance(value, _KINDS[kind]) or (kind == "whole number" and isinstance(value, bool)):
            hint = f"; write '{value}' in quotes" if kind == "text" and not isinstance(value, dict | list) else ""
            self.where.fail(f"`{name}` of `{self.kind}` is {value!r}, and launch takes {kind} there{hint}.")
        return value

    def text(self, name: str) -> str | None:
        """A string with its escapes resolved and no `$(...)` meaning, e.g. the name of an argument."""
        raw = self.typed(name, "text")
        return None if raw is None else template.unescape(raw)

    def template(self, name: str) -> Template | None:
        """A string with its `$(...)` parts."""
        raw = self.typed(name, "text")
        return None if raw is None else self._parsed(raw)

    def required(self, name: str) -> Template:
        self.any(name)
        found = self.template(name)
        assert found is not None
        return found

    def _parsed(self, raw: str) -> Template:
        try:
            return template.parse(raw)
        except DataError as error:
            self.where.fail(f"`{self.kind}`: {error}")

    def parsed(self, raw: str) -> Template:
        """Another string of this entity, e.g. an item of a list."""
        return self._parsed(raw)

    def entities(self, name: str) -> list[Entity]:
        """Attributes that are lists of entities, e.g. `param`; [] where there is none."""
        if not self.has(name):
            return []
        items = self.any(name)
        if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
            self.where.fail(f"`{name}` of `{self.kind}` must be a list of entries, each with its own attributes.")
        return [Entity(name, item, self._place(item), self._lines) for item in items]

    def children(self) -> list[Entity]:
        """The entities below: the value itself if it is a list, else its `children`."""
        items = self._value if isinstance(self._value, list) else self.any("children")
        if not isinstance(items, list):
            self.where.fail(f"`children` of `{self.kind}` must be a list of entities.")
        found = []
        for item in items:
            if not isinstance(item, dict) or len(item) != 1:
                place = self._place(item) if isinstance(item, dict) else self.where
                place.fail(
                    f"below `{self.kind}`, every entry is one entity, as in `- node: ...`; this one is {item!r}."
                )
            (kind, value), = item.items()  # fmt: skip
            found.append(Entity(str(kind), value, self._place(item), self._lines))
        return found

    def finish(self) -> None:
        """Raises DataError for attributes that launch does not know here."""
        if isinstance(self._value, dict) and (unread := set(self._value) - self._read):
            names = ", ".join(f"`{name}`" for name in sorted(map(str, unread)))
            self.where.fail(
                f"`{self.kind}` does not take {names} here; see the list of entities in ros_nodes/README.md."
            )

    def _place(self, item: Any) -> Where:
        return Where(self.where.file, self._lines.get(id(item), self.where.line))


def read(path: Path) -> Entity:
    """The root entity `launch` of a file. Raises DataError: unreadable, not YAML, or not one `launch:`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise DataError(f"launch file {path} cannot be read: {reason}; give a *.launch.yaml file.") from None
    tree, lines = _load(text, str(path))
    if not isinstance(tree, dict) or list(tree) != ["launch"]:
        raise DataError(
            f"{path}:1: a YAML launch file is one `launch:` with a list of entities below it; this is something else."
        )
    return Entity("launch", tree["launch"], Where(str(path), 1), lines)


def _load(text: str, name: str) -> tuple[Any, dict[int, int]]:
    """The document and the line of every list and mapping in it."""
    try:
        import yaml
    except ImportError:
        raise MissingExtraError("PyYAML", "ros", "reading launch files") from None
    lines: dict[int, int] = {}

    # a class of its own, so that the constructor below stays out of yaml.safe_load elsewhere
    loader_class: Any = type("Loader", (yaml.SafeLoader,), {})

    def mapping(loader: Any, node: Any) -> Any:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and keys.count(key.value) > 1:
                Where(name, key.start_mark.line + 1).fail(f"`{key.value}` is given twice; keep one.")
        loader.flatten_mapping(node)  # `<<: *shared`
        made: dict[Any, Any] = {}
        lines[id(made)] = node.start_mark.line + 1
        yield made
        made.update(loader.construct_mapping(node))

    loader_class.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        return yaml.load(text, loader_class), lines  # a SafeLoader: plain data only
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DataError(
            f"{name}:{line}: this is not YAML: {error.problem or error.context}; check indentation and quotes."
        ) from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DataError(f"{name}:1: this is not YAML: {str(error).splitlines()[0]}.") from None
