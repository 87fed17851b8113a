"""`robot-pt pretrain --objective`: train an image encoder by a representation objective, on video or robot data."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from robot_pt import checkpoint
from robot_pt.captions import CaptionTable
from robot_pt.clips import Clips
from robot_pt.distributed import Ranks, processes
from robot_pt.encoder_record import EncoderRecord
from robot_pt.errors import DataError, UserError
from robot_pt.features import fingerprint
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import BRIDGE_BOUNDS, Bounds
from robot_pt.recipes import encoders, loop, objectives, runs, trajectories
from robot_pt.recipes.datasets import Reading, by_path, left_out, open_each, say_success
from robot_pt.recipes.encoders import Start
from robot_pt.recipes.limits import at_least
from robot_pt.recipes.objectives import Representation
from robot_pt.recipes.options import changed
from robot_pt.recipes.pretrain import HELD_OUT, bounds_for, image_size_for, require_camera, warn_of_clipping
from robot_pt.recipes.progress import warn
from robot_pt.recipes.seen import seen_by
from robot_pt.recipes.sim_versions import together
from robot_pt.schema import Spec
from robot_pt.sources import EpisodeSource, split_episodes
from robot_pt.tasks import TaskTable


@dataclass(frozen=True, kw_only=True)
class RepresentSettings:
    """Everything that decides the numbers of a run beside its data."""

    objective: Representation
    config: Any
    """The objective's own."""
    encoder: EncoderConfig
    camera: str
    image_size: tuple[int, int]
    task_slots: int = 1
    """Of the run's task table; 1 where the objective learns from no actions."""
    batch_size: int = 64
    """Clips per update, over all processes."""
    bounds: Bounds = BRIDGE_BOUNDS
    """What actions are normalised with."""
    seed: int = 0

    def build(self, spec: Spec, device: torch.device | str) -> Any:
        """A fresh objective for data of `spec`."""
        return objectives.objective_class(self.objective).build(
            spec, image_size=self.image_size, task_slots=self.task_slots, encoder=self.encoder, config=self.config,
            bounds=self.bounds, device=device, seed=self.seed,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))  # tuples become the lists that a reader gets
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RepresentSettings:
        """Raises DataError on anything `to_json` would not have written."""
        try:
            plain = dict(values)
            plain["config"] = objectives.config_from_json(plain["objective"], plain["config"])
            plain["encoder"] = EncoderConfig.from_json(plain["encoder"])
            plain["image_size"] = (int(plain["image_size"][0]), int(plain["image_size"][1]))
            plain["bounds"] = Bounds.from_json(plain["bounds"])
            return cls(**plain)
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise DataError(f"the run's config.json is damaged ({error}); restore it or start a new run.") from None


