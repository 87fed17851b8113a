"""`robot-pt reward check`: what a classifier gets right on frames and episodes it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_pt import images
from robot_pt.errors import DataError
from robot_pt.recipes import runs
from robot_pt.recipes.progress import bar, warn
from robot_pt.recipes.reward import EPISODES, Asked, labelled_frames
from robot_pt.report import Judged, Picture, Report, write_report
from robot_pt.safe_files import read_json
from robot_pt.schema import SUCCESS, UNKNOWN, Bool, Float, Int
from robot_pt.sources import EpisodeSource
from robot_pt.success import measures
from robot_pt.success.classifier import SuccessClassifier
from robot_pt.success.frames import LabelledFrames, fingerprint
from robot_pt.success.rule import Rule
from robot_pt.success.training import require_both

THRESHOLDS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
WORST = 8
"""Pictures of each kind of mistake on the page."""


def check(run: Path, asked: Asked, page: Path) -> dict[str, Any]:
    """Judge the classifier of `run` on the labelled frames of `asked`; the arguments are those of the command line.

    Episodes it was trained on are left out. Raises UserError and its kinds: no classifier, nothing left to judge on, frames of one
    kind, a precision no threshold reaches.
    """
    classifier = SuccessClassifier.load(run)
    final_steps, early_share = asked.settled(read_json(run / "config.json").get("arguments") or {})
    asked = replace(asked, final_steps=final_steps, early_share=early_share)
    frames, sources = labelled_frames(asked)
    seen = _seen(run)
    known = [g for g, key in enumerate(frames.keys) if key in seen["train"]]
    tuned = [g for g, key in enumerate(frames.keys) if key in seen["held_out"]]
    rows = frames.rows_of([g for g in range(len(frames.keys)) if g not in set(known)])
    if not len(rows):
        raise DataError(f"{run} was trained on all {len(known)} labelled episodes; give --data it has not seen.")
    label = frames.label[rows]
    require_both(label, "the frames to judge on")
    if tuned:
        warn(f"{len(tuned)} of the episodes chose this classifier's weights and threshold: their numbers are too kind.")
    probability = _probabilities(classifier, frames, rows)
    threshold = asked.choose(probability, label, classifier.card.rule.threshold)
    rule = Rule(threshold=threshold, needed=classifier.card.rule.needed, window=classifier.card.rule.window)
    counts = measures.count(probability, label, threshold)
    episodes = _episodes(classifier, sources, seen["train"], rule)
    result: dict[str, Any] = {
        "run": str(run), "version": classifier.version, "threshold": threshold, "rule": str(rule), "frames": counts.to_json(),
        **measures.soundness(probability, label),
        "thresholds": thresholds(probability, label, threshold), "left_out_trained_on": len(known), "held_out_in_training": len(tuned),
        "page": str(page),
    }  # fmt: skip
    if episodes is not None:
        result["episodes"] = episodes.to_json()
    write_report(page, _page(run, frames, rows, probability, threshold, result))
    return result


def thresholds(probability: Float, label: Bool, chosen: float) -> list[dict[str, Any]]:
    """A row per threshold of `THRESHOLDS` and the one chosen, ascending."""
    return [{"threshold": t, **measures.count(probability, label, t).to_json()} for t in sorted({*THRESHOLDS, chosen})]


def episode_probability(classifier: SuccessClassifier, source: EpisodeSource, e: int) -> Float:
    """(T,) of every frame of episode `e`."""
    return classifier(source.images(source.episodes.rows([e]), classifier.card.camera, classifier.card.image_size))


def _seen(run: Path) -> dict[str, set[str]]:
    document = read_json(run / EPISODES)
    try:
        return {name: {str(key) for key in document[name]} for name in ("train", "held_out")}
    except (KeyError, TypeError):
        raise DataError(f"{run / EPISODES} does not say what was trained on; restore it or train again.") from None


def _probabilities(classifier: SuccessClassifier, frames: LabelledFrames, rows: Int) -> Float:
    out = []
    with bar("judge", "frame") as advance:
        for i in range(0, len(rows), 256):
            out.append(classifier(frames.load(rows[i : i + 256], classifier.card.image_size)))
            advance(min(i + 256, len(rows)), len(rows))
    return np.concatenate(out)


def _episodes(
    classifier: SuccessClassifier, sources: Sequence[EpisodeSource], trained_on: set[str], rule: Rule
) -> measures.Counts | None:
    """Whole episodes judged at their end; None where no data set of episodes was given."""
    said, true = [], []
    for source in sources:
        for e in range(len(source.episodes)):
            if source.episodes.success[e] == UNKNOWN or fingerprint(source, e) in trained_on:
                continue
            said.append(float(rule.at_end(episode_probability(classifier, source, e))))
            true.append(source.episodes.success[e] == SUCCESS)
    return measures.count(np.array(said), np.array(true), 0.5) if said else None


def _page(
    run: Path, frames: LabelledFrames, rows: Int, probability: Float, threshold: float, result: dict[str, Any]
) -> Report:
    label = frames.label[rows]
    points = [p for p in measures.curve(probability, label) if p.counts.precision is not None]
    wrong_high = _worst(-probability, ~label & (probability >= threshold))
    wrong_low = _worst(probability, label & (probability < threshold))
    by = result["frames"]
    summary = (
        f"{len(rows)} frames of episodes it was not trained on. At the threshold {threshold:.3g}: precision {by['precision']} (95 %: "
        f"{by['precision_95']}), recall {by['recall']} (95 %: {by['recall_95']}). Frames of one episode look alike, so the intervals "
        "are narrower than the episodes allow."
    )
    judged = Judged(
        summary=summary, thresholds=result["thresholds"], chosen=threshold,
        recall=[p.counts.recall or 0.0 for p in points], precision=[p.counts.precision or 0.0 for p in points],
        false_positives=_pictures(frames, rows, probability, wrong_high),
        false_negatives=_pictures(frames, rows, probability, wrong_low),
    )  # fmt: skip
    data = [{"name": str(run), "frames": len(rows), "episodes": len(set(frames.group[rows].tolist()))}]
    return Report(
        title="Success classifier: check",
        command=runs.command_line(),
        judged=judged,
        data=data,
        versions=runs.versions(),
    )


def _worst(badness: NDArray[Any], among: Bool) -> Int:
    """Of the items `among`, the `WORST` of lowest badness."""
    order = np.argsort(badness, kind="stable")
    return order[among[order]][:WORST]


def _pictures(frames: LabelledFrames, rows: Int, probability: Float, which: Int) -> list[Picture]:
    if not len(which):
        return []
    shown = frames.load(rows[which], (128, 128))
    return [
        Picture(
            jpeg=images.encode_jpeg(image, 80),
            caption=f"{frames.names[frames.group[rows[i]]]}, frame {frames.step[rows[i]]}: {probability[i]:.3f}",
        )
        for i, image in zip(which.tolist(), shown, strict=True)
    ]
