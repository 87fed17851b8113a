"""Demonstrations of benchmarks/ptr.py: BridgeData's part by mixed experts in kitchens 1 to 4, ten and some of each target by clean ones.

All versions see the same episodes: a camera changes neither the starts nor the experts.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import ptr_aim
import ptr_motion

from robot_pt.errors import UserError
from robot_pt.evaluate import PolicyFactory
from robot_pt.recipes.collect import collect, next_seed
from robot_pt.recipes.target import split_demos
from robot_pt.recipes.turns import alone
from robot_pt.schema import SUCCESS, Int
from robot_pt.sources import Concat, EpisodeSource, EpisodeView, filter_episodes
from robot_pt.store import DemoStore, is_demo_store
from robot_pt_sim.kitchen.splits import SPLITS

DEMOS, JUDGES = 10, 6
"""Of a target: to learn from, and held out to choose checkpoints on."""
PRETRAINING_SEED, TARGET_SEED = 10_000, 400_000
NOISE = 0.7
"""Of noisy episodes [cm], as `robot-pt demo` has it."""
IMAGE_SIZE, CAMERAS = 96, ("primary", "wrist")
"""Of frames as they are recorded for frozen encoders [px], which see them smaller."""


class Pixels(NamedTuple):
    """A version that learns end to end from frames of one camera, as PTR does; the recipes train through one."""

    encoder: Literal["small", "resnet34"]
    size: int
    """Of frames, recorded and trained at [px]."""
    pad: int
    """Pixels that a crop shifts by, as PTR's by 4 of 128."""
    quality: int
    """Of the recording's JPEGs: what is trained on travels in one small archive (ptr_pack.py)."""
    camera: str = "primary"


PIXELS: Mapping[str, Pixels] = {"pixels": Pixels("small", 64, 2, 95), "pixels-128": Pixels("resnet34", 128, 4, 80)}
TABLES: Mapping[str, tuple[str, ...]] = {
    "A": SPLITS["known-task-new-scene"].targets, "B": SPLITS["new-task-new-scene"].targets,
}  # fmt: skip
"""A: known task, new scene. B: new task, new scene."""

VIEWS: Mapping[str, tuple[Callable[[EpisodeSource], EpisodeSource], Callable[[Path], PolicyFactory]]] = {
    "motion": (ptr_motion.MotionSource, ptr_motion.acting), "aimed": (ptr_aim.AimedSource, ptr_aim.acting),
}  # fmt: skip
"""Versions that read the state's demonstrations in their own way: how data becomes theirs, and what acts."""


class Demos(NamedTuple):
    """Of one target."""

    train: EpisodeSource
    judges: EpisodeSource


def cameras_of(version: str) -> tuple[str, ...]:
    """What is recorded: nothing but the state, or frames."""
    return (PIXELS[version].camera,) if version in PIXELS else () if version == "state" else CAMERAS


def size_of(version: str) -> tuple[int, int]:
    """(H, W) of its frames."""
    side = PIXELS[version].size if version in PIXELS else IMAGE_SIZE
    return side, side


def store_of(out: Path, version: str, task: str, *, target: bool = False) -> Path:
    """Where its demonstrations lie."""
    return out / "data" / version / (f"target-{task.replace('/', '-')}" if target else task)


def pretraining_tasks() -> list[str]:
    return sorted({task for split in SPLITS.values() for task in split.pretraining})


def pretraining(out: Path, version: str, episodes: int) -> EpisodeSource:
    """So many episodes of every task in every pretraining kitchen, collected where they are not there."""
    parts = [
        _recorded(store_of(out, version, task), task, episodes, "mixed", PRETRAINING_SEED + 1000 * number, version)
        for number, task in enumerate(pretraining_tasks())
    ]
    sources = [store.source() for store in parts]
    return Concat([EpisodeView(s, s.episodes.select(np.arange(episodes))) for s in sources])


