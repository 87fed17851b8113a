"""The version "features" of benchmarks/ptr.py: frozen encoders, one per camera, whose features of a frame stand beside the arm's reading.

An encoder is trained once, on the frames of the robot data alone, and looked through by all methods, targets and seeds. Actions are aimed
(`ptr_aim`), for the methods and for the encoder that learns from actions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import ptr_aim
import ptr_arrangements
import ptr_data
import ptr_told
import torch

from robot_pt import checkpoint
from robot_pt.agents.bc import BCConfig
from robot_pt.augment import AugmentConfig
from robot_pt.errors import DataError
from robot_pt.evaluate import ActingPolicy, PolicyFactory
from robot_pt.features import Extractor, FeatureSource, FeatureTable, Kind, feature_spec
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import BRIDGE_BOUNDS, Bounds, fit_bounds
from robot_pt.policy import Policy
from robot_pt.recipes import heads, pretrain, represent, runs
from robot_pt.recipes.encoders import Start
from robot_pt.recipes.objectives import config_for
from robot_pt.recipes.origins import Origin
from robot_pt.schema import Float, Image, Int, Observation, window_of
from robot_pt.sources import Concat, EpisodeSource

SIZE = (64, 64)
"""Of frames as encoders see them [px]."""
SEED = 7
"""Of all encoders; no table counts a cell of this seed."""
CLONE = BCConfig(augment=AugmentConfig(pad=2), actor_average=heads.AVERAGE, learning_rate=heads.LEARNING_RATE)
"""Whose encoder is kept: a published clone that sees one camera and the arm. Shifts by 2 pixels of 64, as PTR's by 4 of 128."""

VIEWS, SHIFTED = 2, AugmentConfig(pad=2)
"""Of every frame that is learned from: as it is, and with a crop and colours as the methods' own augmentation would draw them."""
SHARE = 8
"""As many numbers of deviation 1 as features weigh together beside the arm's seven. At 64, and with one view, a head learns the episodes by
heart: its error on held-out demonstrations rises from 4,000 updates on."""
TELLER = replace(CLONE, augment=AugmentConfig(pad=1), learning_rate=1e-3)
"""Of one that tells places: a shift by a pixel is a centimetre."""
RobotData = Callable[[str], EpisodeSource]
"""Version of the recording -> the robot data."""


@dataclass(frozen=True)
class Look:
    """Frozen encoders side by side; picklable, so that simulation processes make them for themselves."""

    origins: tuple[Origin, ...]

    @property
    def kind(self) -> Kind:
        """The encoder's own output where it was trained, else the backbone's map."""
        return "encoder" if all(origin.trains_all for origin in self.origins) else "map"

    def extractors(self) -> list[Extractor]:
        return [origin.extractor() for origin in self.origins]

    def through(self, source: EpisodeSource, cache: Path, views: int = 1) -> EpisodeSource:
        """`source` as the methods have it, so many times, the first time of frames as they are; features are computed once and kept in `cache`."""
        aimed = ptr_aim.AimedSource(source)
        augmentation = SHIFTED if views > 1 else None
        tables = [
            FeatureTable.of(source, look, cache, views=views, augmentation=augmentation) for look in self.extractors()
        ]
        seen = [SeenSource(aimed, [FeatureSource(aimed, t, self.kind, view) for t in tables]) for view in range(views)]
        return seen[0] if views == 1 else Concat(seen)


@final
class SeenSource:
    """`source` as an EpisodeSource of the state alone: proprio, then each camera's features."""

    def __init__(self, source: EpisodeSource, parts: Sequence[FeatureSource]):
        arm = source.proprio.shape[1]
        self.proprio: Float = np.concatenate([source.proprio, *(part.proprio[:, arm:] for part in parts)], axis=1)
        self.spec, self.episodes = feature_spec(source.spec, self.proprio.shape[1] - arm), source.episodes
        self.actions, self.rewards = source.actions, source.rewards
        self.terminated, self.truncated = source.terminated, source.truncated

    def images(self, steps: Int, camera: str, size: tuple[int, int] | None = None) -> Image:
        """Raises DataError: there are none."""
        raise DataError(f"features have taken the place of images; camera {camera!r} is in the source they come from.")


