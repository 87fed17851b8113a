"""One cell of benchmarks/ptr.py: a method learns a target from ten demonstrations and the robot data, and acts from starts nobody trained on.

Methods are the recipes' own (`robot_pt.recipes.pretrain`, `.finetune`), told what a command line would tell them. Every method has the same
data, networks, batch and number of updates in all: finetuning makes `Scale.pretraining` + `Scale.finetuning` of them, joint training and
training on the target alone the sum, and so does a policy that begins in finetuning (`Method.whole`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import ptr_critic
import ptr_data
import ptr_look
import torch
from ptr_data import PIXELS

from robot_pt import checkpoint
from robot_pt.agents.bc import BCConfig
from robot_pt.agents.ptr import PTRConfig
from robot_pt.augment import AugmentConfig
from robot_pt.evaluate import PolicyFactory, evaluate
from robot_pt.machine import versions
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import BRIDGE_BOUNDS
from robot_pt.online.locks import held
from robot_pt.recipes import finetune, heads, pretrain, runs
from robot_pt.recipes.algorithms import default_config
from robot_pt.recipes.evaluate import policy_factory
from robot_pt.recipes.target import Target
from robot_pt.recipes.turns import alone
from robot_pt.rewards import PTR_REWARDS, RewardLabel
from robot_pt.safe_files import read_json, replace_json
from robot_pt.selection import read_scores
from robot_pt.sources import EpisodeSource
from robot_pt_sim.kitchen.twin import TWIN_VERSION
from robot_pt_sim.rollouts import rollouts

How = Literal["finetune", "joint", "target"]
Version = Literal["state", "motion", "aimed", "features", "pixels", "pixels-128"]
VERSIONS: tuple[Version, ...] = ("state", "motion", "aimed", "features", *PIXELS)  # type: ignore[assignment]
"""What the methods see: the state; the state and how the arm moves; the state, with actions that are seen from where the arm is; with such actions
too, beside what the arm itself reads, frozen features of images; or images, end to end."""
RATIO = 0.9
"""PTR's mixing ratio."""
LEARNED = "learned.json"
"""In the run of a cell: all of it but how it acts."""


class Method(NamedTuple):
    """One row of the table."""

    title: str
    algorithm: str
    how: How = "finetune"
    changes: Mapping[str, Any] = {}
    """Of PTR's settings."""
    encoder: str = ""
    """Whose frozen features it looks at; "" for those of all others. Only where there are features."""
    cameras: tuple[str, ...] = ptr_data.CAMERAS
    """That an encoder of its own looks through; an encoder per camera is what such a row costs."""
    start: str = ""
    """Whose pretrained run it is finetuned from; "" for one of its own."""
    head: bool = False
    """A clone with PTR's head instead of the published one: what of PTR's success is its head's."""
    options: Mapping[str, Any] = {}
    """Of a clone's config."""
    failed: float | None = None
    """Share of the robot data's episodes that failed, of all failed ones and of as many others as make it so; None as it was recorded. 0 leaves
    the failed ones out: what the rewards tell, without a critic."""
    ratio: float = RATIO
    """Share of the robot data in a batch once the target is mixed in."""
    rewards: tuple[float, float] = PTR_REWARDS
    whole: bool = False
    """Of one whose policy begins in finetuning: has as many updates there as the others' policies in all."""


