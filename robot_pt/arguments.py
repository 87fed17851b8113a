"""From the words of a command line to a verb: tyro reads them, a mistake becomes one sentence instead of its boxes."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import tyro

from robot_pt.errors import UserError


def read(verbs: Mapping[str, Any], arguments: Sequence[str], prog: str, description: str) -> Any:
    """An object of the class in `verbs` that the first argument names, its fields filled from the others; a field `given` with the names
    of those that the arguments name, whatever their values.

    `--help` prints and raises SystemExit(0). Raises UserError: no such verb, or arguments it does not take.
    """
    if not arguments or arguments[0] not in (*verbs, "-h", "--help"):
        raise UserError(_no_verb(prog, arguments, list(verbs)))
    if arguments[0] in verbs:
        _require_once(verbs[arguments[0]], arguments[1:], f"{prog} {arguments[0]}")
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            verb = tyro.extras.subcommand_cli_from_dict(
                dict(verbs), prog=prog, description=description, args=arguments, config=(tyro.conf.OmitArgPrefixes,)
            )
    except SystemExit as done:
        if not done.code:
            raise
        asked = f" {arguments[0]}" if arguments[0] in verbs else ""
        raise UserError(f"{_sentence(_first_paragraph(said.getvalue()))}; run: {prog}{asked} --help") from None
    if hasattr(verb, "given"):
        verb.given = _named(arguments)
    return verb


def _named(arguments: Sequence[str]) -> frozenset[str]:
    """The fields that the words ``--name``, ``--name=value`` and ``--no-name`` are about."""
    words = [word[2:].partition("=")[0].replace("-", "_") for word in arguments if word.startswith("--")]
    return frozenset(name for word in words for name in (word, word.removeprefix("no_")))


def _require_once(verb: Any, arguments: Sequence[str], prog: str) -> None:
    """Refuse an option of several values that is given twice: the last would count alone, and a data set be left out unseen."""
    fields = dataclasses.fields(verb) if dataclasses.is_dataclass(verb) else ()
    several = {f"--{one.name.replace('_', '-')}" for one in fields if str(one.type).endswith(", ...]")}
    given = Counter(word.partition("=")[0].replace("_", "-") for word in arguments if word.startswith("--"))
    again = next((name for name in given if name in several and given[name] > 1), None)
    if again is not None:
        raise UserError(
            f"{again} is given {given[again]} times; give all its values behind one, as {again} ONE OTHER; run: {prog} --help"
        )


def _no_verb(prog: str, arguments: Sequence[str], verbs: Sequence[str]) -> str:
    given = f"{arguments[0]!r} is no verb of `{prog}`" if arguments else f"`{prog}` was given no verb"
    return f"{given}; give one of {', '.join(verbs)}, or run: {prog} --help"


_CHOICE = re.compile(
    r"invalid choice '(?P<given>.*)' for argument '(?P<option>[^']*)'. Expected one of \((?P<choices>.*)\)"
)


_NUMBER = re.compile(r"Error parsing (?P<option>\S+): .*(?P<kind>for int\(\) with base 10|to float): '(?P<given>.*)'")


def _sentence(text: str) -> str:
    """tyro's message; of a wrong choice the choices in order, the likely one first said, without the default that cannot be typed; of a
    wrong number what was given."""
    number = _NUMBER.fullmatch(text)
    if number is not None:
        kind = "number" if number["kind"] == "to float" else "whole number"
        return f"{number['option']} is {number['given']!r}; give a {kind}"
    found = _CHOICE.fullmatch(text)
    if found is None:
        return text
    choices = sorted(set(re.findall(r"'([^']*)'", found["choices"])) - {"None"})
    near = difflib.get_close_matches(found["given"], choices, n=1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    return f"{found['option']} is {found['given']!r}{meant}; choose one of {', '.join(choices)}"


def _first_paragraph(box: str) -> str:
    """The message in one of tyro's boxes, without its frame, the option's help text and the advice below the rule."""
    lines = [line.strip("\u2502 ") for line in box.splitlines()]  # the box's side
    inside = [line for line in lines if line and line[0] not in "\u256d\u2570"]  # its upper and lower corner
    if len(inside) > 1 and set(inside[1]) == {
        "-"
    }:  # where the terminal has no such signs: title and rule in place of the frame
        inside = inside[2:]
    rule = next((i for i, line in enumerate(inside) if set(line) in ({"\u2500"}, {"-"})), len(inside))
    text = re.sub(r"\s+", " ", " ".join(inside[:rule])).strip(" .")
    return text or "the arguments cannot be read"
