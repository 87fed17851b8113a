"""`robot-pt finetune`: go on from a pretrained run with a few demonstrations of a new task mixed in (arXiv 2210.05178).

Nothing is reset at the switch: same networks, optimisers and learning rates; the new task takes a spare slot; a batch is 0.9
pretraining data and 0.1 target data. The checkpoint is chosen by `robot_pt.selection` on target demos that were held out.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor

from robot_pt import checkpoint
from robot_pt.agents import Agent
from robot_pt.agents.awbc import AWBC, AWBCConfig
from robot_pt.distributed import processes
from robot_pt.errors import MismatchError, UserError
from robot_pt.policy_record import PolicyRecord
from robot_pt.recipes import loop, runs
from robot_pt.recipes.algorithms import ALGORITHMS, default_config
from robot_pt.recipes.datasets import Reading
from robot_pt.recipes.limits import at_least
from robot_pt.recipes.pretrain import replay_of, warn_of_clipping
from robot_pt.recipes.progress import say, warn
from robot_pt.recipes.sim_versions import tell_of_start
from robot_pt.recipes.target import HELD_OUT, judge, named, open_target, outcome, prior_of, require_ratio, selector_of
from robot_pt.safe_files import read_json
from robot_pt.schema import Spec
from robot_pt.simulated import versions_of
from robot_pt.sources import EpisodeSource, split_episodes
from robot_pt.tasks import TaskTable


class Origin(NamedTuple):
    """The checkpoint a finetuning starts from; config.json keeps it, so that a resumed one has the same start."""

    run: str  # as it was given
    step: int
    version: str  # of its policy: a hash of the weights and what they were trained for

    def folder(self, run: Path) -> Path:
        return checkpoint.folder_of(run, self.step)


def finetune(
    start: Path, target: Path, data: Sequence[Path], out: Path, *, demos: int = 10, mixing_ratio: float = 0.9,
    steps: int = 20_000, checkpoint_every: int = 0, assume_success: bool = False, algorithm: Literal["awbc"] | None = None,
    freeze_encoder: bool = False, seed: int = 0, resume: bool = False, reading: Reading | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Finetune run `start` on `demos` demonstrations of `target`; the arguments are those of the command line.

    Raises UserError and its kinds: `start` is no run, the data is of another robot, no free task slot, too few demos.
    """
    runs.require_amounts(steps, seed)
    at_least(0, checkpoint_every=checkpoint_every)
    before, _ = runs.read_settings(start)
    if freeze_encoder and not before.cameras:
        raise UserError(f"--freeze-encoder is about images and {start} learned from the state alone; leave it out.")
    changes: dict[str, Any] = {"frozen": "encoder"} if freeze_encoder else {}
    if algorithm is not None:
        changes |= {"algorithm": algorithm, "options": weighted_by_critic_of(start, before)}
    reading = (reading or Reading()).of([target, *data])
    wanted, source = open_target(
        target, data, demos=demos, mixing_ratio=mixing_ratio, assume_success=assume_success, seed=seed, reading=reading
    )
    source = prior_of(algorithm or before.algorithm, source, data, target)
    return finetune_with(
        start, wanted.train, wanted.judges, source, out, mixing_ratio=mixing_ratio, steps=steps,
        checkpoint_every=checkpoint_every or max(1, min(steps // 10, 5_000)), assume_success=assume_success, seed=seed,
        resume=resume, arguments={
            "from": start, "target": target, "data": list(data), "mapping": reading.mapping, "action_source": reading.action_source,
            "demos": demos, "steps": steps,
        },
        tasks_also=wanted.tasks, changes=changes,
    )  # fmt: skip


def weighted_by_critic_of(start: Path, before: runs.RunSettings) -> AWBCConfig:
    """Settings of advantage-weighted imitation whose networks are those of run `start`. Raises UserError where that has no critic."""
    if ALGORITHMS[before.algorithm].imitates:
        raise UserError(
            f"{start} was trained by {before.algorithm}, which has no critic to weigh demonstrations by; give a run of ptr or another "
            "algorithm with one."
        )
    trained = before.ptr if before.algorithm == "ptr" else before.options or default_config(before.algorithm)
    only_state = before.algorithm == "ptr" and not before.cameras
    of_state: dict[str, Any] = {"critic": "ensemble", "layer_norm": True} if only_state else {}
    return AWBCConfig.like(trained, bf16=trained.bf16, **of_state)


class _JudgedBy(NamedTuple):
    """Stands for an agent while the checkpoint is read that only gives it its critic."""

    agent: AWBC

    def state_dict(self) -> dict[str, Tensor]:
        return self.agent.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.agent.judge_by(state)


def _begin(agent: Agent, folder: Path, *, same_algorithm: bool) -> None:
    """Give a fresh agent the start: everything, or the critic alone where another algorithm imitates by it."""
    if not same_algorithm:
        assert isinstance(agent, AWBC), "nothing else starts from another algorithm"
        checkpoint.load_agent(folder, _JudgedBy(agent))
    else:
        checkpoint.load_agent(folder, agent)


def finetune_with(
    start: Path, target: EpisodeSource, judges: EpisodeSource, source: EpisodeSource, out: Path, *, mixing_ratio: float,
    steps: int, checkpoint_every: int, assume_success: bool = False, seed: int = 0, resume: bool = False,
    arguments: dict[str, Any] | None = None, tasks_also: Sequence[str] = (), held_out: float = HELD_OUT,
    changes: dict[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The same with sources already opened; `changes` replaces fields of the run's settings (what a recipe in Python calls)."""
    began = time.monotonic()
    require_ratio(mixing_ratio)
    before, _ = runs.read_settings(start)
    encoder = replace(before.encoder, weights="")  # the start brings them; the file may be elsewhere by now
    settings = replace(
        before,
        encoder=encoder,
        seed=seed,
        reward=replace(before.reward, assume_success=assume_success),
        **(changes or {}),
    )
    origin = origin_of(start, out, resume)
    trained = PolicyRecord.from_json(read_json(origin.folder(start) / "policy.json"))
    trained.spec.require_trainable_with(target.spec, settings.camera)
    _say_convention(trained.spec, target.spec)
    tell_of_start(trained, {"the target data": versions_of(target)})
    warn_of_clipping(target, settings.bounds, "target data")
    tasks = tasks_with(trained, start, [*target.episodes.task, *tasks_also], source.episodes.task)
    source, _ = split_episodes(source, held_out, seed=0)
    with processes() as ranks:
        runs.start_or_resume(
            out, "finetune", settings, arguments or {}, resume=resume, write=ranks.is_first, origin=origin._asdict()
        )  # fmt: skip
        agent = settings.build(source.spec, ranks.device)
        if not (resume and checkpoint.steps(out)):
            _begin(agent, origin.folder(start), same_algorithm=settings.algorithm == before.algorithm)
        first = origin.step
        parts = [source, target]
        record = runs.record(
            agent, settings, target.spec, tasks, named(loop.trained_on, parts)
        )  # the robot it will drive
        selector = selector_of(settings, judges, tasks, out, ranks, resume)
        with replay_of(settings, parts, [mixing_ratio, 1 - mixing_ratio], tasks, ranks) as batches:
            last = loop.run(
                agent, batches, out, record, ranks, start=first, steps=first + steps, resume=resume, description="finetune",
                metric=loop.metric_of(settings.algorithm),
                checkpoint_every=checkpoint_every, after_save=judge(selector, agent) if ranks.is_first else None,
            )  # fmt: skip
        selection, values = outcome(selector)
        if ranks.is_first:
            loop.report(
                out, title=f"Finetuning: {settings.algorithm}", phase="finetune", settings=settings, data=named(loop.describe, parts),
                selection=selection, values=values,
            )  # fmt: skip
    return {
        "run": str(out), "from": str(start), "from_step": origin.step, "checkpoint": str(checkpoint.resolve(out)), "steps": checkpoint.steps(out)[-1] - first,
        "selected": selection.chosen if selection else None, "reason": selection.rule if selection else None,
        "target_tasks": sorted(set(target.episodes.task)), "metrics": last, "report": str(out / "report.html"),
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def origin_of(start: Path, out: Path, resume: bool) -> Origin:
    """Where the run in `out` starts, or started if it is resumed; says so.

    Raises MismatchError when `start` does not hold the checkpoint that the resumed run started from.
    """
    if resume and checkpoint.steps(out):
        known = runs.read_settings(out)[1].get("origin")
        if isinstance(known, dict) and set(known) == set(Origin._fields) and isinstance(known["step"], int):
            origin = Origin(**known)
            if _version(origin.folder(start)) != origin.version:
                raise MismatchError(
                    f"{out} was started from update {origin.step} of {origin.run}, which {start} does not hold; resume with the "
                    "same --from, or choose another --out."
                )
            return origin
    folder, named = checkpoint.start_of(start), checkpoint.resolve(start)
    step = int(folder.name.removeprefix("step_"))
    if folder != named:
        warn(
            f"{start} stands for {named.name}, whose optimiser state is gone; starting from {folder.name}, the newest that has it."
        )
    say(f"starting from update {step} of {start}.")
    return Origin(str(start), step, str(_version(folder)))


def _version(folder: Path) -> str | None:
    path = folder / "policy.json"
    return str(read_json(path).get("version")) if path.is_file() else None


def _say_convention(trained: Spec, target: Spec) -> None:
    for name in ("action_unit", "action_source", "control_hz"):
        then, now = getattr(trained, name), getattr(target, name)
        if then != now:
            warn(
                f"the run was trained with {name} {then!r}, the target data has {now!r}: the same motion has other numbers there, "
                "and the policy is recorded as the target's."
            )


def tasks_with(trained: PolicyRecord, start: Path, wanted: Sequence[str], source: Sequence[str]) -> TaskTable:
    """The run's task table with the target's tasks in spare slots."""
    tasks = TaskTable.from_json(trained.tasks.to_json())
    unknown = sorted(set(source) - set(tasks.names) - set(wanted))
    if unknown:
        raise MismatchError(
            f"task {unknown[0]!r} of --data was not in the pretraining of {start}; give the data sets it was pretrained on, or "
            "name the new one as --target."
        )
    for name in sorted(set(wanted)):
        tasks.fill(name)
    return tasks
