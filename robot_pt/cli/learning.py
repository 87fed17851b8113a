"""``robot-pt pretrain | finetune``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from robot_pt.errors import UserError
from robot_pt.recipes.algorithms import ALGORITHMS, Algorithm
from robot_pt.recipes.objectives import OBJECTIVES, Objective

if TYPE_CHECKING:
    from robot_pt.recipes.datasets import Reading


Domain = Literal["antmaze", "adroit_binary", "franka_kitchen", "visual_manipulation", "ours"]
"""`recipes.cal_ql_domains.Name`, which takes torch to read."""


@dataclass(kw_only=True)
class ReadingOptions:
    mapping: Path | None = None
    """TOML file that maps the columns of a data set robot-pt does not know (data/README.md shows one); of several, those without an entry."""
    action_source: Literal["commanded", "achieved"] | None = None
    """Actions: as commanded, or as achieved by the arm (differences of measured poses); default: what the data keeps."""
    skip_corrupt: bool = False
    """Leave damaged records out and name them."""
    labels: str = "newest"
    """Labels given later to a demo store (`robot-pt reward label`): newest, none, or the id of a pass."""

    def to_reading(self) -> Reading:
        from robot_pt.recipes.datasets import Reading

        return Reading(
            mapping=self.mapping, action_source=self.action_source, skip_corrupt=self.skip_corrupt, labels=self.labels
        )


@dataclass(kw_only=True)
class TrainingOptions(ReadingOptions):
    mixed_versions: bool = False
    """Train on episodes of several versions of a simulator together, though the same actions end elsewhere in each."""

    def to_reading(self) -> Reading:
        return replace(super().to_reading(), mixed_versions=self.mixed_versions)


@dataclass(kw_only=True)
class Pretrain:
    """Pretrain a policy, a critic and an encoder offline on robot data (PTR's CQL, or BC), or an encoder alone by an --objective."""

    data: tuple[Path, ...]
    """Data sets to train on: RLDS folders or DemoStores; with --objective also folders of video."""
    out: Path
    """RUN folder: checkpoints, config.json, metrics.jsonl, report.html."""
    algorithm: Algorithm | None = None
    """ptr (default): CQL with PTR's settings; bc: behaviour cloning on the same network; the others: their published settings."""
    objective: Objective | None = None
    """Train an image encoder instead, for a later --encoder RUN: from frames (curl, mae), their order (atc, siammae, r3m, vip, icvf),
    actions (spr, sgi, idm) or rewards (decision_transformer, multi_task_dt, distributional_cql); the others mean --algorithm."""
    domain: Domain | None = None
    """Cal-QL's settings (and CQL's, with --algorithm cql) as published for a domain: networks, weight or multiplier, rewards from the data's
    own, discount, batch, steps, and the mixing of a later robot-pt online. visual_manipulation and ours are starting points of this project."""
    encoder: str = "auto"
    """small | resnet18 | resnet34 | resnet50 | vit_tiny | vit_small | vit_base | RUN of any kind | timm:NAME; auto: resnet34 with a
    GPU, small without."""
    encoder_weights: Path | None = None
    """For timm:NAME: a .safetensors file of that model to start from; without it the encoder starts from random weights."""
    steps: int = 160_000
    """Gradient updates (the paper's schedule pretrains 160,000)."""
    batch_size: int = 64
    """Transitions per update, over all processes."""
    image_size: int = 0
    """Training resolution in pixels; 0: 128, or the stored size where that is smaller."""
    freeze_encoder: bool = False
    """Leave the image encoder as it starts, with --encoder RUN or --encoder-weights: features of R3M, MAE and the like."""
    encoder_norm: Literal["group", "batch"] = "group"
    """Normalisation in small and the ResNets; batch (running statistics, which tie the samples of a batch together) is PTR's ablation."""
    pooling: Literal["spatial_embeddings", "spatial_softmax", "average"] = "spatial_embeddings"
    """How the encoder's map becomes a vector: PTR's learned embeddings; each channel's mean position or mean value are its ablations."""
    critic_values: Literal["scalar", "hl_gauss", "c51"] = "scalar"
    """What a critic learns: the value, or its distribution by cross-entropy (HL-Gauss, 128 bins; C51, 51) over the returns that the
    rewards can give, -25 to 10 as PTR has them."""
    rewards: tuple[float, float] = (-1.0, 10.0)
    """Of a step, and of the last three of a success (PTR: -1 10; its ablation: 0 1)."""
    discount: float = 0.96
    """Of the reward one control step later, from 0 up to, not including, 1 (PTR: 0.96; a --domain has its own)."""
    camera: str = "primary"
    """Camera role to train on; none: learn from the state alone."""
    language: bool = False
    """Condition on the instruction's words beside the task id."""
    options: tuple[str, ...] = ()
    """NAME=VALUE for fields of the algorithm's or objective's config, such as layers=4 width=72 for bet, or optim.learning_rate=1e-4."""
    captions: Path | None = None
    """For --objective r3m: an .npz of `captions` and `features`, as a text encoder of yours gave them; without it words are hashed."""
    route: Literal["max_q", "advantage_weighted"] = "max_q"
    """How the policy is taken from the critic: PTR's own, or advantage-weighted (faster on small budgets)."""
    bc_warm_start: int = 0
    """Updates in which the actor clones behaviour before it follows the critic."""
    assume_success: bool = False
    """Treat episodes without a success label as successful; without it they get no positive reward."""
    target: Path | None = None
    """Joint training: demonstrations of a further task, mixed in from the first update; those left over choose the checkpoint."""
    demos: int = 10
    """How many demonstrations of --target to train on."""
    mixing_ratio: float = 0.9
    """Share of --data in a batch beside --target; 0: learn from the target alone."""
    checkpoint_every: int = 0
    """Updates between checkpoints; 0: a twentieth of the steps, at most 20,000."""
    bf16: bool = False
    """Run the networks in bfloat16: less memory, and faster on a GPU; losses stay in float32."""
    seed: int = 0
    """Seed of sampling, initialisation and all noise."""
    resume: bool = False
    """Continue the run in --out from its latest checkpoint."""
    reading: Annotated[TrainingOptions, tyro.conf.arg(name="")] = field(default_factory=TrainingOptions)
    json: bool = False
    """Print the result as one JSON object on the last line."""
    given: frozenset[str] = field(init=False, default=frozenset())
    """No option: those that the command line names, also with the value they would have anyway. They stand above what --domain says."""

    def run(self) -> dict[str, Any]:
        if self.algorithm is not None and self.objective is not None:
            raise UserError(
                f"--algorithm {self.algorithm} trains a policy and --objective {self.objective} an encoder; give one of the two."
            )
        if self.objective in OBJECTIVES:
            return self._represent()
        if self.captions is not None:
            raise UserError(
                "--captions gives features of sentences to --objective r3m; leave it out, or choose that objective."
            )
        from robot_pt.recipes import pretrain

        algorithm: Any = self.algorithm or self.objective or ("cal_ql" if self.domain else "ptr")
        steps, batch_size = self._amounts()
        if algorithm != "ptr":
            self._refuse(("route", "bc_warm_start"), f"shapes PTR's policy and {algorithm} has its own")
        if ALGORITHMS[algorithm].imitates:
            self._refuse(("rewards", "discount"), f"is what a critic learns from and {algorithm} has none")
            self._refuse(("critic_values",), f"is about a critic and {algorithm} has none")
        if self.domain is not None:
            self._refuse(("rewards",), f"is decided by --domain {self.domain}")
        if self.target is None:
            self._refuse(("demos", "mixing_ratio"), "is about --target, which was not given")
        if self.camera == "none":
            images = ("encoder", "encoder_weights", "encoder_norm", "pooling", "image_size", "freeze_encoder")
            self._refuse(images, "is about images and --camera none learns from the state alone")
        return pretrain.pretrain(
            self.data, self.out, algorithm=algorithm, encoder=self.encoder, encoder_weights=self.encoder_weights, steps=steps,
            batch_size=batch_size, image_size=self.image_size, camera=self.camera, language=self.language, domain=self.domain,
            route=self.route, bc_warm_start=self.bc_warm_start, assume_success=self.assume_success, target=self.target, demos=self.demos,
            mixing_ratio=self.mixing_ratio, freeze_encoder=self.freeze_encoder,
            checkpoint_every=self.checkpoint_every, bf16=self.bf16, seed=self.seed, resume=self.resume,
            reading=self.reading.to_reading(), options=self.options, encoder_norm=self.encoder_norm, pooling=self.pooling,
            rewards=self.rewards, discount=self.discount if "discount" in self.given else None, critic_values=self.critic_values,
        )  # fmt: skip

    def _amounts(self) -> tuple[int, int]:
        """(steps, batch size): the domain's where none were given."""
        if self.domain is None:
            return self.steps, self.batch_size
        from robot_pt.recipes import cal_ql_domains

        domain = cal_ql_domains.named(self.domain)
        steps = self.steps if "steps" in self.given else domain.offline_steps
        return steps, self.batch_size if "batch_size" in self.given else domain.plan.batch_size

    def _represent(self) -> dict[str, Any]:
        from robot_pt.recipes import represent

        policy = (
            "domain", "language", "route", "bc_warm_start", "target", "demos", "mixing_ratio", "freeze_encoder", "encoder_norm", "pooling",
            "rewards", "discount", "critic_values",
        )  # fmt: skip
        self._refuse(policy, f"shapes a policy and --objective {self.objective} trains none")
        objective: Any = self.objective
        return represent.represent(
            self.data, self.out, objective=objective, encoder=self.encoder, encoder_weights=self.encoder_weights, steps=self.steps,
            batch_size=self.batch_size, image_size=self.image_size, camera=self.camera, assume_success=self.assume_success,
            captions=self.captions, checkpoint_every=self.checkpoint_every, bf16=self.bf16, seed=self.seed, resume=self.resume,
            reading=self.reading.to_reading(), options=self.options,
        )  # fmt: skip

    def _refuse(self, options: Sequence[str], why: str) -> None:
        """Raise UserError for one of these that was given and would change nothing."""
        for name in options:
            if name in self.given:
                option = f"--{name.replace('_', '-')}"
                raise UserError(f"{option} {why}; leave {option} out.")


@dataclass(kw_only=True)
class Finetune:
    """Finetune a pretrained run on a few demonstrations of a new task, mixed with the pretraining data."""

    from_: Annotated[Path, tyro.conf.arg(name="from")]
    """RUN to start from: its selected checkpoint, or the newest that still has its optimiser state."""
    target: Path
    """Demonstrations of the new task."""
    data: tuple[Path, ...]
    """Pretraining data to keep mixing in."""
    out: Path
    """RUN folder to write."""
    demos: int = 10
    """How many target demonstrations to train on; the others are held out for checkpoint selection."""
    mixing_ratio: float = 0.9
    """Share of pretraining data in a batch (PTR: 0.9)."""
    steps: int = 20_000
    """Gradient updates after the switch."""
    algorithm: Literal["awbc"] | None = None
    """Default: that of --from. awbc: a fresh actor imitates, each action weighted by the critic of --from, which stays as it is."""
    freeze_encoder: bool = False
    """Leave the image encoders as they are."""
    checkpoint_every: int = 0
    """Updates between checkpoints; 0: a tenth of the steps, at most 5,000."""
    assume_success: bool = False
    """Treat episodes without a success label as successful."""
    seed: int = 0
    """Seed of sampling and noise."""
    resume: bool = False
    """Continue the run in --out from its latest checkpoint."""
    reading: Annotated[TrainingOptions, tyro.conf.arg(name="")] = field(default_factory=TrainingOptions)
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import finetune

        return finetune.finetune(
            self.from_, self.target, self.data, self.out, demos=self.demos, mixing_ratio=self.mixing_ratio,
            steps=self.steps, checkpoint_every=self.checkpoint_every, assume_success=self.assume_success,
            algorithm=self.algorithm, freeze_encoder=self.freeze_encoder,
            seed=self.seed, resume=self.resume,
            reading=self.reading.to_reading(),
        )  # fmt: skip
