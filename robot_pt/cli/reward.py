"""``robot-pt reward train | check | label``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from robot_pt.cli.learning import ReadingOptions
from robot_pt.cli.verb import PathArgument
from robot_pt.errors import UserError


@dataclass(kw_only=True)
class _Frames:
    data: tuple[Path, ...]
    """Data sets whose episodes say whether they succeeded; or tables of pictures (.csv: image, success, episode), or folders with success/ and failure/."""
    camera: str = "primary"
    """Camera role to look through."""
    final_steps: int | None = None
    """Last frames of a successful episode that show success; default 3, or as RUN was trained."""
    early_share: float | None = None
    """First share of a successful episode that shows none yet, what lies between is left out; default 0.5, or as RUN was trained."""
    threshold: float | None = None
    """Probability from which a frame counts as success."""
    precision: float | None = None
    """Choose the least threshold that reaches this precision on the judging frames, instead of --threshold."""
    reading: Annotated[ReadingOptions, tyro.conf.arg(name="")] = field(default_factory=ReadingOptions)
    json: bool = False
    """Print the result as one JSON object on the last line."""


@dataclass(kw_only=True)
class RewardTrain(_Frames):
    """Train a small success classifier on labelled frames; a quarter of the episodes is held out and judges it."""

    out: Path
    """RUN folder: the classifier, config.json, metrics.jsonl, report.html."""
    encoder: str = "auto"
    """small | resnet18 | resnet34 | resnet50 | vit_tiny | vit_small | vit_base | RUN (its encoder); auto: resnet18 with a GPU, small without."""
    freeze: bool = False
    """Leave the encoder as it is and train the last layers alone; for --encoder RUN."""
    image_size: int = 0
    """Training resolution in pixels; 0: that of the RUN, else 64."""
    steps: int = 1000
    """At most this many updates; it stops earlier when the held-out frames say so."""
    batch_size: int = 64
    """Frames per update, half of them positive."""
    learning_rate: float = 3e-4
    held_out: float = 0.25
    """Share of the episodes held out."""
    needed: int = 0
    """Success needs this many ... (0: 2, or as many as --final-steps)"""
    window: int = 0
    """... of this many consecutive frames at or above the threshold (0: 3, or as many as --final-steps)."""
    seed: int = 0
    """Seed of the split, initialisation and sampling."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import reward
        from robot_pt.success.training import TrainingConfig

        config = TrainingConfig(
            steps=self.steps, batch_size=self.batch_size, learning_rate=self.learning_rate, held_out=self.held_out, freeze=self.freeze,
            seed=self.seed,
        )  # fmt: skip
        return reward.train(
            _asked(self),
            self.out,
            config,
            encoder=self.encoder,
            image_size=self.image_size,
            needed=self.needed,
            window=self.window,
        )


@dataclass(kw_only=True)
class RewardCheck(_Frames):
    """Count what a classifier gets right on episodes it was not trained on: precision, recall, F1, intervals, worst pictures."""

    run_: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(name="run")]
    """RUN of `robot-pt reward train`."""
    out: Path | None = None
    """Page to write; default RUN/check.html."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import reward_check

        return reward_check.check(self.run_, _asked(self), self.out or self.run_ / "check.html")


@dataclass(kw_only=True)
class RewardLabel:
    """Label the episodes of a DemoStore anew, beside them: no episode is rewritten, readers take the newest labels."""

    store: PathArgument
    """DemoStore whose episodes are labelled."""
    by: Path | None = None
    """RUN of `robot-pt reward train` that judges every episode."""
    csv: Path | None = None
    """Table with the columns episode and success (true, false, unknown)."""
    success: tuple[str, ...] = ()
    """Ids of episodes that succeeded."""
    failure: tuple[str, ...] = ()
    """Ids of episodes that failed."""
    threshold: float | None = None
    """With --by: probability from which a frame counts, instead of the RUN's own."""
    rewards: bool = False
    """With --by: give every step a reward too, 1 where the classifier sees success and 0 elsewhere."""
    base: str = "newest"
    """Labels that go on to hold for episodes this pass leaves alone: newest, none, or the id of a pass."""
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import reward_label

        return reward_label.label(
            self.store, by=self.by, table=self.csv, success=self.success, failure=self.failure, threshold=self.threshold,
            rewards=self.rewards, base=self.base,
        )  # fmt: skip


@dataclass(kw_only=True)
class RewardGroup:
    """Train, check and use a success classifier: train | check | label."""

    json: bool = False

    def run(self) -> dict[str, Any]:
        raise UserError("`robot-pt reward` needs one of train, check, label; try `robot-pt reward --help`.")


def _asked(verb: _Frames) -> Any:
    from robot_pt.recipes.reward import Asked

    return Asked(
        data=verb.data, camera=verb.camera, final_steps=verb.final_steps, early_share=verb.early_share, threshold=verb.threshold,
        precision=verb.precision, reading=verb.reading.to_reading(),
    )  # fmt: skip
