"""What a recorder keeps per step beside the canonical columns, and under which name each format shows it.

    recorded             RLDS step                       LeRobot feature                 values
    requested_actions    requested_action                requested_action                (A,) float32, before limits
    joint_positions      observation/joint_position      observation.joint_position      (J,) float32 [rad]
    capture_time_ns      observation/capture_time_ns     observation.capture_time_ns     int64 [ns], the recorder's clock
    operator             operator                        operator                        text: who drove this step

None of them has a place in an EpisodeSource, so `robot_pt_data.open` leaves them where they are; tensorflow-datasets,
LeRobot and whoever reads a DemoStore's episodes see them.
"""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any, NamedTuple, Protocol, runtime_checkable

from numpy.typing import NDArray

from robot_pt.sources import EpisodeSource, leaf


class Column(NamedTuple):
    """One recorded column in the written formats."""

    rlds: str  # path below "steps"
    dtype: str  # numpy name; "str" for text
    meaning: str

    @property
    def lerobot(self) -> str:
        return self.rlds.replace("/", ".")


COLUMNS = {
    "requested_actions": Column("requested_action", "float32", "What was asked for before limits; `action` was sent."),
    "joint_positions": Column("observation/joint_position", "float32", "Measured joint angles [rad]."),
    "capture_time_ns": Column(
        "observation/capture_time_ns", "int64", "When the images were taken [ns], recorder's clock."
    ),
    "operator": Column("operator", "str", "Who drove: policy, teleop, intervention, scripted or unknown."),
}


@runtime_checkable
class Recording(Protocol):
    """A source that keeps such columns; `robot_pt.store_source.DemoSource` is one. T steps of the episode of `step`."""

    def recorded_shapes(self, step: int) -> dict[str, tuple[int, ...]]:
        """Name -> shape of one step."""
        ...

    def recorded_column(self, step: int, name: str) -> NDArray[Any]:
        """(T, ...) one of them."""
        ...


def recorded_everywhere(source: EpisodeSource) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the columns that every episode has, alike; warns of those that only some have."""
    seen: Counter[tuple[str, tuple[int, ...]]] = Counter()
    table = source.episodes
    for start in table.start.tolist():
        below, first = leaf(source, start)
        if isinstance(below, Recording):
            seen.update((name, shape) for name, shape in below.recorded_shapes(first).items() if name in COLUMNS)
    whole = {name: shape for (name, shape), count in seen.items() if count == len(table)}
    for name in sorted({name for name, _ in seen} - set(whole)):
        counts = {shape: count for (other, shape), count in seen.items() if other == name}
        warnings.warn(
            f"{name} is left out of the export: {sum(counts.values())} of {len(table)} episodes have it, with the shapes "
            f"{sorted(counts)} per step; export those episodes apart to keep it.",
            UserWarning,
            stacklevel=2,
        )
    return {name: whole[name] for name in COLUMNS if name in whole}
