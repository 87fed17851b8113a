"""``robot-pt demo | bench``: the whole way in one command, and its speed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from robot_pt.errors import UserError


@dataclass(kw_only=True)
class Demo:
    """Collect, pretrain, finetune on ten demonstrations, evaluate and write a report: the whole way in one command."""

    out: Path = Path("runs/demo")
    """Folder for everything the demo makes; an interrupted demo continues where it stopped."""
    seed: int = 0
    """Seed of everything."""
    minutes: float = 14.0
    """Rough budget after installation; training lengths scale with it."""
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import demo

        return demo.demo(self.out, seed=self.seed, minutes=self.minutes)


@dataclass(kw_only=True)
class Bench:
    """Measure the loader, the update or the policy against its peer, or PTR against other methods, from a checkout (benchmarks/)."""

    what: Annotated[Literal["loader", "update", "policy", "ptr"], tyro.conf.Positional]
    """What to measure; ptr makes PTR's tables on the simulated kitchens, cell by cell."""
    quick: bool = False
    """A shorter run with wider noise; ptr: four methods, two targets, three seeds."""
    minutes: float | None = None
    """Of ptr: start no cell after so long; the next run goes on with what is missing. Default: 85."""
    table: bool = False
    """Of ptr: run nothing, print and draw what is there."""
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import bench

        further = ([] if self.minutes is None else [f"--minutes={self.minutes}"]) + ["--table"] * self.table
        if further and self.what != "ptr":
            raise UserError(
                f"{further[0].partition('=')[0]} is about ptr, which is made cell by cell; leave it out for {self.what}."
            )
        result = bench.bench(self.what, quick=self.quick, further=further)
        if self.what == "ptr":  # its table is printed by then
            picture = result.get("picture")
            result["text"] = f"cells: {result.get('out')}" + (f", picture: {picture}" if picture else "")
        return result
