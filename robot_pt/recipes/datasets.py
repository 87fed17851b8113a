"""`robot-pt data`: index, inspect, export and cache what lies on disk, and open data sets for training."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robot_pt.errors import DataError, UserError
from robot_pt.recipes.objectives import without_actions
from robot_pt.recipes.progress import bar, say, warn
from robot_pt.recipes.sim_versions import together
from robot_pt.relabels import NEWEST
from robot_pt.schema import SUCCESS, UNKNOWN, ActionSource
from robot_pt.simulated import Versions, versions_of
from robot_pt.sources import Concat, EpisodeSource

LARGEST_CACHED = 2048
"""Largest side of a cached frame [pixels]: more is a mistake, no camera of the known data sets has it."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How data sets are read, as the command line says it."""

    mapping: Path | None = None
    action_source: ActionSource | None = None
    skip_corrupt: bool = False
    labels: str = NEWEST
    """Which labels given later to a demo store hold: newest, none, or the id of a pass."""
    mapped: Collection[Path] | None = None
    """The data sets that `mapping` is for; None = all."""
    mixed_versions: bool = False
    """Whether episodes of two versions of a simulator may be trained on together."""

    def of(self, paths: Sequence[Path]) -> Reading:
        """The same for these data sets together: the mapping is for the only one, or for those that do not describe themselves.

        Raises UserError where it is for none of several.
        """
        import robot_pt_data

        if self.mapping is None or len({path.resolve() for path in paths}) < 2:
            return self
        mapped = [path for path in paths if not robot_pt_data.describes_itself(path)]
        if not mapped:
            raise UserError(
                f"--mapping {self.mapping} is for none of {', '.join(map(str, paths))}: each has an entry or a mapping of its own; "
                "leave it out, or keep it as robot_pt_mapping.toml beside the data set it is for."
            )
        return replace(self, mapped=mapped)


def index(path: Path, *, mapping: Path | None = None, skip_corrupt: bool = False) -> dict[str, Any]:
    """Build (or rebuild) the index of `path`; see `robot_pt_data.index`."""
    import robot_pt_data

    with bar("index", "record") as advance:
        report = robot_pt_data.index(path, mapping=mapping, skip_corrupt=skip_corrupt, progress=advance)
    return report.to_json()


def inspect(
    path: Path, *, mapping: Path | None = None, skip_corrupt: bool = False, labels: str = NEWEST
) -> dict[str, Any]:
    """A JSON-able summary of `path`; see `robot_pt_data.inspect`."""
    import robot_pt_data

    return robot_pt_data.inspect(path, mapping=mapping, skip_corrupt=skip_corrupt, labels=labels)


def export(
    path: Path, out: Path, *, format: Literal["rlds", "lerobot"], name: str, split: str, reading: Reading, relative_to: Path | None = None
) -> dict[str, Any]:  # fmt: skip
    """Write one split of `path` in another format, `file_path` counted from `relative_to`; raises DataError when `out` exists."""
    from robot_pt_data.export import export as write

    source = open_one(path, reading, split)
    with bar(f"export {format}", "episode") as advance:
        written = write(
            source, out, format=format, name=name, split=None if split == "all" else split, relative_to=relative_to,
            progress=advance,
        )  # fmt: skip
    return {"out": str(written), "format": format, "episodes": len(source.episodes), "steps": source.episodes.steps}


def cache(
    path: Path, out: Path, *, size: int, split: str, reading: Reading, encoding: Literal["raw", "jpeg"] = "raw"
) -> dict[str, Any]:
    """Decode every camera of one split at `size` x `size` into a cache: a memory map, or JPEGs."""
    import robot_pt_data

    if not 1 <= size <= LARGEST_CACHED:
        raise UserError(f"--size is {size}; give pixels from 1 to {LARGEST_CACHED}.")
    source = open_one(path, reading, split)
    with bar("cache", "frame") as advance:
        robot_pt_data.cache(source, out, size=(size, size), encoding=encoding, progress=advance)
    total = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    return {"out": str(out), "cameras": sorted(source.spec.cameras), "frames": source.episodes.steps, "bytes": total}


