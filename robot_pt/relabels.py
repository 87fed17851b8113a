"""Labels given to stored episodes later: one file each in the store's folder, never rewritten; no episode's file is touched.

A store's ``relabels/<id>.json`` is one pass of labelling: by whom or what, of which version, at which threshold, when, and for every
episode it speaks of whether it succeeded and, where asked for, the reward of every step. A pass holds all that is in force after
it: it takes over what the pass it is based on said of the episodes that it leaves alone. Readers apply the newest pass, one
by its id, or none. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robot_pt.errors import DataError
from robot_pt.safe_files import MAX_JSON_BYTES, read_json

FOLDER = "relabels"
FORMAT = 1
NEWEST, NONE = "newest", "none"

Who = Literal["person", "classifier", "service"]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Who gave labels."""

    who: Who
    """A person's word outranks what a classifier or service says of the same episode."""
    what: str
    """The run, the CSV file or the words of the command."""
    version: str = ""
    """Of the classifier: a hash of its weights and settings."""
    threshold: float | None = None
    rule: str = ""
    """How many frames of how many had to be above the threshold."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is said of one episode."""

    success: bool | None
    rewards: tuple[float, ...] | None = None  # (T,) raw, one per step
    origin: str = ""
    """Id of the pass that said so; empty before it is written."""
    who: Who = "person"


@dataclass(frozen=True, kw_only=True)
class Relabels:
    """One pass over a store."""

    id: str
    made_at: str  # ISO 8601, UTC
    by: Provenance
    based_on: str  # id, or empty
    verdicts: Mapping[str, Verdict]

    def over(self, labels: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """`labels` (episode -> column -> value) with this pass on top."""
        merged = {name: dict(columns) for name, columns in labels.items()}
        for name, verdict in self.verdicts.items():
            columns = merged.setdefault(name, {})
            columns["success"] = verdict.success
            if verdict.rewards is not None:
                columns["rewards"] = verdict.rewards
        return merged

    def summary(self) -> dict[str, Any]:
        """One row for people: id, time, provenance, counts."""
        said = [verdict.success for verdict in self.verdicts.values()]
        counts = {"success": said.count(True), "failure": said.count(False), "unknown": said.count(None)}
        by = {k: v for k, v in asdict(self.by).items() if v not in ("", None)}
        return {"id": self.id, "made_at": self.made_at, **by, "based_on": self.based_on or NONE, **counts}


def ids(root: Path) -> list[str]:
    """Ids of the passes over the store at `root`, oldest first."""
    folder = root / FOLDER
    names = (re.fullmatch(r"(\d{6,})\.json", p.name) for p in folder.iterdir()) if folder.is_dir() else ()
    return sorted((m[1] for m in names if m), key=int)


def path_of(root: Path, name: str) -> Path:
    """Where pass `name` lies."""
    return root / FOLDER / f"{name}.json"


def read(root: Path, uid: str, choice: str = NEWEST) -> Relabels | None:
    """The pass that `choice` means: "newest" (None where there is none), "none", or an id.

    Raises DataError when there is no such pass, or it is torn, changed, or of another store than `uid`: what labels hold is never guessed.
    """
    known = ids(root) if choice != NONE else []
    if choice == NONE or (choice == NEWEST and not known):
        return None
    name = known[-1] if choice == NEWEST else choice
    if name not in known:
        raise DataError(
            f"{root} has no labels {choice!r}; it has {', '.join(known) or 'none given later'}: choose one, newest or none."
        )
    path = path_of(root, name)
    hint = f"set it aside (`robot-pt data repair {root}`), or read with another pass (--labels ID) or the recorded labels (--labels none)"
    try:
        document = read_json(path)
    except DataError as error:
        raise DataError(f"{str(error).rstrip('.')}: {hint}.") from None
    try:
        return _parsed(document, uid, name)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path} is no labels of this store ({error}); {hint}.") from None


def composed(
    name: str, uid: str, base: Relabels | None, verdicts: Mapping[str, Verdict], by: Provenance, made_at: str
) -> tuple[Relabels, bytes]:
    """Pass `name` on top of `base`, and its file. Where a person spoke in `base`, only a person can speak again.

    Raises DataError where it would be larger than any reader takes.
    """
    merged = dict(base.verdicts) if base else {}
    for episode, verdict in verdicts.items():
        before = merged.get(episode)
        if before is None or by.who == "person" or before.who != "person":
            merged[episode] = Verdict(success=verdict.success, rewards=verdict.rewards, origin=name, who=by.who)
    made = Relabels(id=name, made_at=made_at, by=by, based_on=base.id if base else "", verdicts=merged)
    content = {"format_version": FORMAT, "store": uid, **json.loads(json.dumps(asdict(made), allow_nan=False))}
    raw = json.dumps({**content, "sha256": _sha256(content)}, indent=0, allow_nan=False).encode()
    if len(raw) > MAX_JSON_BYTES:
        raise DataError(
            f"labels with a reward for every step would take {len(raw):,} bytes, {MAX_JSON_BYTES:,} can be read; leave --rewards out."
        )
    return made, raw


def require_rewards(rewards: Sequence[float], steps: int, where: str) -> None:
    """Raise DataError unless there is one finite reward per step."""
    values = np.asarray(rewards, np.float64)
    if values.shape != (steps,) or not np.isfinite(values).all():
        raise DataError(
            f"{where}: rewards have shape {values.shape}; give one finite number for each of {steps} steps."
        )


def _parsed(document: Mapping[str, Any], uid: str, name: str) -> Relabels:
    content = {key: value for key, value in document.items() if key != "sha256"}
    if document["format_version"] != FORMAT:
        raise ValueError(f"format {document['format_version']!r}, this version reads {FORMAT}")
    if document["sha256"] != _sha256(content):
        raise ValueError("its content is not what was written")
    if document["store"] != uid:
        raise ValueError(f"it was made for store {document['store']}, this one is {uid}")
    if document["id"] != name:
        raise ValueError(f"it was written as {document['id']}")
    verdicts = {episode: _verdict(values) for episode, values in document["verdicts"].items()}
    return Relabels(
        id=name, made_at=document["made_at"], by=Provenance(**document["by"]), based_on=document["based_on"], verdicts=verdicts
    )  # fmt: skip


def _verdict(values: Mapping[str, Any]) -> Verdict:
    if values["success"] not in (True, False, None):
        raise ValueError(f"success is {values['success']!r}")
    rewards = values["rewards"]
    return Verdict(**{**values, "rewards": None if rewards is None else tuple(map(float, rewards))})


def _sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()
