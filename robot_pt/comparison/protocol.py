"""What is compared: pretraining data, tasks by distance, budgets. Data in a JSON file, so that other tasks can take its place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple

from robot_pt.errors import DataError, UserError
from robot_pt.safe_files import read_json

STANDARD = "table_top.json"


@dataclass(frozen=True, kw_only=True)
class Material:
    """Episodes of one task to pretrain on."""

    task: str
    episodes: int
    quality: Literal["clean", "mixed"] = "mixed"
    """mixed: three in ten fail, others are noisy or hesitant, so that objectives that read rewards have something to learn."""


@dataclass(frozen=True, kw_only=True)
class Distance:
    """Tasks at one distance from the pretraining data."""

    name: str
    rule: str
    """What is the same and what is new, in words."""
    tasks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Everything that decides a number beside method and seed."""

    name: str
    pretraining: tuple[Material, ...]
    distances: tuple[Distance, ...]
    image_size: int = 64
    camera: str = "primary"
    encoder: str = "small"
    demos: tuple[int, ...] = (10, 50)
    """Demonstrations per task that a head learns from; of the largest number the others are a part drawn by the seed."""
    pretrain_steps: int = 3000
    pretrain_batch: int = 64
    head_updates: int = 2000
    """Updates of imitation on cached features."""
    scratch_updates: int = 1500
    """Updates of imitation from scratch, images and all."""
    evaluation_episodes: int = 20
    online_episodes: int = 0
    """Episodes of RL after imitation with the most demonstrations; 0 leaves RL out."""
    data_seed: int = 0
    captions: str = ""
    """File of sentence features (`robot_pt.captions`) for objectives that read the instructions; without it words are hashed."""
    captions_version: str = ""
    """What the file held."""

    def __post_init__(self) -> None:
        if not self.pretraining or not self.distances or not self.demos or not all(d.tasks for d in self.distances):
            raise UserError(
                f"protocol {self.name!r} needs pretraining data, distances with tasks, and numbers of demos; one is empty."
            )
        tasks = [t for d in self.distances for t in d.tasks]
        if len(set(tasks)) < len(tasks) or len({d.name for d in self.distances}) < len(self.distances):
            raise UserError(f"protocol {self.name!r} names a task or a distance twice: {tasks}; each stands once.")
        counts = (
            "image_size", "pretrain_steps", "pretrain_batch", "head_updates", "scratch_updates", "evaluation_episodes",
        )  # fmt: skip
        low = [n for n in counts if getattr(self, n) < 1] + ["demos"] * (min(self.demos) < 1)
        if low or self.online_episodes < 0 or min(m.episodes for m in self.pretraining) < 1:
            raise UserError(
                f"protocol {self.name!r} has {low or 'a number of episodes'} below what can be done; give at least 1."
            )

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(t for d in self.distances for t in d.tasks)

    def distance_of(self, task: str) -> str:
        return next(d.name for d in self.distances if task in d.tasks)

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str) -> Protocol:
        """Raises DataError, naming `where`, on anything `to_json` would not have written; UserError on what cannot be done."""
        plain = dict(values)
        if unknown := sorted(set(plain) - {f.name for f in fields(cls)}):
            raise DataError(
                f"{where} has the fields {unknown}, which no protocol has; it has {sorted(f.name for f in fields(cls))}."
            )
        try:
            plain["pretraining"] = tuple(Material(**m) for m in plain["pretraining"])
            plain["distances"] = tuple(Distance(**{**d, "tasks": tuple(d["tasks"])}) for d in plain["distances"])
            plain["demos"] = tuple(int(n) for n in plain.get("demos", (10, 50)))
            return cls(**plain)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{where} is no protocol ({error!r}); compare with robot_pt/comparison/{STANDARD}."
            ) from None

    def quick(self) -> Protocol:
        """The same in a few minutes, for "does it run": a task per distance, a tenth of everything."""
        return replace(
            self, name=f"{self.name}, quick", pretraining=tuple(replace(m, episodes=6) for m in self.pretraining[:2]),
            distances=tuple(replace(d, tasks=d.tasks[:1]) for d in self.distances), demos=(min(4, *self.demos),), pretrain_steps=40,
            head_updates=60, scratch_updates=30, evaluation_episodes=2, online_episodes=min(2, self.online_episodes),
        )  # fmt: skip


def read_protocol(path: Path | None = None) -> Protocol:
    """The protocol in a JSON file, or the project's own of that name; without one `STANDARD`.

    Raises DataError where there is none, and as `Protocol.from_json`.
    """
    own = {Path(p.name).stem: p for p in files("robot_pt.comparison").iterdir() if p.name.endswith(".json")}
    name = Path(STANDARD).stem if path is None else str(path)
    if name in own:
        return Protocol.from_json(json.loads(own[name].read_text("utf-8")), own[name].name)
    assert path is not None, f"{STANDARD} is part of the package"
    if not path.is_file():
        raise DataError(
            f"there is no protocol {path}; give a JSON file, made after robot_pt/comparison/{STANDARD}, or one of: "
            f"{', '.join(sorted(own))}."
        )
    return Protocol.from_json(read_json(path), str(path))


class Cell(NamedTuple):
    """One number of the table."""

    method: str
    task: str
    demos: int
    seed: int

    @property
    def file(self) -> str:
        return f"{self.method}-{self.task.replace('/', '_')}-{self.demos}-{self.seed}.json"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a cell found."""

    cell: Cell
    successes: int
    episodes: int
    online_successes: int | None = None
    """After RL, of as many episodes; None without."""
    seconds: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "cell": self.cell._asdict()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str) -> Outcome:
        """Raises DataError on anything `to_json` would not have written."""
        try:
            known = {f.name: values[f.name] for f in fields(cls)}
            found = cls(**{**known, "cell": Cell(**known["cell"])})
            sound = 0 <= found.successes <= found.episodes and found.episodes >= 1
        except (KeyError, TypeError) as error:
            raise DataError(f"{where} is no cell of a comparison ({error!r}); delete it to run it again.") from None
        if not sound:
            raise DataError(
                f"{where} says {found.successes} successes of {found.episodes} episodes; delete it to run it again."
            )
        return found
