"""The version "features" of benchmarks/ptr.py: frozen encoders, whose features of a frame stand beside the arm's reading; and what acts from
frames, in the versions "pixels" too.

They are trained once and looked through by all methods, targets and seeds: a detector that is taught places in simulation (`ptr_sight`), or one
encoder per camera, trained on the frames of the robot data alone. Actions are aimed (`ptr_aim`), for the methods and for the encoder that learns
from actions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
import ptr_aim
import ptr_arrangements
import ptr_data
import ptr_sight
import torch

from robot_pt import checkpoint
from robot_pt.agents.bc import BCConfig
from robot_pt.augment import AugmentConfig
from robot_pt.errors import DataError
from robot_pt.evaluate import ActingPolicy, PolicyFactory
from robot_pt.features import Extractor, FeatureSource, FeatureTable, Kind, feature_spec
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import BRIDGE_BOUNDS
from robot_pt.policy import Policy
from robot_pt.recipes import heads, pretrain, represent, runs
from robot_pt.recipes.objectives import config_for
from robot_pt.recipes.origins import Origin
from robot_pt.recipes.turns import alone
from robot_pt.schema import ACTION_NAMES, Float, Image, Int, Observation, window_of
from robot_pt.sources import Concat, EpisodeSource

SIZE = (64, 64)
"""Of frames as encoders see them [px]."""
SEED = 7
"""Of all encoders; no table counts a cell of this seed."""
CLONE = BCConfig(augment=AugmentConfig(pad=2), actor_average=heads.AVERAGE, learning_rate=heads.LEARNING_RATE)
"""Whose encoder is kept: a published clone that sees one camera and the arm. Shifts by 2 pixels of 64, as PTR's by 4 of 128."""

GRIPPER = ACTION_NAMES.index("gripper")
VIEWS, SHIFTED, NUDGED = 2, AugmentConfig(pad=2), AugmentConfig(pad=1)
"""Of every frame that is learned from: as it is, and with a crop and colours as the methods' own augmentation would draw them;
by half as many pixels where places are told, as a pixel is a centimetre."""
SHARE = 8
"""As many numbers of deviation 1 as features weigh together beside the arm's seven. At 64, and with one view, a head learns the episodes by
heart: its error on held-out demonstrations rises from 4,000 updates on."""
RobotData = Callable[[str], EpisodeSource]
"""Version of the recording -> the robot data."""


class Eyes(Protocol):
    """What a policy of features looks through; a task is told without its scene."""

    fingerprint: str

    def seen(self, now: Observation, task: str) -> Observation:
        """The observation as the policy was trained on it: features behind the arm's reading in place of images, or the images."""
        ...


class Looking(Protocol):
    """Frozen encoders; picklable, so that simulation processes make them for themselves."""

    def eyes(self) -> Eyes: ...

    def through(self, source: EpisodeSource, cache: Path, views: int = 1) -> EpisodeSource:
        """`source` as the methods have it, so many times, the first time of frames as they are; features are computed once and kept in `cache`."""
        ...


@dataclass(frozen=True)
class Look:
    """Frozen encoders side by side, which know nothing of the task."""

    origins: tuple[Origin, ...]

    @property
    def kind(self) -> Kind:
        """The encoder's own output where it was trained, else the backbone's map."""
        return "encoder" if all(origin.trains_all for origin in self.origins) else "map"

    def extractors(self) -> list[Extractor]:
        return [origin.extractor() for origin in self.origins]

    def eyes(self) -> Eyes:
        return ExtractorEyes(self.extractors(), self.kind)

    def through(self, source: EpisodeSource, cache: Path, views: int = 1) -> EpisodeSource:
        """As `Looking.through`."""
        aimed = ptr_aim.AimedSource(source)
        augmentation = SHIFTED if views > 1 else None
        tables = [
            FeatureTable.of(source, look, cache, views=views, augmentation=augmentation) for look in self.extractors()
        ]
        arm = aimed.proprio.shape[1]
        found = [[FeatureSource(aimed, t, self.kind, view).proprio[:, arm:] for t in tables] for view in range(views)]
        seen = [SeenSource(aimed, np.concatenate(parts, axis=1)) for parts in found]
        return seen[0] if views == 1 else Concat(seen)


@dataclass(frozen=True)
class Sight:
    """The frozen detector in `path`, told each episode's task."""

    path: Path

    def eyes(self) -> Eyes:
        return SightEyes(self.path)

    def through(self, source: EpisodeSource, cache: Path, views: int = 1) -> EpisodeSource:
        """As `Looking.through`."""
        aimed, eyes = ptr_aim.AimedSource(source), SightEyes(self.path)
        found = [ptr_sight.features(eyes.detector, source, cache, view, NUDGED) for view in range(views)]
        seen = [SeenSource(aimed, features) for features in found]
        return seen[0] if views == 1 else Concat(seen)


@dataclass(frozen=True)
class Frames:
    """No encoder: the methods learn from frames end to end, and augment them themselves."""

    def eyes(self) -> Eyes:
        return FrameEyes()

    def through(self, source: EpisodeSource, cache: Path, views: int = 1) -> EpisodeSource:
        """As `Looking.through`, once."""
        return ptr_aim.AimedSource(source)


@final
class SeenSource:
    """`source` as an EpisodeSource of the state alone: proprio, then features."""

    def __init__(self, source: EpisodeSource, features_ND: Float):
        self.proprio: Float = np.concatenate([source.proprio, features_ND], axis=1)
        self.spec, self.episodes = feature_spec(source.spec, features_ND.shape[1]), source.episodes
        self.actions, self.rewards = source.actions, source.rewards
        self.terminated, self.truncated = source.terminated, source.truncated

    def images(self, steps: Int, camera: str, size: tuple[int, int] | None = None) -> Image:
        """Raises DataError: there are none."""
        raise DataError(f"features have taken the place of images; camera {camera!r} is in the source they come from.")


