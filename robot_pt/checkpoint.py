"""Checkpoints of a run: whole or not there, on the disk before they are named, and free of pickles.

    run/checkpoints/step_00001000/weights.safetensors   the actor: all a robot needs, with
                                  policy.json           what it was trained for (see robot_pt.policy_record);
                                                        of a representation run the encoder, with encoder.json (robot_pt.encoder_record)
                                  trainer.safetensors   agent and optimiser, random state: all that training needs to go on
                                  trainer.json          step, replay position, loop state
    run/latest   -> checkpoints/step_...                swapped atomically after the folder is complete
    run/selected -> checkpoints/step_...                chosen by robot_pt.selection

A folder is written as `.step_....part`, fsynced and renamed. A crash, a full disk or kill -9 at any point leaves every
earlier checkpoint and link as it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from robot_pt.encoder_record import ENCODER_FILE
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.policy_record import POLICY_FILE
from robot_pt.safe_files import exchange, read_json, replace_json, sync_folder, write_json
from robot_pt.safe_tensors import read_tensors, same_shapes, write_tensors

TRAINER_FORMAT = 1
_STEP = re.compile(r"step_(\d{8,})")


class Trained(Protocol):
    """What is saved of whatever learns: `robot_pt.agents.Agent` and `robot_pt.objectives.Objective` are two."""

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None: ...


class Learner(Trained, Protocol):
    """One that acts."""

    @property
    def actor(self) -> torch.nn.Module: ...

    @property
    def acting(self) -> torch.nn.Module: ...


class Record(Protocol):
    """What lies beside a checkpoint's weights: `PolicyRecord` beside those of a policy, `EncoderRecord` beside those of an encoder."""

    @property
    def file(self) -> str:
        """Name of the document."""
        ...

    def weights_of(self, learner: Any) -> torch.nn.Module:
        """The network that is saved."""
        ...

    def to_json(self, step: int, weights_sha256: str) -> dict[str, Any]:
        """The document, its "version" among it."""
        ...


class Resumed(NamedTuple):
    """Where a run goes on."""

    step: int  # updates done
    state: dict[str, Any]  # what `save` was given


def save(
    run: Path, step: int, agent: Trained, record: Record, state: Mapping[str, Any], *,
    keep: int = 3, keep_policies: int | None = None,
) -> Path:  # fmt: skip
    """Write checkpoint `step` (updates done) and point `latest` to it.

    Args:
        state: JSON values to resume with (replay position, loop state).
        keep: trainer files are removed from all but this many newest checkpoints; policies stay, selection needs them.
        keep_policies: remove whole checkpoints but this many newest, the selected one and the latest; None keeps all.
    Raises:
        DataError: the disk is full or refuses; what was saved before is untouched.
    """
    if keep < 1 or (keep_policies is not None and keep_policies < 1):
        raise UserError(f"keep is {keep} and keep_policies {keep_policies}; keep at least 1 checkpoint.")
    folder = run / "checkpoints"
    final, part = folder / f"step_{step:08d}", folder / f".step_{step:08d}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _clear_parts(folder)
        part.mkdir()
        _write(part, step, agent, record, state)
        _put(part, final)
        _point(run, "latest", final)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise DataError(_write_failed(run, step, error)) from None
    _prune(run, keep, keep_policies)
    return final


def _write(part: Path, step: int, agent: Trained, record: Record, state: Mapping[str, Any]) -> None:
    _write_weights(part, step, agent, record)
    tensors = {f"agent.{name}": value for name, value in agent.state_dict().items()} | _random_state()
    trainer_sha256 = write_tensors(part / "trainer.safetensors", tensors)
    position = {"step": step, "state": json.loads(json.dumps(dict(state), allow_nan=False))}  # as a reader gets it
    document = {"format_version": TRAINER_FORMAT, "trainer_sha256": trainer_sha256, **position}
    write_json(part / "trainer.json", {**document, "state_sha256": _sha256(position)})
    sync_folder(part)


def _write_weights(part: Path, step: int, agent: Trained, record: Record) -> str:
    weights_sha256 = write_tensors(part / "weights.safetensors", record.weights_of(agent).state_dict())
    document = record.to_json(step, weights_sha256)
    write_json(part / record.file, document)
    return str(document["version"])