@final
class LookingPolicy:
    """A policy of the arm's reading and features that is shown frames."""

    def __init__(self, policy: ActingPolicy, looks: Sequence[Extractor], kind: Kind):
        self.version, self.window = (
            f"{policy.version}+{'+'.join(look.fingerprint for look in looks)}",
            window_of(policy),
        )
        self._policy, self._looks, self._kind = policy, looks, kind

    def reset(self, task: str | None) -> None:
        self._policy.reset(task)

    def act(self, history: Sequence[Observation]) -> Float:
        """As `robot_pt.policy.Policy.act`."""
        return self._policy.act([self.seen(one) for one in history[-self.window :]])

    def seen(self, now: Observation) -> Observation:
        return seen(now, self._looks, self._kind)


def seen(now: Observation, looks: Sequence[Extractor], kind: Kind) -> Observation:
    """The observation as `SeenSource` has it."""
    found = [look(now.images[look.camera][None])[0, look.columns(kind)] for look in looks]
    rounded = [feature.astype(np.float16).astype(np.float32) for feature in found]  # as tables keep them
    return now._replace(images={}, proprio=np.concatenate([now.proprio, *rounded]).astype(np.float32))


def acting(folder: Path, look: Look) -> PolicyFactory:
    """Picklable: the policy in `folder`, which looks and aims."""
    return partial(_load, folder, look)


def _load(folder: Path, look: Look) -> ActingPolicy:
    torch.set_num_threads(1)
    return LookingPolicy(ptr_aim.AimedPolicy(Policy.load(folder)), look.extractors(), look.kind)


def trained(objective: str, data: RobotData, folder: Path, steps: int) -> Look:
    """An encoder per camera of so many updates, trained on the robot data where it is not in `folder`; `objective` is one of `robot-pt
    pretrain`, "bc", "places", or "arrangements", which goes on from "places"."""
    return Look(tuple(_trained(objective, camera, data, folder, steps) for camera in ptr_data.CAMERAS))


def _trained(objective: str, camera: str, data: RobotData, folder: Path, steps: int) -> Origin:
    run = folder / f"{objective}-{camera}-{SEED}"
    if not checkpoint.steps(run) or checkpoint.steps(run)[-1] < steps:
        amounts: dict[str, Any] = {"steps": steps, "checkpoint_every": max(1, steps // 4), "resume": True}
        frames = data("features")
        if objective == "bc":
            aimed = ptr_aim.AimedSource(frames)
            pretrain.pretrain_with(_clone(aimed, camera, CLONE, BRIDGE_BOUNDS), aimed, run, **amounts)
        elif objective in ("places", "arrangements"):
            told: EpisodeSource = ptr_told.ToldSource(frames, data("state"))
            bounds, start = fit_bounds(told), None
            if objective == "arrangements":
                begun = _trained("places", camera, data, folder, steps)
                assert begun.run is not None, "a run"
                start, more = Start.of(begun.run), ptr_arrangements.Arrangements(told.spec, folder)
                told = Concat([told, *[more] * ptr_arrangements.OFTEN])
            pretrain.pretrain_with(_clone(told, camera, TELLER, bounds), told, run, start_from=start, **amounts)
        else:
            represent.represent_with(_objective(objective, camera, steps), [frames], run, **amounts)
    return Origin.of(run)


def _clone(source: EpisodeSource, camera: str, config: BCConfig, bounds: Bounds) -> runs.RunSettings:
    return runs.RunSettings(
        algorithm="bc", encoder=EncoderConfig(name="small"), camera=camera, image_size=SIZE, task_slots=0, bounds=bounds,
        proprio=heads.standard(source), bc=config, seed=SEED,
    )  # fmt: skip


def _objective(name: str, camera: str, steps: int) -> represent.RepresentSettings:
    return represent.RepresentSettings(
        objective=name, config=config_for(name, steps=steps, bf16=False), encoder=EncoderConfig(name="small"),  # type: ignore[arg-type]
        camera=camera, image_size=SIZE, task_slots=1, batch_size=64, bounds=BRIDGE_BOUNDS, seed=SEED,
    )  # fmt: skip
