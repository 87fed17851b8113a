"""What a run is: the settings in config.json from which its agent can be built again, and the folder they lie in."""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import torch

from robot_pt import checkpoint
from robot_pt.agents import Agent
from robot_pt.agents.bc import BC, BCConfig
from robot_pt.agents.freezing import Frozen, freeze_encoders
from robot_pt.agents.ptr import PTR, PTRConfig
from robot_pt.augment import AugmentConfig
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.language import LANGUAGE_DIM
from robot_pt.networks.categorical import CategoricalConfig
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import BRIDGE_BOUNDS, Bounds
from robot_pt.policy_record import PolicyRecord
from robot_pt.recipes import algorithms
from robot_pt.recipes.algorithms import Algorithm
from robot_pt.recipes.limits import require_room
from robot_pt.rewards import RewardLabel
from robot_pt.safe_files import read_json
from robot_pt.schema import Spec
from robot_pt.tasks import TaskTable

FORMAT = 1
REPRESENTATION = "represent"
"""Verb in config.json of a run that trains an encoder by an objective, and no policy."""


class Settings(Protocol):
    """What config.json holds of a run."""

    def to_json(self) -> dict[str, Any]: ...

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self: ...


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Everything that decides the numbers of a run beside its data."""

    algorithm: Algorithm | Literal["awbc"]
    encoder: EncoderConfig
    camera: str
    """Camera role; empty to learn from the state alone."""
    image_size: tuple[int, int]
    task_slots: int
    batch_size: int = 64
    """Transitions per update, over all processes."""
    gamma: float = 0.96
    """Discount per control step (PTR: 0.96)."""
    language_size: int = 0
    """Length of the sentence features the networks see beside the task id; 0 for none."""
    reward: RewardLabel = field(default_factory=RewardLabel)
    bounds: Bounds = BRIDGE_BOUNDS
    proprio: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """(mean, std) to standardise proprio with; None feeds it as it is, as PTR does."""
    ptr: PTRConfig = field(default_factory=PTRConfig)
    bc: BCConfig = field(default_factory=BCConfig)
    frozen: Frozen = "nothing"
    """What of the image encoders stays as it starts: features of a run or of timm weights, as R3M's and MAE's are used."""
    options: Any = None
    """Config of any other algorithm; None for its defaults."""
    seed: int = 0

    @property
    def cameras(self) -> tuple[str, ...]:
        """Camera roles the networks see."""
        return (self.camera,) if self.camera else ()

    def sampling(self) -> dict[str, Any]:
        """What the algorithm asks of `Replay` and `OnlineReplay`: imitation decodes no next frames, some of it looks at windows."""
        imitates = algorithms.ALGORITHMS[self.algorithm].imitates
        options = self.options or algorithms.default_config(self.algorithm)
        return {"next_frames": not imitates, "bootstrap": not imitates, "window": getattr(options, "window", None)}

    def build(self, spec: Spec, device: torch.device | str) -> Agent:
        """A fresh agent for data of `spec`."""
        parts: dict[str, Any] = {
            "cameras": self.cameras, "image_size": self.image_size, "task_slots": self.task_slots,
            "encoder": self.encoder, "bounds": self.bounds, "proprio": self.proprio,
            "language_size": self.language_size, "device": device, "seed": self.seed,
        }  # fmt: skip
        if self.algorithm == "bc":
            agent: Agent = BC.build(spec, config=self.bc, **parts)
        elif self.algorithm == "ptr":
            agent = PTR.build(spec, config=self.ptr, **parts)
        else:
            agent = algorithms.agent_class(self.algorithm).build(spec, config=self.options, **parts)
        freeze_encoders(agent, self.frozen)
        return agent

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))  # tuples become the lists that a reader gets
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RunSettings:
        """Raises DataError on anything `to_json` would not have written."""
        try:
            plain = dict(values)
            plain["encoder"] = EncoderConfig.from_json(plain["encoder"])
            plain["image_size"] = (int(plain["image_size"][0]), int(plain["image_size"][1]))
            plain["reward"] = RewardLabel(**plain["reward"])
            plain["bounds"] = Bounds.from_json(plain["bounds"])
            plain["proprio"] = None if plain["proprio"] is None else tuple(tuple(row) for row in plain["proprio"])
            plain["ptr"] = PTRConfig(**_from_lists(plain["ptr"]))
            plain["bc"] = BCConfig(**_from_lists(plain["bc"]))
            plain["options"] = algorithms.config_from_json(plain["algorithm"], plain.get("options"))
            return cls(**plain)
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise DataError(f"the run's config.json is damaged ({error}); restore it or start a new run.") from None


def _from_lists(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of an agent's config as JSON gives them, as its dataclass wants them."""
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    augment, categories = plain["augment"], plain.get("categories")
    plain["augment"] = None if augment is None else AugmentConfig(**augment)
    if categories is not None:
        plain["categories"] = CategoricalConfig(**categories)
    return plain


