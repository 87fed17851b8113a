"""``robot-pt collect | evaluate``: what runs in simulation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from robot_pt.cli.verb import PathArguments
from robot_pt.errors import UserError


@dataclass(kw_only=True)
class Collect:
    """Collect scripted demonstrations in simulation into a DemoStore. `--list` names the tasks."""

    task: str = ""
    """Task name, e.g. lift-red; see --list."""
    scene: int | None = None
    """Of a kitchen task: which kitchen, see --list."""
    episodes: int = 10
    """How many episodes to record."""
    out: Path = Path("demos")
    """DemoStore folder; episodes are appended when it exists. RLDS: a folder that does not exist yet."""
    format: Literal["demos", "rlds"] = "demos"
    """demos: a DemoStore, written episode by episode; rlds: TFRecords as TFDS lays them out, written when all is recorded."""
    quality: Literal["clean", "mixed"] = "clean"
    """clean: the expert as it is; mixed: a quarter clean, the rest noisy, hesitant, with a second try, or failing (three in ten), as robots
    produce it."""
    camera: tuple[Literal["primary", "secondary", "wrist", "none"], ...] = ("primary",)
    """Camera roles to record. none: the state alone, with the positions of the scene's objects; nothing is rendered."""
    image_size: int = 64
    """Height and width of the recorded frames, in pixels."""
    workers: int = 0
    """Parallel simulators; 0 means one per core."""
    seed: int = 0
    """Seed of the first episode; episode i uses seed + i."""
    list: bool = False
    """Name the tasks and stop."""
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import collect

        if self.list:
            return collect.listed()
        if not self.task:
            raise UserError(
                "robot-pt collect needs --task, what is to be done; robot-pt collect --list names the tasks."
            )
        record = collect.collect_rlds if self.format == "rlds" else collect.collect
        return record(
            collect.in_scene(self.task, self.scene), self.episodes, self.out, quality=self.quality, image_size=self.image_size,
            workers=self.workers, seed=self.seed, cameras=_roles(self.camera),
        )  # fmt: skip


def _roles(camera: tuple[str, ...]) -> tuple[str, ...]:
    if "none" in camera and len(camera) > 1:
        raise UserError(f"--camera none records no camera; given {' '.join(camera)}: leave none or the others out.")
    return () if camera == ("none",) else camera


@dataclass(kw_only=True)
class Evaluate:
    """Run a policy in simulation and report its success rate with a 95 % interval; two runs are compared on the same seeds."""

    runs: PathArguments
    """One RUN, or two to compare."""
    task: str
    """Task name; `robot-pt collect --list` names them."""
    scene: int | None = None
    """Of a kitchen task: which kitchen."""
    known_as: str | None = None
    """Name that a RUN has for the task, where it is not the simulator's: 'put carrot on plate' of one trained on BridgeData."""
    episodes: int = 20
    """Episodes, each from its own start."""
    seed: int = 0
    """Which set of starts: evaluations with one seed meet the same starts, with different seeds none in common."""
    out: Path | None = None
    """Folder for episodes.jsonl, videos and report.html; default RUN/evaluation/TASK."""
    workers: int = 0
    """Parallel simulators; 0 means one per core."""
    videos: bool = True
    """Write an MP4 of the rollouts."""
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import collect, evaluate

        return evaluate.evaluate_runs(
            self.runs, collect.in_scene(self.task, self.scene), episodes=self.episodes, seed=self.seed, out=self.out,
            workers=self.workers, videos=self.videos, known_as=self.known_as,
        )  # fmt: skip