def save_policy(folder: Path, step: int, agent: Learner, record: Record) -> str:
    """Write the policy alone into a new `folder`, whole or not at all; returns its version.

    Raises OSError as the disk gives it; nothing is left then.
    """
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        version = _write_weights(part, step, agent, record)
        sync_folder(part)
        part.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return version


def point(run: Path, link: str, target: Path) -> None:
    """Let `run`/`link` name `target`, at once. Raises DataError on a full disk; the link is then as it was."""
    _relink(run, link, target)


def _sha256(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _put(part: Path, final: Path) -> None:
    """Rename into place; with an older folder of the same step (left by a run that was resumed before it) the names are swapped."""
    if final.exists():
        exchange(part, final)
    else:
        part.rename(final)
    sync_folder(final.parent)
    shutil.rmtree(part, ignore_errors=True)


def _point(run: Path, link: str, target: Path) -> None:
    fresh = run / f".{link}.part"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(os.path.relpath(target, run), target_is_directory=True)
    fresh.replace(run / link)
    sync_folder(run)


def _write_failed(run: Path, step: int, error: OSError) -> str:
    kept = f"resume: checkpoint {steps(run)[-1]} is intact" if steps(run) else "start again with --resume"
    return f"checkpoint {step} could not be written to {run}: {error.strerror or error}; free disk space, then {kept}."


def _clear_parts(folder: Path) -> None:
    for stale in folder.glob(".step_*.part"):
        shutil.rmtree(stale, ignore_errors=True)


def _prune(run: Path, keep: int, keep_policies: int | None) -> None:
    done = steps(run)
    named = {link.resolve() for link in (run / "latest", run / "selected")}
    for step in done[:-keep]:
        for name in ("trainer.safetensors", "trainer.json"):
            (folder_of(run, step) / name).unlink(missing_ok=True)
    for step in done[:-keep_policies] if keep_policies is not None else ():
        if folder_of(run, step).resolve() not in named:
            shutil.rmtree(folder_of(run, step), ignore_errors=True)


def folder_of(run: Path, step: int) -> Path:
    """Where checkpoint `step` of `run` lies."""
    return run / "checkpoints" / f"step_{step:08d}"


def steps(run: Path) -> list[int]:
    """Steps of the complete checkpoints, ascending."""
    folder = run / "checkpoints"
    found = [_STEP.fullmatch(p.name) for p in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(m.group(1)) for m in found if m)


def select(run: Path, step: int) -> Path:
    """Point `selected` to checkpoint `step`. Raises UserError when there is no such checkpoint, DataError on a full disk."""
    target = folder_of(run, step)
    if step not in steps(run):
        raise UserError(f"{run} has no checkpoint {step}; it has {steps(run) or 'none'}.")
    _relink(run, "selected", target)
    return target


def _relink(run: Path, link: str, target: Path) -> None:
    try:
        _point(run, link, target)
    except OSError as error:
        raise DataError(
            f"{run}/{link} could not be set: {error.strerror or error}; free disk space or make {run} writable, try again."
        ) from None


def resolve(run: Path | str) -> Path:
    """The checkpoint of a policy that a RUN stands for: itself if it is one, else `selected`, else the newest complete one.

    That is `latest`, except where a kill came between a checkpoint and its link. Raises DataError when there is none, MismatchError for
    a run that made an encoder and no policy.
    """
    folder = resolve_any(run)
    if not (folder / POLICY_FILE).is_file():
        raise MismatchError(
            f"{run} holds an image encoder, which cannot act; train a policy from it with: robot-pt pretrain --algorithm ptr --encoder {run}."
        )
    return folder


def resolve_any(run: Path | str) -> Path:
    """The same for policies and encoders. Raises DataError when there is none."""
    run = Path(run)
    candidates = [run, run / "selected", *(folder_of(run, s) for s in reversed(steps(run))), run / "latest"]
    for folder in candidates:
        if (folder / POLICY_FILE).is_file() or (folder / ENCODER_FILE).is_file():
            return folder.resolve()
    what = "has no checkpoint yet" if run.is_dir() else "is a file" if run.exists() else "does not exist"
    raise DataError(f"{run} {what}; give the folder of a run (pretrain --out) or one of its checkpoints.")


def resume(run: Path, agent: Trained, *, relink: bool = True) -> Resumed:
    """Load the latest checkpoint that still has its trainer files into `agent`, random state included.

    `relink` points `latest` to it, which is for one process of a run. Raises DataError when there is none, it is damaged or the
    folder cannot be written; MismatchError, from the agent, when it is of another network.
    """
    folder = _trainable(run)
    found, tensors = _load_trainer(folder, agent)
    _restore_random_state(tensors)
    if relink:
        _relink(run, "latest", folder)
    return found


def start_of(run: Path) -> Path:
    """The checkpoint that another run, a finetuning, starts from: the one `run` stands for, or, where that has lost its trainer
    files (`save`'s `keep`), the newest that still has them. Raises DataError when there is none.
    """
    named = resolve(run)
    return named if (named / "trainer.json").is_file() else _trainable(run)


def load_agent(folder: Path, agent: Trained) -> int:
    """Load the agent of a checkpoint that has its trainer files and return its updates; nothing is written. Raises as `resume`."""
    return _load_trainer(folder, agent)[0].step


def _trainable(run: Path) -> Path:
    """The newest checkpoint that still has its trainer files."""
    newest = [s for s in reversed(steps(run)) if (folder_of(run, s) / "trainer.json").is_file()]
    if not newest:
        raise DataError(
            f"{run} has no checkpoint to resume from; give the folder of a run, or start one without --resume."
        )
    return folder_of(run, newest[0])


def _load_trainer(folder: Path, agent: Trained) -> tuple[Resumed, dict[str, Tensor]]:
    document = read_json(folder / "trainer.json")
    version, step, state = (document.get(n) for n in ("format_version", "step", "state"))
    if version != TRAINER_FORMAT:
        raise DataError(
            f"{folder} has trainer format {version!r}, this version reads {TRAINER_FORMAT}; use the version that wrote it."
        )
    if not isinstance(step, int) or not isinstance(state, dict) or not isinstance(document.get("trainer_sha256"), str):
        raise DataError(
            f"{folder}/trainer.json is damaged: step, state or hash is missing; remove the folder to use the one before."
        )
    if document.get("state_sha256", ...) not in (
        ...,
        _sha256({"step": step, "state": state}),
    ):  # ...: of an older version
        raise DataError(
            f"{folder}/trainer.json was changed after it was written: step and state are not those of its hash; restore it, or "
            "remove the folder to use the one before."
        )
    tensors = read_tensors(folder / "trainer.safetensors", document["trainer_sha256"])
    agent.load_state_dict({n.removeprefix("agent."): v for n, v in tensors.items() if n.startswith("agent.")})
    return Resumed(step, state), tensors


def load_weights(checkpoint: Path, actor: torch.nn.Module) -> None:
    """Load a checkpoint's policy weights into `actor`. Raises DataError when damaged or of another network."""
    record = read_json(checkpoint / POLICY_FILE)
    tensors = read_tensors(checkpoint / "weights.safetensors", str(record.get("weights_sha256")))
    difference = same_shapes(actor, tensors)
    if difference:
        raise DataError(f"{checkpoint} is of another network: {difference}; build the one its policy.json describes.")
    actor.load_state_dict(tensors)


def write_config(run: Path, config: Mapping[str, Any]) -> None:
    """Write run/config.json. Raises DataError when the disk refuses."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        replace_json(run / "config.json", config)
    except OSError as error:
        raise DataError(
            f"{run}/config.json could not be written: {error.strerror or error}; choose another --out."
        ) from None


def _random_state() -> dict[str, Tensor]:
    state = {"random.cpu": torch.get_rng_state()}
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        state[f"random.cuda.{i}"] = torch.cuda.get_rng_state(i)
    return state


def _restore_random_state(tensors: Mapping[str, Tensor]) -> None:
    for name, current in _random_state().items():
        value = tensors.get(name)
        if value is None or value.shape != current.shape or value.dtype != current.dtype:
            continue  # another kind of machine: agents draw keyed noise, the global generators only serve the rest
        if name == "random.cpu":
            torch.set_rng_state(value)
        else:
            torch.cuda.set_rng_state(value, int(name.rsplit(".", 1)[1]))