EVEN: dict[str, Any] = {"likelihood_beta": 1.0, "actor_learning_rate": 3e-4}
"""Of policies that imitate by likelihood, with PTR's head and the clone's rate. At beta 0, as published, a clone with that head learns to
repeat what the gripper does, a step late, on the very data it learns from, and never succeeds; the published clone's deviation is fixed."""
HEAD: dict[str, Any] = {"head": "tanh_gaussian", "std": "state", "likelihood_beta": 1.0}
"""Of a clone: PTR's head, imitating as PTR's policy does."""
CALM: dict[str, Any] = {"alpha": 1.0, "conservative_floor": -8.0}
"""Of PTR's critic: the demo's. With the published weight 10 and no floor Q sinks for ever where it reads the state: at update 5,000 the data's
actions were worth -52, where returns lie from -25 to 10."""
HELD: dict[str, Any] = {**CALM, **EVEN, "imitation": 5.0}
"""Of PTR: its policy imitates for the updates of the pretraining (`Bench`), as CQL's own code has it for the first 40,000, then climbs Q and
imitates beside it. Climbing alone forgets what was imitated and never succeeds."""
FAST: dict[str, Any] = {**CALM, **EVEN, "actor_loss": "advantage_weighted", "advantage_temperature": 2.0}
"""The demo's route: from the same pretraining, the policy imitates by the critic's advantages instead of climbing Q."""
LEVEL: dict[str, Any] = {**FAST, "conservative_floor": 3.0}
"""As FAST, and uniform actions are pressed no further than what one of them costs at most. With the floor at -8 Q lies 3 to 10 below the returns
of held-out demonstrations and its advantages tell mostly where the policy misses: weights of 6.9 in the mean, 1.3 here."""
LEVEL_OF_1: dict[str, Any] = {**LEVEL, "advantage_temperature": 2.0 / 11, "conservative_floor": 3.0 / 11}
"""LEVEL where rewards are 0 and 1 in place of -1 and 10: temperature and floor are in units of Q. CQL's log-sum-exp is not scaled, so for its
returns this critic is about ten times as conservative (ptr.md)."""
ABLATIONS: dict[str, Method] = {
    "level-ratio-0": Method("level critic, finetuned on the target alone", "ptr", changes=LEVEL, start="ptr-level", ratio=0.0),
    "level-ratio-50": Method("level critic, half of a batch from the target", "ptr", changes=LEVEL, start="ptr-level", ratio=0.5),
    "level-alpha-0": Method("level critic, alpha 0", "ptr", changes={**LEVEL, "alpha": 0.0}),
    "level-alpha-10": Method("level critic, alpha 10", "ptr", changes={**LEVEL, "alpha": 10.0}),
    "level-rewards-0-1": Method("level critic, rewards 0 and 1", "ptr", changes=LEVEL_OF_1, rewards=(0.0, 1.0)),
    "level-failed-75": Method("level critic, three quarters of the robot data failed", "ptr", changes=LEVEL, failed=0.75),
    "even-failed-75": Method("the clone with PTR's head on the same data", "bc", head=True, failed=0.75),
}  # fmt: skip
"""Each is `ABLATED` but for one thing (or `CLONE`, to compare one of them with); run where they are named. Those of the image encoder and of the critic that reads its features:
ablations.py."""
ABLATED = "ptr-level"
METHODS: dict[str, Method] = {
    "ptr": Method("PTR, held near the data", "ptr", changes=HELD),
    "ptr-free": Method("PTR, as published but for alpha", "ptr", changes=CALM),
    "ptr-published": Method("PTR, published weight", "ptr"),
    "ptr-fast": Method("PTR, advantage-weighted", "ptr", changes=FAST, start="ptr"),
    "ptr-level": Method("PTR, level critic, advantage-weighted", "ptr", changes=LEVEL),
    "bc": Method("BC finetune", "bc"),
    "bc-even": Method("BC finetune, PTR's head, beta-NLL", "bc", head=True),
    "bc-success": Method("the same on successes alone", "bc", head=True, failed=0.0),
    "bc-joint": Method("BC joint", "bc", "joint"),
    "ar-bc": Method("autoregressive BC", "autoregressive_bc"),
    "ar-bc-100": Method("autoregressive BC, PTR's 100 bins", "autoregressive_bc", options={"bins": 100}),
    "bet": Method("BeT", "bet"),
    "cog": Method("COG (joint CQL)", "ptr", "joint", HELD),
    "cql-target": Method("CQL, target only", "ptr", "target", HELD),
    "bc-target": Method("BC, target only", "bc", "target"),
    "awbc": Method("advantage-weighted BC on PTR's critic", "awbc", changes=HELD, start="ptr", whole=True),
    "awbc-short": Method("the same, a fifth of the updates", "awbc", changes=HELD, start="ptr"),
    "clone": Method("BC on a clone's features", "bc", encoder="bc"),
    "r3m": Method("BC on R3M features", "bc", encoder="r3m"),
    "mae": Method("BC on MAE features", "bc", encoder="mae"),
    "mae-primary": Method("BC on MAE features, primary camera alone", "bc", encoder="mae", cameras=("primary",)),
    **ABLATIONS,
}
BASE, CLONE = "bc", "bc-even"
"""What the others are compared with: the published clone, and the clone that is PTR's policy without a critic."""
ENCODER = "sight"
"""Whose encoder the methods look through that have none of their own: a detector that learned in simulation to tell where things are, of the
robot data and further arrangements of its kitchens."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of everything."""

    data: int = 5
    """Episodes of every pretraining task in every pretraining kitchen."""
    pretraining: int = 20_000
    finetuning: int = 5_000
    checkpoints: int = 5
    """Of finetuning, to choose from."""
    episodes: int = 50
    encoder_updates: int = 2_000


QUICK = Scale(pretraining=8_000, finetuning=2_000)


class Cell(NamedTuple):
    """One number of the table."""

    method: str
    task: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.method}--{self.task.split('/')[-1]}--{self.seed}"


