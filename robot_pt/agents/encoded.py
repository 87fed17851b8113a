"""Frozen image encoders apart from their agent: each frame goes through them once, and updates start from what they made of it.

    look = FrozenEncoders.of(agent, "primary", (64, 64))      # None where an encoder of the agent learns
    batch.images["primary"]                                   # (B, look.width) float32 = look(frames), instead of the frames

From then on actor, critic and their slow copies take features in place of frames, in this process; what is saved of them takes frames as
before. Features are of frames as they are: an agent that augments them is to be built without that.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal, Self, final

import numpy as np
import torch
from torch import nn

from robot_pt.agents import Agent
from robot_pt.errors import DataError
from robot_pt.images import resize
from robot_pt.networks.encoders import CameraEncoder, ImageEncoder
from robot_pt.networks.modes import evaluating
from robot_pt.schema import Float, Image

ACTORS, CRITICS = ("actor", "acting", "target_actor"), ("critic", "target")
"""Attributes of an agent; of each line the first two are settled as `settle_encoders` says."""


def encoders_of(agent: Agent) -> dict[str, CameraEncoder]:
    """Attribute of the agent -> the encoder of the network there, where it looks at cameras."""
    found = {name: getattr(part, "encoder", None) for name, part in vars(agent).items() if isinstance(part, nn.Module)}
    return {name: encoder for name, encoder in found.items() if isinstance(encoder, CameraEncoder) and encoder.cameras}


def settle_encoders(agent: Agent) -> None:
    """Give the actor the encoder of what acts, its running average, and every slow copy the encoder that it follows: with frozen
    encoders they would only be found again after thousands of updates."""
    parts = encoders_of(agent)
    for name, encoder in parts.items():
        leader = parts["acting"] if name in ACTORS else parts["critic"] if name in CRITICS else encoder
        if leader is not encoder:
            encoder.load_state_dict(leader.state_dict())


@final
class FrozenEncoders:
    """What actor and critic see of a frame, side by side. Implements `robot_pt.features.Looks`."""

    precision = np.float32

    def __init__(self, encoders: list[ImageEncoder], camera: str, image_size: tuple[int, int], batch: int = 256):
        self._encoders, self.camera, self.image_size, self._batch = encoders, camera, image_size, batch
        self._device = next(encoders[0].parameters()).device
        self.width = sum(encoder.latent for encoder in encoders)
        self.widths: dict[Literal["map", "encoder"], int] = {"map": 0, "encoder": self.width}
        digest = hashlib.sha256(f"frozen {camera} {image_size}".encode())
        for encoder in encoders:
            for name, value in sorted(encoder.state_dict().items()):
                digest.update(name.encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        self.fingerprint = digest.hexdigest()[:16]

    @classmethod
    def of(cls, agent: Agent, camera: str, image_size: tuple[int, int]) -> Self | None:
        """Settle the encoders of `agent`, whose weights are there already, and let it take features from now on.

        None, and nothing changes, where an encoder learns, or belongs to a part beside actor and critic.
        """
        parts: dict[str, Any] = encoders_of(agent)
        known = set(parts) <= {*ACTORS, *CRITICS} and all(p.cameras == (camera,) for p in parts.values())
        leaders = [parts[name] for name in ("actor", "critic") if name in parts]
        if not known or any(p.requires_grad for leader in leaders for p in leader.parameters()):
            return None
        settle_encoders(agent)
        look = cls([leader.encoders[camera] for leader in leaders], camera, image_size)
        own = leaders[0].width
        for name, part in parts.items():
            part.encoded = slice(0, own) if name in ACTORS else slice(own, look.width)
        return look

    def __call__(self, frames: Image) -> Float:
        """(n, H, W, 3) uint8 of any size -> (n, width) float32. Raises DataError where a feature is not finite."""
        ready = np.ascontiguousarray(resize(frames, self.image_size))
        parts = [self._look(ready[i : i + self._batch]) for i in range(0, len(ready), self._batch)]
        return np.concatenate(parts) if parts else np.zeros((0, self.width), np.float32)

    def _look(self, frames: Image) -> Float:
        pixels = torch.from_numpy(frames).to(self._device)
        seen = []
        for encoder in self._encoders:
            with torch.inference_mode(), evaluating(encoder):
                seen.append(encoder(pixels))
        out: Float = torch.cat(seen, dim=1).cpu().numpy()
        if not np.isfinite(out).all():
            raise DataError(
                "the encoder's features are not finite; its weights are damaged: take an earlier checkpoint."
            )
        return out
