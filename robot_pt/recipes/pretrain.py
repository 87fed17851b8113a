"""`robot-pt pretrain`: offline learning on robot data, PTR's CQL by default at the published settings."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from robot_pt import checkpoint
from robot_pt.agents import Agent
from robot_pt.agents.bc import BCConfig
from robot_pt.agents.ptr import PTRConfig
from robot_pt.distributed import Ranks, processes
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.networks.resnet import STAGES
from robot_pt.normalize import BRIDGE_BOUNDS, Bounds, fit_bounds, proprio_statistics, share_clipped
from robot_pt.policy_record import PolicyRecord
from robot_pt.recipes import algorithms, loop, runs
from robot_pt.recipes.algorithms import Algorithm
from robot_pt.recipes.datasets import Reading, open_all
from robot_pt.recipes.limits import at_least
from robot_pt.recipes.progress import say, warn
from robot_pt.replay import Replay
from robot_pt.rewards import RewardLabel
from robot_pt.safe_files import read_json
from robot_pt.safe_tensors import read_tensors
from robot_pt.schema import ACTION_NAMES, Spec
from robot_pt.sources import EpisodeSource, split_episodes
from robot_pt.tasks import TaskTable

HELD_OUT = 0.1
"""Share of each task's episodes that is not trained on (PTR: 90/10 per task folder)."""
IMAGE_SIZE = 128
"""PTR's training resolution [pixels]."""