@dataclass
class Bench:
    """Runs cells of one version; what several of them share is made once."""

    out: Path
    """Of runs and cells."""
    shared: Path
    """Of data and encoders, which are the same at every scale."""
    version: Version
    scale: Scale
    every_checkpoint: bool = False
    commit: str = field(default_factory=ptr_critic.commit)
    """Of the code that runs, which may be another one by the end of a cell."""

    def __call__(self, cell: Cell) -> dict[str, Any]:
        """Train, act, and say everything that made the number."""
        learned, began = self.learned(cell), time.process_time()
        run, chosen = self.run_of(cell), learned["selected"]
        steps = checkpoint.steps(run) if self.every_checkpoint else [chosen]
        rates = {step: self._act(run, step, cell, self.look(METHODS[cell.method])) for step in steps}
        seconds = learned["seconds"]["learning"]
        acted = "" if learned["commit"] == self.commit else f", acted at {self.commit}"
        return {
            **learned, "scale": asdict(self.scale), "episodes": self.scale.episodes, "successes": rates[chosen], "checkpoints": self._judged(run, rates), "commit": learned["commit"] + acted,
            "seconds": {**learned["seconds"], "all": round(seconds + time.process_time() - began, 1)},
        }  # fmt: skip

    def learned(self, cell: Cell) -> dict[str, Any]:
        """Train, and say everything that made the policy; kept in its run, so that who acts needs no more than that, on another machine too."""
        method, began, run = METHODS[cell.method], time.process_time(), self.run_of(cell)
        if (run / LEARNED).is_file():
            return read_json(run / LEARNED)
        look = self.look(method)
        demos = self._seen_demos(cell.task, cell.seed, look)
        self._train(cell, method, look, demos)
        settings, document = runs.read_settings(run)
        found = {
            **cell._asdict(), "version": self.version, "how": method.how, "episodes": self.scale.episodes,
            "selected": int(checkpoint.resolve(run).name.removeprefix("step_")), "critic": ptr_critic.accuracy(run, settings, demos.judges),
            "scale": asdict(self.scale), "data": ptr_data.share_of(self._robot_data(method, None)), "settings": settings.to_json(),
            "origin": document.get("origin"), "twin": TWIN_VERSION, "commit": self.commit, "versions": versions(),
            "seconds": {"learning": round(time.process_time() - began, 1), "on": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"},
        }  # fmt: skip
        replace_json(run / LEARNED, found)
        return found

    def run_of(self, cell: Cell) -> Path:
        return self.out / "runs" / self.version / cell.name

    def alone(self, cell: Cell) -> AbstractContextManager[None]:
        """Be the only process that is at the cell and in its run. Raises TakenError, at once, where another one is."""
        run = self.run_of(cell)
        return held(run.with_name(f".{run.name}.lock"), f"cell {cell.name}")

    # What is learned from.

    @cached_property
    def robot_data(self) -> EpisodeSource:
        return ptr_data.pretraining(self.shared, self._recorded, self.scale.data)

    @property
    def _recorded(self) -> Version:
        """Whose demonstrations are read."""
        return "state" if self.version in ptr_data.VIEWS else self.version

    def _robot_data(self, method: Method, look: ptr_look.Looking | None) -> EpisodeSource:
        """What of it the method learns from, as it sees it."""
        source = self._through(self.robot_data, look, ptr_look.VIEWS)
        return source if method.failed is None else ptr_data.with_failed(source, method.failed)

    def look(self, method: Method) -> ptr_look.Looking | None:
        """What the method looks through; frozen encoders are trained on the robot data where they are not there."""
        if self.version in PIXELS:
            return ptr_look.Frames()
        if self.version != "features":
            return None
        folder, steps = self.shared / "encoders", self.scale.encoder_updates
        data = partial(ptr_data.pretraining, self.shared, episodes=self.scale.data)
        return ptr_look.trained(method.encoder or ENCODER, data, folder, steps, method.cameras)

    def _through(self, source: EpisodeSource, look: ptr_look.Looking | None, views: int = 1) -> EpisodeSource:
        if look is not None:
            return look.through(source, self.shared / "features", views)
        return ptr_data.VIEWS[self.version][0](source) if self.version in ptr_data.VIEWS else source

    def _seen_demos(self, task: str, seed: int, look: ptr_look.Looking | None) -> ptr_data.Demos:
        demos = ptr_data.target(self.shared, self._recorded, task, seed)
        return ptr_data.Demos(self._through(demos.train, look, ptr_look.VIEWS), self._through(demos.judges, look))

    # Training.

    def _settings(self, method: Method, source: EpisodeSource, seed: int) -> runs.RunSettings:
        warm = self.scale.pretraining if "likelihood_beta" in method.changes else 0
        pixels = PIXELS.get(self.version)
        augment = AugmentConfig(pad=pixels.pad) if pixels else None
        seen: dict[str, Any] = {"encoder": EncoderConfig(name="small"), "camera": "", "image_size": (0, 0)}
        if pixels:
            seen = {
                "encoder": EncoderConfig(name=pixels.encoder),
                "camera": pixels.camera,
                "image_size": (pixels.size, pixels.size),
            }
        ptr = PTRConfig(augment=augment, actor_average=heads.AVERAGE, bc_warm_start_steps=warm, **method.changes)
        algorithm = "ptr" if method.algorithm == "awbc" else method.algorithm
        standard = default_config(algorithm)
        share = ptr_look.SHARE if self.version == "features" else heads.FEATURE_SHARE
        return runs.RunSettings(
            algorithm=algorithm, task_slots=0, bounds=BRIDGE_BOUNDS, proprio=heads.standard(source, share), ptr=ptr,
            bc=BCConfig(augment=augment, actor_average=heads.AVERAGE, **(HEAD if method.head else {})),
            options=standard and replace(standard, augment=augment, actor_average=heads.AVERAGE, **method.options), seed=seed,
            reward=RewardLabel.of(*method.rewards), **seen,
        )  # fmt: skip

    def _train(self, cell: Cell, method: Method, look: ptr_look.Looking | None, demos: ptr_data.Demos) -> None:
        source, run = self._robot_data(method, look), self.run_of(cell)
        settings, scale = self._settings(method, source, cell.seed), self.scale
        if method.how != "finetune":
            ratio = method.ratio if method.how == "joint" else 0.0
            wanted = Target(demos.train, demos.judges, ratio, demos.train.episodes.task)
            total = scale.pretraining + scale.finetuning
            pretrain.pretrain_with(
                settings, source if ratio else demos.train, run, steps=total, checkpoint_every=total // scale.checkpoints,
                resume=True, target=wanted,
            )  # fmt: skip
            return
        start = self._start(method.start or cell.method, source, cell.seed)
        changes: dict[str, Any] = {"ptr": settings.ptr} if method.algorithm == "ptr" else {}
        if method.algorithm == "awbc":
            options = finetune.weighted_by_critic_of(start, settings)
            changes = {
                "algorithm": "awbc",
                "options": replace(options, **EVEN, actor_average=heads.AVERAGE),
            }
        steps = scale.finetuning + (scale.pretraining if method.whole else 0)
        finetune.finetune_with(
            start, demos.train, demos.judges, source, run, mixing_ratio=method.ratio, steps=steps, seed=cell.seed,
            checkpoint_every=steps // scale.checkpoints, resume=True, changes=changes,
        )  # fmt: skip

    def _start(self, name: str, source: EpisodeSource, seed: int) -> Path:
        """The pretrained run of a method, which all targets of a seed share: one process makes it, others wait."""
        run, steps = self.out / "runs" / self.version / f"pretrained-{name}-{seed}", self.scale.pretraining
        settings = self._settings(METHODS[name], source, seed)
        with alone(run, f"the pretrained run of {name}, seed {seed}"):
            done = checkpoint.steps(run)
            if not done or done[-1] < steps:
                pretrain.pretrain_with(settings, source, run, steps=steps, checkpoint_every=steps // 2, resume=True)
        return run

    # Judging.

    def _act(self, run: Path, step: int, cell: Cell, look: ptr_look.Looking | None) -> list[bool]:
        """Success from each start; the same starts for all methods of a seed."""
        folder = checkpoint.folder_of(run, step)
        acting: PolicyFactory
        if self.version in ptr_data.VIEWS:
            acting = ptr_data.VIEWS[self.version][1](folder)
        else:
            acting = policy_factory(folder, cell.task) if look is None else ptr_look.acting(folder, look)
        cameras, size = ptr_data.cameras_of(self._recorded), ptr_data.size_of(self._recorded)
        play: Callable[..., Any] = partial(rollouts, acting, cell.task, workers=1, camera=cameras, image_size=size)
        found = evaluate(play, task=cell.task, episodes=self.scale.episodes, seed=cell.seed, name=cell.name)
        torch.set_num_threads(1)
        return [bool(result.success) for result in found.results]

    @staticmethod
    def _judged(run: Path, rates: Mapping[int, list[bool]]) -> list[dict[str, Any]]:
        """What selection saw of each checkpoint, and how often it succeeded where that was asked for."""
        return [
            {"step": s.step, "rise": s.rise, "action_error": s.action_error, "successes": sum(rates[s.step]) if s.step in rates else None}
            for s in read_scores(run)
        ]  # fmt: skip
