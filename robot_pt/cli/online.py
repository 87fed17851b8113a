"""``robot-pt online``: improving on the job."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from robot_pt.cli.learning import TrainingOptions
from robot_pt.errors import UserError
from robot_pt.recipes.algorithms import Algorithm


@dataclass(kw_only=True)
class Online:
    """Let a pretrained policy collect and improve it from what it did: actors in processes of their own, the learner here."""

    from_: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """RUN to start from: its selected checkpoint, or the newest that still has its optimiser state."""
    task: str = ""
    """Simulated task the actors play; `robot-pt collect --list` names them."""
    out: Path | None = None
    """RUN folder to write: episodes, versions, checkpoints, heartbeats, report.html."""
    data: tuple[Path, ...] = ()
    """Data to keep mixing in; none: learn from online episodes alone."""
    target: Path | None = None
    """Demonstrations of the task, mixed in as a part of their own (with --target-share)."""
    follow: tuple[str, ...] = ()
    """DemoStores that others write, such as a robot's recorder: folders, or URLs that fsspec opens (s3://, gs://, ...)."""
    algorithm: Algorithm | None = None
    """Default: the algorithm of --from."""
    freeze_encoder: bool = False
    """Learn on what the image encoders of --from make of each frame, computed once: updates take milliseconds, without augmentation.
    The policy still takes frames. So it is always where --from was trained with it."""
    options: tuple[str, ...] = ()
    """NAME=VALUE for fields of the algorithm's config, such as weight=1 target_gap=none initial_multiplier=1 for cal_ql."""
    episodes: int = 200
    """Episodes of all actors together."""
    actors: int = 1
    """Actor processes; 0 with --follow, where a robot brings the episodes."""
    utd: float | None = None
    """Updates per environment step; default: the algorithm's."""
    warm_up: int | None = None
    """Environment steps before the first update; default: the algorithm's."""
    alternation: Literal["trajectory", "step"] = "trajectory"
    """trajectory: an episode earns its updates when it is whole; step: as its steps happen."""
    ahead: int = 1
    """Episodes an actor may be ahead of what the learner has learned from; 0 alternates strictly."""
    offline_share: float | None = None
    """Share of --data in a batch; default: the algorithm's."""
    target_share: float = 0.0
    """Share of --target in a batch."""
    intervention_share: float = 0.0
    """Share of steps in which a person took over; 0 counts them as online steps."""
    help_after: float | None = None
    """Simulated actors: so many seconds into an episode a scripted operator, who knows the true state, takes over where the robot holds
    nothing; these steps count as interventions. Default: nobody helps."""
    credit_help: bool = False
    """The policy's own steps before a takeover are worth what the person then reached, and are imitated with it. Default: they are worth
    what a failure is, as the policy was about to fail."""
    batch_size: int | None = None
    """Transitions per update; default: the algorithm's, that of --from for images."""
    noise: float | None = None
    """Exploration noise around the policy's central action, in half ranges; 0: none; default: drawn from the policy."""
    bound_share: float = 1.0
    """Publish no policy with more than this share of its action numbers at their bounds (beyond 0.98 of the range) on stored
    observations: 0.2 refuses one that is there in over a fifth of them, 1 refuses none."""
    max_change: float | None = None
    """Publish no policy whose actions on stored observations differ from those of the serving one by more than this (root mean
    square, in half ranges of each action number, so 2 is the most there is); default: any."""
    judge: Path | None = None
    """RUN of `robot-pt reward train`: its classifier says which episodes succeeded, in simulation instead of the simulator, in stores
    of --follow where nobody said so. With --resume its earlier answers hold."""
    updates: int | None = None
    """End after so many updates."""
    hours: float | None = None
    """End after so long."""
    publish_every: int = 500
    """Updates after which a policy is published though more are owed."""
    checkpoint_every: int = 2000
    """Updates between checkpoints of the learner."""
    assume_success: bool = False
    """Treat episodes without a success label as successful."""
    ray: str = ""
    """Run the actors on a Ray cluster: its address, auto, or local to start one here."""
    seed: int = 0
    """Seed of sampling, noise and starts."""
    resume: bool = False
    """Continue the run in --out, with the same arguments."""
    actor: int | None = None
    """Be actor N of the run in --out instead: on another machine that sees the folder, or after one died."""
    rollback: Path | None = None
    """RUN: serve the version before, and hold it."""
    release: Path | None = None
    """RUN: let the learner publish again after a rollback."""
    reading: Annotated[TrainingOptions, tyro.conf.arg(name="")] = field(default_factory=TrainingOptions)
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import online
        from robot_pt.recipes.online_setup import Wanted

        if self.rollback is not None:
            return online.rollback(self.rollback)
        if self.release is not None:
            return online.release(self.release)
        if self.out is None:
            raise UserError("robot-pt online needs --out, the RUN folder to write.")
        if self.actor is not None:
            return online.act(self.out, self.actor)
        if self.from_ is None:
            raise UserError("robot-pt online needs --from, the RUN to start from; make one with robot-pt pretrain.")
        same = {
            name: getattr(self, name) for name in Wanted.__dataclass_fields__ if name not in ("data", "target", "judge")
        }
        wanted = Wanted(
            **same, data=tuple(map(str, self.data)), target=None if self.target is None else str(self.target),
            judge=None if self.judge is None else str(self.judge),
        )  # fmt: skip
        return online.online(
            self.from_, self.out, wanted, resume=self.resume, reading=self.reading.to_reading(), ray=self.ray
        )
