"""What shapes an image encoder before anything acts: representation objectives, one file each.

`Objective` is what the training loop and checkpoints see of them, as `robot_pt.agents.Agent` is for policies. Every objective learns
an `ImageEncoder` (backbone, pooling, bottleneck: `robot_pt.networks.encoders`) of one camera; what else it needs (projector,
predictor, decoder, averaged copies) it owns and throws away. Which parts of the encoder it truly trained is said by `trains`: a later
run takes the backbone, and the rest only where it was trained.

After design and code of the papers named in each file; the protocol they are compared by is that of "Investigating Pre-Training
Objectives for Generalization in Vision-Based Reinforcement Learning" (ICML 2024; dojeon-ai/Atari-PB).

Each class has `build(spec, *, image_size, task_slots, encoder, config=None, bounds=BRIDGE_BOUNDS, device="cpu", seed=0)`: `spec` of the
data (its action and proprio names, its rate), `task_slots` of the run's task table, `bounds` to normalise actions with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from torch import Tensor

from robot_pt.agents import GradSync
from robot_pt.clips import ClipBatch, ClipPlan
from robot_pt.networks.encoders import ImageEncoder

Kind = Literal["image", "video", "demonstration", "trajectory"]
"""Frames alone; ordered frames; frames and actions; frames, actions and rewards."""


@dataclass(frozen=True)
class Needs:
    """What an objective asks of the data beside frames."""

    kind: Kind
    actions: bool = False
    """Actions and proprio of every step."""
    returns: bool = False
    """Rewards that tell episodes apart: success labels, or stored rewards that are not all equal."""
    language: int = 0
    """Length of the sentence features it reads; 0 for none. An episode without a caption has zeros."""


class Objective(Protocol):
    """Batches hold tensors on the objective's device, one camera in `images`. Nothing here waits for the device."""

    needs: ClassVar[Needs]
    plan: ClipPlan
    """Which frames make a clip, from the objective's config."""
    encoder: ImageEncoder
    """What is being learned."""
    trains: Literal["backbone", "encoder"]
    """backbone: the convolutions or transformer alone; encoder: pooling and bottleneck too."""
    grad_sync: GradSync

    def update(self, batch: ClipBatch, step: int) -> dict[str, Tensor]:
        """One update; detached 0-d tensors to log, "objective/loss" among them. `step` keys the noise: the same batch and step give
        the same update."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Flat: weights of all parts, optimiser moments; enough to continue bit for bit."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Raises MismatchError where the state is of another network."""
        ...


__all__ = ["ClipBatch", "ClipPlan", "Kind", "Needs", "Objective"]
