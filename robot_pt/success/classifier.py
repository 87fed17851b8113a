"""`SuccessClassifier`: pictures in, probability of success out; a folder of one safetensors file and one JSON. No pickles.

Light enough for a robot's process: torch and OpenCV, no training code, no data formats.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robot_pt import images
from robot_pt.errors import DataError
from robot_pt.networks.encoders import EncoderConfig, ImageEncoder
from robot_pt.networks.modes import evaluating
from robot_pt.safe_files import read_json, replace_json
from robot_pt.safe_tensors import read_tensors, same_shapes, write_tensors
from robot_pt.schema import Float, Image
from robot_pt.success.rule import Rule

FORMAT = 1
DOCUMENT, WEIGHTS = "classifier.json", "classifier.safetensors"
HIDDEN = 128


class SuccessNetwork(nn.Module):
    """An image encoder and two layers: uint8 (B, H, W, 3) -> logits (B,)."""

    def __init__(self, encoder: EncoderConfig, image_size: tuple[int, int]):
        super().__init__()
        self.encoder = ImageEncoder(encoder, image_size)
        self.head = nn.Sequential(nn.Linear(encoder.latent, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))

    def forward(self, image_BHWC: Tensor) -> Tensor:
        logit_B: Tensor = self.head(self.encoder(image_BHWC)).squeeze(1)
        return logit_B


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a classifier is and how it decides."""

    camera: str
    image_size: tuple[int, int]
    """(height, width) that frames are brought to."""
    encoder: EncoderConfig
    rule: Rule
    scale: float = 1.0
    """Calibration: probability = sigmoid(scale * logit + offset)."""
    offset: float = 0.0

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Card:
        """Raises KeyError, TypeError, ValueError or UserError where the values are of another kind."""
        height, width = values["image_size"]
        scale, offset = float(values["scale"]), float(values["offset"])
        if not np.isfinite([scale, offset]).all() or scale <= 0:
            raise ValueError(f"calibration {scale}, {offset}")
        return cls(
            camera=str(values["camera"]), image_size=(int(height), int(width)), encoder=EncoderConfig.from_json(values["encoder"]),
            rule=Rule(**values["rule"]), scale=scale, offset=offset,
        )  # fmt: skip


class SuccessClassifier:
    """A trained classifier; `load` reads one that `robot-pt reward train` wrote."""

    def __init__(self, network: SuccessNetwork, card: Card, version: str = "", device: torch.device | str = "cpu"):
        self.card, self.version, self.device = card, version, torch.device(device)
        self._network = network.to(self.device)

    @classmethod
    def load(cls, folder: Path | str, device: torch.device | str = "cpu") -> SuccessClassifier:
        """Raises DataError where `folder` holds no classifier, a damaged one, or one with weights that are no numbers."""
        folder = Path(folder)
        path = folder / DOCUMENT
        if not path.is_file():
            raise DataError(
                f"{folder} is no classifier: it has no {DOCUMENT}; give the --out of `robot-pt reward train`."
            )
        document = read_json(path)
        if document.get("format_version") != FORMAT:
            raise DataError(
                f"{path} has format {document.get('format_version')!r}, this version reads {FORMAT}; use the version that wrote it."
            )
        try:
            card = Card.from_json(document["card"])
            sha256, version = str(document["weights_sha256"]), str(document["version"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path} is damaged ({error!r}); restore it or train again.") from None
        if version != _version(card, sha256):
            raise DataError(
                f"{path} was changed after it was written; restore it, or give --threshold to the verb instead."
            )
        tensors = read_tensors(folder / WEIGHTS, sha256)
        network = SuccessNetwork(card.encoder, card.image_size)
        difference = same_shapes(network, tensors)
        if difference is not None or not all(bool(torch.isfinite(t).all()) for t in tensors.values()):
            raise DataError(f"{folder / WEIGHTS} does not fit: {difference or 'it holds NaN or Inf'}; train again.")
        network.load_state_dict(tensors)
        return cls(network, card, version, device)

    def save(self, folder: Path) -> str:
        """Write it into `folder`, the document last: a reader sees the old one or the new. Returns its version.

        Raises DataError when the disk refuses.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part = folder / f".{WEIGHTS}.part"
            sha256 = write_tensors(part, self._network.state_dict())
            os.replace(part, folder / WEIGHTS)
            version = _version(self.card, sha256)
            document = {
                "format_version": FORMAT,
                "card": self.card.to_json(),
                "weights_sha256": sha256,
                "version": version,
            }
            replace_json(folder / DOCUMENT, document)
        except OSError as error:
            raise DataError(
                f"{folder} could not be written: {error.strerror or error}; free disk space, repeat."
            ) from None
        self.version = version
        return version

    def __call__(self, frames: Image, batch: int = 256) -> Float:
        """Calibrated probability of success, (B,) float32, of frames (B, H, W, 3) or (H, W, 3) uint8 RGB of any size.

        Raises DataError for frames of another kind.
        """
        frames = np.asarray(frames)
        if frames.ndim == 3:
            frames = frames[None]
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape[1:]:
            raise DataError(f"frames are {frames.dtype} {frames.shape}; give uint8 (B, H, W, 3) RGB.")
        ready = np.ascontiguousarray(images.resize(frames, self.card.image_size))
        out = [self._probability(ready[i : i + batch]) for i in range(0, len(ready), batch)]
        return np.concatenate(out) if out else np.zeros(0, np.float32)

    def _probability(self, frames: Image) -> Float:
        with torch.no_grad(), evaluating(self._network):
            logit = self._network(torch.from_numpy(frames).to(self.device))
            probability: Float = torch.sigmoid(self.card.scale * logit + self.card.offset).float().cpu().numpy()
        return probability


def _version(card: Card, sha256: str) -> str:
    """12 hex digits over weights and settings."""
    said = json.dumps({"card": card.to_json(), "weights": sha256}, sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:12]
