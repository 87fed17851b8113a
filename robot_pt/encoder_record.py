"""encoder.json: what an image encoder was trained on and which parts of it were, beside its weights. Imports neither torch nor agents."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from robot_pt.errors import DataError
from robot_pt.policy_record import require_sane, version_of

ENCODER_FORMAT = 1
ENCODER_FILE = "encoder.json"
_KINDS: dict[str, type] = {
    "objective": str, "encoder": dict, "camera": str, "image_size": list, "trains": str, "data": list, "step": int,
    "weights_sha256": str, "version": str,
}  # fmt: skip
_NAME = re.compile(r"(timm:)?[\w.-]+")


@dataclass(frozen=True, kw_only=True)
class EncoderRecord:
    """Everything in encoder.json but the step and the hashes."""

    objective: str
    """Name of the objective that trained it."""
    encoder: Mapping[str, Any]
    """`EncoderConfig` as JSON."""
    camera: str
    image_size: tuple[int, int]
    """(height, width) in pixels."""
    trains: Literal["backbone", "encoder"]
    """backbone: pooling and bottleneck hold random weights; encoder: all parts were trained."""
    data: Sequence[Mapping[str, Any]] = ()
    """One JSON object per data set trained on: name, episodes, steps, fingerprint."""

    @property
    def file(self) -> str:
        return ENCODER_FILE

    def weights_of(self, learner: Any) -> Any:
        """The encoder."""
        return learner.encoder

    def to_json(self, step: int, weights_sha256: str) -> dict[str, Any]:
        """The document; its "version" is a hash of all of it, weights included."""
        document = {
            "format_version": ENCODER_FORMAT, "objective": self.objective, "encoder": dict(self.encoder), "camera": self.camera,
            "image_size": list(self.image_size), "trains": self.trains, "data": [dict(row) for row in self.data], "step": step,
            "weights_sha256": weights_sha256,
        }  # fmt: skip
        document = json.loads(json.dumps(document, allow_nan=False))  # tuples become the lists that a reader gets
        return {**document, "version": version_of(document)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> EncoderRecord:
        """Raises DataError on anything that `to_json` would not have written."""
        if document.get("format_version") != ENCODER_FORMAT:
            raise DataError(
                f"encoder.json has format {document.get('format_version')!r}, this version reads {ENCODER_FORMAT}; use the version that "
                "wrote it."
            )
        for name, kind in _KINDS.items():
            if not isinstance(document.get(name), kind):
                raise _damaged(f"{name} must be a {kind.__name__}")
        if document["version"] != version_of(document):
            raise DataError(
                "encoder.json was changed after it was written: its version is not the hash of its content; restore it."
            )
        require_sane(document["encoder"], ENCODER_FILE)
        size, name = document["image_size"], document["encoder"].get("name")
        if len(size) != 2 or not all(isinstance(n, int) and 0 < n < 1 << 14 for n in size):
            raise _damaged(f"image_size is {size}")
        if document["trains"] not in ("backbone", "encoder"):
            raise _damaged(f"trains is {document['trains']!r}")
        if not isinstance(name, str) or not _NAME.fullmatch(
            name
        ):  # no hub addresses: loading never goes to the network
            raise _damaged(f"{name!r} is no name of an encoder")
        return cls(
            objective=document["objective"], encoder=document["encoder"], camera=document["camera"], image_size=(size[0], size[1]),
            trains=document["trains"], data=document["data"],
        )  # fmt: skip


def _damaged(what: str) -> DataError:
    return DataError(f"encoder.json is damaged: {what}; restore it or use another checkpoint.")
