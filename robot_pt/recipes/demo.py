"""`robot-pt demo`: the whole way on one machine, from demonstrations to success rates beside the baselines, in one report.

Clean scripted demonstrations are imitation's home ground, and taking the policy by max-Q needs tens of thousands of updates.
So the source data is of mixed quality, as robots produce it (three in four episodes noisy, hesitant, repaired or failed, success
labelled), and the policy is taken from PTR's critic by its fast documented route: a behaviour-cloning warm start of the actor, then
imitation weighted by the critic's advantage (arXiv 2210.05178's comparison with advantage-weighted BC). `pretrain` keeps PTR's own.

PTR and the baselines train side by side, half of the cores each: networks this small leave a second core half idle.
Every stage leaves its result in `out`; an interrupted demo continues with the first unfinished one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from robot_pt import checkpoint
from robot_pt.agents.bc import BCConfig
from robot_pt.agents.ptr import PTRConfig
from robot_pt.augment import AugmentConfig
from robot_pt.controls import blanked, mean_images, replay
from robot_pt.errors import MismatchError, UserError
from robot_pt.evaluate import FIRST_SEED, Evaluation, PolicyFactory, compare
from robot_pt.machine import versions
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import proprio_statistics
from robot_pt.policy_record import PolicyRecord
from robot_pt.recipes import finetune, pretrain, runs
from robot_pt.recipes.beside import beside, wait_for_updates
from robot_pt.recipes.collect import collect
from robot_pt.recipes.evaluate import clip_folder, play, policy_factory
from robot_pt.recipes.limits import require_own
from robot_pt.recipes.progress import bar, say
from robot_pt.recipes.target import split_demos
from robot_pt.report import Report, Selection, clips_of, read_metrics, write_report
from robot_pt.safe_files import read_json, replace_json
from robot_pt.schema import SUCCESS
from robot_pt.selection import SelectionRule, choose, read_scores
from robot_pt.sources import EpisodeSource, EpisodeView, filter_episodes
from robot_pt.store import DemoStore, is_demo_store

TARGET_TASK = "lift-purple"
SIZE = 64
NOISE = 0.7
"""Standard deviation of the noise in noisy episodes [cm]."""
DEFAULT_MINUTES = 14.0
STD_RANGE = (-2.0, 2.0)
"""Of log-std, for all policies: rotation hardly varies here, and with PTR's -5 its likelihood drowns all other dimensions."""
AVERAGE = 0.003
"""All policies act by a running average of their weights over about 1 / AVERAGE updates: single checkpoints swing widely."""

PTR_NAME, BC_ALL, BC_SUCCESS = "PTR", "BC, all data", "BC, successes only"
BLANKED, OPEN_LOOP = "PTR, images blanked", "open-loop replay"

ROUTE = (
    "advantage-weighted extraction after a BC warm start",
    "PTR's critic learns by conservative Q-learning on all data, failures included. The actor first clones behaviour while the "
    "critic is still blind, then imitates each recorded action with weight exp(min(A / T, 5)), A = Q(s, a) - mean Q(s, a ~ pi). "
    "This is the documented fast route; `robot-pt pretrain` uses PTR's own max-Q actor unless told otherwise.",
)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of everything; the defaults are the demo's at `DEFAULT_MINUTES`."""

    source_tasks: tuple[str, ...] = ("lift-red", "lift-green", "lift-blue", "lift-yellow")
    episodes: int = 150
    """Mixed-quality episodes per source task."""
    demos: int = 10
    """Target demonstrations to finetune on."""
    judges: int = 6
    """Target demonstrations held out to choose the checkpoint."""
    evaluation_episodes: int = 40
    pretrain_updates: int = 2600
    """On the source tasks, all of them with a cloning actor; a BC baseline makes as many."""
    finetune_updates: int = 1050
    """After the switch to the target; a BC baseline makes as many."""

    def shortened(self, share: float) -> Scale:
        """With that share of the training."""
        return replace(
            self, pretrain_updates=round(self.pretrain_updates * share), finetune_updates=round(self.finetune_updates * share)
        )  # fmt: skip


