"""Learning algorithms by name, imported when one is asked for, and their configs as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any, Literal, NamedTuple, get_args, get_type_hints

from robot_pt.errors import DataError, UserError

Algorithm = Literal[
    "ptr", "bc", "autoregressive_bc", "bet", "cql", "cal_ql", "iql", "awac", "td3_bc", "rebrac", "brac", "rlpd", "wsrl", "cog",
    "scaled_ql",
]  # fmt: skip


class Entry(NamedTuple):
    """Where an algorithm lives, how its policy explores (None draws from what it learned, a number adds that much noise), and whether it
    only imitates: no rewards, no next states, no critic."""

    module: str
    agent: str
    exploration: float | None = None
    imitates: bool = False


ALGORITHMS: dict[str, Entry] = {
    "ptr": Entry("ptr", "PTR"),
    "bc": Entry("bc", "BC", 0.1, imitates=True),  # its published head has a deviation of 1, which is no exploration
    "autoregressive_bc": Entry("autoregressive_bc", "AutoregressiveBC", imitates=True),
    "bet": Entry("bet", "BeT", imitates=True),
    "cql": Entry("cql", "CQL"),
    "cal_ql": Entry("cal_ql", "CalQL"),
    "iql": Entry("iql", "IQL"),
    "awac": Entry("awac", "AWAC"),
    "td3_bc": Entry("td3_bc", "TD3BC", 0.1),
    "rebrac": Entry("td3_bc", "ReBRAC", 0.1),
    "brac": Entry("brac", "BRAC"),
    "rlpd": Entry("rlpd", "RLPD"),
    "wsrl": Entry("wsrl", "WSRL"),
    "cog": Entry("cog", "COG"),
    "awbc": Entry("awbc", "AWBC"),  # needs a trained critic, so `finetune` alone offers it
    "scaled_ql": Entry("scaled_ql", "ScaledQL"),
}


def agent_class(name: str) -> Any:
    """The class of algorithm `name`. Raises UserError for a name that is none."""
    if name not in ALGORITHMS:
        raise UserError(f"there is no algorithm {name!r}; choose one of {', '.join(ALGORITHMS)}.")
    entry = ALGORITHMS[name]
    return getattr(import_module(f"robot_pt.agents.{entry.module}"), entry.agent)


def default_config(name: str) -> Any:
    """The config an algorithm has where nobody says otherwise; None for ptr and bc, whose configs a run holds apart."""
    return None if name in ("ptr", "bc") else agent_class(name).defaults()


def config_from_json(name: str, values: Mapping[str, Any] | None) -> Any:
    """The config of algorithm `name` as `dataclasses.asdict` and JSON left it. Raises DataError on anything else."""
    standard = default_config(name)
    if values is None or standard is None:
        return standard
    return from_json(type(standard), values)


def from_json(kind: Any, values: Mapping[str, Any]) -> Any:
    """A dataclass `kind`, nested ones included, as `dataclasses.asdict` and JSON left it. Raises DataError on anything else."""
    known = {f.name for f in fields(kind)}
    if not isinstance(values, Mapping) or set(values) - known:
        raise DataError(f"{kind.__name__} has the fields {sorted(known)}; config.json gives {values}.")
    hints = get_type_hints(kind)
    try:
        return kind(**{name: _value(hints[name], value) for name, value in values.items()})
    except TypeError as error:
        raise DataError(f"config.json has a {kind.__name__} of the wrong kind ({error}); restore it.") from None


def _value(hint: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        inner = next((t for t in (hint, *get_args(hint)) if is_dataclass(t)), None)
        return value if inner is None else from_json(inner, value)
    return tuple(value) if isinstance(value, list) else value
