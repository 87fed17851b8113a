"""Does PTR gain from an encoder that has seen video? On two cores: frozen encoders, their features cached, PTR on top.

    python benchmarks/from_video.py                     seeds 0 to 2 of random, video (ATC) and PTR; what is there is not run again
    python benchmarks/from_video.py --starts mae,icvf   others
    python benchmarks/from_video.py --table             the table from what is there

Starts: a random encoder; encoders trained on frames without actions, in their order (video) or one by one; on actions; one trained by PTR
itself on the robot data (what the papers call Bridge-only). All see the same episodes, those of `benchmarks/compare.py`, whose encoders
are used where they are there. PTR then learns from the robot data and ten demonstrations of a task that none of the encoders saw, half and
half, as the demo does (advantage-weighted after a warm start by cloning), and acts in that task from starts that nobody trains on.
`--algorithms ptr,bc` also clones, which says what PTR's critic adds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from robot_pt.agents import Agent
from robot_pt.agents.bc import BCConfig
from robot_pt.agents.inputs import Inputs
from robot_pt.agents.ptr import PTR, PTRConfig
from robot_pt.aggregate import improvement, improvement_interval, iqm
from robot_pt.comparison import RANDOM_FROZEN, Protocol, read_protocol
from robot_pt.evaluate import evaluate
from robot_pt.features import FeatureSource, FeatureTable
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import BRIDGE_BOUNDS
from robot_pt.recipes import compare_data, heads, runs
from robot_pt.recipes.collect import collect
from robot_pt.recipes.compare_cells import KIND
from robot_pt.recipes.origins import Origin
from robot_pt.replay import Replay, to_device
from robot_pt.safe_files import read_json, replace_json
from robot_pt.schema import SUCCESS
from robot_pt.sources import EpisodeSource, EpisodeView, filter_episodes
from robot_pt.store import DemoStore, is_demo_store
from robot_pt.tasks import TaskTable

RESULTS = Path("runs/compare")
ROBOT = "ptr"
TARGET, DEMOS, DEMO_SEED = "lift-purple", 10, 300_000
BATCH, PRIOR_SHARE = 64, 0.5
PRIOR = 300
"""Episodes of robot data that PTR learns from, spread over all there are: half of what the encoders see."""
ALGORITHMS: tuple[str, ...] = (ROBOT, "bc")
TITLES = {ROBOT: "PTR", "bc": "cloning"}
NAMES = {
    RANDOM_FROZEN: "random", "atc": "video, ATC", "siammae": "video, SiamMAE", "r3m": "video, R3M", "vip": "video, VIP", "icvf": "video, ICVF",
    "curl": "frames, CURL", "mae": "frames, MAE", "idm": "actions, IDM", "spr": "actions, SPR", "bc": "actions, BC", ROBOT: "robot data, PTR",
}  # fmt: skip


class Cell(NamedTuple):
    """One number of the table."""

    start: str
    algorithm: str
    seed: int


def origin(protocol: Protocol, out: Path, start: str, seed: int, material: EpisodeSource) -> Origin:
    size = (protocol.image_size, protocol.image_size)
    if start == RANDOM_FROZEN:
        return Origin("random", EncoderConfig(name=protocol.encoder), protocol.camera, size, seed=seed)
    return Origin.of(compare_data.pretrained(protocol, out, start, seed, material))


def target_demos(protocol: Protocol, out: Path) -> EpisodeSource:
    """The first successful demonstrations of the target."""
    store = out / "data" / f"target-{TARGET}"
    while True:
        have = len(DemoStore(store)) if is_demo_store(store) else 0
        if have:
            good = filter_episodes(DemoStore(store).source(), lambda table, e: table.success[e] == SUCCESS)
            if len(good.episodes) >= DEMOS:
                return good
        collect(TARGET, DEMOS, store, image_size=protocol.image_size, seed=DEMO_SEED + have, cameras=(protocol.camera,))


def settings_of(source: EpisodeSource, slots: int, algorithm: str, updates: int, seed: int) -> runs.RunSettings:
    """The demo's, on features."""
    critic = PTRConfig(
        actor_loss="advantage_weighted", advantage_temperature=8.0, actor_learning_rate=heads.LEARNING_RATE, alpha=1.0,
        conservative_floor=-8.0, log_std_range=heads.STD_RANGE, actor_average=heads.AVERAGE, augment=None,
        bc_warm_start_steps=updates // 2,
    )  # fmt: skip
    clone = BCConfig(
        learning_rate=heads.LEARNING_RATE, head="tanh_gaussian", std="state", log_std_range=heads.STD_RANGE, actor_average=heads.AVERAGE,
        augment=None,
    )  # fmt: skip
    return runs.RunSettings(
        algorithm=algorithm, encoder=EncoderConfig(name="small"), camera="", image_size=(0, 0), task_slots=slots, batch_size=BATCH,  # type: ignore[arg-type]
        bounds=BRIDGE_BOUNDS, proprio=heads.standard(source), ptr=critic, bc=clone, seed=seed,
    )  # fmt: skip


