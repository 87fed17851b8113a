"""`robot-pt pretrain`: offline learning on robot data, PTR's CQL by default at the published settings."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robot_pt import checkpoint
from robot_pt.agents import Agent
from robot_pt.agents.bc import BCConfig
from robot_pt.agents.bet import BeT
from robot_pt.agents.freezing import Frozen
from robot_pt.agents.ptr import PTRConfig
from robot_pt.distributed import Ranks, processes
from robot_pt.errors import MismatchError, UserError
from robot_pt.networks.categorical import CategoricalConfig
from robot_pt.networks.encoders import EncoderConfig, Norm, Pooling
from robot_pt.normalize import BRIDGE_BOUNDS, Bounds, fit_bounds, proprio_statistics, share_clipped
from robot_pt.recipes import algorithms, cal_ql_domains, encoders, loop, runs
from robot_pt.recipes.algorithms import Algorithm
from robot_pt.recipes.datasets import Reading, open_all
from robot_pt.recipes.encoders import Start
from robot_pt.recipes.limits import at_least
from robot_pt.recipes.options import changed
from robot_pt.recipes.progress import warn
from robot_pt.recipes.target import HELD_OUT as HELD_OUT
from robot_pt.recipes.target import Target, judge, named, open_target, outcome, prior_of, selector_of
from robot_pt.replay import Replay
from robot_pt.rewards import PTR_REWARDS, RewardLabel, require_gamma
from robot_pt.schema import ACTION_NAMES, Spec
from robot_pt.sources import EpisodeSource, split_episodes
from robot_pt.tasks import TaskTable

Values = Literal["scalar", "hl_gauss", "c51"]
BINS = {"hl_gauss": 128, "c51": 51}
"""Of a critic that learns a distribution, as published."""
MOST_FITTED = 100_000
"""Actions that bins are fitted to at most, evenly spread over the data."""
IMAGE_SIZE = 128
"""PTR's training resolution [pixels]."""


