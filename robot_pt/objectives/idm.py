"""Inverse dynamics: which movement led from one frame to a later one.

    a_hat = h([f(x_t), f(x_t+k)]),   L = -log N(a; a_hat, s) or |a_hat - a|^2, over pairs whose k steps lie within the episode

After dojeon-ai/Atari-PB src/trainers/idm.py (both frames through the learned encoder) with the two-layer head of mila-iqia/SGI
src/networks.py, carried from discrete to continuous actions. What is predicted is what the k steps did *together*: the sum of the
deltas, as a mean per step, and the last gripper command, which is absolute. One step of a 30 Hz camera moves nothing one could see.

Proprio is not read: it would tell the movement without the frames, and the encoder would learn nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn

from robot_pt.agents import GradSync, no_sync
from robot_pt.augment import AugmentConfig
from robot_pt.clips import ClipBatch, Ends
from robot_pt.errors import MismatchError, UserError
from robot_pt.networks.distributions import ActionGaussian
from robot_pt.networks.encoders import EncoderConfig, ImageEncoder
from robot_pt.normalize import BRIDGE_BOUNDS, ActionNormalizer, Bounds
from robot_pt.objectives import Needs
from robot_pt.objectives.across import masked_mean
from robot_pt.objectives.stepper import StepConfig, Stepper
from robot_pt.objectives.views import frames_of, over_frames, view
from robot_pt.schema import ACTION_NAMES, Spec

_VIEW = 0  # stream


@dataclass(frozen=True, kw_only=True)
class IDMConfig:
    gap_s: float = 0.33
    """Seconds between the frames, rounded to steps of the data's rate, at least one: 2 steps at 5 Hz, 10 at 30 Hz. Atari-PB: one step."""
    loss: Literal["nll", "mse"] = "nll"
    """nll: a Gaussian with one learned deviation per action dimension, so that what frames cannot tell does not drown the rest; mse:
    all dimensions weigh the same."""
    hidden: int = 256
    """Units of each of the head's two layers (SGI)."""
    shared_view: bool = True
    """One crop for both frames. Two crops shift them against each other by more than the arm moved; False as in Atari-PB, whose 84-pixel
    games tell the action by more than displacement."""
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)
    optim: StepConfig = field(default_factory=StepConfig)
    """Atari-PB: AdamW at 3e-4."""

    def __post_init__(self) -> None:
        if self.loss not in ("nll", "mse"):
            raise UserError(f"IDM's loss is {self.loss!r}; choose nll or mse.")
        if not self.gap_s > 0 or self.hidden < 1:
            raise UserError(
                f"IDM's gap_s is {self.gap_s} s with {self.hidden} hidden units; give a time above 0 and at least 1 unit."
            )

    def gap(self, control_hz: float) -> int:
        """k in control steps."""
        return max(1, round(self.gap_s * control_hz))


