"""Versions of simulators where data meets: what is trained on together, and where a policy is tried.

Two versions in one training, or in one store, are refused: half of the actions would be wrong for what they are seen to do. A policy
that is tried in another version than it was trained in is told of, as a checkpoint cannot be recorded again, and its record has both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from robot_pt.errors import MismatchError
from robot_pt.policy_record import PolicyRecord
from robot_pt.recipes.progress import warn
from robot_pt.results import PLAYED_IN
from robot_pt.simulated import TITLES, Versions, conflict, from_json, merged, require_one, versions_of
from robot_pt.store import DemoStore, is_demo_store

WAY_OUT = "record one of them again, or train on both with --mixed-versions"


def together(parts: Mapping[str, Versions], mixed: bool) -> None:
    """Refuse `parts`, by what they are called, in one training; `mixed` makes it a warning. Raises MismatchError."""
    if not mixed:
        require_one(parts, WAY_OUT)
    elif (found := conflict(parts)) is not None:
        warn(f"--mixed-versions: {found}, and BOTH ARE TRAINED ON.")


def of_record(record: PolicyRecord) -> Versions:
    """What the data of a policy's training was recorded in."""
    return merged(from_json(row.get("simulators")) for row in record.data)


def of_task(task: str) -> Versions:
    """What a simulated task is played in here; nothing without a task."""
    if not task:
        return {}
    from robot_pt_sim.simulators import version_of

    found = version_of(task)
    return {} if found is None else {found[0]: frozenset([found[1]])}


def kept_with(task: str, record: PolicyRecord) -> dict[str, str]:
    """Settings of an evaluation: the version of the simulator that `task` is played in, and that of the training where it was another one.

    A log that goes on with other settings is another evaluation; robosuite's logs of before have none of these where both are one.
    """
    kept = {}
    for name, here in of_task(task).items():
        setting, trained = PLAYED_IN[name], of_record(record).get(name, frozenset())
        elsewhere = bool(trained) and trained != here
        if elsewhere or name == "kitchen":
            kept[setting] = " and ".join(sorted(here))
        if elsewhere:
            kept[f"{setting} of the training"] = " and ".join(sorted(trained))
    return kept


def of_stores(folders: Iterable[Path]) -> dict[str, Versions]:
    """Those of `folders` that hold episodes already, by name; what is damaged is for who reads it to say."""
    stores = [DemoStore(folder) for folder in folders if is_demo_store(folder)]
    return {str(store.path): versions_of(store.source(skip_corrupt=True)) for store in stores if len(store)}


def tell_of_start(trained: PolicyRecord, parts: Mapping[str, Versions]) -> None:
    """Warn where a run learns on from data of another version than it learned from."""
    found = conflict({"what the run learned from": of_record(trained), **parts})
    if found is not None:
        warn(f"{found}; its policy, and its critic's values, are of the earlier one until they are learned again.")


def require_comparable(task: str, records: Mapping[str, PolicyRecord]) -> None:
    """Warn of runs trained in another version than `task` is played in. Raises MismatchError for two that differ among themselves."""
    here = of_task(task)
    for name, versions in here.items():
        trained = {run: of_record(record).get(name, frozenset()) for run, record in records.items()}
        known = {run: found for run, found in trained.items() if found}
        (now,), title = versions, TITLES.get(name, name)
        if len(set(known.values())) > 1:
            said = " and ".join(f"{run} with version {' and '.join(sorted(found))}" for run, found in known.items())
            raise MismatchError(
                f"{said} of {title}, so a difference could be the simulator's and this is version {now}; evaluate each alone, or train both on "
                "data of one version."
            )
        for run, found in known.items():
            if found != {now}:
                warn(
                    f"{run} was trained on data of version {' and '.join(sorted(found))} of {title} and is tried in version {now}, WHERE THE SAME "
                    "ACTIONS END ELSEWHERE: its success here is not that of its own version."
                )