def pretrain(
    data: Sequence[Path], out: Path, *, algorithm: Algorithm = "ptr", encoder: str = "auto", encoder_weights: Path | None = None, steps: int = 160_000,
    batch_size: int = 64, image_size: int = 0, camera: str = "primary", language: bool = False,
    route: Literal["max_q", "advantage_weighted"] = "max_q", bc_warm_start: int = 0, assume_success: bool = False, checkpoint_every: int = 0,
    bf16: bool = False, target: Path | None = None, demos: int = 10, mixing_ratio: float = 0.9, freeze_encoder: bool = False, seed: int = 0,
    resume: bool = False, reading: Reading | None = None, options: Sequence[str] = (), encoder_norm: Norm = "group",
    pooling: Pooling = "spatial_embeddings", rewards: tuple[float, float] = PTR_REWARDS, domain: str | None = None,
    critic_values: Values = "scalar", discount: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train a fresh run on `data`; the arguments are those of the command line, no discount is PTR's or the domain's. Returns JSON values.

    Raises UserError and its kinds for whatever cannot be used: data, camera, an `out` that holds a run.
    """
    runs.require_amounts(steps, seed)
    at_least(1, batch_size=batch_size)
    require_gamma(discount or 0.0)
    at_least(0, checkpoint_every=checkpoint_every, bc_warm_start=bc_warm_start)
    reading = (reading or Reading()).of([*data, *([target] if target else [])])
    wanted: Target | None = None
    if target is None:
        source = open_all(
            data, assume_success=assume_success, reading=reading, what="pretraining data", own_rewards=cal_ql_domains.keeps_rewards(domain)
        )  # fmt: skip
    else:
        wanted, source = open_target(
            target, data, demos=demos, mixing_ratio=mixing_ratio, assume_success=assume_success, seed=seed, reading=reading
        )  # fmt: skip
        source = prior_of(algorithm, source, data, target)
    camera = "" if camera == "none" else camera
    require_camera(source.spec, camera)
    encoder_config, start_from = encoders.choose(encoder, encoder_weights, norm=encoder_norm, pooling=pooling)
    ptr = PTRConfig(actor_loss=route, bc_warm_start_steps=bc_warm_start, bf16=bf16)
    settings = runs.RunSettings(
        algorithm=algorithm,
        encoder=encoder_config,
        camera=camera,
        image_size=image_size_for(image_size, source.spec, camera, start_from),
        task_slots=TaskTable.of(source.episodes.task).slots,
        batch_size=batch_size,
        language_size=runs.language_size(language),
        reward=RewardLabel.of(*rewards, assume_success=assume_success),
        bounds=bounds_for(source),
        proprio=_proprio(source, camera),
        ptr=changed(ptr, options, algorithm) if algorithm == "ptr" else ptr,
        bc=changed(BCConfig(bf16=bf16), options, algorithm) if algorithm == "bc" else BCConfig(bf16=bf16),
        options=_options(algorithm, bf16, () if domain else options),
        frozen=_frozen(freeze_encoder, encoder_config, start_from),
        seed=seed,
    )
    settings = _valued(_published(settings, domain, options, discount), critic_values)
    warn_of_clipping(source, settings.bounds, "pretraining data")
    if wanted is not None:
        warn_of_clipping(wanted.train, settings.bounds, "target data")
    return pretrain_with(
        settings, source, out, steps=steps, checkpoint_every=checkpoint_every or max(1, min(steps // 20, 20_000)),
        resume=resume, start_from=start_from, target=wanted, arguments={
            "data": list(data), "mapping": reading.mapping, "action_source": reading.action_source, "encoder": encoder, "steps": steps,
            "target": target, "demos": demos, "mixing_ratio": mixing_ratio, "domain": domain,
        },
    )  # fmt: skip


def pretrain_with(
    settings: runs.RunSettings, source: EpisodeSource, out: Path, *, steps: int, checkpoint_every: int,
    resume: bool = False, start_from: Start | None = None, arguments: dict[str, Any] | None = None,
    held_out: float = HELD_OUT, target: Target | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The same with settings already made: what a recipe in Python calls. `target`: to mix in from the first update, joint training."""
    began = time.monotonic()
    train_part, _ = split_episodes(source, held_out, seed=0)
    tasks = TaskTable.of([*source.episodes.task, *(target.tasks if target else ())])
    parts, ratios = ([train_part], [1.0]) if target is None else target.beside(train_part)
    settings = replace(settings, task_slots=tasks.slots)
    with processes() as ranks:
        runs.start_or_resume(
            out, "pretrain", settings, arguments or {}, resume=resume, write=ranks.is_first,
            origin=start_from.to_json() if start_from else None,
        )  # fmt: skip
        agent = settings.build(source.spec, ranks.device)
        if start_from is not None:
            encoders.load(agent, start_from)
        if not (resume and checkpoint.steps(out)):
            fit(agent, [part for part, ratio in zip(parts, ratios, strict=True) if ratio > 0])
        record = runs.record(agent, settings, parts[-1].spec, tasks, named(loop.trained_on, parts))
        selector = selector_of(settings, target.judges, tasks, out, ranks, resume) if target else None
        with replay_of(settings, parts, ratios, tasks, ranks) as batches:
            last = loop.run(
                agent, batches, out, record, ranks, steps=steps, checkpoint_every=checkpoint_every,
                resume=resume, description="pretrain", metric=loop.metric_of(settings.algorithm),
                after_save=judge(selector, agent) if selector and ranks.is_first else None,
            )  # fmt: skip
        selection, values = outcome(selector)
        if ranks.is_first:
            loop.report(
                out,
                title=f"Pretraining: {settings.algorithm}",
                phase="pretrain",
                settings=settings,
                data=named(loop.describe, parts),
                selection=selection,
                values=values,
            )
    return {
        "run": str(out), "checkpoint": str(checkpoint.resolve(out)), "steps": checkpoint.steps(out)[-1], "tasks": len(tasks.names),
        "episodes": len(train_part.episodes), "device": str(ranks.device), "metrics": last, "report": str(out / "report.html"),
        "seconds": round(time.monotonic() - began, 1), **({"selected": selection.chosen, "reason": selection.rule} if selection else {}),
    }  # fmt: skip


def replay_of(
    settings: runs.RunSettings,
    sources: Sequence[EpisodeSource],
    ratios: Sequence[float],
    tasks: TaskTable,
    ranks: Ranks,
) -> Replay:
    """Batches as `settings` want them."""
    sampling = settings.sampling()
    return Replay(
        sources, ratios, cameras=settings.cameras, image_size=settings.image_size, batch_size=settings.batch_size,
        reward=settings.reward, gamma=settings.gamma, task_table=tasks, seed=settings.seed, rank=ranks.rank,
        world_size=ranks.world_size, threads=max(1, min(8, (os.cpu_count() or 2) // 2)), language_dim=settings.language_size,
        pinned=ranks.device.type == "cuda", **sampling,
    )  # fmt: skip


def fit(agent: Agent, sources: Sequence[EpisodeSource]) -> None:
    """What an agent takes from the actions as a whole before its first update, such as bins; afterwards it has them with its weights."""
    if isinstance(agent, BeT):
        most = MOST_FITTED // len(sources)
        rows = [loop.spread_rows(s.episodes.start, s.episodes.length, most) for s in sources]
        agent.fit(np.concatenate([s.actions[r] for s, r in zip(sources, rows, strict=True)]))


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


def _frozen(wanted: bool, encoder: EncoderConfig, start: Start | None) -> Frozen:
    """The part that was trained; of random or timm weights the backbone."""
    if not wanted:
        return "nothing"
    if start is None and not encoder.weights:
        warn(
            f"--freeze-encoder keeps the random weights that {encoder.name} starts with; give --encoder RUN unless that is the control."
        )
    return "backbone" if start is None else start.trains


def _published(
    settings: runs.RunSettings, domain: str | None, options: Sequence[str], discount: float | None
) -> runs.RunSettings:
    """With a domain's settings, if one was named, `options` changed from these, and the discount that was asked for."""
    if domain is not None:
        settings = cal_ql_domains.as_in(domain, settings)
        settings = replace(settings, options=changed(settings.options, options, settings.algorithm))
    return settings if discount is None else replace(settings, gamma=discount)


def _valued(settings: runs.RunSettings, values: Values) -> runs.RunSettings:
    """With a critic that learns a distribution, asked for or the algorithm's own, over exactly the returns that the rewards can give."""
    own = "ptr" if settings.algorithm == "ptr" else "options"
    config = getattr(settings, own)
    if values != "scalar":
        if settings.algorithm == "bc" or not hasattr(config, "categories"):
            raise UserError(
                f"--critic-values {values} is about a critic, and {settings.algorithm} has none that it could be of; leave it out."
            )
        code = CategoricalConfig.of_rewards(settings.reward, settings.gamma, kind=values, bins=BINS[values])
    elif (before := getattr(config, "categories", None)) is not None:
        code = CategoricalConfig.of_rewards(settings.reward, settings.gamma, kind=before.kind, bins=before.bins)
    else:
        return settings
    return replace(settings, **{own: replace(config, categories=code)})


def _options(algorithm: Algorithm, bf16: bool, words: Sequence[str]) -> Any:
    standard = algorithms.default_config(algorithm)
    return standard if standard is None else changed(replace(standard, bf16=bf16), words, algorithm)


def _proprio(source: EpisodeSource, camera: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Statistics to standardise the state with where it is all there is; beside images it goes in as it is, as PTR feeds it."""
    if camera:
        return None
    mean, std = proprio_statistics(source)
    return tuple(mean.tolist()), tuple(std.tolist())


def image_size_for(wanted: int, spec: Spec, camera: str, start: Start | None = None) -> tuple[int, int]:
    """(H, W) to train at: as asked for, else as the encoder it starts from, else the stored size up to IMAGE_SIZE."""
    if wanted < 0:
        raise UserError(f"--image-size is {wanted}; give pixels above 0, or 0 to let it follow the data.")
    if not camera:
        return 0, 0
    if not wanted and start is not None:
        return start.image_size
    side = wanted or min(IMAGE_SIZE, *spec.cameras[camera])
    return side, side


def require_camera(spec: Spec, camera: str) -> None:
    if camera and camera not in spec.cameras:
        raise MismatchError(
            f"camera {camera!r} is not in the data, which has {sorted(spec.cameras)}; choose one with --camera."
        )
