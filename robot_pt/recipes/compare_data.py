"""What a comparison is made of before any head is trained: demonstrations, and encoders pretrained on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from robot_pt.agents.bc import BCConfig
from robot_pt.agents.ptr import PTRConfig
from robot_pt.comparison import Protocol
from robot_pt.errors import DataError, UserError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import BRIDGE_BOUNDS
from robot_pt.recipes import objectives, pretrain, represent, runs, trajectories
from robot_pt.recipes.algorithms import default_config
from robot_pt.recipes.collect import collect, next_seed
from robot_pt.recipes.encoders import Start
from robot_pt.recipes.heads import CROP
from robot_pt.recipes.turns import alone
from robot_pt.schema import SUCCESS
from robot_pt.sources import Concat, EpisodeSource, EpisodeView
from robot_pt.store import DemoStore, is_demo_store
from robot_pt.tasks import TaskTable

DEMO_SEED = 100_000
"""Starts of demonstrations, above those of pretraining data: a task of both distances shares none."""
NOISE = 0.7
"""Of noisy episodes [cm], as the demo has it."""
MOST_TRIES = 3
"""Episodes collected per demonstration asked for, at most: experts fail now and then."""


def name_of(run: Path) -> str:
    """What the table calls a RUN that was given: the name of its folder."""
    return run.resolve().name


def pretraining_data(protocol: Protocol, out: Path) -> EpisodeSource:
    """The pretraining episodes of all tasks as one source, collected where they are not there."""
    parts: list[EpisodeSource] = []
    for number, material in enumerate(protocol.pretraining):
        store = out / "data" / f"pretraining-{material.task}"
        with alone(store, f"pretraining data of {material.task}"):
            have = len(DemoStore(store)) if is_demo_store(store) else 0
            if have < material.episodes:
                first = protocol.data_seed * 10_000 + 1000 * number
                first = next_seed(DemoStore(store), first) if have else first
                collect(
                    material.task, material.episodes - have, store, quality=material.quality, strength=NOISE,
                    image_size=protocol.image_size, seed=first, cameras=(protocol.camera,),
                )  # fmt: skip
        parts.append(DemoStore(store).source())
    return parts[0] if len(parts) == 1 else Concat(parts)


def demonstrations(protocol: Protocol, out: Path, task: str) -> EpisodeView:
    """The first successful clean demonstrations of `task`, as many as the largest number of the protocol.

    Raises DataError where the expert does not succeed often enough.
    """
    store = out / "data" / f"demos-{task}"
    with alone(store, f"demonstrations of {task}"):
        return _demonstrations(protocol, store, task)


def _demonstrations(protocol: Protocol, store: Path, task: str) -> EpisodeView:
    wanted = max(protocol.demos)
    first = DEMO_SEED + protocol.data_seed * 10_000
    while True:
        have = len(DemoStore(store)) if is_demo_store(store) else 0
        source = DemoStore(store).source() if have else None
        good = np.flatnonzero(source.episodes.success == SUCCESS) if source is not None else np.zeros(0, np.int64)
        if source is not None and len(good) >= wanted:
            return EpisodeView(source, source.episodes.select(good[:wanted]))
        if have >= MOST_TRIES * wanted:
            raise DataError(
                f"of {have} scripted episodes of {task} {len(good)} succeeded, {wanted} are needed; choose another task."
            )
        collect(
            task,
            wanted - len(good),
            store,
            image_size=protocol.image_size,
            seed=next_seed(DemoStore(store), first) if have else first,
            cameras=(protocol.camera,),
        )


def some_of(demos: EpisodeView, count: int, seed: int) -> EpisodeView:
    """`count` of the demonstrations, drawn by the seed: what differs between seeds is also what is learned from."""
    chosen = np.sort(np.random.default_rng([seed, count]).permutation(len(demos.episodes))[:count])
    return EpisodeView(demos, demos.episodes.select(chosen))


def pretrained(protocol: Protocol, out: Path, method: str, seed: int, source: EpisodeSource) -> Path:
    """The RUN of `method` from `seed`, trained or resumed where it is not finished. Raises DataError where the data lacks what it needs."""
    run = out / "encoders" / f"{method}-{seed}"
    with alone(run, f"the encoder of {method}, seed {seed}"):
        return _pretrained(protocol, run, method, seed, source)


def _pretrained(protocol: Protocol, run: Path, method: str, seed: int, source: EpisodeSource) -> Path:
    steps, every = protocol.pretrain_steps, max(1, protocol.pretrain_steps // 3)
    if finished(run, steps):
        return run
    size = (protocol.image_size, protocol.image_size)
    encoder, slots = EncoderConfig(name=protocol.encoder), TaskTable.of(source.episodes.task).slots
    if method in objectives.OBJECTIVES:
        objectives.require_data(method, [source], assume_success=False)
        needs = objectives.objective_class(method).needs
        config = trajectories.fitted(objectives.config_for(method, steps=steps, bf16=False), [source], False)
        if protocol.captions and needs.language:
            config = represent.captioned(config, method, Path(protocol.captions), [source])
        settings = represent.RepresentSettings(
            objective=method, config=config, encoder=encoder, camera=protocol.camera,  # type: ignore[arg-type]
            image_size=size, task_slots=slots if needs.actions else 1, batch_size=protocol.pretrain_batch, bounds=BRIDGE_BOUNDS, seed=seed,
        )  # fmt: skip
        represent.represent_with(settings, [source], run, steps=steps, checkpoint_every=every, resume=True)
        return run
    learner = runs.RunSettings(
        algorithm=method, encoder=encoder, camera=protocol.camera, image_size=size, task_slots=slots,  # type: ignore[arg-type]
        batch_size=protocol.pretrain_batch, ptr=PTRConfig(augment=CROP), bc=BCConfig(head="tanh_gaussian", std="state", augment=CROP),
        options=_with_crop(method), seed=seed,
    )  # fmt: skip
    pretrain.pretrain_with(learner, source, run, steps=steps, checkpoint_every=every, resume=True)
    return run


def _with_crop(method: str) -> object:
    standard = default_config(method)
    return None if standard is None else replace(standard, augment=CROP)


def finished(run: Path, steps: int) -> bool:
    """Whether a run has made so many updates."""
    if not (run / "config.json").is_file():
        return False
    try:
        return Start.of(run).step >= steps
    except UserError:  # no checkpoint yet
        return False
