"""Where a frozen encoder comes from; picklable, so that simulation processes make it for themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from robot_pt.comparison.frozen import permuted, random_encoder
from robot_pt.features import Extractor
from robot_pt.networks.encoders import EncoderConfig, ImageEncoder
from robot_pt.recipes.encoders import Start, opened


@dataclass(frozen=True)
class Origin:
    """One frozen encoder."""

    kind: Literal["run", "random", "permuted"]
    config: EncoderConfig
    camera: str
    image_size: tuple[int, int]
    run: Path | None = None
    seed: int = 0
    """Of random weights, or of the shuffling."""
    trains_all: bool = True
    """Whether pooling and bottleneck were trained, so that the encoder's own output means something."""

    @classmethod
    def of(cls, run: Path, camera: str = "") -> Origin:
        """The encoder of a RUN or of one of its checkpoints. Raises DataError where there is none."""
        start = Start.of(run)
        return cls(
            "run",
            start.config,
            camera or start.cameras[0],
            start.image_size,
            start.folder,
            trains_all=start.trains == "encoder",
        )

    def untrained(self, seed: int) -> Origin:
        """The control: the same layers as they are before any training."""
        return Origin("random", self.config, self.camera, self.image_size, seed=seed)

    def spoilt(self, seed: int) -> Origin:
        """The control of the controls: the same weights, shuffled within each channel."""
        return Origin("permuted", self.config, self.camera, self.image_size, self.run, seed, self.trains_all)

    def encoder(self) -> ImageEncoder:
        if self.kind == "random":
            return random_encoder(self.config, self.image_size, self.seed)
        assert self.run is not None, "a trained encoder lies in a run"
        found, _ = opened(self.run)
        return permuted(found, self.seed) if self.kind == "permuted" else found

    def extractor(self, camera: str = "") -> Extractor:
        """What looks through it, at its own camera or another."""
        return Extractor(self.encoder(), camera=camera or self.camera, image_size=self.image_size)
