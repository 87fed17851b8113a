"""``robot-pt data index | inspect | export | cache | upload | repair``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from robot_pt.cli.learning import ReadingOptions
from robot_pt.cli.verb import PathArgument
from robot_pt.errors import UserError


@dataclass(kw_only=True)
class _OneDataSet:
    path: PathArgument
    """Folder of the data set: <name>/<version> as TFDS lays it out, a DemoStore, or videos (Ego4D, captioned, plain)."""
    mapping: Path | None = None
    """TOML file that maps the columns of a data set robot-pt does not know, or says how videos are read (data/README.md)."""
    skip_corrupt: bool = False
    """Leave damaged records out and name them, instead of stopping."""
    json: bool = False
    """Print the result as one JSON object on the last line."""


@dataclass(kw_only=True)
class DataIndex(_OneDataSet):
    """Build the index of an RLDS data set or of a folder of videos once, so that training opens it in well under a second."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import datasets

        return datasets.index(self.path, mapping=self.mapping, skip_corrupt=self.skip_corrupt)


@dataclass(kw_only=True)
class DataInspect(_OneDataSet):
    """Say what a data set holds: episodes, cameras, units, ranges, tasks, successes and what looks wrong."""

    labels: str = "newest"
    """Labels given later to a demo store (`robot-pt reward label`) that hold: newest, none, or the id of a pass."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import datasets

        return datasets.inspect(self.path, mapping=self.mapping, skip_corrupt=self.skip_corrupt, labels=self.labels)


@dataclass(kw_only=True)
class DataExport:
    """Write a data set as RLDS (TFDS) or LeRobot v3, for tools that read those."""

    path: PathArgument
    """Folder of the data set to read."""
    out: Path
    """Folder to write; it must not exist yet."""
    format: Literal["rlds", "lerobot"] = "rlds"
    """rlds: TFDS folder with TFRecord shards; lerobot: LeRobot v3 parquet and MP4."""
    name: str = "robot_pt_demos"
    """Name of the data set that is written."""
    split: str = "train"
    """Split to read."""
    reading: Annotated[ReadingOptions, tyro.conf.arg(name="")] = field(default_factory=ReadingOptions)
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import datasets

        return datasets.export(
            self.path, self.out, format=self.format, name=self.name, split=self.split,
            reading=self.reading.to_reading(),
        )  # fmt: skip


@dataclass(kw_only=True)
class DataCache:
    """Decode a camera once at training resolution: random access is then a memory map (optional, costs disk)."""

    path: PathArgument
    """Folder of the data set to read."""
    out: Path
    """Folder to write."""
    size: int = 128
    """Height and width of the cached frames, in pixels."""
    encoding: Literal["raw", "jpeg"] = "raw"
    """raw: read at memory speed; jpeg: a tenth of the disk, decoded when read."""
    split: str = "train"
    """Split to read."""
    reading: Annotated[ReadingOptions, tyro.conf.arg(name="")] = field(default_factory=ReadingOptions)
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes import datasets

        return datasets.cache(
            self.path, self.out, size=self.size, split=self.split, encoding=self.encoding,
            reading=self.reading.to_reading(),
        )  # fmt: skip


@dataclass(kw_only=True)
class DataUpload:
    """Copy a demo store's whole episodes and labels to a URL, where `robot-pt online --follow URL` on another machine finds them."""

    path: PathArgument
    """The DemoStore, such as the folder of a robot's recorder, which may go on recording."""
    to: str
    """URL that fsspec opens: s3://bucket/demos, gs://..., file:///mnt/demos."""
    every_s: float = 0.0
    """Look for further episodes that often, in seconds, until Ctrl-C; 0: upload once."""
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes.upload import upload

        return upload(self.path, self.to, every_s=self.every_s)


@dataclass(kw_only=True)
class DataRepair:
    """Check every byte and frame of a demo store, set damaged episodes aside with their reasons, and build its index anew."""

    path: PathArgument
    """The DemoStore; what is damaged moves to its folder quarantine/, nothing is deleted."""
    out: Path | None = None
    """Folder to write the sound episodes and their labels to instead; it must not exist yet, and the store stays as it is."""
    json: bool = False
    """Print the result as one JSON object on the last line."""

    def run(self) -> dict[str, Any]:
        from robot_pt.recipes.repair import repair

        return repair(self.path, self.out)


@dataclass(kw_only=True)
class DataGroup:
    """index | inspect | export | cache | upload | repair a data set."""

    json: bool = False

    def run(self) -> dict[str, Any]:
        raise UserError(
            "`robot-pt data` needs one of index, inspect, export, cache, upload, repair; try `robot-pt data --help`."
        )
