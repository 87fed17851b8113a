"""`--options NAME=VALUE`: fields of an algorithm's or objective's config, as words on the command line."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from robot_pt.errors import UserError

ELSEWHERE: Mapping[str, str] = {
    "bf16": "--bf16", "optim.bf16": "--bf16", "optim.total_steps": "--steps", "actor_loss": "--route", "bc_warm_start_steps": "--bc-warm-start",
    "categories": "pretrain's --critic-values", "captions": "--captions", "captions_version": "--captions", "language": "--captions",
}  # fmt: skip
"""Fields that an option of their own decides."""


def changed(config: Any, words: Sequence[str], of: str) -> Any:
    """`config` (a dataclass, which may hold others: `optim.learning_rate=1e-4`) with what the words say.

    Numbers as Python writes them, several separated by commas; true, false and none. `of`: whose options these are, for messages.
    Raises UserError, one sentence: a word that is no assignment, a field that is not there or that another option decides, a value of the
    wrong kind; and whatever the config itself refuses.
    """
    for word in words:
        name, sign, value = word.partition("=")
        if not sign:
            raise UserError(f"--options {word} is no NAME=VALUE; give such as {_names(config)[0]}=VALUE.")
        if name in ELSEWHERE:
            raise UserError(f"--options {word} is decided by {ELSEWHERE[name]}; use that.")
        config = _set(config, name.split("."), value, f"--options {word}", of)
    return config


def _set(config: Any, path: Sequence[str], value: str, said: str, of: str) -> Any:
    first, rest = path[0], path[1:]
    hints = get_type_hints(type(config))
    if first not in hints:
        raise UserError(f"{said}: {of} has no option {first!r}; it has {', '.join(_names(config))}.")
    now = getattr(config, first)
    if is_dataclass(now) and rest:
        return replace(config, **{first: _set(now, rest, value, said, f"{of}'s {first}")})
    if rest or (is_dataclass(now) and value != "none"):
        inner = ", ".join(f"{first}.{name}" for name in _names(now)) if is_dataclass(now) else first
        raise UserError(f"{said}: set {inner} with a value each.")
    return replace(config, **{first: _read(hints[first], value, said)})


def _names(config: Any) -> list[str]:
    return [f.name for f in fields(config) if f.name not in ELSEWHERE]


def _read(hint: Any, value: str, said: str) -> Any:
    """`value` as the annotation `hint` wants it."""
    kinds = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        if value == "none" and type(None) in kinds:
            return None
        return _read(next(k for k in kinds if k is not type(None)), value, said)
    if get_origin(hint) is Literal:
        if value not in kinds:
            raise UserError(f"{said}: choose one of {', '.join(map(str, kinds))}.")
        return value
    if get_origin(hint) is tuple:
        of_any_length = len(kinds) == 2 and kinds[1] is Ellipsis
        parts = value.split(",")
        if not of_any_length and len(parts) != len(kinds):
            raise UserError(f"{said}: give {len(kinds)} values, separated by commas.")
        return tuple(_read(kinds[0] if of_any_length else kinds[i], part, said) for i, part in enumerate(parts))
    return _plain(hint, value, said)


def _plain(kind: Any, value: str, said: str) -> Any:
    if kind is bool and value in ("true", "false"):
        return value == "true"
    if kind is str:
        return value
    try:
        if kind is int:
            return int(value)
        if kind is float and math.isfinite(number := float(value)):
            return number
    except ValueError:
        pass
    wanted = {bool: "true or false", int: "a whole number", float: "a finite number"}.get(kind)
    raise UserError(
        f"{said}: give {wanted}." if wanted else f"{said}: it cannot be given on the command line; leave it out."
    )
