"""`robot-pt evaluate`: success rates of one run, or of two on the same seeds, in simulation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robot_pt import checkpoint
from robot_pt.errors import UserError
from robot_pt.evaluate import ActingPolicy, EpisodeResult, Evaluation, PolicyFactory, compare, evaluate
from robot_pt.machine import versions
from robot_pt.policy_record import PolicyRecord, require_fits
from robot_pt.recipes.progress import bar
from robot_pt.recipes.runs import command_line
from robot_pt.recipes.sim_versions import kept_with, require_comparable
from robot_pt.report import Report, clips_of, write_report
from robot_pt.safe_files import read_json
from robot_pt.schema import Float, Observation, Spec
from robot_pt.videos import ClipWriter

if TYPE_CHECKING:
    from robot_pt.policy import Policy

SHOWN = 12
"""Tasks of a run that a refusal names."""


def evaluate_runs(
    run_folders: Sequence[Path], task: str, *, episodes: int = 20, seed: int = 0, out: Path | None = None, workers: int = 0,
    videos: bool = True, known_as: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Evaluate one run, or compare two; continues an interrupted evaluation in `out`. The arguments are the command line's."""
    if not 1 <= len(run_folders) <= 2:
        raise UserError(f"evaluate takes one RUN, or two to compare; it was given {len(run_folders)}.")
    if len({run.resolve() for run in run_folders}) < len(run_folders):
        raise UserError(f"both runs are {run_folders[0]}; name two different ones to compare, or one alone.")
    for run in run_folders:
        _require_simulated(checkpoint.resolve(run), task)
    records = {run: PolicyRecord.from_json(read_json(checkpoint.resolve(run) / "policy.json")) for run in run_folders}
    names = {run: _name_in(run, record, task, known_as) for run, record in records.items()}
    require_comparable(task, {str(run): record for run, record in records.items()})
    folder = out or run_folders[0] / "evaluation" / task
    done = []
    for run, name in zip(run_folders, _names(run_folders), strict=True):
        document = read_json(checkpoint.resolve(run) / "policy.json")
        done.append(
            play(
                policy_factory(run, task, names[run]), task, records[run], name=name, episodes=episodes, seed=seed, folder=folder, workers=workers,
                videos=videos, settings={"checkpoint": document["version"], "step": document["step"], **kept_with(task, records[run]), **({"known as": names[run]} if names[run] else {})},
            )
        )  # fmt: skip
    comparison = compare(done[0], done[1]) if len(done) == 2 else None
    page = write_report(
        folder / "report.html",
        Report(
            title=f"{task}: " + " against ".join(e.name for e in done), command=command_line(), evaluations=done,
            clips={e.name: clips_of(e, clip_folder(folder, e.name)) for e in done} if videos else {},
            comparisons=[comparison] if comparison else [], versions=versions(),
        ),
    )  # fmt: skip
    result: dict[str, Any] = {
        "task": task,
        "evaluations": [{**e.summary(), "settings": dict(e.settings)} for e in done],
        "report": str(page),
    }
    if comparison:
        result["comparison"] = comparison.to_json()
    return result


def play(
    policy: PolicyFactory, task: str, record: PolicyRecord, *, name: str, episodes: int, seed: int, folder: Path,
    workers: int = 0, videos: bool = True, settings: Mapping[str, Any] | None = None,
) -> Evaluation:  # fmt: skip
    """Evaluate one policy; one line per episode in folder/<name>.jsonl, clips beside it."""
    from robot_pt_sim.rollouts import rollouts

    cameras, size = record.cameras, record.image_size

    def run_rollouts(seeds: Sequence[int]) -> Iterable[EpisodeResult]:
        return rollouts(
            policy,
            task,
            seeds,
            workers=workers or None,
            camera=cameras,
            image_size=size,
            keep_frames=videos,
            apart=True,
        )

    write_clip = ClipWriter(clip_folder(folder, name)) if videos else None
    with bar(f"evaluate {name}", "episode") as advance:
        count = 0

        def observe(result: EpisodeResult) -> None:
            nonlocal count
            count += 1
            advance(count, episodes)
            if write_clip is not None:
                write_clip(result)

        advance(0, episodes)
        return evaluate(
            run_rollouts, task=task, episodes=episodes, seed=seed, name=name, settings=settings or {},
            log=folder / f"{slug(name)}.jsonl", observe=observe,
        )  # fmt: skip


class KnownAs:
    """A policy that knows the task by another name than the simulator has for it, as one trained on a robot's data does."""

    def __init__(self, policy: Policy, name: str):
        self.version, self.window, self.hears = policy.version, policy.window, policy.hears
        self._policy, self._name = policy, name

    def reset(self, task: str | None, instruction: str | None = None) -> None:
        self._policy.reset(self._name, instruction)

    def act(self, history: Sequence[Observation]) -> Float:
        return self._policy.act(history)


def policy_factory(run: Path, task: str, known_as: str | None = None) -> PolicyFactory:
    """Picklable: loads the run's policy in each worker, checked against the task's simulated robot there."""
    return partial(_load, checkpoint.resolve(run), task, known_as)


def _load(folder: Path, task: str, known_as: str | None) -> ActingPolicy:
    from robot_pt.policy import Policy

    policy = Policy.load(folder, _offered(PolicyRecord.from_json(read_json(folder / "policy.json")), task))
    return policy if known_as is None else KnownAs(policy, known_as)


def _name_in(run: Path, record: PolicyRecord, task: str, known_as: str | None) -> str | None:
    """`known_as` for a run that knows the task by it, None for one that knows the task itself; with words any task is known.

    Raises UserError, before any worker starts, where the run has neither.
    """
    if known_as in record.tasks:
        return known_as
    if task in record.tasks or (known_as is None and record.language_size):
        return None
    name = task if known_as is None else known_as
    known = ", ".join(map(repr, record.tasks.names[:SHOWN])) + (", …" if len(record.tasks.names) > SHOWN else "")
    raise UserError(f"{run} knows no task {name!r}; it knows {known}: say by --known-as which of them this is.")


def _require_simulated(folder: Path, task: str) -> None:
    """Raise MismatchError for a checkpoint of another robot, before any worker starts."""
    record = PolicyRecord.from_json(read_json(folder / "policy.json"))
    require_fits(record.spec, _offered(record, task))


def _offered(record: PolicyRecord, task: str) -> Spec:
    """What the simulator of `task` offers a policy that asks for these cameras."""
    from robot_pt_sim.simulators import spec_of

    spec: Spec = spec_of(task, record.cameras, record.image_size)
    return spec


def clip_folder(folder: Path, name: str) -> Path:
    """Where `play` puts the clips of a policy."""
    return folder / "clips" / slug(name)


def slug(name: str) -> str:
    """A file name from a policy's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _names(run_folders: Sequence[Path]) -> list[str]:
    names = [run.name or str(run) for run in run_folders]
    return names if len(set(names)) == len(names) else [str(run) for run in run_folders]
