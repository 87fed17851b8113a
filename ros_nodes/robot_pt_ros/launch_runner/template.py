"""The text of a launch file with its `$(...)` parts, read as launch's own grammar reads it (ros2/launch, frontend/grammar.lark).

What the grammar cannot read (a lone `$`, two spaces between arguments, an open bracket) is refused here too, so that a file
which runs without ROS also runs with it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from robot_pt.errors import DataError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class Text(NamedTuple):
    """Characters that stand for themselves, escapes resolved."""

    text: str


class Call(NamedTuple):
    """`$(name argument ...)`."""

    name: str
    arguments: tuple[Template, ...]


Part = Text | Call
Template = tuple[Part, ...]


def parse(text: str) -> Template:
    """`text` as parts; empty text is no part. Raises DataError, one sentence without its place, where launch cannot read it."""
    return _Reader(text).template()


def plain(template: Template) -> str | None:
    """The text of a template without any `$(...)`, else None."""
    texts = [part.text for part in template if isinstance(part, Text)]
    return "".join(texts) if len(texts) == len(template) else None


def unescape(text: str) -> str:
    """A backslash keeps the character behind it from having a meaning, and goes."""
    return re.sub(r"\\(.)", r"\1", text)


class _Reader:
    """Recursive descent over one string; `quote` is the kind of quotes we are inside of, "" outside of any."""

    def __init__(self, text: str):
        self._text = text
        self._at = 0

    def template(self) -> Template:
        parts = self._fragments(stop="", quote="")
        assert self._at == len(self._text)
        return parts

    def _peek(self, count: int = 1) -> str:
        return self._text[self._at : self._at + count]

    def _fragments(self, stop: str, quote: str) -> Template:
        """Text and calls up to the quote `stop`, or to the end."""
        parts: list[Part] = []
        while (char := self._peek()) and char != stop:
            parts.append(self._call(quote) if char == "$" else Text(self._run(stop + "$")))
        return tuple(parts)

    def _run(self, stops: str) -> str:
        """Characters up to one of `stops`; behind a backslash, all but a space have no meaning."""
        start = self._at
        while (char := self._peek()) and (char not in stops or (self._at > start and self._escaped() and char != " ")):
            self._at += 1
        return unescape(self._text[start : self._at])

    def _escaped(self) -> bool:
        return self._text[self._at - 1] == "\\"

    def _call(self, quote: str) -> Call:
        if self._peek(2) != "$(":
            raise DataError(f"a lone $ in {self._text!r} cannot be read; write \\$ for the character itself.")
        self._at += 2
        name = _NAME.match(self._text, self._at)
        if name is None:
            raise DataError(f"{self._text!r} has a $( without a name behind it; write e.g. $(var robot).")
        self._at = name.end()
        arguments: list[Template] = []
        while self._peek() == " ":
            self._at += 1
            arguments.append(self._argument(quote))
        if self._peek() != ")":
            raise DataError(
                f"$({name[0]} in {self._text!r} is not closed; give its arguments one space apart, then `)`."
            )
        self._at += 1
        return Call(name[0], tuple(arguments))

    def _argument(self, quote: str) -> Template:
        char = self._peek()
        if not quote and char and char in "'\"":
            self._at += 1
            inner = self._fragments(stop=char, quote=char)
            if self._peek() != char:
                raise DataError(f"a {char} in {self._text!r} is not closed.")
            self._at += 1
            return inner
        stops = f" $(){quote}" if quote else " $()'\""
        parts: list[Part] = []
        while (char := self._peek()) and (char == "$" or char not in stops):
            parts.append(self._call(quote) if char == "$" else Text(self._run(stops)))
        if not parts:
            raise DataError(f"{self._text!r} has an argument that launch cannot read; separate arguments by one space.")
        return tuple(parts)
