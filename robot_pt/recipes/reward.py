"""`robot-pt reward train`: labelled frames -> a success classifier, its threshold and what the held-out episodes say of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.recipes import encoders, runs
from robot_pt.recipes.datasets import Reading, open_one
from robot_pt.recipes.encoders import Start
from robot_pt.recipes.limits import require_room
from robot_pt.recipes.progress import bar, say
from robot_pt.report import Report, read_metrics, write_report
from robot_pt.safe_files import replace_json
from robot_pt.sources import EpisodeSource
from robot_pt.success import frames as labelled
from robot_pt.success import measures, training
from robot_pt.success.classifier import Card, SuccessClassifier, SuccessNetwork
from robot_pt.success.frames import LabelledFrames
from robot_pt.success.rule import Rule

IMAGE_SIZE = 64
"""Training resolution [pixels] where nothing else decides: success of one object is seen at it, and two cores suffice."""
EPISODES = "episodes.json"
FINAL_STEPS, EARLY_SHARE = 3, 0.5


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which frames, and which threshold: what `train` and `check` share."""

    data: Sequence[Path]
    camera: str = "primary"
    final_steps: int | None = None
    early_share: float | None = None
    """None: as the classifier to judge was trained, else FINAL_STEPS and EARLY_SHARE."""
    threshold: float | None = None
    precision: float | None = None
    reading: Reading = field(default_factory=Reading)

    def __post_init__(self) -> None:
        if not self.data:
            raise UserError("no data was given; name at least one data set, table or folder of labelled frames.")
        if self.threshold is not None and self.precision is not None:
            raise UserError("--threshold and --precision both choose the threshold; give one of them.")
        for name in ("threshold", "precision"):
            value = getattr(self, name)
            if value is not None:
                measures.require_share(value, f"--{name}")

    def settled(self, trained: Mapping[str, Any]) -> tuple[int, float]:
        """(final_steps, early_share): as asked for, else as in `trained`, the arguments of a run."""
        final_steps = trained.get("final_steps", FINAL_STEPS) if self.final_steps is None else self.final_steps
        early_share = trained.get("early_share", EARLY_SHARE) if self.early_share is None else self.early_share
        return int(final_steps), float(early_share)

    def choose(self, probability: Any, label: Any, otherwise: float | None = None) -> float:
        """The threshold asked for, judged on these frames; `otherwise`, or the best F1, where none was."""
        if self.threshold is not None:
            return self.threshold
        if self.precision is not None:
            return measures.least_threshold(probability, label, self.precision)
        return measures.best_f1(probability, label) if otherwise is None else otherwise


