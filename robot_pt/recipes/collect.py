"""`robot-pt collect`: scripted demonstrations in simulation, appended to a DemoStore."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from robot_pt.errors import MissingExtraError, UserError
from robot_pt.evaluate import FIRST_SEED
from robot_pt.recipes import datasets
from robot_pt.recipes.limits import at_least
from robot_pt.recipes.progress import bar, warn
from robot_pt.simulated import Versions, merged, require_of_store, version_in
from robot_pt.store import DemoStore, is_demo_store

DATASET = "robot_pt_demos"
"""What RLDS is named, as `robot-pt data export` names it."""
QUALITY = {"clean": "none", "mixed": "mixed"}
SHOWN = 5
"""Starts that were not recorded are told one by one, up to so many."""


def tasks() -> list[str]:
    """Names of all simulated tasks."""
    from robot_pt_sim import task_names

    return task_names()


def scenes() -> list[int]:
    """Numbers of the kitchens there are."""
    from robot_pt_sim.kitchen.tasks import scenes

    return list(scenes())


def listed() -> dict[str, Any]:
    """Every task and kitchen, and as `text` for people a line per task with its sentence."""
    from robot_pt_sim.simulators import check_variant

    names, kitchens = tasks(), scenes()
    width = max(map(len, names))
    lines = [f"{name:{width}}  {check_variant(name, {}).instruction}" for name in names]
    where = f"Each kitchen/ task is in every kitchen: --scene {', '.join(map(str, kitchens))}."
    return {"tasks": names, "kitchen_scenes": kitchens, "text": "\n".join([*lines, "", where])}


def in_scene(task: str, scene: int | None) -> str:
    """Name of the task in that scene. Raises UserError where the name says one already."""
    if scene is not None and "@" in task:
        raise UserError(f"--task {task} names a scene already, and --scene is {scene}; give one of the two.")
    return task if scene is None else f"{task}@{scene}"


def collect(
    task: str, episodes: int, out: Path, *, quality: Literal["clean", "mixed"] = "clean", image_size: int = 64,
    workers: int = 0, seed: int = 0, strength: float = 1.0, cameras: Sequence[str] = ("primary",), apart: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Record `episodes` episodes of `task` into the store `out`, creating it; Ctrl-C keeps every finished episode.

    `cameras`: roles to record; none records the state alone, for scenes with the positions of their objects. `apart`: one worker too is a
    process of its own, whose death is a sentence. `strength` scales the noise of mixed episodes; 1 is a standard deviation of 1 cm on each axis.

    Raises UserError for an unknown task or starts that the store has already, MismatchError when the store holds another robot or image size.
    """
    import robot_pt_sim
    from robot_pt_sim.simulators import spec_of, task_and_scene, version_of

    at_least(0, seed=seed, workers=workers)
    at_least(1, episodes=episodes)
    if seed + episodes > FIRST_SEED:
        raise UserError(
            f"--seed {seed} with {episodes} episodes reaches the evaluation's starts; keep their sum up to {FIRST_SEED}."
        )
    if not 16 <= image_size <= 2048:
        raise UserError(f"--image-size is {image_size}; give 16 to 2048 pixels.")
    spec = spec_of(task, cameras, (image_size, image_size))
    with _gone_if_empty(out):
        store = DemoStore.create(out, spec, exist_ok=True)
        headers = _headers(store)
        require_of_store(store.path, _versions(headers), version_of(task), "name another --out")
        _require_new_starts(store, headers, *task_and_scene(task), seed, episodes)
        with bar(f"collect {task}", "episode") as advance:
            advance(0, episodes)
            report = robot_pt_sim.collect(
                task, episodes, store, workers=workers or None, noise=QUALITY[quality], strength=strength, seed=seed,
                camera=cameras, image_size=(image_size, image_size), progress=advance, apart=apart,
            )  # fmt: skip
        for sentence in report.unreachable[:SHOWN]:
            warn(f"not recorded, {sentence}")
        if not report.episodes:
            raise UserError(f"no start of {task} could be recorded; {report.unreachable[0]}")
    return {
        "store": str(out), "task": task, "episodes": report.episodes, "successes": report.successes, "steps": report.steps,
        "unreachable": len(report.unreachable), "rejected_starts": report.rejected_starts,
        "styles": dict(report.styles), "episodes_per_minute": round(report.episodes_per_minute, 1),
        "store_episodes": len(store),
    }  # fmt: skip