def pretrain(
    data: Sequence[Path], out: Path, *, algorithm: Algorithm = "ptr", encoder: str = "auto", encoder_weights: Path | None = None, steps: int = 160_000,
    batch_size: int = 64, image_size: int = 0, camera: str = "primary", language: bool = False,
    route: Literal["max_q", "advantage_weighted"] = "max_q", bc_warm_start: int = 0, assume_success: bool = False, checkpoint_every: int = 0,
    bf16: bool = False, seed: int = 0, resume: bool = False, reading: Reading | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train a fresh run on `data`; the arguments are those of the command line. Returns what was done, as JSON values.

    Raises UserError and its kinds for whatever cannot be used: data, camera, an `out` that holds a run.
    """
    runs.require_amounts(steps, seed)
    at_least(1, batch_size=batch_size)
    at_least(0, checkpoint_every=checkpoint_every, bc_warm_start=bc_warm_start)
    reading = (reading or Reading()).of(data)
    source = open_all(data, assume_success=assume_success, reading=reading, what="pretraining data")
    camera = "" if camera == "none" else camera
    _require_camera(source.spec, camera)
    encoder_config, start_from = _encoder(encoder, encoder_weights)
    settings = runs.RunSettings(
        algorithm=algorithm,
        encoder=encoder_config,
        camera=camera,
        image_size=_image_size(image_size, source.spec, camera),
        task_slots=TaskTable.of(source.episodes.task).slots,
        batch_size=batch_size,
        language_size=runs.language_size(language),
        reward=RewardLabel(assume_success=assume_success),
        bounds=bounds_for(source),
        proprio=_proprio(source, camera),
        ptr=PTRConfig(actor_loss=route, bc_warm_start_steps=bc_warm_start, bf16=bf16),
        bc=BCConfig(bf16=bf16),
        options=_options(algorithm, bf16),
        seed=seed,
    )
    warn_of_clipping(source, settings.bounds, "pretraining data")
    return pretrain_with(
        settings, source, out, steps=steps, checkpoint_every=checkpoint_every or max(1, min(steps // 20, 20_000)),
        resume=resume, start_from=start_from, arguments={
            "data": list(data), "mapping": reading.mapping, "action_source": reading.action_source, "encoder": encoder, "steps": steps,
        },
    )  # fmt: skip


def pretrain_with(
    settings: runs.RunSettings, source: EpisodeSource, out: Path, *, steps: int, checkpoint_every: int,
    resume: bool = False, start_from: Path | None = None, arguments: dict[str, Any] | None = None,
    held_out: float = HELD_OUT,
) -> dict[str, Any]:  # fmt: skip
    """The same with settings already made: what a recipe in Python calls."""
    began = time.monotonic()
    train_part, _ = split_episodes(source, held_out, seed=0)
    tasks = TaskTable.of(source.episodes.task)
    settings = replace(settings, task_slots=tasks.slots)
    with processes() as ranks:
        runs.start_or_resume(out, "pretrain", settings, arguments or {}, resume=resume, write=ranks.is_first)
        agent = settings.build(source.spec, ranks.device)
        if start_from is not None:
            load_encoder(agent, start_from)
        record = runs.record(agent, settings, source.spec, tasks, loop.trained_on(train_part))
        with replay_of(settings, [train_part], [1.0], tasks, ranks) as batches:
            last = loop.run(
                agent, batches, out, record, ranks, steps=steps, checkpoint_every=checkpoint_every,
                resume=resume, description="pretrain",
            )  # fmt: skip
        if ranks.is_first:
            loop.report(
                out,
                title=f"Pretraining: {settings.algorithm}",
                phase="pretrain",
                settings=settings,
                data=loop.describe(train_part),
            )
    return {
        "run": str(out), "checkpoint": str(checkpoint.resolve(out)), "steps": steps, "tasks": len(tasks.names),
        "episodes": len(train_part.episodes), "device": str(ranks.device), "metrics": last, "report": str(out / "report.html"),
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def replay_of(
    settings: runs.RunSettings,
    sources: Sequence[EpisodeSource],
    ratios: Sequence[float],
    tasks: TaskTable,
    ranks: Ranks,
) -> Replay:
    """Batches as `settings` want them; imitation decodes no next frames."""
    imitation = settings.algorithm == "bc"
    return Replay(
        sources, ratios, cameras=settings.cameras, image_size=settings.image_size, batch_size=settings.batch_size,
        reward=settings.reward, gamma=settings.gamma, task_table=tasks, seed=settings.seed, rank=ranks.rank,
        world_size=ranks.world_size, threads=max(1, min(8, (os.cpu_count() or 2) // 2)), next_frames=not imitation,
        bootstrap=not imitation, language_dim=settings.language_size, pinned=ranks.device.type == "cuda",
    )  # fmt: skip


def bounds_for(source: EpisodeSource) -> Bounds:
    """Bridge's published bounds for canonical metric actions, the data's own range otherwise."""
    canonical = source.spec.action_unit == "metric" and source.spec.action_names == ACTION_NAMES
    return BRIDGE_BOUNDS if canonical else fit_bounds(source, quantiles=(0.01, 0.99))


def warn_of_clipping(source: EpisodeSource, bounds: Bounds, what: str) -> None:
    """Say which action dimension the bounds cut off in more than 5 % of the steps: nothing beyond them is learned."""
    share_A = share_clipped(source, bounds)
    worst = int(share_A.argmax())
    if share_A[worst] > 0.05:
        warn(
            f"{share_A[worst]:.0%} of the {what}'s {source.spec.action_names[worst]} lie outside the action bounds "
            f"[{bounds.low[worst]:g}, {bounds.high[worst]:g}] ({bounds.origin}) and are CLIPPED; the policy cannot move faster than that."
        )


def load_encoder(agent: Agent, run: Path) -> None:
    """Copy the image encoder of a run's policy into the actor, and into the critic where there is one.

    Raises MismatchError when its cameras, image size or layers differ.
    """
    folder = checkpoint.resolve(run)
    document = read_json(folder / "policy.json")
    tensors = read_tensors(folder / "weights.safetensors", str(document.get("weights_sha256")))
    weights = {k.removeprefix("encoder."): v for k, v in tensors.items() if k.startswith("encoder.")}
    critics = [getattr(agent, name, None) for name in ("critic", "target")]  # imitation has none
    encoders: list[Any] = [agent.actor.encoder, agent.acting.encoder, *(c.encoder for c in critics if c is not None)]
    for encoder in encoders:
        own = encoder.state_dict()
        if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in weights.items()}:
            record = PolicyRecord.from_json(document)
            raise MismatchError(
                f"the encoder of {run} was trained for cameras {record.cameras} at {record.image_size}; "
                "pretrain with the same --camera and --image-size to start from it."
            )
        encoder.load_state_dict(weights)


def _encoder(name: str, weights: Path | None = None) -> tuple[EncoderConfig, Path | None]:
    """(architecture, run to take its weights from)."""
    if name == "auto":
        name = "resnet34" if torch.cuda.is_available() else "small"
        say(f"encoder: {name} ({'a GPU is' if name == 'resnet34' else 'no GPU is'} at hand; choose with --encoder).")
    path = Path(name)
    if name in ("small", *STAGES) or not path.is_dir():  # a folder that happens to be called "small" is not meant
        if os.sep in name and not name.startswith("timm:"):
            raise DataError(
                f"--encoder {name} is no folder of a run; give small, resnet18, resnet34, resnet50, timm:NAME or a RUN."
            )
        return EncoderConfig(name=name, weights=str(weights.resolve()) if weights else ""), None
    if weights is not None:
        raise UserError(
            f"--encoder {name} is a run and brings its own weights; leave --encoder-weights {weights} out, or choose timm:NAME."
        )
    network = read_json(checkpoint.resolve(path) / "policy.json").get("network", {})
    return replace(EncoderConfig.from_json(network["encoder"]), weights=""), path


def _options(algorithm: Algorithm, bf16: bool) -> Any:
    standard = algorithms.default_config(algorithm)
    return standard if standard is None else replace(standard, bf16=bf16)


def _proprio(source: EpisodeSource, camera: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Statistics to standardise the state with where it is all there is; beside images it goes in as it is, as PTR feeds it."""
    if camera:
        return None
    mean, std = proprio_statistics(source)
    return tuple(mean.tolist()), tuple(std.tolist())


def _image_size(wanted: int, spec: Spec, camera: str) -> tuple[int, int]:
    if wanted < 0:
        raise UserError(f"--image-size is {wanted}; give pixels above 0, or 0 to let it follow the data.")
    if not camera:
        return 0, 0
    side = wanted or min(IMAGE_SIZE, *spec.cameras[camera])
    return side, side


def _require_camera(spec: Spec, camera: str) -> None:
    if camera and camera not in spec.cameras:
        raise MismatchError(
            f"camera {camera!r} is not in the data, which has {sorted(spec.cameras)}; choose one with --camera."
        )