def represent(
    data: Sequence[Path], out: Path, *, objective: Representation, encoder: str = "auto", encoder_weights: Path | None = None,
    steps: int = 160_000, batch_size: int = 64, image_size: int = 0, camera: str = "primary", assume_success: bool = False,
    captions: Path | None = None, checkpoint_every: int = 0, bf16: bool = False, seed: int = 0, resume: bool = False,
    reading: Reading | None = None, options: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """Train a fresh encoder on `data`; the arguments are those of the command line. Returns what was done, as JSON values.

    Raises UserError and its kinds for whatever cannot be used: data without what the objective learns from, camera, an `out` in use.
    """
    runs.require_amounts(steps, seed)
    at_least(1, batch_size=batch_size)
    at_least(0, checkpoint_every=checkpoint_every)
    needs = objectives.objective_class(objective).needs
    reading = (reading or Reading()).of(data)
    sources = open_each(data, reading=reading, what="pretraining data")
    together(by_path(data, sources), reading.mixed_versions)
    sources = [source for source in sources if len(source.episodes)]
    for source in sources:
        require_camera(source.spec, camera)
    objectives.require_data(objective, sources, assume_success=assume_success)
    _warn_of_data(objective, sources)
    encoder_config, start_from = encoders.choose(encoder, encoder_weights)
    config = changed(objectives.config_for(objective, steps=steps, bf16=bf16), options, objective)
    config = changed(
        trajectories.fitted(config, sources, assume_success), options, objective
    )  # said twice: gamma before, ranges after
    if needs.returns and config.reward.source == "success":
        for source in sources:
            say_success(source, assume_success, "pretraining data")
    if captions is not None:
        config = captioned(config, objective, captions, sources)
    settings = RepresentSettings(
        objective=objective, config=config, encoder=encoder_config, camera=camera,
        image_size=image_size_for(image_size, sources[0].spec, camera, start_from), batch_size=batch_size,
        task_slots=_tasks(sources).slots if needs.actions else 1, bounds=bounds_for(sources[0]) if needs.actions else BRIDGE_BOUNDS,
        seed=seed,
    )  # fmt: skip
    if needs.actions:
        for source in sources:
            warn_of_clipping(source, settings.bounds, "pretraining data")
    return represent_with(
        settings, sources, out, steps=steps, checkpoint_every=checkpoint_every or max(1, min(steps // 20, 20_000)),
        resume=resume, start_from=start_from, arguments={
            "data": list(data), "mapping": reading.mapping, "action_source": reading.action_source, "encoder": encoder, "steps": steps,
        },
    )  # fmt: skip


def _warn_of_data(objective: Representation, sources: Sequence[EpisodeSource]) -> None:
    """Say what the objective goes without, and which of its times mean several things."""
    needs = objectives.objective_class(objective).needs
    if needs.language and not any(any(source.episodes.instruction) for source in sources):
        warn(f"{objective} also learns from captions and the data has NONE: what it learns from language is left out.")
    rates = sorted({source.spec.control_hz for source in sources})
    if needs.kind != "image" and len(rates) > 1:
        warn(
            f"the data runs at {', '.join(f'{rate:g}' for rate in rates)} Hz, so that a step is another time in each part; times of "
            f"{objective} are taken at {sources[0].spec.control_hz:g} Hz. Videos come at another rate with rate_hz in a --mapping."
        )


def represent_with(
    settings: RepresentSettings, sources: Sequence[EpisodeSource], out: Path, *, steps: int, checkpoint_every: int,
    resume: bool = False, start_from: Start | None = None, arguments: dict[str, Any] | None = None, held_out: float = HELD_OUT,
) -> dict[str, Any]:  # fmt: skip
    """The same with settings already made: what a recipe in Python calls."""
    began = time.monotonic()
    parts: list[EpisodeSource] = [split_episodes(source, held_out, seed=0)[0] for source in sources]
    with processes() as ranks:
        learner = settings.build(sources[0].spec, ranks.device)
        if start_from is not None:
            encoders.load(learner, start_from, settings.camera)
            learner.stepper.restart_averages()
        runs.start_or_resume(
            out, runs.REPRESENTATION, settings, arguments or {}, resume=resume, write=ranks.is_first,
            origin=start_from.to_json() if start_from else None,
        )  # fmt: skip
        data = [
            {**row, "fingerprint": fingerprint(part, settings.camera)} for part in parts for row in loop.describe(part)
        ]
        record = EncoderRecord(
            objective=settings.objective, encoder=settings.encoder.to_json(), camera=settings.camera, image_size=settings.image_size,
            trains=learner.trains, data=data,
        )  # fmt: skip
        with clips_of(settings, learner, parts, ranks) as batches:
            last = loop.run(
                learner, batches, out, record, ranks, steps=steps, checkpoint_every=checkpoint_every, resume=resume,
                description=settings.objective, metric="objective/loss",
            )  # fmt: skip
        if ranks.is_first:
            with clips_of(settings, learner, parts, Ranks(0, 1, ranks.device)) as batches:
                seen = seen_by(learner, batches, ranks.device)
            loop.report(
                out, title=f"Representation pretraining: {settings.objective}", phase="pretrain", settings=settings, data=data, seen=seen,
                warnings=left_out(sources),
            )  # fmt: skip
    damaged = left_out(sources)
    return {
        "run": str(out), "objective": settings.objective, "checkpoint": str(checkpoint.resolve_any(out)), "trained": learner.trains,
        "steps": checkpoint.steps(out)[-1], "episodes": sum(len(part.episodes) for part in parts), "device": str(ranks.device), "metrics": last,
        "report": str(out / "report.html"), "seconds": round(time.monotonic() - began, 1),
        **({"left_out": damaged} if damaged else {}),
    }  # fmt: skip


def clips_of(settings: RepresentSettings, learner: Any, sources: Sequence[EpisodeSource], ranks: Ranks) -> Clips:
    """Clips as the objective wants them; each source's share is its share of the steps."""
    steps, needs, config = [source.episodes.steps for source in sources], learner.needs, settings.config
    captions = getattr(config, "captions", "")
    return Clips(
        sources, [count / sum(steps) for count in steps], learner.plan, cameras=(settings.camera,), image_size=settings.image_size,
        batch_size=settings.batch_size, seed=settings.seed, actions=needs.actions, language_dim=needs.language,
        captions=CaptionTable.read(Path(captions)) if captions else None,
        task_table=_tasks(sources) if needs.actions else None, reward=getattr(config, "reward", trajectories.STORED),
        gamma=getattr(config, "gamma", 0.96), rank=ranks.rank, world_size=ranks.world_size, threads=max(1, min(8, (os.cpu_count() or 2) // 2)), rounding="long_run",
        pinned=ranks.device.type == "cuda",
    )  # fmt: skip


def captioned(config: Any, objective: str, captions: Path, sources: Sequence[EpisodeSource]) -> Any:
    """`config` with the sentence features of a file that has those of all the data.

    Raises UserError for an objective that reads no sentences, DataError for a file that is none or lacks a sentence of the data.
    """
    if not hasattr(config, "captions"):
        raise UserError(
            f"--captions gives features of sentences and {objective} reads none; leave it out, or choose --objective r3m."
        )
    table = CaptionTable.read(captions)
    for source in sources:
        table.features(source.episodes.instruction)
    return replace(config, captions=str(captions.resolve()), captions_version=table.version, language=table.dim)


def _tasks(sources: Sequence[EpisodeSource]) -> TaskTable:
    return TaskTable.of(task for source in sources for task in source.episodes.task)
