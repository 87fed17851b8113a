"""Where an image encoder comes from: a name, or a RUN of an objective or of a policy, whose weights another run starts with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from robot_pt import checkpoint
from robot_pt.encoder_record import ENCODER_FILE, EncoderRecord
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.networks.encoders import ENCODER_NAMES, EncoderConfig, ImageEncoder, Norm, Pooling
from robot_pt.networks.resnet import STAGES
from robot_pt.policy_record import POLICY_FILE, PolicyRecord
from robot_pt.recipes.progress import say
from robot_pt.safe_files import read_json
from robot_pt.safe_tensors import read_tensors, same_shapes


@dataclass(frozen=True)
class Start:
    """A trained encoder: where it lies and what it was trained for."""

    run: str  # as it was given
    folder: Path
    made_by: str
    """Name of the objective or algorithm that trained it."""
    config: EncoderConfig
    cameras: tuple[str, ...]
    image_size: tuple[int, int]
    trains: Literal["backbone", "encoder"]
    step: int
    version: str
    """Hash of the weights and what they were trained for; config.json of the run that starts here keeps it."""

    @classmethod
    def of(cls, run: Path) -> Start:
        """Of a RUN or one of its checkpoints. Raises DataError where there is none, or a damaged one, MismatchError where it sees nothing."""
        folder = checkpoint.resolve_any(run)
        cameras: tuple[str, ...]
        if (folder / ENCODER_FILE).is_file():
            document = read_json(folder / ENCODER_FILE)
            record = EncoderRecord.from_json(document)
            cameras, size, trains, layers = (record.camera,), record.image_size, record.trains, record.encoder
            made_by = record.objective
        else:
            document = read_json(folder / POLICY_FILE)
            policy = PolicyRecord.from_json(document)
            cameras, size, trains, layers = policy.cameras, policy.image_size, "encoder", policy.network["encoder"]
            made_by = policy.agent
        if not cameras:
            raise MismatchError(
                f"{run} learned from the state alone and holds no image encoder; give a RUN that looks at a camera."
            )
        config = replace(EncoderConfig.from_json(layers), weights="")  # the run brings them
        return cls(
            str(run), folder, made_by, config, cameras, size, trains, int(document["step"]), str(document["version"])
        )

    def to_json(self) -> dict[str, Any]:
        """What config.json of the run that starts here says about it."""
        return {"run": self.run, "step": self.step, "version": self.version}

    def tensors(self, camera: str) -> dict[str, Tensor]:
        """Weights of the `ImageEncoder` of `camera`; those of an objective's run are for any. Raises MismatchError where there is none."""
        of_policy = not (self.folder / ENCODER_FILE).is_file()
        file = POLICY_FILE if of_policy else ENCODER_FILE
        tensors = read_tensors(
            self.folder / "weights.safetensors", str(read_json(self.folder / file)["weights_sha256"])
        )
        if not of_policy:
            return tensors
        if camera not in self.cameras:
            raise MismatchError(
                f"the encoder of {self.run} was trained for cameras {self.cameras}, not for {camera!r}; choose one of them with --camera."
            )
        prefix = f"encoder.encoders.{camera}."
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def opened(run: Path, camera: str | None = None) -> tuple[ImageEncoder, Start]:
    """The encoder of `run` on the CPU, with all it has: untrained parts are those the run began with.

    camera: of a policy that looks at several; None takes the first. Raises as `Start.of` and `Start.tensors`, DataError for weights of
    other layers than the record says.
    """
    start = Start.of(run)
    with torch.random.fork_rng(devices=[]):
        encoder = ImageEncoder(start.config, start.image_size)
    tensors = start.tensors(camera or start.cameras[0])
    difference = same_shapes(encoder, tensors)
    if difference:
        raise DataError(f"{start.folder} is of another encoder than it says: {difference}; restore it.")
    encoder.load_state_dict(tensors)
    return encoder, start


def choose(
    name: str, weights: Path | None = None, *, norm: Norm = "group", pooling: Pooling = "spatial_embeddings"
) -> tuple[EncoderConfig, Start | None]:
    """What --encoder and --encoder-weights mean: (architecture, run to take its weights from).

    Raises UserError for another `norm` or `pooling` than PTR's where the encoder has its own.
    """
    if name == "auto":
        name = "resnet34" if torch.cuda.is_available() else "small"
        say(f"encoder: {name} ({'a GPU is' if name == 'resnet34' else 'no GPU is'} at hand; choose with --encoder).")
    if name in ENCODER_NAMES or not Path(name).is_dir():  # a folder that happens to be called "small" is not meant
        if os.sep in name and not name.startswith("timm:"):
            raise DataError(
                f"--encoder {name} is no folder of a run; give {', '.join(ENCODER_NAMES)}, timm:NAME or a RUN."
            )
        if norm != "group" and name not in ("small", *STAGES):
            raise UserError(
                f"--encoder-norm {norm} is for small and the ResNets, and {name} has a normalisation of its own; leave it out."
            )
        path = str(weights.resolve()) if weights else ""
        return EncoderConfig(name=name, weights=path, norm=norm, pooling=pooling), None
    if weights is not None:
        raise UserError(
            f"--encoder {name} is a run and brings its own weights; leave --encoder-weights {weights} out, or choose timm:NAME."
        )
    if (norm, pooling) != ("group", "spatial_embeddings"):
        raise UserError(
            f"--encoder {name} is a run and brings its own layers; leave --encoder-norm and --pooling out, or choose another --encoder."
        )
    start = Start.of(Path(name))
    return start.config, start


def load(owner: Any, start: Start, camera: str = "") -> None:
    """Give every image encoder of an agent, an objective or a network the weights of `start`: the backbone always, pooling and
    bottleneck where they were trained.

    camera: what encoders look at that have no camera to their name, those outside policies and critics.

    Raises MismatchError, one sentence, where layers, image size or cameras do not fit.
    """
    for own_camera, encoder in _encoders(owner):
        tensors = start.tensors(own_camera or camera)
        if start.trains == "backbone":
            tensors = {name: value for name, value in tensors.items() if name.startswith("backbone.")}
        own = encoder.state_dict()
        wanted = {n: tuple(v.shape) for n, v in own.items() if start.trains == "encoder" or n.startswith("backbone.")}
        given = {n: tuple(v.shape) for n, v in tensors.items()}
        if wanted != given:
            raise MismatchError(_misfit(start, wanted, given))
        encoder.load_state_dict(own | tensors)


def _misfit(start: Start, wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> str:
    name = next(n for n in sorted(wanted.keys() | given.keys()) if wanted.get(n) != given.get(n))
    height, width = start.image_size
    return (
        f"the encoder of {start.run} ({start.config.name}) was trained for cameras {start.cameras} at {height}x{width}, and {name} does not "
        f"fit: {given.get(name, 'absent')} there, {wanted.get(name, 'absent')} here; use --encoder {start.run} with --image-size {height}."
    )


def _encoders(owner: Any) -> Iterator[tuple[str, ImageEncoder]]:
    """(camera, encoder) of all networks that `owner` holds as attributes, each encoder once; camera "" where it has none."""
    seen: set[int] = set()
    held = [owner] if isinstance(owner, nn.Module) else vars(owner).values()
    networks = [m for v in held for m in (v.values() if isinstance(v, dict) else [v]) if isinstance(m, nn.Module)]
    for network in networks:
        for name, module in network.named_modules():
            if isinstance(module, ImageEncoder) and id(module) not in seen:
                seen.add(id(module))
                parent, _, camera = name.rpartition(".")
                yield (camera if parent.endswith("encoders") else ""), module
