"""From pixels: a policy pretrained by PTR goes on with Cal-QL on the job, its encoders frozen, each frame encoded once. On two cores.

    python benchmarks/online_pixels.py                  seeds 0 to 2; what is there is not run again, what was cut goes on
    python benchmarks/online_pixels.py --table --plot benchmarks/online_pixels.svg      the table, the picture and online_pixels.json from what is there
    python benchmarks/online_pixels.py --kept benchmarks/online_pixels.json          the table from what the page keeps

The start: PTR on pixels of four lifting tasks (mixed quality), then its heads alone on ten demonstrations of a fifth and the old data, then
Cal-QL on the same until that brings no more. The job: that fifth task, as `robot-pt online --freeze-encoder --algorithm cal_ql` does it; in the
arm "helped" a scripted operator, who knows where the cube is, takes over where the policy holds nothing after `help_after` seconds
(`--help-after`), and what it does is a source of its own; in "job" nobody does. The policy that serves at the end is judged alone, by its central
action, from starts that nobody trains on, the same ones that the start is judged from. In "home" the same algorithm makes as many
updates as in "helped" from the same start, without an episode.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robot_pt import checkpoint
from robot_pt.agents.encoded import FrozenEncoders
from robot_pt.agents.ptr import PTRConfig
from robot_pt.augment import AugmentConfig
from robot_pt.machine import versions
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import proprio_statistics
from robot_pt.online.arrivals import read_arrivals
from robot_pt.online.replay import OnlineReplay
from robot_pt.policy_record import PolicyRecord
from robot_pt.recipes import evaluate, online, pretrain, runs
from robot_pt.recipes import online_setup as setup
from robot_pt.recipes.collect import collect
from robot_pt.recipes.datasets import Reading, open_all
from robot_pt.recipes.finetune import Origin, origin_of, tasks_with
from robot_pt.recipes.online_setup import Wanted
from robot_pt.replay import to_device
from robot_pt.safe_files import read_json, replace_json
from robot_pt.sources import EpisodeSource
from robot_pt.store import DemoStore, is_demo_store
from robot_pt.tasks import TaskTable

RESULTS = Path("runs/online-pixels")
PRIOR_TASKS, TARGET, CAMERA, SIZE = ("lift-red", "lift-green", "lift-blue", "lift-yellow"), "lift-purple", "primary", 64
STD_RANGE, AVERAGE, CROP = (-2.0, 2.0), 0.003, AugmentConfig(pad=1, jitter_probability=0.0)
"""As the demo has them."""
HELPED, JOB, HOME = "helped", "job", "home"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What every cell of the table has in common."""

    prior_episodes: int = 75
    """Of each task."""
    demos: int = 10
    pretrain_updates: int = 400
    """Of all networks, on pixels; the same for all seeds."""
    head_updates: int = 1500
    """PTR's, on features, half old data, half demonstrations."""
    settle_updates: int = 6000
    """Cal-QL's on the same, before the job."""
    algorithm: str = "cal_ql"
    options: tuple[str, ...] = (
        "critic=ensemble", "layer_norm=true", "critic_hidden=128,128", "critic_learning_rate=1e-3", "weight=0.05", "gap_floor=-8",
        "target_gap=none", "actions=2", "extraction=advantage_weighted", "advantage_temperature=2", "advantage_clip=1", "least_return=-24.9",
        "actor_average=0.005", "actor_learning_rate=5e-4", "tau=0.05",
    )  # fmt: skip
    """Cal-QL's, found on seed 0."""
    job_options: tuple[str, ...] = ("actor_learning_rate=1e-4", "actor_gradient=50")
    """More of them once the start is there, on the job as without an episode."""
    noise: float = 0.02
    utd: float = 1.2
    batch_size: int = 64
    offline_share: float = 0.35
    target_share: float = 0.15
    intervention_share: float = 0.35
    """Where somebody helps; else own episodes have its place too."""
    help_after: float = 3.6
    """Of 8 seconds."""
    episodes: int = 60
    """Of the job."""
    judged: int = 60
    """Starts it is judged from."""