def train(
    asked: Asked, out: Path, config: training.TrainingConfig, *, encoder: str = "auto", image_size: int = 0, needed: int = 0,
    window: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """Train a classifier into the new folder `out`; the arguments are those of the command line.

    Raises UserError and its kinds: data of one kind, too few episodes, a precision no threshold reaches, an `out` that is taken.
    """
    runs.require_amounts(config.steps, config.seed)
    final_steps, early_share = asked.settled({})
    rule = _rule(needed, window, final_steps)
    require_room(out)
    if (out / "config.json").exists():
        raise UserError(f"{out} holds a run already; choose another --out.")
    torch.manual_seed(config.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    architecture, start = _encoder(encoder, config.freeze)
    size = _image_size(image_size, start)
    network = SuccessNetwork(architecture, size).to(device)
    if start is not None:
        encoders.load(network, start, asked.camera)
    frames, _ = labelled_frames(asked)
    parts = training.split(frames, config.held_out, config.seed)
    _say_split(frames, parts)
    with _new_folder(out):
        fitted = _fit(network, frames, parts, size, config, out)
        card = Card(
            camera=asked.camera,
            image_size=size,
            encoder=replace(architecture, weights=""),
            rule=rule,
            scale=fitted.scale,
            offset=fitted.offset,
        )
        label = frames.label[parts.held_out]
        probability = 1 / (1 + np.exp(-(fitted.scale * fitted.logit + fitted.offset)))
        threshold = asked.choose(probability, label)
        classifier = SuccessClassifier(network, replace(card, rule=replace(rule, threshold=threshold)), device=device)
        settings = {
            "final_steps": final_steps,
            "early_share": early_share,
            **json.loads(json.dumps(asdict(config))),
            "data": [str(p) for p in asked.data],
            "encoder": encoder,
        }
        replace_json(out / EPISODES, _keys(frames, parts))
        version = classifier.save(out)
        replace_json(
            out / "config.json",
            {"format_version": 1, "verb": "reward train", "arguments": settings, "versions": runs.versions()},
        )
        _report(out, settings)
    return {
        "run": str(out), "version": version, "frames": len(frames), "positive": int(frames.label.sum()),
        "episodes": len(frames.keys), "held_out_episodes": len(parts.held_out_groups), "best_update": fitted.step,
        "updates": fitted.steps, "threshold": threshold, "rule": str(classifier.card.rule),
        "held_out": measures.count(probability, label, threshold).to_json(), **measures.soundness(probability, label),
        "report": str(out / "report.html"),
    }  # fmt: skip


def labelled_frames(asked: Asked) -> tuple[LabelledFrames, list[EpisodeSource]]:
    """The labelled frames of all data, and the sources of episodes among it.

    Raises DataError where nothing is labelled, MismatchError without the camera.
    """
    parts, sources = [], []
    final_steps, early_share = asked.settled({})
    for path in asked.data:
        if labelled.is_labelled_files(path):
            parts.append(labelled.of_files(path))
            continue
        source = open_one(path, asked.reading)
        if asked.camera not in source.spec.cameras:
            raise MismatchError(
                f"camera {asked.camera!r} is not in {path}, which has {sorted(source.spec.cameras)}; choose one with --camera."
            )
        sources.append(source)
        parts.append(labelled.of_source(source, asked.camera, final_steps=final_steps, early_share=early_share))
    frames = labelled.joined(parts)
    if not len(frames):
        raise DataError(
            f"no episode of {', '.join(map(str, asked.data))} says whether it succeeded; label some with robot-pt reward label."
        )
    return frames, sources


def _keys(frames: LabelledFrames, parts: training.Split) -> dict[str, list[str]]:
    """What the episodes of each side are known by."""
    sides = (("train", parts.train_groups), ("held_out", parts.held_out_groups))
    return {name: [frames.keys[g] for g in groups] for name, groups in sides}


def _say_split(frames: LabelledFrames, parts: training.Split) -> None:
    say(
        f"{len(frames)} labelled frames of {len(frames.keys)} episodes, {int(frames.label.sum())} of success; "
        f"{len(parts.held_out_groups)} episodes are held out."
    )


def _rule(needed: int, window: int, final_steps: int) -> Rule:
    """2 of 3 frames unless asked otherwise; fewer where fewer show success, or an episode that ends with it would never be one."""
    window = window or max(needed, min(3, final_steps), 1)
    return Rule(threshold=0.5, needed=needed or min(2, window), window=window)


@contextmanager
def _new_folder(out: Path) -> Iterator[None]:
    """Make `out`; take away again what came into it where the classifier did not come about, which would bar the next try."""
    before = set(out.iterdir()) if out.is_dir() else None
    out.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in set(out.iterdir()) - (before or set()):
            path.unlink()
        if before is None:
            out.rmdir()
        raise


def _fit(
    network: SuccessNetwork, frames: LabelledFrames, parts: training.Split, size: tuple[int, int],
    config: training.TrainingConfig, out: Path,
) -> training.Fitted:  # fmt: skip
    with bar("reward train", "update") as advance, (out / "metrics.jsonl").open("w") as log:
        advance(0, config.steps)

        def observe(step: int, values: Any) -> None:
            log.write(json.dumps({"step": step, **values}) + "\n")
            log.flush()
            advance(step, config.steps)

        pad = min(config.augment.pad, min(size) // 32)
        return training.fit(
            network, frames, parts, size, replace(config, augment=replace(config.augment, pad=pad)), observe
        )


def _encoder(name: str, freeze: bool) -> tuple[EncoderConfig, Start | None]:
    """(architecture, run to take its weights from)."""
    if name == "auto":
        name = "resnet18" if torch.cuda.is_available() else "small"
    architecture, start = encoders.choose(name)
    if freeze and start is None:
        raise UserError(f"--freeze would leave the random weights of --encoder {name}; give a RUN, or leave it out.")
    if freeze and start is not None and start.trains == "backbone":
        raise UserError(
            f"--freeze would leave the random pooling of --encoder {name}, whose objective trained the backbone alone; leave it out."
        )
    return architecture, start


def _image_size(wanted: int, start: Start | None) -> tuple[int, int]:
    if wanted < 0:
        raise UserError(f"--image-size is {wanted}; give pixels above 0, or 0 to let it follow the RUN.")
    if start is None:
        return wanted or IMAGE_SIZE, wanted or IMAGE_SIZE
    height, width = start.image_size
    if wanted and (wanted, wanted) != (height, width):
        raise MismatchError(
            f"the encoder of {start.run} is for {height}x{width} pixels; leave --image-size {wanted} out."
        )
    return height, width


def _report(out: Path, settings: dict[str, Any]) -> None:
    curves = {"reward train": read_metrics(out / "metrics.jsonl")}
    write_report(
        out / "report.html",
        Report(
            title="Success classifier",
            command=runs.command_line(),
            curves=curves,
            config=settings,
            versions=runs.versions(),
        ),
    )
