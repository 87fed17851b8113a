"""Which simulator episodes are from and in which version of it: in another version the same actions end elsewhere.

Read from what was recorded with each episode. Episodes of robots, and of simulators that kept no version, have none and go with all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from robot_pt.errors import MismatchError
from robot_pt.sources import EpisodeSource, leaf

Versions = Mapping[str, frozenset[str]]
"""Simulator -> versions."""

TITLES = {"kitchen": "the kitchens", "robosuite": "robosuite"}
"""The simulators whose episodes say their version, as sentences name them."""


def version_in(dataset: str, metadata: Mapping[str, Any]) -> tuple[str, str] | None:
    """(simulator, version) of an episode with this `Episode.dataset` and `Episode.metadata`; None where it says none."""
    controller, installed = metadata.get("controller"), metadata.get("versions")
    if isinstance(controller, Mapping) and "twin" in controller:
        return "kitchen", str(controller["twin"])
    if dataset == "robosuite" and isinstance(installed, Mapping) and installed.get("robosuite"):
        return "robosuite", str(installed["robosuite"])
    return None


def versions_of(source: EpisodeSource) -> Versions:
    """Of the episodes of `source`; exports and caches were told when they were written."""
    found: list[Versions] = []
    table, told = source.episodes, set()
    for start, dataset in zip(table.start.tolist(), table.dataset, strict=True):
        inner, step = leaf(source, start)
        recorded = getattr(inner, "recorded", None)
        if recorded is not None and dataset in ("kitchen", "robosuite", ""):
            said = version_in(dataset, recorded(step)["metadata"])
            found += [{said[0]: frozenset([said[1]])}] if said else []
        elif recorded is None and id(inner) not in told:
            told.add(id(inner))
            found.append(getattr(inner, "simulators", {}))
    return merged(found)


def merged(parts: Iterable[Versions]) -> Versions:
    out: dict[str, frozenset[str]] = {}
    for part in parts:
        for name, versions in part.items():
            out[name] = out.get(name, frozenset()) | versions
    return out


def to_json(versions: Versions) -> dict[str, list[str]]:
    return {name: sorted(versions[name]) for name in sorted(versions)}


def from_json(values: object) -> Versions:
    """What `to_json` wrote; nothing from anything else, as older files have it."""
    if not isinstance(values, Mapping):
        return {}
    return {str(name): frozenset(map(str, found)) for name, found in values.items() if isinstance(found, list)}


def conflict(parts: Mapping[str, Versions]) -> str | None:
    """The first clause of a sentence about two versions of one simulator in `parts`, by what each is called; None where there are none."""
    for name in sorted(merged(parts.values())):
        told = [(what, version) for what, of in parts.items() for version in sorted(of.get(name, ()))]
        (one, first), *others = told
        for other, version in others:
            if version != first:
                return (
                    f"{one} was recorded in version {first} of {TITLES.get(name, name)} and {other} in version {version}, where the same "
                    "actions end elsewhere"
                )
    return None


def require_one(parts: Mapping[str, Versions], way_out: str) -> None:
    """Raise MismatchError, with both versions and the way out, where `parts` are of two versions of one simulator."""
    found = conflict(parts)
    if found is not None:
        raise MismatchError(f"{found}; {way_out}.")