def prepare(settings: Settings, out: Path) -> None:
    """Scripted episodes, of mixed quality for the old tasks, clean for the new one."""
    wanted = [(task, settings.prior_episodes, "mixed") for task in PRIOR_TASKS] + [(TARGET, settings.demos, "clean")]
    for i, (task, count, quality) in enumerate(wanted):
        store = out / "data" / task
        have = len(DemoStore(store)) if is_demo_store(store) else 0
        if have < count:
            first = 1000 * i + have
            collect(task, count - have, store, quality=quality, strength=0.7, image_size=SIZE, seed=first, workers=1)  # type: ignore[arg-type]


def opened(out: Path, tasks: Sequence[str]) -> EpisodeSource:
    return open_all([out / "data" / t for t in tasks], assume_success=False, reading=Reading(), what="data")


def start(settings: Settings, out: Path, seed: int) -> Path:
    """The RUN that the job starts from: Cal-QL after `settle_updates` without an episode."""
    folder, begins = out / f"settled-{seed}", finetuned(settings, out, seed)
    if checkpoint.steps(folder):
        return folder
    agent, now, origin, tasks = _cal_ql(replace(settings, job_options=()), out, begins, seed)
    prior, target = opened(out, PRIOR_TASKS), opened(out, [TARGET])
    runs.start_or_resume(folder, "finetune", now, {}, resume=True, write=True, origin=origin._asdict())
    parts, updates = {"offline": (prior, 0.5), "target": (target, 0.5)}, settings.settle_updates
    _learn(agent, now, parts, tasks, out / "features", origin.step, updates)
    record = runs.record(agent, now, target.spec, tasks, [])
    checkpoint.save(folder, origin.step + updates, agent, record, {"finetune": {}})
    return folder


def _cal_ql(settings: Settings, out: Path, begins: Path, seed: int) -> tuple[Any, runs.RunSettings, Origin, TaskTable]:
    """(agent, its settings, where it comes from, tasks) of the job's algorithm with the weights of run `begins`."""
    before, _ = runs.read_settings(begins)
    now = setup.settings_of(before, wanted_of(settings, out, seed, JOB))
    origin = origin_of(begins, out / "none", resume=False)
    trained = PolicyRecord.from_json(read_json(origin.folder(begins) / "policy.json"))
    agent: Any = now.build(opened(out, [TARGET]).spec, "cpu")
    setup.load_start(
        agent, origin.folder(begins), same_algorithm=before.algorithm == settings.algorithm, options=settings.options
    )
    return agent, now, origin, trained.tasks


