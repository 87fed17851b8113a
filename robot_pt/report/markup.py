"""HTML and SVG as values: whatever is text gets escaped, so no instruction, path or error message can break a page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

_VOID = frozenset({"br", "hr", "img", "meta", "input", "source"})


@dataclass(frozen=True)
class Markup:
    """Text that is markup already."""

    text: str

    def __str__(self) -> str:
        return self.text

    def __add__(self, other: Markup) -> Markup:
        return Markup(self.text + other.text)


Child = Markup | str | float | int | None


def tag(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Markup:
    """``tag("p", "a < b", class_="x")`` is ``<p class="x">a &lt; b</p>``.

    Children and attributes that are None or False are left out, True gives a bare attribute; an underscore in an attribute's
    name becomes a hyphen, one at its end is dropped.
    """
    written = "".join(_attribute(k.rstrip("_").replace("_", "-"), v) for k, v in attributes.items())
    if name in _VOID:
        assert not children, f"<{name}> holds nothing"
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Markup:
    """Children one after the other, text escaped."""
    return Markup("".join(_child(c) for c in children))


def _child(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child.text
    return escape(_number(child) if isinstance(child, float) else str(child), quote=False)


def _attribute(name: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    return f' {name}="{escape(_number(value) if isinstance(value, float) else str(value))}"'


def _number(value: float) -> str:
    """At most two decimals: coordinates need no more and pages stay small."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if value == value else "n/a"