@final
class LookingPolicy:
    """A policy of the arm's reading and features that is shown frames.

    A mean between open and closed moves the gripper a little, which the next order then repeats: it closed 8 cm over the carrot, step by step.
    """

    def __init__(self, policy: ActingPolicy, eyes: Eyes):
        self.version, self.window = f"{policy.version}+{eyes.fingerprint}", window_of(policy)
        self._policy, self._eyes, self._task = policy, eyes, ""

    def reset(self, task: str | None) -> None:
        self._policy.reset(task)
        self._task = (task or "").split("@")[0]

    def act(self, history: Sequence[Observation]) -> Float:
        """As `robot_pt.policy.Policy.act`; the gripper is ordered open or closed, as in all that it learned from."""
        action = self._policy.act([self._eyes.seen(one, self._task) for one in history[-self.window :]]).copy()
        action[:, GRIPPER] = np.round(action[:, GRIPPER])
        return action


@final
class ExtractorEyes:
    """Each camera's features side by side."""

    def __init__(self, looks: Sequence[Extractor], kind: Kind):
        self.fingerprint, self._looks, self._kind = "+".join(look.fingerprint for look in looks), looks, kind

    def seen(self, now: Observation, task: str) -> Observation:
        """As `Eyes.seen`."""
        found = [look(now.images[look.camera][None])[0, look.columns(self._kind)] for look in self._looks]
        rounded = [feature.astype(np.float16).astype(np.float32) for feature in found]  # as tables keep them
        return now._replace(images={}, proprio=np.concatenate([now.proprio, *rounded]).astype(np.float32))


@final
class FrameEyes:
    """Whoever is behind them sees the frames themselves."""

    fingerprint = "frames"

    def seen(self, now: Observation, task: str) -> Observation:
        """The observation as it is."""
        return now


@final
class SightEyes:
    """What a detector reads off for the task."""

    def __init__(self, path: Path):
        self.detector = ptr_sight.opened(path)
        self.fingerprint = ptr_sight.fingerprint(self.detector)

    def seen(self, now: Observation, task: str) -> Observation:
        """As `Eyes.seen`."""
        images = {camera: now.images[camera][None] for camera in ptr_data.CAMERAS}
        features = ptr_sight.read_off(self.detector, images, now.proprio[None], [task])[0]
        return now._replace(images={}, proprio=np.concatenate([now.proprio, features]).astype(np.float32))


def acting(folder: Path, look: Looking) -> PolicyFactory:
    """Picklable: the policy in `folder`, which looks and aims."""
    return partial(_load, folder, look)


def _load(folder: Path, look: Looking) -> ActingPolicy:
    torch.set_num_threads(1)
    return LookingPolicy(ptr_aim.AimedPolicy(Policy.load(folder)), look.eyes())


def trained(
    objective: str, data: RobotData, folder: Path, steps: int, cameras: Sequence[str] = ptr_data.CAMERAS
) -> Looking:
    """Encoders of so many updates, trained on the robot data where they are not in `folder`, by one process while others wait; `objective` is
    "sight", which sees both cameras, or one of `robot-pt pretrain` or "bc", of which each of `cameras` has its own."""
    if objective == "sight":
        path = ptr_sight.kept_in(folder, SEED, steps)
        with alone(path, "the detector"):
            if not path.is_file():
                robot = ptr_sight.robot_data(data("features"), data("state"))
                further = ptr_arrangements.arrangements(folder / "sight")
                ptr_sight.save(ptr_sight.taught(further, robot, steps, SEED), path)
        return Sight(path)
    return Look(tuple(_trained(objective, camera, data, folder, steps) for camera in cameras))


def _trained(objective: str, camera: str, data: RobotData, folder: Path, steps: int) -> Origin:
    run = folder / f"{objective}-{camera}-{SEED}"
    with alone(run, f"the encoder of {objective}, camera {camera}"):
        _train(run, objective, camera, data, steps)
    return Origin.of(run)


def _train(run: Path, objective: str, camera: str, data: RobotData, steps: int) -> None:
    if not checkpoint.steps(run) or checkpoint.steps(run)[-1] < steps:
        amounts: dict[str, Any] = {"steps": steps, "checkpoint_every": max(1, steps // 4), "resume": True}
        frames = data("features")
        if objective == "bc":
            aimed = ptr_aim.AimedSource(frames)
            pretrain.pretrain_with(_clone(aimed, camera), aimed, run, **amounts)
        else:
            represent.represent_with(_objective(objective, camera, steps), [frames], run, **amounts)


def _clone(source: EpisodeSource, camera: str) -> runs.RunSettings:
    return runs.RunSettings(
        algorithm="bc", encoder=EncoderConfig(name="small"), camera=camera, image_size=SIZE, task_slots=0, bounds=BRIDGE_BOUNDS,
        proprio=heads.standard(source), bc=CLONE, seed=SEED,
    )  # fmt: skip


def _objective(name: str, camera: str, steps: int) -> represent.RepresentSettings:
    return represent.RepresentSettings(
        objective=name, config=config_for(name, steps=steps, bf16=False), encoder=EncoderConfig(name="small"),  # type: ignore[arg-type]
        camera=camera, image_size=SIZE, task_slots=1, batch_size=64, bounds=BRIDGE_BOUNDS, seed=SEED,
    )  # fmt: skip