def agent_of(settings: runs.RunSettings, source: FeatureSource) -> Agent:
    """PTR's critic reads images alone, and the features stand behind the state: here it is an ensemble of the same shape that reads both."""
    if settings.algorithm != "ptr":
        return settings.build(source.spec, "cpu")
    inputs = Inputs(
        spec=source.spec, cameras=(), image_size=(0, 0), task_slots=settings.task_slots, encoder=settings.encoder, bounds=settings.bounds,
        proprio=settings.proprio, language_size=0,
    )  # fmt: skip
    torch.manual_seed(settings.seed)
    actor = inputs.actor(log_std_range=settings.ptr.log_std_range)
    critic: Any = inputs.ensemble(hidden=(256, 256, 256), heads=2, layer_norm=False)
    return PTR(actor, critic, settings.ptr, seed=settings.seed)


def learn(sources: Sequence[FeatureSource], folder: Path, algorithm: str, updates: int, seed: int) -> dict[str, float]:
    """Train on [robot data, demonstrations] and save the policy in `folder`; returns what the last update said."""
    tasks = TaskTable.of(task for source in sources for task in source.episodes.task)
    settings = settings_of(sources[0], tasks.slots, algorithm, updates, seed)
    agent, metrics = agent_of(settings, sources[0]), dict[str, Any]()
    with Replay(
        sources, [PRIOR_SHARE, 1 - PRIOR_SHARE], cameras=(), image_size=(0, 0), batch_size=BATCH, reward=settings.reward,
        gamma=settings.gamma, task_table=tasks, seed=seed, threads=1, **settings.sampling(),
    ) as batches:  # fmt: skip
        for step in range(updates):
            metrics = agent.update(to_device(next(batches), "cpu"), step)
    heads.save(folder, updates, agent, settings, sources[0], tasks)
    return {name: float(value) for name, value in metrics.items()}


def cell(
    protocol: Protocol, out: Path, name: Cell, data: tuple[EpisodeSource, EpisodeSource], *, updates: int, episodes: int
) -> dict[str, Any]:  # fmt: skip
    """How often the policy succeeds that learned on the features of one start."""
    from robot_pt_sim.rollouts import rollouts

    began, scratch = time.process_time(), out / "from-video-under-way"
    shutil.rmtree(scratch, ignore_errors=True)
    look = origin(protocol, out, name.start, name.seed, data[0])
    some = np.linspace(0, len(data[0].episodes) - 1, PRIOR).astype(np.int64)
    seen = [EpisodeView(data[0], data[0].episodes.select(some)), data[1]]
    sources = [FeatureSource(s, FeatureTable.of(s, look.extractor(), out / "features"), KIND) for s in seen]
    metrics = learn(sources, scratch, name.algorithm, updates, name.seed)
    learned, size = time.process_time() - began, (protocol.image_size, protocol.image_size)
    result = evaluate(
        lambda starts: rollouts(heads.acting(scratch, look, KIND), TARGET, starts, workers=1, camera=protocol.camera, image_size=size),
        task=TARGET, episodes=episodes, seed=name.seed, name=f"{name.start} {name.algorithm}",
    )  # fmt: skip
    torch.set_num_threads(1)
    return {
        **name._asdict(), "successes": result.successes, "episodes": episodes, "updates": updates, "metrics": metrics,
        "seconds": {"learning": round(learned, 1), "all": round(time.process_time() - began, 1)},
    }  # fmt: skip