@final
class IDM:
    """Implements `robot_pt.objectives.Objective`. Clips are the k + 1 steps of a pair, of which the first and last are seen."""

    needs: ClassVar[Needs] = Needs("demonstration", actions=True)
    trains: Literal["backbone", "encoder"] = "encoder"

    def __init__(
        self,
        encoder: ImageEncoder,
        head: InverseHead,
        names: tuple[str, ...],
        gap: int,
        config: IDMConfig,
        *,
        seed: int = 0,
    ):
        self.encoder, self.head, self.config, self.seed = encoder, head, config, seed
        self.plan = Ends(gap)
        self._names = names
        self.grad_sync: GradSync = no_sync
        self.stepper = Stepper({"encoder": encoder, "head": head}, config.optim)

    @classmethod
    def build(
        cls, spec: Spec, *, image_size: tuple[int, int], task_slots: int, encoder: EncoderConfig, config: IDMConfig | None = None,
        bounds: Bounds = BRIDGE_BOUNDS, device: torch.device | str = "cpu", seed: int = 0,
    ) -> IDM:  # fmt: skip
        """Raises MismatchError where several steps of the data's actions cannot be summed."""
        config = config or IDMConfig()
        gap = config.gap(spec.control_hz)
        require_deltas(spec.action_names, gap)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = ImageEncoder(encoder, image_size)
            head = InverseHead(encoder.latent, bounds, config)
        return cls(network.to(device), head.to(device), spec.action_names, gap, config, seed=seed)

    def update(self, batch: ClipBatch, step: int) -> dict[str, Tensor]:
        frames = view(
            frames_of(batch),
            batch.sample_key,
            step,
            _VIEW,
            self.config.augment,
            seed=self.seed,
            shared=self.config.shared_view,
        )
        policy = self.infer(frames)
        target_BA, valid_B = self.target(batch), batch.valid[:, -1]
        loss = inverse_loss(policy, target_BA, valid_B, self.config.loss)
        self.stepper.step(loss, step, self.grad_sync)
        with torch.no_grad():
            error = masked_mean((policy.mode() - target_BA).abs().mean(-1), valid_B)
        return {"objective/loss": loss.detach(), "objective/error": error}

    def infer(self, frames_B2HWC: Tensor) -> ActionGaussian:
        """The normalised movement between the two frames."""
        with self.stepper.precision():
            found: ActionGaussian = self.head(over_frames(self.encoder, frames_B2HWC).flatten(1))
        return found

    def target(self, batch: ClipBatch) -> Tensor:
        """(B, A) normalised: what the steps between the frames did together."""
        return self.head.normalizer.encode(movement(batch.action[:, :-1], self._names))

    def state_dict(self) -> dict[str, Tensor]:
        return self.stepper.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.stepper.load_state_dict(state)


@final
class InverseHead(nn.Module):
    """(B, 2 * latent) two frames' features -> a Gaussian over normalised movements. Holds the action bounds, so they are saved."""

    def __init__(self, latent: int, bounds: Bounds, config: IDMConfig):
        super().__init__()
        actions = len(bounds.low)
        self.normalizer = ActionNormalizer(bounds)
        self.layers = nn.Sequential(
            nn.Linear(2 * latent, config.hidden), nn.ReLU(), nn.Linear(config.hidden, config.hidden), nn.ReLU(),
            nn.Linear(config.hidden, actions),
        )  # fmt: skip
        self.log_std = nn.Parameter(torch.zeros(actions))

    def forward(self, pair_BF: Tensor) -> ActionGaussian:
        mean_BA = self.layers(pair_BF).float()
        return ActionGaussian(mean_BA, self.log_std.clamp(-5.0, 2.0).expand_as(mean_BA), squash=False)


# Losses and targets.


def inverse_loss(found: ActionGaussian, target_BA: Tensor, valid_B: Tensor, kind: Literal["nll", "mse"]) -> Tensor:
    """Negative log-likelihood per action dimension [nats], or squared error, mean over valid pairs; 0 where none is valid."""
    if kind == "nll":
        return masked_mean(-found.log_prob(target_BA) / target_BA.shape[1], valid_B)
    return masked_mean((found.mode() - target_BA).square().mean(-1), valid_B)


def movement(action_BKA: Tensor, names: Sequence[str]) -> Tensor:
    """(B, A) what K actions did together, per step: mean of the deltas, last gripper command.

    Times K the mean is the change of the commanded target; as a mean it keeps the bounds of one action. Rotations add as the small
    vectors they are.
    """
    mean_BA, last_BA = action_BKA.mean(1), action_BKA[:, -1]
    is_delta = torch.tensor([_is_delta(n) for n in names], device=action_BKA.device)
    return torch.where(is_delta, mean_BA, last_BA)


def require_deltas(names: Sequence[str], gap: int) -> None:
    """Raise MismatchError where `gap` > 1 steps would add up actions that are no deltas."""
    other = [n for n in names if not _is_delta(n) and n != "gripper"]
    if gap > 1 and other:
        raise MismatchError(
            f"IDM over {gap} steps adds up deltas, and the data's action {other[0]!r} is none it knows ({', '.join(ACTION_NAMES)}); use a "
            "gap of one step, or map the actions to those names (see data/README.md)."
        )


def _is_delta(name: str) -> bool:
    return name in ACTION_NAMES and name != "gripper"