def demo(out: Path, *, seed: int = 0, minutes: float = DEFAULT_MINUTES, scale: Scale | None = None) -> dict[str, Any]:
    """Run every stage that `out` does not hold yet; returns rates, intervals and where the report is.

    Raises UserError for a budget below 4 minutes and an `out` that holds something else, MismatchError where it holds a demo that was
    asked for otherwise, MissingExtraError without robosuite.
    """
    if not 4 <= minutes < float("inf"):
        raise UserError(f"--minutes is {minutes:g}; give at least 4, the stages around training take that.")
    if 10_000 * (seed + 1) > FIRST_SEED or seed < 0:
        raise UserError(f"--seed is {seed}; give a number from 0 to {FIRST_SEED // 10_000 - 1}.")
    scale = (scale or Scale()).shortened(minutes / DEFAULT_MINUTES)
    _keep(out, {"seed": seed, "minutes": minutes})
    clock = _Stages(out / "stages.json")
    clock.run("collect", lambda: _collect(out, seed, scale))
    clock.run("write RLDS", lambda: _write_rlds(out, scale))
    with beside(train, out, seed, scale, (BC_ALL, BC_SUCCESS), log=out / "baselines.log"):
        train(out, seed, scale, (PTR_NAME,))
        baselines = [_folders(out, name) for name in (BC_ALL, BC_SUCCESS)]
        wait_for_updates("train baselines", baselines, scale.pretrain_updates + scale.finetune_updates)
    source, target, judges = _open(out, seed, scale)
    evaluations = clock.value("evaluate", lambda: _evaluate(out, source, target, seed, scale))
    seconds = {
        **clock.seconds(),
        **{f"train {n}": _training(out, n).seconds()[n] for n in (PTR_NAME, BC_ALL, BC_SUCCESS)},
    }
    return _report(out, _settings(source, seed), scale, (source, target, judges), evaluations, seconds)


def train(out: Path, seed: int, scale: Scale, names: Sequence[str]) -> None:
    """Train these policies one after the other on what `out` holds; what is done is kept."""
    source, target, judges = _open(out, seed, scale)
    for name in names:
        data = source if name != BC_SUCCESS else _successes(source)
        settings = replace(_settings(source, seed), algorithm="ptr" if name == PTR_NAME else "bc")
        _training(out, name).run(name, lambda n=name, d=data, c=settings: _train(out, n, c, d, target, judges, scale))  # type: ignore[misc]


def _keep(out: Path, asked: Mapping[str, float]) -> None:
    """demo.json of a new demo: stages of two seeds or budgets make no report together. Raises as `demo`."""
    path = out / "demo.json"
    if not (out / "stages.json").is_file():  # of a demo begun by an earlier version, which kept no demo.json
        require_own(out, path.name, "a demo")
    if not path.is_file():
        out.mkdir(parents=True, exist_ok=True)
        replace_json(path, asked)
    before = read_json(path)
    for name, value in asked.items():
        if before.get(name) != value:
            raise MismatchError(
                f"{out} holds a demo of --{name} {before.get(name)}, now it is {value}; go on with the same, or choose another --out."
            )