def target(out: Path, version: str, task: str, seed: int) -> Demos:
    """Ten demonstrations drawn by the seed, and as many as judge beside them; of the first that succeeded."""
    wanted, folder = DEMOS + JUDGES, store_of(out, version, task, target=True)
    count = wanted
    while True:
        source = _recorded(folder, task, count, "clean", TARGET_SEED, version).source()
        good = filter_episodes(source, lambda table, e: table.success[e] == SUCCESS)
        if len(good.episodes) >= wanted:
            first = EpisodeView(good, good.episodes.select(np.arange(wanted)))
            return Demos(*split_demos(first, DEMOS, seed))
        count += wanted - len(good.episodes)


def _recorded(folder: Path, task: str, episodes: int, quality: Any, seed: int, version: str) -> DemoStore:
    """A store of at least so many episodes, recorded by one process while others wait; goes on where it was cut."""
    with alone(folder, f"demonstrations of {task}"):
        return _filled(folder, task, episodes, quality, seed, version)


def _filled(folder: Path, task: str, episodes: int, quality: Any, seed: int, version: str) -> DemoStore:
    if version in PIXELS and not is_demo_store(folder):
        from robot_pt_sim.simulators import spec_of  # needs MuJoCo, which a machine that trains alone may lack

        DemoStore.create(folder, spec_of(task, cameras_of(version), size_of(version)), quality=PIXELS[version].quality)
    while True:
        have = len(DemoStore(folder)) if is_demo_store(folder) else 0
        if have >= episodes:
            return DemoStore(folder)
        collect(
            task, episodes - have, folder, quality=quality, strength=NOISE, image_size=size_of(version)[0], workers=1,
            seed=next_seed(DemoStore(folder), seed) if have else seed, cameras=cameras_of(version), apart=False,
        )  # fmt: skip


def rows(source: EpisodeSource) -> Int:
    """Of all steps of its episodes, in their order."""
    return source.episodes.rows()


def tasks_of(source: EpisodeSource) -> list[str]:
    """The task of each of `rows`."""
    table = source.episodes
    return [task for task, length in zip(table.task, table.length, strict=True) for _ in range(length)]


def share_of(source: EpisodeSource) -> dict[str, Any]:
    """What of the data is not as it should be."""
    table = source.episodes
    failed = Counter(t for t, s in zip(table.task, table.success, strict=True) if s != SUCCESS)
    return {
        "episodes": len(table), "steps": table.steps, "tasks": len(set(table.task)),
        "failed": round(sum(failed.values()) / max(len(table), 1), 3),
    }  # fmt: skip


def with_failed(source: EpisodeSource, share: float) -> EpisodeSource:
    """All episodes of `source` that failed, and of the others as many as make `share` of all failed, at random but always the same; all others
    where it has too few for that. With `share` 0 it is the others alone. Raises UserError where none failed and some are to."""
    failed = np.asarray(source.episodes.success) != SUCCESS
    if share and not failed.any():
        raise UserError(
            f"none of the {len(failed)} episodes failed, so {share:.0%} of failed ones cannot be made of them; collect more."
        )
    others = np.flatnonzero(~failed)
    if not share:
        return EpisodeView(source, source.episodes.select(others))
    count = min(round(int(failed.sum()) * (1 - share) / share), len(others))
    kept = np.random.default_rng(0).choice(others, count, replace=False)
    return EpisodeView(source, source.episodes.select(np.sort(np.append(np.flatnonzero(failed), kept))))


def asked(doc: str) -> tuple[list[Path], EpisodeSource]:
    """The command line of a script that looks into cells: their runs, and demonstrations none was trained on, as the cells see them."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--task", required=True)
    parser.add_argument("--data", type=Path, default=Path("runs/ptr"), help="--out of benchmarks/ptr.py")
    parser.add_argument("--version", choices=("state", *VIEWS), default="state", help="of the cells")
    parser.add_argument("--seed", type=int, default=0, help="of the cells, which draws the demonstrations")
    options = parser.parse_args()
    demos: EpisodeSource = target(options.data, "state", options.task, options.seed).judges
    return options.runs, VIEWS[options.version][0](demos) if options.version in VIEWS else demos
