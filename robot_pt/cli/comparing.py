"""``robot-pt probe | compare``: what frozen encoders hold, and which objective helps at which distance."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from robot_pt.cli.learning import ReadingOptions
from robot_pt.cli.verb import PathArguments


@dataclass(kw_only=True)
class Probe:
    """Say what frozen encoders hold, beside random ones: where objects and the tool are, which frame is later, other views. No robot."""

    runs: PathArguments
    """RUNs with an encoder: of `pretrain --objective`, or of a policy."""
    data: tuple[Path, ...]
    """Episodes to probe on; those of `robot-pt collect` also say where objects are."""
    out: Path | None = None
    """Folder for features, results and report.html; default RUN/probe. What is there is not computed again."""
    camera: str = ""
    """Camera role to look through; default: the one the encoder was trained for."""
    other_camera: str = "auto"
    """Second camera, to find the same moment in; auto: the first other one there is."""
    controls: int = 1
    """Random encoders beside."""
    permuted: bool = False
    """Also the first encoder with its weights shuffled within each channel: it should be as bad as a random one."""
    seed: int = 0
    """Seed of folds and pairs."""
    reading: Annotated[ReadingOptions, tyro.conf.arg(name="")] = field(default_factory=ReadingOptions)
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import probe

        return probe.probe(
            self.runs, self.data, out=self.out, camera=self.camera, other_camera=self.other_camera, controls=self.controls,
            permuted=self.permuted, seed=self.seed, reading=self.reading.to_reading(),
        )  # fmt: skip


@dataclass(kw_only=True)
class Compare:
    """Compare objectives by what their frozen encoders are worth to policies, near to and far from the pretraining data, in simulation."""

    objectives: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Objectives to pretrain by; none: all. `robot-pt pretrain --help` names them."""
    out: Path = Path("runs/compare")
    """Folder for everything; the same command goes on where it stopped, cell by cell."""
    runs: tuple[Path, ...] = ()
    """RUNs whose encoders are compared too, as they are."""
    protocol: Path | None = None
    """JSON file with pretraining data, tasks by distance and budgets, or one of the project: table_top (default), kitchen."""
    seeds: int | None = None
    """Seeds of pretraining, demonstrations, heads and evaluation starts; default: 3, with --quick 1."""
    demos: tuple[int, ...] = ()
    """Demonstrations a head learns from; default: the protocol's."""
    online: int | None = None
    """Episodes of RL after imitation; default: the protocol's, 0 for none."""
    captions: Path | None = None
    """For r3m: an .npz of `captions` and `features`, as a text encoder of yours gave them; without it words are hashed."""
    permuted: bool = False
    """Also the first objective's encoder with its weights shuffled: the benchmark's own test."""
    workers: int = 0
    """Parallel simulators; 0 means one per core. 1 keeps its simulator from cell to cell, others start anew for each."""
    quick: bool = False
    """A tenth of everything that is not given and one seed, in minutes: does it run?"""
    table: bool = False
    """Run nothing, draw the table from what is there."""
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import compare

        return compare.compare(
            self.objectives, self.out, runs=self.runs, protocol=self.protocol, seeds=self.seeds, demos=self.demos, online=self.online,
            captions=self.captions, permuted=self.permuted, workers=self.workers, quick=self.quick, table=self.table,
        )  # fmt: skip
