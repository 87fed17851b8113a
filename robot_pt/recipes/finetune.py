"""`robot-pt finetune`: go on from a pretrained run with a few demonstrations of a new task mixed in (arXiv 2210.05178).

Nothing is reset at the switch: same networks, optimisers and learning rates; the new task takes a spare slot; a batch is 0.9
pretraining data and 0.1 target data. The checkpoint is chosen by `robot_pt.selection` on target demos that were held out.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from robot_pt import checkpoint
from robot_pt.agents import Agent
from robot_pt.distributed import Ranks, processes
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.policy_record import PolicyRecord
from robot_pt.recipes import loop, runs
from robot_pt.recipes.datasets import Reading, open_all
from robot_pt.recipes.limits import at_least
from robot_pt.recipes.pretrain import HELD_OUT, replay_of, warn_of_clipping
from robot_pt.recipes.progress import say, warn
from robot_pt.replay import episode_batches
from robot_pt.report import Selection
from robot_pt.safe_files import read_json
from robot_pt.schema import Spec
from robot_pt.selection import Choice, Selector, held_out_demos
from robot_pt.sources import Concat, EpisodeSource, EpisodeView, filter_episodes, split_episodes
from robot_pt.tasks import TaskTable

HELD_OUT_DEMOS = 10
"""At most this many target demonstrations judge checkpoints."""


class Origin(NamedTuple):
    """The checkpoint a finetuning starts from; config.json keeps it, so that a resumed one has the same start."""

    run: str  # as it was given
    step: int
    version: str  # of its policy: a hash of the weights and what they were trained for

    def folder(self, run: Path) -> Path:
        return checkpoint.folder_of(run, self.step)


def finetune(
    start: Path, target: Path, data: Sequence[Path], out: Path, *, demos: int = 10, mixing_ratio: float = 0.9,
    steps: int = 20_000, checkpoint_every: int = 0, assume_success: bool = False, seed: int = 0, resume: bool = False,
    reading: Reading | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Finetune run `start` on `demos` demonstrations of `target`; the arguments are those of the command line.

    Raises UserError and its kinds: `start` is no run, the data is of another robot, no free task slot, too few demos.
    """
    runs.require_amounts(steps, seed)
    at_least(0, checkpoint_every=checkpoint_every)
    runs.read_settings(start)
    reading = (reading or Reading()).of([target, *data])
    wanted = target_source = open_all([target], assume_success=assume_success, reading=reading, what="target data")
    target_part, judges = split_demos(wanted, demos, seed)
    others = [path for path in data if path.resolve() != target.resolve()]
    parts: list[EpisodeSource] = []
    if others or not data:
        parts.append(open_all(others, assume_success=assume_success, reading=reading, what="pretraining data"))
    if len(others) < len(data):  # the target is among the data: what judges checkpoints must not be trained on
        parts.append(_without(wanted, judges))
    source = parts[0] if len(parts) == 1 else Concat(parts)
    say(
        f"target: {len(target_part.episodes)} demonstrations to train on, {len(judges.episodes)} held out to choose the checkpoint."
    )
    return finetune_with(
        start, target_part, judges, source, out, mixing_ratio=mixing_ratio, steps=steps,
        checkpoint_every=checkpoint_every or max(1, min(steps // 10, 5_000)), assume_success=assume_success, seed=seed,
        resume=resume, arguments={
            "from": start, "target": target, "data": list(data), "mapping": reading.mapping, "action_source": reading.action_source,
            "demos": demos, "steps": steps,
        },
        tasks_also=target_source.episodes.task,
    )  # fmt: skip


def _without(source: EpisodeSource, left_out: EpisodeSource) -> EpisodeView:
    """The episodes of `source` that are not among those of its view `left_out`."""
    starts = set(left_out.episodes.start.tolist())
    return filter_episodes(source, lambda table, e: int(table.start[e]) not in starts)


def finetune_with(
    start: Path, target: EpisodeSource, judges: EpisodeSource, source: EpisodeSource, out: Path, *, mixing_ratio: float,
    steps: int, checkpoint_every: int, assume_success: bool = False, seed: int = 0, resume: bool = False,
    arguments: dict[str, Any] | None = None, tasks_also: Sequence[str] = (), held_out: float = HELD_OUT,
    changes: dict[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The same with sources already opened; `changes` replaces fields of the run's settings (what a recipe in Python calls)."""
    began = time.monotonic()
    if not 0 <= mixing_ratio < 1:
        raise UserError(
            f"--mixing-ratio is {mixing_ratio}; give the share of pretraining data in a batch, 0 to below 1."
        )
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
    warn_of_clipping(target, settings.bounds, "target data")
    tasks = tasks_with(trained, start, [*target.episodes.task, *tasks_also], source.episodes.task)
    source, _ = split_episodes(source, held_out, seed=0)
    with processes() as ranks:
        runs.start_or_resume(
            out, "finetune", settings, arguments or {}, resume=resume, write=ranks.is_first, origin=origin._asdict()
        )  # fmt: skip
        agent = settings.build(source.spec, ranks.device)
        if not (resume and checkpoint.steps(out)):
            checkpoint.load_agent(origin.folder(start), agent)
        first = origin.step
        data, trained_on = (
            describe(source) + [{**row, "name": f"target: {row['name']}"} for row in describe(target)]
            for describe in (loop.describe, loop.trained_on)
        )
        record = runs.record(agent, settings, target.spec, tasks, trained_on)  # the robot it will drive
        selector = _selector(settings, judges, tasks, out, ranks, resume)
        with replay_of(settings, [source, target], [mixing_ratio, 1 - mixing_ratio], tasks, ranks) as batches:
            last = loop.run(
                agent, batches, out, record, ranks, start=first, steps=first + steps, resume=resume, description="finetune",
                checkpoint_every=checkpoint_every, after_save=_judge(selector, agent) if ranks.is_first else None,
            )  # fmt: skip
        selection, values = _outcome(selector)
        if ranks.is_first:
            loop.report(
                out, title=f"Finetuning: {settings.algorithm}", phase="finetune", settings=settings, data=data,
                selection=selection, values=values,
            )  # fmt: skip
    return {
        "run": str(out), "from": str(start), "from_step": origin.step, "checkpoint": str(checkpoint.resolve(out)), "steps": steps,
        "selected": selection.chosen if selection else None, "reason": selection.rule if selection else None,
        "target_tasks": sorted(set(target.episodes.task)), "metrics": last, "report": str(out / "report.html"),
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def split_demos(target: EpisodeSource, demos: int, seed: int) -> tuple[EpisodeView, EpisodeView]:
    """(to train on, held out): `demos` episodes, and the others up to HELD_OUT_DEMOS; at least one, even of few.

    Raises UserError when `demos` is below 1, DataError when there are not two episodes.
    """
    count = len(target.episodes)
    if demos < 1:
        raise UserError(f"--demos is {demos}; give at least 1.")
    if count < 2:
        raise DataError(
            f"the target data holds {count} episode; give at least 2: one to learn from, one to choose the checkpoint on."
        )
    order = np.random.default_rng(seed).permutation(count)
    train = min(demos, count - max(1, round(HELD_OUT * min(count, demos))))
    rest = order[train : train + HELD_OUT_DEMOS]
    return EpisodeView(target, target.episodes.select(np.sort(order[:train]))), EpisodeView(
        target, target.episodes.select(np.sort(rest))
    )


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
    for name in ("action_unit", "action_source"):
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


def _selector(
    settings: runs.RunSettings, judges: EpisodeSource, tasks: TaskTable, out: Path, ranks: Ranks, resume: bool
) -> Selector:
    demos, successful = held_out_demos(judges, settings.reward)
    batches = episode_batches(
        demos, cameras=settings.cameras, image_size=settings.image_size, reward=settings.reward, gamma=settings.gamma,
        task_table=tasks, language_dim=settings.language_size,
    )  # fmt: skip
    done = checkpoint.steps(out)
    return Selector(
        out, list(batches), successful=successful, device=ranks.device, start=done[-1] if resume and done else 0
    )


def _judge(selector: Selector, agent: Agent) -> Any:
    def judge(step: int) -> Choice:
        return selector.after(step, agent)

    return judge


def _outcome(selector: Selector) -> tuple[Selection | None, list[Any]]:
    """What the report shows: the rule's table, and Q along the held-out demos at the chosen checkpoint."""
    if not selector.scores:
        return None, []
    choice = selector.choice()
    rows = [
        {"step": s.step, "rank correlation": s.rise, "action error": s.action_error, "log likelihood": s.log_likelihood}
        for s in selector.scores
    ]
    values = next(s.values for s in selector.scores if s.step == choice.step)
    return Selection(rule=choice.reason, rows=rows, chosen=choice.step), [np.array(v, np.float32) for v in values]
