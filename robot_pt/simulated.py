"""Which simulator episodes are from and in which version of it: in another version the same actions end elsewhere.

Read from what was recorded with each episode. Episodes of robots, and of simulators that kept no version, have none and go with all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from robot_pt.errors import MismatchError
from robot_pt.sources import EpisodeSource, leaf

Release = tuple[str, str]
"""(simulator, version)."""

Versions = Mapping[str, frozenset[str]]
"""Simulator -> versions."""

TITLES = {"kitchen": "the kitchens", "robosuite": "robosuite"}
"""The simulators whose episodes say their version, as sentences name them."""


def told(release: Release | None) -> dict[str, Any]:
    """What the metadata of an episode says of the simulator that it was recorded in."""
    return {} if release is None else {"simulator": {"name": release[0], "version": release[1]}}


def version_in(dataset: str, metadata: Mapping[str, Any]) -> Release | None:
    """Of an episode with this `Episode.dataset` and `Episode.metadata`; None where it says none. Older ones say it by what they were."""
    said, controller, installed = (metadata.get(name) for name in ("simulator", "controller", "versions"))
    if isinstance(said, Mapping) and said.get("name") and said.get("version"):
        return str(said["name"]), str(said["version"])
    if isinstance(controller, Mapping) and "twin" in controller:
        return "kitchen", str(controller["twin"])
    if dataset == "robosuite" and isinstance(installed, Mapping) and installed.get("robosuite"):
        return "robosuite", str(installed["robosuite"])
    return None


def versions_of(source: EpisodeSource) -> Versions:
    """Of the episodes of `source`; exports and caches were told when they were written."""
    found: list[Versions] = []
    table, known = source.episodes, set()
    for start, dataset in zip(table.start.tolist(), table.dataset, strict=True):
        inner, step = leaf(source, start)
        recorded = getattr(inner, "recorded", None)
        if recorded is not None:
            said = version_in(dataset, recorded(step)["metadata"])
            found += [{said[0]: frozenset([said[1]])}] if said else []
        elif id(inner) not in known:
            known.add(id(inner))
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


def require_of_store(path: object, stored: Versions, here: Release | None, way_out: str) -> None:
    """Raise MismatchError where a store holds episodes of another version than is played `here`: half of its actions would be wrong."""
    other = [] if here is None else sorted(stored.get(here[0], frozenset()) - {here[1]})
    if here is not None and other:
        raise MismatchError(
            f"{path} was recorded in version {other[0]} of {TITLES.get(here[0], here[0])} and this is version {here[1]}, where the same "
            f"actions end elsewhere; {way_out}."
        )