def require_amounts(steps: int, seed: int) -> None:
    """Raise UserError unless there is something to do, with a seed every generator takes."""
    if steps < 1:
        raise UserError(f"--steps is {steps}; give at least 1 update.")
    if not 0 <= seed < 1 << 63:
        raise UserError(f"--seed is {seed}; give a whole number from 0 to below 2^63.")


def language_size(wanted: bool) -> int:
    """Length of the sentence features of `robot_pt.language`, or 0."""
    return LANGUAGE_DIM if wanted else 0


def read_settings(run: Path) -> tuple[RunSettings, dict[str, Any]]:
    """The settings of `run` and its whole config.json. Raises DataError where `run` is no run, MismatchError where it has no policy."""
    document = read_document(run)
    if document.get("verb") == REPRESENTATION:
        raise MismatchError(
            f"{run} holds an image encoder and no policy; train one from it with: robot-pt pretrain --algorithm ptr --encoder {run}."
        )
    return RunSettings.from_json(document["settings"]), document


def read_document(run: Path) -> dict[str, Any]:
    """config.json of `run`, whatever it trains. Raises DataError where `run` is no run."""
    path = run / "config.json"
    if not path.is_file():
        raise DataError(
            f"{run} is no run: it has no config.json; give the --out folder of an earlier pretrain or finetune."
        )
    document = read_json(path)
    if document.get("format_version") != FORMAT or not isinstance(document.get("settings"), dict):
        raise DataError(
            f"{path} has format {document.get('format_version')!r}, this version reads {FORMAT}; use the version that wrote it."
        )
    return document


def start_or_resume(
    out: Path, verb: str, settings: Settings, arguments: Mapping[str, Any], *, resume: bool, write: bool,
    origin: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write config.json of a new run, or check that a resumed one asks for the same numbers and leave its own as it is.

    `origin`: what the run starts from, see `finetune.Origin`; None where it starts fresh.

    Raises UserError when `out` holds a run and `resume` is off, or holds anything but a run; MismatchError when the settings differ.
    """
    started = bool(checkpoint.steps(out))
    if started and not resume:
        raise UserError(f"{out} holds a run already; pass --resume to continue it, or choose another --out.")
    if not started:
        require_room(out)
    else:
        document = read_document(out)
        if document.get("verb") != verb:
            raise MismatchError(
                f"{out} holds a run of {_kind(document.get('verb'))}, this is one of {_kind(verb)}; choose another --out."
            )
        before = type(settings).from_json(document["settings"])
        then, now = _flat(before.to_json()), _flat(settings.to_json())
        name = next((k for k in now if then.get(k) != now[k]), None)
        if name is not None:
            said = "--steps, which its schedule ends with," if name.endswith("total_steps") else name
            raise MismatchError(
                f"{out} was started with {said} = {then.get(name)}, now it is {now[name]}; "
                "resume with the same arguments, or choose another --out."
            )
    if write and not started:
        document = {
            "format_version": FORMAT, "verb": verb, "arguments": {k: _plain(v) for k, v in arguments.items()},
            "origin": origin, "settings": settings.to_json(), "versions": versions(),
        }  # fmt: skip
        checkpoint.write_config(out, document)


def keep_arguments(out: Path, arguments: Mapping[str, Any]) -> None:
    """Let config.json of the run in `out` say these arguments, for other processes that read them there."""
    document = read_document(out)
    plain = json.loads(json.dumps(arguments))
    if document.get("arguments") != plain:
        checkpoint.write_config(out, {**document, "arguments": plain})


def record(
    agent: Agent, settings: RunSettings, spec: Spec, tasks: TaskTable, data: list[dict[str, Any]]
) -> PolicyRecord:
    """policy.json of the run's checkpoints."""
    return PolicyRecord.of(agent=settings.algorithm, network=agent.actor.config, spec=spec, tasks=tasks, data=data)


def versions() -> dict[str, str]:
    """What the run was made with."""
    names = (
        "robot-pt",
        "torch",
        "numpy",
        "opencv-python-headless",
        "zarr",
        "mujoco",
        "robosuite",
        "tensorflow-datasets",
    )
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def command_line() -> str:
    """What to type to make this run again."""
    return shlex.join(["robot-pt", *sys.argv[1:]])


def _kind(verb: object) -> str:
    """What a person typed to get a run of `verb`."""
    return "pretrain --objective" if verb == REPRESENTATION else str(verb)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as "ptr.alpha" -> value."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        out |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
