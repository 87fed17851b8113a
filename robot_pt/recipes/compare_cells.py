"""One cell of a comparison: an encoder, frozen; a head on some demonstrations of a task; its success rate."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from robot_pt.agents import Agent
from robot_pt.comparison import Protocol
from robot_pt.comparison.protocol import Cell, Outcome
from robot_pt.comparison.scores import FROM_SCRATCH, PERMUTED, RANDOM_ACTIONS, RANDOM_FROZEN
from robot_pt.evaluate import PolicyFactory, evaluate
from robot_pt.features import FeatureSource, FeatureTable, Kind
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.recipes import compare_data, heads
from robot_pt.recipes.origins import Origin
from robot_pt.recipes.progress import bar
from robot_pt.results import EpisodeResult
from robot_pt.sources import EpisodeSource, EpisodeView

if TYPE_CHECKING:
    from robot_pt_sim.rollouts import Stage

KIND: Kind = "map"
"""Features of the backbone alone: pooling and bottleneck are for the head to learn, whatever an objective trained of them."""


@dataclass
class Bench:
    """Runs cells; what several of them share is made once. To be closed: a simulator may be kept between cells."""

    protocol: Protocol
    out: Path
    given: Mapping[str, Path]
    """Methods that are runs already."""
    methods: Sequence[str]
    workers: int = 0
    _material: EpisodeSource | None = None
    _demos: dict[str, EpisodeView] = field(default_factory=dict)
    _stage: Stage | None = None

    def close(self) -> None:
        if self._stage is not None:
            self._stage.close()
            self._stage = None

    def __call__(self, cell: Cell) -> Outcome:
        """Run a cell that no other process is at: its policies lie in a folder of its own till it is done."""
        scratch = self.out / f"{Path(cell.file).stem}.under-way"
        shutil.rmtree(scratch, ignore_errors=True)  # of a time that it was cut
        try:
            return self._run(cell, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _run(self, cell: Cell, scratch: Path) -> Outcome:
        began = time.monotonic()
        seconds: dict[str, float] = {}
        if cell.method == RANDOM_ACTIONS:
            return self._rate(heads.RandomActions, cell, "random")
        demos = compare_data.some_of(self._demonstrations(cell.task), cell.demos, cell.seed)
        folder, size = scratch / "policy", (self.protocol.image_size, self.protocol.image_size)
        if cell.method == FROM_SCRATCH:
            heads.imitate(
                demos, folder, updates=self.protocol.scratch_updates, seed=cell.seed, camera=self.protocol.camera, image_size=size,
                encoder=self.protocol.encoder,
            )  # fmt: skip
            seconds["head"] = time.monotonic() - began
            return replace(self._rate(heads.acting(folder, None, KIND), cell, "scratch"), seconds=seconds)
        origin = self.origin(cell.method, cell.seed)
        seconds["encoder"] = time.monotonic() - began
        source = self._features(cell.task, demos, origin)
        agent = heads.imitate(source, folder, updates=self.protocol.head_updates, seed=cell.seed)
        seconds["head"] = time.monotonic() - began - seconds["encoder"]
        rate = self._rate(heads.acting(folder, origin, KIND), cell, "imitation")
        after: int | None = None
        if self.protocol.online_episodes and cell.demos == max(self.protocol.demos):
            after = self._rate(self._improved(cell, source, agent, origin, scratch / "improved"), cell, "rl").successes
        seconds["all"] = time.monotonic() - began
        return replace(rate, online_successes=after, seconds={k: round(v, 1) for k, v in seconds.items()})

    def origin(self, method: str, seed: int) -> Origin:
        """The frozen encoder of a method; pretrains it where it is not there."""
        size = (self.protocol.image_size, self.protocol.image_size)
        if method == RANDOM_FROZEN:
            return Origin("random", EncoderConfig(name=self.protocol.encoder), self.protocol.camera, size, seed=seed)
        if method == PERMUTED:
            return self.origin(self.methods[0], seed).spoilt(seed)
        if method in self.given:
            return Origin.of(self.given[method], self.protocol.camera)
        if self._material is None:
            self._material = compare_data.pretraining_data(self.protocol, self.out)
        return Origin.of(compare_data.pretrained(self.protocol, self.out, method, seed, self._material))

    def _demonstrations(self, task: str) -> EpisodeView:
        if task not in self._demos:
            self._demos[task] = compare_data.demonstrations(self.protocol, self.out, task)
        return self._demos[task]

    def _features(self, task: str, demos: EpisodeView, origin: Origin) -> FeatureSource:
        """Of all demonstrations of the task, so that cells of one encoder share them."""
        whole = self._demonstrations(task)
        table = FeatureTable.of(whole, origin.extractor(), self.out / "features")
        return FeatureSource(demos, table, KIND)

    def _improved(self, cell: Cell, source: FeatureSource, agent: Agent, origin: Origin, folder: Path) -> PolicyFactory:
        """The policy after RL in a simulator of its own."""
        from robot_pt_sim.rollouts import EpisodePlayer

        episodes = self.protocol.online_episodes
        with closing(EpisodePlayer(cell.task, (origin.camera,), origin.image_size)) as play:
            heads.improve(play, cell.task, source, agent, origin, KIND, folder, episodes=episodes, seed=cell.seed)
        return heads.acting(folder, origin, KIND)

    def _rate(self, policy: PolicyFactory, cell: Cell, what: str) -> Outcome:
        """Successes of the same starts for all methods of a seed."""
        episodes, threads = self.protocol.evaluation_episodes, torch.get_num_threads()
        with bar(f"{cell.method} {cell.task}", "episode") as advance:
            count = 0

            def step(_: object) -> None:
                nonlocal count
                count += 1
                advance(count, episodes)

            result = evaluate(
                lambda seeds: self._played(policy, cell.task, seeds),
                task=cell.task, episodes=episodes, seed=cell.seed, name=f"{cell.method} {what}", observe=step,
            )  # fmt: skip
        torch.set_num_threads(threads)
        return Outcome(cell=cell, successes=result.successes, episodes=result.n)

    def _played(self, policy: PolicyFactory, task: str, seeds: Sequence[int]) -> Iterator[EpisodeResult]:
        """With one worker in the simulator of the cell before, if it was of this task: making one takes as long as ten episodes."""
        from robot_pt_sim.rollouts import Stage, rollouts

        camera, size = self.protocol.camera, (self.protocol.image_size, self.protocol.image_size)
        if self.workers != 1:
            return rollouts(policy, task, seeds, workers=self.workers or None, camera=camera, image_size=size)
        self._stage = self._stage or Stage(camera=camera, image_size=size)
        return self._stage(policy, task, seeds)