def open_all(
    paths: Sequence[Path], *, assume_success: bool, reading: Reading, what: str, own_rewards: bool = False
) -> EpisodeSource:
    """The training splits of `paths` as one source; says loudly what their success labels mean for the rewards.

    `own_rewards`: the data's own are learned from, which labels do not touch.

    Raises DataError where one has no actions that a policy could learn from, MismatchError for two versions of a simulator.
    """
    sources = open_each(paths, reading=reading, what=what)
    together(by_path(paths, sources), reading.mixed_versions)
    for path, source in zip(paths, sources, strict=True):
        if not source.spec.action_names:
            raise DataError(
                f"{path} has no actions, which a policy learns from; give robot data as {what}, or train an encoder on it with "
                f"robot-pt pretrain --objective and one of {', '.join(without_actions())}."
            )
    _say_conventions(paths, sources, what)
    whole = joined(sources)
    if own_rewards:
        found = whole.rewards
        least, most = (float(found.min()), float(found.max())) if len(found) else (0.0, 0.0)
        say(
            f"{what}: {len(whole.episodes)} episodes, {whole.episodes.steps} steps, rewards as recorded, {least:g} to {most:g}."
        )
    else:
        say_success(whole, assume_success, what)
    return whole


def _say_conventions(paths: Sequence[Path], sources: Sequence[EpisodeSource], what: str) -> None:
    """Warns where one motion has other numbers in one part than in another."""
    for name, unit in (("action_source", ""), ("control_hz", " Hz")):
        found = [getattr(source.spec, name) for source in sources]
        if len(set(found)) > 1:
            told = ", ".join(
                f"{v:g}{unit} in {p}" if unit else f"{v} in {p}" for v, p in zip(found, paths, strict=True)
            )
            warn(
                f"the {what} differs in {name}: {told}. The same motion has other numbers there, and the policy is recorded with the first's."
            )


def by_path(paths: Sequence[Path], sources: Sequence[EpisodeSource]) -> dict[str, Versions]:
    """The simulators that recorded each."""
    return {str(path): versions_of(source) for path, source in zip(paths, sources, strict=True)}


def joined(sources: Sequence[EpisodeSource]) -> EpisodeSource:
    """Several as one. Raises MismatchError where their columns differ."""
    return sources[0] if len(sources) == 1 else Concat(sources)


def open_each(paths: Sequence[Path], *, reading: Reading, what: str) -> list[EpisodeSource]:
    """The training splits of `paths`, at least one of them with an episode."""
    if not paths:
        raise DataError(f"no {what} was given; name at least one data set folder.")
    sources: list[EpisodeSource] = [open_one(path, reading) for path in paths]
    if not any(len(source.episodes) for source in sources):
        raise DataError(f"{what} {', '.join(map(str, paths))} holds no episodes; record some or name another folder.")
    return sources


def open_one(path: Path, reading: Reading, split: str = "train") -> EpisodeSource:
    """`robot_pt_data.open` with a bar for the index that the first opening builds."""
    import robot_pt_data

    with bar(f"open {Path(path).name}", "record") as advance:
        return robot_pt_data.open(
            path, split=split, mapping=reading.mapping if reading.mapped is None or path in reading.mapped else None,
            action_source=reading.action_source, skip_corrupt=reading.skip_corrupt, labels=reading.labels,
            progress=advance,
        )  # fmt: skip


def left_out(sources: Sequence[EpisodeSource]) -> list[str]:
    """What was damaged and is not learned from, or was stood in for while it was read: one sentence each."""
    return [
        sentence
        for source in sources
        for sentence in [*getattr(source, "left_out", ()), *getattr(source, "skipped", {}).values()]
    ]


def say_success(source: EpisodeSource, assume_success: bool, what: str) -> None:
    """Say loudly what the success labels mean for the rewards."""
    success = source.episodes.success
    unknown, positive = int(np.sum(success == UNKNOWN)), int(np.sum(success == SUCCESS))
    if unknown and assume_success:
        warn(
            f"--assume-success: {unknown} of {len(success)} episodes of the {what} carry no success label and are TREATED AS SUCCESSFUL."
        )
    elif unknown:
        warn(
            f"{unknown} of {len(success)} episodes of the {what} carry no success label and get NO POSITIVE REWARD; "
            "if they are successful demonstrations, pass --assume-success."
        )
    say(f"{what}: {len(success)} episodes, {source.episodes.steps} steps, {positive} labelled successful.")
