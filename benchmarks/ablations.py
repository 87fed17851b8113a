"""PTR's ablations on one task of the kitchens, end to end from 64x64 pixels: one cell per ablation and seed.

    python benchmarks/ablations.py                                   all cells of seeds 0 to 2; what is there is not run again
    python benchmarks/ablations.py --cells published:0,average:0     those alone
    python benchmarks/ablations.py --share 0.1                       a tenth of the updates: does it run?
    python benchmarks/ablations.py --table                           the table from what is there

Known task, new kitchen: the robot data is of four tasks in kitchens 1 to 4, ten episodes of mixed quality each; the target, one of the
four, has ten demonstrations in kitchen 5. The policy is taken from the critic by advantage-weighted imitation after a warm start of
cloning, as `robot-pt demo` does and for its reason: PTR's own max-Q actor needs tens of thousands of updates. What an ablation changes is
in `ABLATIONS`; all else is the same, but that temperature and floor, which are in units of Q, go with the rewards' range.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from robot_pt import checkpoint
from robot_pt.agents.ptr import PTRConfig
from robot_pt.aggregate import improvement
from robot_pt.augment import AugmentConfig
from robot_pt.errors import UserError
from robot_pt.intervals import wilson
from robot_pt.machine import versions
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.policy_record import PolicyRecord
from robot_pt.recipes import finetune, pretrain, runs
from robot_pt.recipes.collect import collect, next_seed
from robot_pt.recipes.evaluate import play, policy_factory
from robot_pt.recipes.target import split_demos
from robot_pt.rewards import PTR_REWARDS, RewardLabel
from robot_pt.safe_files import read_json, replace_json
from robot_pt.schema import SUCCESS
from robot_pt.sources import Concat, EpisodeSource, filter_episodes
from robot_pt.store import DemoStore

TASKS = tuple(f"kitchen/put-{thing}-on-plate" for thing in ("carrot", "banana", "hot-dog", "cheese"))
SCENES, PER_SCENE = (1, 2, 3, 4), 10
TARGET, NEW_SCENE, DEMOS, JUDGES = TASKS[0], 5, 10, 6
SIZE, EPISODES = 64, 50
UPDATES = (2000, 800)
"""Of pretraining and finetuning."""
RATIO = 0.7
"""Share of robot data in a batch of finetuning: as the demo, whose budget is as short. PTR's 0.9 is an ablation here."""
TEMPERATURE, FLOOR = 8.0, -8.0
"""At PTR's rewards, -1 and 10."""


class Change(NamedTuple):
    """What one ablation does otherwise."""

    title: str
    encoder: Mapping[str, Any] = {}
    ptr: Mapping[str, Any] = {}
    rewards: tuple[float, float] = PTR_REWARDS
    ratio: float = RATIO


ABLATIONS: Mapping[str, Change] = {
    "published": Change("PTR (small encoder, alpha 1)"),
    "batch-norm": Change("BatchNorm for GroupNorm", encoder={"norm": "batch"}),
    "average": Change("average pooling for spatial embeddings", encoder={"pooling": "average"}),
    "softmax": Change("spatial softmax for spatial embeddings", encoder={"pooling": "spatial_softmax"}),
    "one-feed": Change("the action in the critic's first layer alone", ptr={"refeed_actions": False}),
    "rewards-0-1": Change("rewards 0 and 1 for -1 and 10", rewards=(0.0, 1.0)),
    "resnet18": Change("ResNet-18", encoder={"name": "resnet18"}),
    "resnet34": Change("ResNet-34", encoder={"name": "resnet34"}),
    "resnet50": Change("ResNet-50", encoder={"name": "resnet50"}),
    "alpha-0": Change("alpha 0: no conservatism", ptr={"alpha": 0.0}),
    "alpha-10": Change("alpha 10, as published for max-Q", ptr={"alpha": 10.0}),
    "ratio-0": Change("finetuned on the target alone", ratio=0.0),
    "ratio-50": Change("half of a batch from the target", ratio=0.5),
    "ratio-90": Change("a tenth of a batch from the target, as published", ratio=0.9),
}


class Data(NamedTuple):
    """What every cell learns from."""

    robot: EpisodeSource
    demos: EpisodeSource
    judges: EpisodeSource


def data_in(out: Path) -> Data:
    """Recorded once, then opened."""
    robot = [
        _store(out / "data" / f"{task.split('/')[1]}-{s}", f"{task}@{s}", PER_SCENE, "mixed", 0)
        for task in TASKS
        for s in SCENES
    ]
    target = _store(out / "data" / "target", f"{TARGET}@{NEW_SCENE}", DEMOS + JUDGES, "clean", 300_000)
    good = filter_episodes(target, lambda table, e: table.success[e] == SUCCESS)
    demos, judges = split_demos(good, DEMOS, 0)
    return Data(Concat(robot), demos, judges)


def _store(path: Path, task: str, episodes: int, quality: Any, first: int) -> EpisodeSource:
    have = len(DemoStore(path)) if path.exists() else 0
    if have < episodes:
        seed = next_seed(DemoStore(path), first) if have else first
        collect(task, episodes - have, path, quality=quality, image_size=SIZE, seed=seed, workers=2)
    return DemoStore(path).source()