@contextmanager
def _gone_if_empty(out: Path) -> Iterator[None]:
    """A stop within leaves no store that was made within and holds nothing: its cameras would bind whoever names it again."""
    there = out.exists()
    try:
        yield
    except BaseException:
        if not there and is_demo_store(out) and len(list(out.iterdir())) == 1:  # its header alone
            shutil.rmtree(out, ignore_errors=True)
        raise


def collect_rlds(task: str, episodes: int, out: Path, **options: Any) -> dict[str, Any]:
    """`collect` into the new folder `out` as RLDS, whole or not at all; what a stop leaves recorded is in a store beside it, which is said.

    Raises UserError and its kinds as `collect`, where `out` or that store exists, and without tensorflow-datasets before anything runs.
    """
    store = out.with_name(f"{out.name}.demos")
    if out.exists():
        raise UserError(
            f"{out} exists, and nothing is appended to RLDS; name another --out, or leave --format out for a demo store."
        )
    if store.exists():
        raise UserError(
            f"{store} holds what a run recorded that was ended before it wrote {out}; robot-pt data export {store} --out {out} writes "
            "that, or remove it or name another --out."
        )
    if find_spec("tensorflow_datasets") is None:
        raise MissingExtraError("tensorflow-datasets", "rlds", "Writing RLDS")
    kept = f"what was recorded is in {store}; robot-pt data export {store} --out {out} writes it"
    try:
        found = collect(task, episodes, store, **options)
        written = datasets.export(
            store, out, format="rlds", name=DATASET, split="train", reading=datasets.Reading(), relative_to=store
        )  # fmt: skip
    except (KeyboardInterrupt, UserError) as stop:
        if not store.exists():
            raise
        if isinstance(stop, KeyboardInterrupt):
            raise KeyboardInterrupt(f"interrupted; {kept}.") from None
        raise UserError(f"{stop} {kept[0].upper()}{kept[1:]}.") from None
    shutil.rmtree(store)
    del found["store"], found["store_episodes"]
    return {"out": written["out"], **found}


def next_seed(store: DemoStore, first: int) -> int:
    """The seed after the last recorded one, `first` in an empty store: not every start becomes an episode."""
    return max((int(h["metadata"]["seed"]) + 1 for h in _headers(store)), default=first)


def _headers(store: DemoStore) -> list[Mapping[str, Any]]:
    """What each stored episode says of itself, without its steps."""
    from robot_pt import store_episode

    return [store_episode.header(store.path / name)[0] for name in store.episodes]


def _require_new_starts(
    store: DemoStore, headers: Sequence[Mapping[str, Any]], task: str, scene: int | None, seed: int, episodes: int
) -> None:
    """Refuse seeds of which the store holds an episode: twice the same demonstration would train and judge a policy."""
    taken = set()
    for header in headers:
        metadata = header.get("metadata", {})
        if (header["task"], metadata.get("initial_conditions", {}).get("scene")) == (task, scene):
            taken.add(metadata.get("seed"))
    again = taken & set(range(seed, seed + episodes))
    if again:
        after = max(s for s in taken if isinstance(s, int)) + 1
        raise UserError(
            f"{store.path} holds {task} from seed {min(again)} already, which would be recorded again; go on with --seed {after}, or "
            "name another --out."
        )


def _versions(headers: Sequence[Mapping[str, Any]]) -> Versions:
    """Of the simulators that the episodes were recorded in."""
    found = [version_in(header["dataset"], header.get("metadata", {})) for header in headers]
    return merged({said[0]: frozenset([said[1]])} for said in found if said)
