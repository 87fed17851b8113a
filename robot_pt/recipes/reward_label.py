"""`robot-pt reward label`: say anew which episodes of a store succeeded, beside them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.recipes.progress import bar, say
from robot_pt.recipes.reward_check import episode_probability
from robot_pt.relabels import NONE, Provenance, Verdict
from robot_pt.store import DemoStore
from robot_pt.success.classifier import SuccessClassifier
from robot_pt.success.frames import NO, YES


def label(
    store: Path, *, by: Path | None = None, table: Path | None = None, success: Sequence[str] = (), failure: Sequence[str] = (),
    threshold: float | None = None, rewards: bool = False, base: str = "newest",
) -> dict[str, Any]:  # fmt: skip
    """Write one pass of labels; the arguments are those of the command line.

    Raises UserError and its kinds: not exactly one way of labelling, no store, unknown episodes, no classifier.
    """
    by_hand = bool(success or failure)
    if (by is not None) + (table is not None) + by_hand != 1:
        raise UserError("give one of --by RUN, --csv FILE, or --success and --failure with ids of episodes.")
    if by is None and (threshold is not None or rewards):
        raise UserError("--threshold and --rewards go with --by RUN; leave them out, or let a classifier judge.")
    demos = DemoStore(store)
    before = demos.labels(base)
    if by is not None:
        verdicts, provenance = _by_classifier(demos, by, threshold, rewards)
    elif table is not None:
        verdicts, provenance = read_table(table), Provenance(who="person", what=str(table))
    else:
        verdicts, provenance = _by_hand(success, failure), Provenance(who="person", what="--success/--failure")
    made = demos.add_labels(verdicts, provenance, base=base)
    kept = [name for name in verdicts if made.verdicts[name].origin != made.id]
    if kept:
        say(f"{len(kept)} episodes keep what a person said of them; with --base {NONE} they are judged too.")
    changed = sum(_recorded(demos, before, name) != made.verdicts[name].success for name in verdicts)
    return {
        "store": str(store),
        **made.summary(),
        "labelled": len(verdicts) - len(kept),
        "kept": len(kept),
        "changed": changed,
    }


def read_table(path: Path) -> dict[str, Verdict]:
    """Verdicts from a CSV file with the columns episode and success. Raises DataError naming the line that cannot be used."""
    verdicts: dict[str, Verdict] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"episode", "success"} <= set(reader.fieldnames or ()):
                raise DataError(f"{path} has the columns {reader.fieldnames}; it needs episode and success.")
            for line, row in enumerate(reader, 2):
                name, said = (row["episode"] or "").strip(), (row["success"] or "").strip().lower()
                if said not in (*YES, *NO, "unknown") or not name or name in verdicts:
                    raise DataError(
                        f"{path} line {line}: episode {name!r}, success {said!r}; name every episode once, with true, false or unknown."
                    )
                verdicts[name] = Verdict(success=None if said == "unknown" else said in YES)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table ({error}); give a CSV file in UTF-8.") from None
    if not verdicts:
        raise DataError(f"{path} names no episode; give a line for each.")
    return verdicts


def _by_hand(success: Sequence[str], failure: Sequence[str]) -> dict[str, Verdict]:
    both = sorted(set(success) & set(failure))
    if both:
        raise UserError(f"episodes {both} were named as success and as failure; name each once.")
    return {**{n: Verdict(success=True) for n in success}, **{n: Verdict(success=False) for n in failure}}


def _by_classifier(
    demos: DemoStore, run: Path, threshold: float | None, rewards: bool
) -> tuple[dict[str, Verdict], Provenance]:
    classifier = SuccessClassifier.load(run)
    rule = classifier.card.rule if threshold is None else replace(classifier.card.rule, threshold=threshold)
    camera = classifier.card.camera
    if camera not in demos.spec.cameras:
        raise MismatchError(f"{run} looks through camera {camera!r}, {demos.path} has {sorted(demos.spec.cameras)}.")
    source, verdicts = demos.source(), {}
    if not source.ids:
        raise DataError(f"{demos.path} holds no episodes; record some first.")
    with bar("reward label", "episode") as advance:
        for e, name in enumerate(source.ids):
            held = rule.over(episode_probability(classifier, source, e))
            given = tuple(held.astype(float).tolist()) if rewards else None
            verdicts[name] = Verdict(success=bool(held[-1]), rewards=given)
            advance(e + 1, len(source.ids))
    return verdicts, Provenance(
        who="classifier", what=str(run), version=classifier.version, threshold=rule.threshold, rule=str(rule)
    )


def _recorded(demos: DemoStore, labels: Mapping[str, Mapping[str, Any]], name: str) -> bool | None:
    """What held of an episode before."""
    from robot_pt import store_episode

    if "success" in labels.get(name, {}):
        before: bool | None = labels[name]["success"]
        return before
    recorded: bool | None = store_episode.header(demos.path / name)[0]["success"]
    return recorded