def settings_of(change: Change, warm_start: int, seed: int) -> runs.RunSettings:
    """Those of `published` but for what `change` says."""
    low, high = change.rewards
    scale = (high - low) / (PTR_REWARDS[1] - PTR_REWARDS[0])
    ptr = PTRConfig(
        actor_loss="advantage_weighted", advantage_temperature=TEMPERATURE * scale, conservative_floor=FLOOR * scale,
        actor_learning_rate=5e-4, alpha=1.0, log_std_range=(-2.0, 2.0), actor_average=0.003,
        augment=AugmentConfig(pad=2, jitter_probability=0.0), bc_warm_start_steps=warm_start,
    )  # fmt: skip
    return runs.RunSettings(
        algorithm="ptr", encoder=EncoderConfig(**{"name": "small", **change.encoder}), camera="primary", image_size=(SIZE, SIZE),
        task_slots=0, reward=RewardLabel.of(low, high), ptr=replace(ptr, **change.ptr), seed=seed,
    )  # fmt: skip


def run_cell(name: str, seed: int, out: Path, share: float, episodes: int) -> None:
    """Train, finetune and judge one cell, going on where it was left; its result is out/cells/NAME-SEED/result.json."""
    folder, change, began = out / "cells" / f"{name}-{seed}", ABLATIONS[name], time.monotonic()
    if (folder / "result.json").is_file():
        return
    first, more = (max(1, round(share * count)) for count in UPDATES)
    data = data_in(out)
    start, run = folder / "pretrain", folder / "finetune"
    pretrain.pretrain_with(
        settings_of(change, first, seed),
        data.robot,
        start,
        steps=first,
        checkpoint_every=max(1, first // 4),
        resume=True,
        held_out=0.05,
    )
    finetune.finetune_with(
        start, data.demos, data.judges, data.robot, run, mixing_ratio=change.ratio, steps=more, checkpoint_every=max(1, more // 6),
        seed=seed, resume=True, held_out=0.05, tasks_also=[TARGET],
    )  # fmt: skip
    task = f"{TARGET}@{NEW_SCENE}"
    document = read_json(checkpoint.resolve(run) / "policy.json")
    found = play(
        policy_factory(run, task), task, PolicyRecord.from_json(document), name="policy", episodes=episodes, seed=seed, folder=folder,
        workers=1, videos=False, settings={"checkpoint": document["version"]},
    )  # fmt: skip
    result = {
        "ablation": name, "seed": seed, "successes": found.successes, "episodes": found.n, "updates": [first, more],
        "seconds_this_time": round(time.monotonic() - began), "versions": versions(),
    }  # fmt: skip
    replace_json(folder / "result.json", result)
    shutil.rmtree(start)


def table(out: Path) -> str:
    """Markdown: success of every ablation, and how likely one of its runs beats one as published."""
    found = [read_json(path) for path in sorted((out / "cells").glob("*/result.json"))]
    rates = {
        name: [f["successes"] / f["episodes"] for f in found if f["ablation"] == name and f["updates"] == list(UPDATES)]
        for name in ABLATIONS
    }
    lines = ["| | seeds | success | by seed | better than as published |", "|---|---|---|---|---|"]
    for name, change in ABLATIONS.items():
        of = [f for f in found if f["ablation"] == name and f["updates"] == list(UPDATES)]
        if not of:
            lines.append(f"| {change.title} | 0 | not run (`--cells {name}:0`) | | |")
            continue
        good, played = sum(f["successes"] for f in of), sum(f["episodes"] for f in of)
        low, high = wilson(good, played)
        base = rates["published"]
        beats = f"{float(improvement([rates[name]], [base])):.2f}" if base and name != "published" else ""
        each = ", ".join(f"{f['successes']} of {f['episodes']}" for f in of)
        lines.append(
            f"| {change.title} | {len(of)} | {100 * good / played:.0f} ({100 * low:.0f} to {100 * high:.0f}) | {each} | {beats} |"
        )
    return "\n".join(lines)


def cells_of(words: str, seeds: Sequence[int]) -> list[tuple[str, int]]:
    """NAME:SEED,... or all. Raises UserError for an ablation there is not."""
    if not words:
        return [(name, seed) for seed in seeds for name in ABLATIONS]
    out = []
    for word in words.split(","):
        name, _, seed = word.partition(":")
        if name not in ABLATIONS or not seed.isdecimal():
            raise UserError(f"--cells {word} is no NAME:SEED; names are {', '.join(ABLATIONS)}.")
        out.append((name, int(seed)))
    return out


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="PTR's ablations on one task of the kitchens.")
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"), help="of cells and data")
    parser.add_argument("--cells", default="", help=f"NAME:SEED with commas, of {', '.join(ABLATIONS)}; default all")
    parser.add_argument("--seeds", type=int, default=3, help="of every ablation, from 0 on")
    parser.add_argument("--share", type=float, default=1.0, help="of the updates")
    parser.add_argument("--episodes", type=int, default=EPISODES, help="starts per cell")
    parser.add_argument("--table", action="store_true", help="train nothing")
    given = parser.parse_args(words)
    if not (0 < given.share <= 1 and given.seeds >= 1 and given.episodes >= 1):
        raise UserError(
            f"--share {given.share:g}, --seeds {given.seeds}, --episodes {given.episodes}: give a share above 0, up to 1, and at least 1 of the others."
        )
    if not given.table:
        for name, seed in cells_of(given.cells, range(given.seeds)):
            run_cell(name, seed, given.out, given.share, given.episodes)
    print(table(given.out))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