class _Stages:
    """Which stages are done, and what each took, in a file that one process writes."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    def run(self, name: str, work: Callable[[], object]) -> None:
        done = self.seconds()
        if name in done:
            say(f"{name}: done before, kept.")
            return
        began = time.monotonic()
        work()
        replace_json(self._path, {**done, name: round(time.monotonic() - began, 1)})

    def value(self, name: str, work: Callable[[], list[Evaluation]]) -> list[Evaluation]:
        """Work that continues by itself: always asked, timed once."""
        began = time.monotonic()
        result = work()
        if name not in self.seconds():
            replace_json(self._path, {**self.seconds(), name: round(time.monotonic() - began, 1)})
        return result

    def seconds(self) -> dict[str, float]:
        return read_json(self._path) if self._path.exists() else {}


def _training(out: Path, name: str) -> _Stages:
    return _Stages(_folders(out, name)[1] / "stages.json")


def _collect(out: Path, seed: int, scale: Scale) -> None:
    wanted = [(task, scale.episodes, "mixed") for task in scale.source_tasks]
    wanted.append((TARGET_TASK, scale.demos + scale.judges, "clean"))
    for i, (task, count, quality) in enumerate(wanted):
        store = out / "demos" / task
        have = len(DemoStore(store)) if is_demo_store(store) else 0
        if have < count:
            first = 10_000 * seed + 1000 * i + have
            collect(task, count - have, store, quality=quality, strength=NOISE, image_size=SIZE, seed=first)  # type: ignore[arg-type]


def _write_rlds(out: Path, scale: Scale) -> None:
    import robot_pt_data
    from robot_pt_data.export import export

    for task in (*scale.source_tasks, TARGET_TASK):
        folder = out / "rlds" / task.replace("-", "_")
        if folder.exists():
            continue
        with bar(f"write RLDS {task}", "episode") as advance:
            export(robot_pt_data.open(out / "demos" / task), folder, "rlds", progress=advance)


def _open(out: Path, seed: int, scale: Scale) -> tuple[EpisodeSource, EpisodeView, EpisodeView]:
    """(source data, ten target demos, held-out target demos), read from the RLDS folders."""
    from robot_pt.recipes.datasets import Reading, open_all

    folders = [out / "rlds" / task.replace("-", "_") for task in scale.source_tasks]
    source = open_all(folders, assume_success=False, reading=Reading(), what="source data")
    target = open_all(
        [out / "rlds" / TARGET_TASK.replace("-", "_")], assume_success=False, reading=Reading(), what="target data"
    )
    demos = filter_episodes(target, lambda table, e: table.success[e] == SUCCESS)
    train, judges = split_demos(demos, scale.demos, seed)
    return source, train, judges


def _settings(source: EpisodeSource, seed: int) -> runs.RunSettings:
    mean, std = proprio_statistics(source)
    augment = AugmentConfig(
        pad=1, jitter_probability=0.0
    )  # PTR's 4 pixels at 128 are 6 cm here; tasks differ by colour
    return runs.RunSettings(
        algorithm="ptr",
        encoder=EncoderConfig(name="small"),
        camera="primary",
        image_size=(SIZE, SIZE),
        task_slots=0,
        proprio=(tuple(map(float, mean)), tuple(map(float, std))),
        ptr=PTRConfig(
            actor_loss="advantage_weighted", advantage_temperature=8.0, actor_learning_rate=5e-4, alpha=1.0,
            conservative_floor=-8.0, log_std_range=STD_RANGE, actor_average=AVERAGE, augment=augment,
        ),
        bc=BCConfig(learning_rate=5e-4, head="tanh_gaussian", std="state", log_std_range=STD_RANGE, actor_average=AVERAGE, augment=augment),
        seed=seed,
    )  # fmt: skip


def _successes(source: EpisodeSource) -> EpisodeSource:
    return filter_episodes(source, lambda table, e: table.success[e] == SUCCESS)


def _train(
    out: Path, name: str, settings: runs.RunSettings, source: EpisodeSource, target: EpisodeView, judges: EpisodeView,
    scale: Scale,
) -> None:  # fmt: skip
    first, then = _folders(out, name)
    updates, more = scale.pretrain_updates, scale.finetune_updates
    warm = replace(settings.ptr, bc_warm_start_steps=updates)
    pretrain.pretrain_with(
        replace(settings, ptr=warm), source, first, steps=updates, checkpoint_every=updates, resume=True, held_out=0.05
    )
    finetune.finetune_with(
        first, target, judges, source, then, mixing_ratio=0.7, steps=more, checkpoint_every=max(1, more // 6),
        resume=True, held_out=0.05, tasks_also=[TARGET_TASK],
    )  # fmt: skip


def _folders(out: Path, name: str) -> tuple[Path, Path]:
    short = {PTR_NAME: "ptr", BC_ALL: "bc-all", BC_SUCCESS: "bc-successes"}[name]
    return out / f"{short}-pretrain", out / f"{short}-finetune"


def _evaluate(out: Path, source: EpisodeSource, target: EpisodeView, seed: int, scale: Scale) -> list[Evaluation]:
    run = _folders(out, PTR_NAME)[1]
    factories: dict[str, PolicyFactory] = {
        name: policy_factory(_folders(out, name)[1], TARGET_TASK) for name in (PTR_NAME, BC_ALL, BC_SUCCESS)
    }
    factories[BLANKED] = blanked(policy_factory(run, TARGET_TASK), mean_images(source, ("primary",)))
    factories[OPEN_LOOP] = replay(target, 0)
    record = PolicyRecord.from_json(read_json(checkpoint.resolve(run) / "policy.json"))
    return [
        play(
            factory, TARGET_TASK, record, name=name, episodes=scale.evaluation_episodes, seed=seed, folder=out / "evaluation",
            videos=name in (PTR_NAME, BC_ALL, BC_SUCCESS),
        )
        for name, factory in factories.items()
    ]  # fmt: skip


def _report(
    out: Path, settings: runs.RunSettings, scale: Scale, data: tuple[EpisodeSource, EpisodeView, EpisodeView],
    evaluations: list[Evaluation], seconds: Mapping[str, float],
) -> dict[str, Any]:  # fmt: skip
    selection, values = _selection(_folders(out, PTR_NAME)[1])
    by_name = {e.name: e for e in evaluations}
    folder = out / "evaluation"
    page = write_report(
        out / "report.html",
        Report(
            title=f"robot-pt demo: {TARGET_TASK} from ten demonstrations",
            subtitle=f"pretrained on {len(data[0].episodes)} mixed-quality episodes of {len(scale.source_tasks)} other tasks",
            command=runs.command_line(),
            policy=PTR_NAME,
            evaluations=evaluations,
            notes=_notes(),
            controls=[BLANKED, OPEN_LOOP],
            comparisons=[compare(by_name[PTR_NAME], by_name[other]) for other in (BC_ALL, BC_SUCCESS)],
            clips={n: clips_of(by_name[n], clip_folder(folder, n)) for n in (PTR_NAME, BC_ALL, BC_SUCCESS)},
            route=ROUTE,
            values=values,
            selection=selection,
            curves={
                f"{name}: {phase}": read_metrics(run / "metrics.jsonl")
                for name in (PTR_NAME, BC_ALL, BC_SUCCESS)
                for phase, run in zip(("pretrain", "finetune"), _folders(out, name), strict=True)
            },
            data=_data_rows(*data, scale),
            seconds=seconds,
            config=settings.to_json(),
            versions=versions(),
        ),
    )
    return {
        "report": str(page), "route": ROUTE[0], "task": TARGET_TASK,
        "evaluations": [e.summary() for e in evaluations], "seconds": dict(seconds),
    }  # fmt: skip


def _notes() -> dict[str, str]:
    return {
        PTR_NAME: f"CQL critic, policy by {ROUTE[0]}",
        BC_ALL: "same network, data and updates; imitates failures too",
        BC_SUCCESS: "the same without failed episodes",
        BLANKED: "the PTR policy shown the mean image",
        OPEN_LOOP: "one demonstration's actions, whatever is seen",
    }


def _data_rows(source: EpisodeSource, target: EpisodeView, judges: EpisodeView, scale: Scale) -> list[dict[str, Any]]:
    rows = []
    for name, part in (
        *((t, _of_task(source, t)) for t in scale.source_tasks),
        ("target demos", target),
        ("held-out target demos", judges),
    ):
        good = int(np.sum(part.episodes.success == SUCCESS))
        rows.append({"name": name, "episodes": len(part.episodes), "steps": part.episodes.steps, "successes": good})
    return rows


def _of_task(source: EpisodeSource, task: str) -> EpisodeView:
    return filter_episodes(source, lambda table, e: table.task[e] == task)


def _selection(run: Path) -> tuple[Selection, list[Any]]:
    scores = read_scores(run)
    choice = choose(scores, SelectionRule())
    rows = [{"step": s.step, "rank correlation": s.rise, "action error": s.action_error} for s in scores]
    values = next(s.values for s in scores if s.step == choice.step)
    return Selection(rule=choice.reason, rows=rows, chosen=choice.step), [np.array(v, np.float32) for v in values]