def table(cells: Sequence[dict[str, Any]]) -> str:
    """Success [%] by start: IQM over seeds with its interval, probability of improvement on the random encoder; gaps as such."""
    rates: dict[tuple[str, str], dict[int, float]] = {}
    for c in cells:
        rates.setdefault((c["start"], c["algorithm"]), {})[c["seed"]] = c["successes"] / c["episodes"]
    count = max((c["episodes"] for c in cells), default=1)
    learned = [a for a in ALGORITHMS if any((s, a) in rates for s in NAMES)]
    lines = [
        "| start | seeds |" + "".join(f" {TITLES[a]} | better than random |" for a in learned),
        "|---|---|" + "---|---|" * len(learned),
    ]
    for start, title in NAMES.items():
        seeds = max((len(rates.get((start, a), {})) for a in learned), default=0)
        parts = [
            _said(rates.get((start, a), {}), {} if start == RANDOM_FROZEN else rates.get((RANDOM_FROZEN, a), {}), count)
            for a in learned
        ]
        lines.append(f"| {title} | {seeds} | {' | '.join(parts)} |")
    return "\n".join(lines)


def spread(rates: Sequence[float], count: int) -> tuple[float, float]:
    """95 % of the IQM when seeds are drawn again, and the `count` starts of each: three seeds alone would look surer than they are."""
    rng = np.random.default_rng(0)
    drawn = rng.choice(np.asarray(rates), (5000, len(rates)))
    found = iqm((rng.binomial(count, drawn) / count)[:, None])
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def _said(mine: dict[int, float], random: dict[int, float], count: int) -> str:
    """Two columns of the table."""
    if not mine:
        return "not run | "
    scores, base = (np.array([[value for _, value in sorted(of.items())]]) for of in (mine, random))
    low, high = spread(scores[0], count)
    said = f"{100 * float(iqm(scores)):.0f} ({100 * low:.0f} to {100 * high:.0f})"
    if not base.size:
        return f"{said} | "
    span = improvement_interval(scores, base)
    return f"{said} | {float(improvement(scores, base)):.2f} ({span.low:.2f} to {span.high:.2f})"


def plot(cells: Sequence[dict[str, Any]], path: Path) -> None:
    """Success by start: a dot per seed, the IQM with its interval beside them."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    found = [c for c in cells if c["algorithm"] == ROBOT]
    starts = [s for s in NAMES if any(c["start"] == s for c in found)]
    figure, axes = pyplot.subplots(figsize=(6, 0.6 * len(starts) + 1))
    for row, start in enumerate(starts):
        scores = [100 * c["successes"] / c["episodes"] for c in found if c["start"] == start]
        low, high = (100 * end for end in spread([score / 100 for score in scores], found[0]["episodes"]))
        axes.plot([low, high], [row, row], color="tab:blue", linewidth=3, alpha=0.4)
        axes.plot(scores, [row] * len(scores), "o", color="tab:blue", alpha=0.6)
        axes.plot([float(iqm([scores]))], [row], "|", color="black", markersize=16)
    axes.set_yticks(range(len(starts)), [NAMES[s] for s in starts])
    axes.set_ylim(len(starts) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"success in {TARGET} [%]: seeds, IQM, 95 % interval")
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--starts", default=f"{RANDOM_FROZEN},atc,{ROBOT}", help=f"comma-separated, of {', '.join(NAMES)}"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=500, help="updates of every encoder")
    parser.add_argument("--updates", type=int, default=1500, help="updates of PTR")
    parser.add_argument("--episodes", type=int, default=20, help="starts it is judged from")
    parser.add_argument("--plot", type=Path, help="draw the table into this .svg")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--algorithms", default=ROBOT, help=f"comma-separated, of {', '.join(ALGORITHMS)}")
    parser.add_argument("--table", action="store_true", help="train nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    starts, algorithms = options.starts.split(","), options.algorithms.split(",")
    if unknown := sorted(set(starts) - set(NAMES)):
        raise SystemExit(f"there is no start {unknown[0]!r}; choose from {', '.join(NAMES)}.")
    protocol, folder = replace(read_protocol(), pretrain_steps=options.steps), options.out / "from-video"
    if not options.table:
        data = compare_data.pretraining_data(protocol, options.out), target_demos(protocol, options.out)
        for name in (Cell(start, a, seed) for a in algorithms for seed in range(options.seeds) for start in starts):
            path = folder / f"{'-'.join(map(str, name))}.json"
            if not path.is_file():
                found = cell(protocol, options.out, name, data, updates=options.updates, episodes=options.episodes)
                path.parent.mkdir(parents=True, exist_ok=True)
                replace_json(path, found)
                print(json.dumps({k: v for k, v in found.items() if k != "metrics"}), flush=True)
    cells = [read_json(path) for path in sorted(folder.glob("*.json"))]
    print(table(cells))
    if options.plot:
        plot(cells, options.plot)
    print(json.dumps({"benchmark": "from_video", "cells": cells}))


if __name__ == "__main__":
    main()