def finetuned(settings: Settings, out: Path, seed: int) -> Path:
    """PTR's heads on the target's demonstrations and the old data, the encoders of `pretrained` frozen."""
    folder, begins = out / f"start-{seed}", pretrained(settings, out)
    if checkpoint.steps(folder):
        return folder
    prior, target = opened(out, PRIOR_TASKS), opened(out, [TARGET])
    before, updates = runs.read_settings(begins)[0], settings.head_updates
    ptr = replace(before.ptr, augment=None, bc_warm_start_steps=settings.pretrain_updates + updates // 2)
    now = replace(before, frozen="encoder", batch_size=settings.batch_size, ptr=ptr, seed=seed)
    origin = origin_of(begins, folder, resume=False)
    trained = PolicyRecord.from_json(read_json(origin.folder(begins) / "policy.json"))
    tasks = tasks_with(trained, begins, [TARGET], prior.episodes.task)
    runs.start_or_resume(folder, "finetune", now, {}, resume=True, write=True, origin=origin._asdict())
    agent: Any = now.build(prior.spec, "cpu")
    checkpoint.load_agent(origin.folder(begins), agent)
    _learn(
        agent, now, {"offline": (prior, 0.5), "target": (target, 0.5)}, tasks, out / "features", origin.step, updates
    )
    record = runs.record(agent, now, target.spec, tasks, [])
    checkpoint.save(folder, origin.step + updates, agent, record, {"finetune": {}})
    return folder


def pretrained(settings: Settings, out: Path) -> Path:
    """PTR on the old tasks, on pixels, the actor cloning while the critic learns, as the demo has it."""
    prior, updates = opened(out, PRIOR_TASKS), settings.pretrain_updates
    if checkpoint.steps(out / "pretrain"):
        return out / "pretrain"
    mean, std = proprio_statistics(prior)
    ptr = PTRConfig(
        actor_loss="advantage_weighted", advantage_temperature=8.0, actor_learning_rate=5e-4, alpha=1.0, conservative_floor=-8.0,
        log_std_range=STD_RANGE, actor_average=AVERAGE, augment=CROP, bc_warm_start_steps=updates,
    )  # fmt: skip
    first = runs.RunSettings(
        algorithm="ptr", encoder=EncoderConfig(name="small"), camera=CAMERA, image_size=(SIZE, SIZE), task_slots=0,
        proprio=(tuple(mean.tolist()), tuple(std.tolist())), ptr=ptr,
    )  # fmt: skip
    pretrain.pretrain_with(first, prior, out / "pretrain", steps=updates, checkpoint_every=updates, resume=True)
    return out / "pretrain"


def _learn(
    agent: Any, now: runs.RunSettings, parts: dict[str, tuple[EpisodeSource, float]], tasks: TaskTable, features: Path, first: int, updates: int
) -> None:  # fmt: skip
    """So many updates on features of `parts`."""
    look = FrozenEncoders.of(agent, CAMERA, now.image_size)
    with OnlineReplay(
        parts, online=0.0, spec=parts["target"][0].spec, cameras=now.cameras, image_size=now.image_size, batch_size=now.batch_size,
        reward=now.reward, gamma=now.gamma, task_table=tasks, seed=now.seed, look=look, features=features,
    ) as batches:  # fmt: skip
        for step in range(first, first + updates):
            agent.update(to_device(next(batches), "cpu"), step)


def judge(run: Path, name: str, settings: Settings, seed: int, folder: Path) -> list[bool]:
    """Success of the policy's central action from each start; what was played is kept."""
    record = PolicyRecord.from_json(read_json(checkpoint.resolve(run) / "policy.json"))
    found = evaluate.play(
        evaluate.policy_factory(run, TARGET), TARGET, record, name=name, episodes=settings.judged, seed=seed, folder=folder, workers=1, videos=False
    )  # fmt: skip
    torch.set_num_threads(1)
    return [result.success for result in found.results]


def wanted_of(settings: Settings, out: Path, seed: int, arm: str) -> Wanted:
    helped = arm == HELPED
    return Wanted(
        task=TARGET, episodes=settings.episodes, actors=1, ahead=0, data=tuple(str(out / "data" / t) for t in PRIOR_TASKS), target=str(out / "data" / TARGET),
        algorithm=settings.algorithm, freeze_encoder=True, options=settings.options + settings.job_options, utd=settings.utd, batch_size=settings.batch_size,  # type: ignore[arg-type]
        offline_share=settings.offline_share, target_share=settings.target_share, noise=settings.noise, seed=seed,
        intervention_share=settings.intervention_share if helped else 0.0, help_after=settings.help_after if helped else None,
    )  # fmt: skip


def on_the_job(arm: str, settings: Settings, out: Path, seed: int) -> dict[str, Any]:
    """The start, judged, and what the job makes of it; goes on where it was cut."""
    folder, begins = out / f"{arm}-{seed}", start(settings, out, seed)
    first = judge(begins, "settled", settings, seed, begins)
    last = online.online(begins, folder / "run", wanted_of(settings, out, seed, arm), resume=True)
    arrivals = [a for a in read_arrivals(folder / "run" / "arrivals.jsonl") if not a.reason]
    return {
        "judged": [first, judge(folder / "run", "end", settings, seed, folder)], "updates": last["updates"], "env_steps": last["env_steps"],
        "job": [bool(a.success) and not a.interventions for a in arrivals], "interventions": [a.interventions for a in arrivals],
        "alarms": last["alarms"],
    }  # fmt: skip


def at_home(arm: str, settings: Settings, out: Path, seed: int) -> dict[str, Any]:
    """The same algorithm from the same start, as many updates, and no episode: what the job is to be held against."""
    folder, begins = out / f"{arm}-{seed}", start(settings, out, seed)
    updates = read_json(out / f"{HELPED}-{seed}.json")["updates"]
    agent, now, origin, tasks = _cal_ql(settings, out, begins, seed)
    prior, target = opened(out, PRIOR_TASKS), opened(out, [TARGET])
    share = settings.offline_share / (settings.offline_share + settings.target_share)
    parts = {"offline": (prior, share), "target": (target, 1 - share)}
    _learn(agent, now, parts, tasks, out / "features", origin.step, updates)
    checkpoint.save_policy(folder / "run", updates, agent, runs.record(agent, now, target.spec, tasks, []))
    first = judge(begins, "settled", settings, seed, begins)
    last = judge(folder / "run", "end", settings, seed, folder)
    return {"judged": [first, last], "updates": updates, "env_steps": 0, "job": [], "interventions": []}


ARMS = {HELPED: on_the_job, HOME: at_home, JOB: on_the_job}
TITLES = {
    HELPED: "Cal-QL on the job, an operator takes over where it is stuck", HOME: "as many updates without an episode", JOB: "Cal-QL on the job, alone",
}  # fmt: skip


def cell(arm: str, settings: Settings, out: Path, seed: int) -> dict[str, Any]:
    began = time.process_time()
    found = ARMS[arm](arm, settings, out, seed)
    said = json.loads(json.dumps(asdict(settings)))
    head = {"benchmark": "online_pixels", "arm": arm, "seed": seed, "settings": said}
    return {**head, **found, "learner_cpu_s": round(time.process_time() - began, 1), "versions": versions()}


def interval(seeds: Sequence[Any], measure: Callable[[Any], float]) -> tuple[float, float, float]:
    """(mean, 95 % interval) of `measure` of each seed's (evaluations, starts), seeds and starts drawn again, starts the same at all evaluations."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(2000):
        some = [seeds[i] for i in rng.integers(0, len(seeds), len(seeds))]
        drawn.append(np.mean([measure(s[:, rng.integers(0, s.shape[1], s.shape[1])]) for s in some]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(np.mean([measure(s) for s in seeds])), float(low), float(high)


MEASURES: dict[str, Callable[[Any], float]] = {
    "before": lambda s: s[0].mean(), "after": lambda s: s[-1].mean(), "gain": lambda s: s[-1].mean() - s[0].mean(),
}  # fmt: skip
WINDOW = 30
"""Episodes of the job whose success is counted together."""


def table(cells: Sequence[dict[str, Any]]) -> str:
    """Percent, and by seed; at the end what the job has over the control and over itself alone, seed by seed and start by start."""
    lines = [
        f"| | seeds | {' | '.join(MEASURES)} | by seed, before to after | first and last {WINDOW} episodes: succeeded alone; steps of the operator |",
        "|---|---|" + "---|" * (len(MEASURES) + 2),
    ]
    for arm, title in TITLES.items():
        mine = [c for c in cells if c["arm"] == arm]
        if not mine:
            continue
        seeds = [np.array(c["judged"], float) for c in mine]
        said = [percent(interval(seeds, m)) for m in MEASURES.values()]
        own = ", ".join(f"{s[0].sum():.0f} to {s[-1].sum():.0f}" for s in seeds)
        lines.append(f"| {title} | {len(mine)} | {' | '.join(said)} | {own} of {seeds[0].shape[1]} | {_played(mine)} |")
    ends = {arm: {c["seed"]: c["judged"][-1] for c in cells if c["arm"] == arm} for arm in TITLES}
    for number, other in (("second", HOME), ("third", JOB)):
        both = [
            np.array([ends[other][s], ends[HELPED][s]], float) for s in sorted(ends[HELPED].keys() & ends[other].keys())
        ]
        if both:
            over = percent(interval(both, MEASURES["gain"]))
            lines.append(f"| the first over the {number} | {len(both)} | | | {over} | | |")
    return "\n".join(lines)


def _played(cells: Sequence[dict[str, Any]]) -> str:
    """Of the job's own episodes."""
    said = []
    for cell in cells:
        won, driven = cell["job"], cell["interventions"]
        if won:
            said.append(
                f"{sum(won[:WINDOW])} to {sum(won[-WINDOW:])}"
                + (f"; {sum(driven[:WINDOW])} to {sum(driven[-WINDOW:])}" if any(driven) else "")
            )
    return "<br>".join(said)


def percent(found: tuple[float, float, float]) -> str:
    return "{:.0f} ({:.0f} to {:.0f})".format(*(100 * v for v in found))


def digest(cells: Sequence[dict[str, Any]]) -> str:
    """What the page keeps of the cells: one line of JSON per cell, its starts and episodes as 0 and 1."""
    head = {"benchmark": "online_pixels", "settings": cells[0]["settings"], "versions": cells[0]["versions"]}
    rows = [
        json.dumps({name: cell[name] for name in ("arm", "seed", "updates", "env_steps", "interventions")}
                   | {"judged": [_bits(one) for one in cell["judged"]], "job": _bits(cell["job"])})
        for cell in cells
    ]  # fmt: skip
    return json.dumps(head)[:-1] + ', "cells": [\n' + ",\n".join(rows) + "\n]}\n"


def _bits(values: Sequence[bool]) -> str:
    return "".join(str(int(value)) for value in values)


def kept(path: Path) -> list[dict[str, Any]]:
    """Cells as `digest` wrote them, for `table` and `plot`."""

    def told(bits: str) -> list[bool]:
        return [bit == "1" for bit in bits]

    cells = read_json(path)["cells"]
    return [cell | {"judged": list(map(told, cell["judged"])), "job": told(cell["job"])} for cell in cells]


def plot(cells: Sequence[dict[str, Any]], path: Path) -> None:
    """Success of the job's own episodes, a thin line per seed, their mean thick; what was judged before and after, with its interval."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.2))
    job = [c for c in cells if c["arm"] == HELPED]
    played = np.array([c["job"] for c in job], float)
    window = min(WINDOW, played.shape[1])
    smooth = 100 * np.array([np.convolve(one, np.ones(window) / window, "valid") for one in played])
    x = np.arange(smooth.shape[1]) + window / 2
    for one in smooth:
        axes.plot(x, one, color="tab:blue", linewidth=0.7, alpha=0.6)
    axes.plot(
        x, smooth.mean(0), color="tab:blue", linewidth=2.2, label=f"its own episodes without help, {window} at a time"
    )
    end = played.shape[1]
    marks = [(HELPED, 0, 0, "grey", "start"), (HELPED, -1, end, "tab:blue", TITLES[HELPED]), (HOME, -1, end + 4, "tab:orange", TITLES[HOME]), (JOB, -1, end + 8, "tab:green", TITLES[JOB])]  # fmt: skip
    for arm, at, where, colour, label in marks:
        seeds = [100 * np.array(c["judged"], float) for c in cells if c["arm"] == arm]
        if seeds:
            mean, low, high = interval(seeds, lambda s, at=at: s[at].mean())  # type: ignore[misc]
            axes.errorbar([where], [mean], [[mean - low], [high - mean]], fmt="o", color=colour, capsize=3, label=label)
    axes.set_ylim(0, 100)
    axes.set_xlabel("episodes of the job")
    axes.set_ylabel(f"success in {TARGET} [%]")
    axes.legend(loc="upper left", fontsize=7, frameon=False)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--arms", default=",".join(ARMS), help=f"comma-separated, of {', '.join(ARMS)}")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="learn nothing")
    parser.add_argument("--kept", type=Path, help="learn nothing, read the cells from this .json")
    parser.add_argument("--plot", type=Path, help="draw the table into this .svg, keep the cells in a .json beside it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = Settings()
    if not (options.table or options.kept):
        prepare(settings, options.out)
        for seed in map(int, options.seeds.split(",")):
            for arm in options.arms.split(","):
                path = options.out / f"{arm}-{seed}.json"
                if not path.is_file():
                    replace_json(path, cell(arm, settings, options.out, seed))
    found = [read_json(path) for arm in ARMS for path in sorted(options.out.glob(f"{arm}-*.json"))]
    cells = kept(options.kept) if options.kept else found
    print(table(cells))
    if options.plot:
        plot(cells, options.plot)
        if not options.kept:
            options.plot.with_suffix(".json").write_text(digest(cells))


if __name__ == "__main__":
    main()
