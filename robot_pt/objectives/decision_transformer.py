"""Decision Transformer: imitate, told how well the episode will turn out (arXiv 2106.01345; kzl/decision-transformer gym/).

Tokens of a window are (R_t, s_t, a_t) per step, each plus the embedding of the same timestep, then LayerNorm, then a causal
transformer without places of its own. The action is read from the *state* token, which sees the past, R_t and s_t, never a_t:

    L = mean over steps of the window that exist of |a_hat_t - a_t|^2

R_t is the sum of rewards from t to the episode's end, never to the window's. With the default label it is 1 until success and 0 after
it or without it. Windows start at any step; what lies beyond an episode's end comes last in them, where causality hides it.

The state token is the image and the task: no proprio, so that the encoder has to see. No dropout, so that a batch and a step give one
update (published: 0.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn

from robot_pt.agents import GradSync, no_sync
from robot_pt.augment import AugmentConfig
from robot_pt.clips import Around, ClipBatch
from robot_pt.errors import UserError
from robot_pt.networks.encoders import EncoderConfig, ImageEncoder
from robot_pt.networks.vit import Block
from robot_pt.normalize import BRIDGE_BOUNDS, ActionNormalizer, Bounds
from robot_pt.objectives import Needs
from robot_pt.objectives.across import masked_mean
from robot_pt.objectives.stepper import StepConfig, Stepper
from robot_pt.objectives.views import frames_of, over_frames, view
from robot_pt.rewards import RewardLabel
from robot_pt.schema import Spec

_VIEW = 0  # stream


@dataclass(frozen=True, kw_only=True)
class DecisionTransformerConfig:
    window: int = 8
    """K: steps of a window (Atari-PB 8, Gym 20, Atari 30)."""
    layers: int = 3
    """Gym: 3 of width 128 with 1 head; Atari-PB 4 of 512 with 4."""
    heads: int = 4
    width: int = 128
    longest: int = 1000
    """Timesteps with an embedding of their own (Gym); later ones share the last."""
    return_scale: float = 1.0
    """Returns are divided by it: about the largest there is (Gym 1000, Atari-PB 100)."""
    reward: RewardLabel = field(default_factory=lambda: RewardLabel(scale=1.0, shift=0.0, final_steps=1))
    """1 at the last step of a success, 0 elsewhere; `source="stored"` takes the data's own rewards."""
    gamma: float = 1.0
    """Returns are plain sums, as published."""
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)
    """One crop and jitter for the whole window."""
    optim: StepConfig = field(default_factory=lambda: StepConfig(learning_rate=1e-4, weight_decay=1e-4, clip_norm=0.25))
    """AdamW of Gym."""

    def __post_init__(self) -> None:
        for name in ("window", "layers", "heads", "width", "longest"):
            if getattr(self, name) < 1:
                raise UserError(f"the Decision Transformer's {name} is {getattr(self, name)}; give at least 1.")
        if not self.return_scale > 0:
            raise UserError(f"the Decision Transformer's return_scale is {self.return_scale}; give a number above 0.")


@final
class DecisionTransformer:
    """Implements `robot_pt.objectives.Objective`."""

    needs: ClassVar[Needs] = Needs("trajectory", actions=True, returns=True)
    trains: Literal["backbone", "encoder"] = "encoder"

    def __init__(
        self, encoder: ImageEncoder, gpt: ReturnConditioned, config: DecisionTransformerConfig, *, seed: int = 0
    ):
        self.encoder, self.gpt, self.config, self.seed = encoder, gpt, config, seed
        self.plan = Around(range(config.window))
        self.grad_sync: GradSync = no_sync
        self.stepper = Stepper({"encoder": encoder, "gpt": gpt}, config.optim)

    @classmethod
    def build(
        cls, spec: Spec, *, image_size: tuple[int, int], task_slots: int, encoder: EncoderConfig,
        config: DecisionTransformerConfig | None = None, bounds: Bounds = BRIDGE_BOUNDS, device: torch.device | str = "cpu", seed: int = 0,
    ) -> DecisionTransformer:  # fmt: skip
        """Fresh weights, fixed by `seed`."""
        config = config or DecisionTransformerConfig()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = ImageEncoder(encoder, image_size)
            gpt = ReturnConditioned(encoder.latent, task_slots, bounds, config)
        return cls(network.to(device), gpt.to(device), config, seed=seed)

    def update(self, batch: ClipBatch, step: int) -> dict[str, Tensor]:
        frames = view(frames_of(batch), batch.sample_key, step, _VIEW, self.config.augment, seed=self.seed)
        action_BSA = self.gpt.normalizer.encode(batch.action)
        found_BSA = self.predict(frames, batch.return_to_go, action_BSA, batch.step, batch.task)
        loss = action_loss(found_BSA, action_BSA, batch.valid)
        self.stepper.step(loss, step, self.grad_sync)
        return {"objective/loss": loss.detach()}

    def predict(
        self, frames_BSHWC: Tensor, return_BS: Tensor, action_BSA: Tensor, step_BS: Tensor, task_B: Tensor
    ) -> Tensor:
        """(B, S, A) normalised actions, each from its state token. Actions in normalised units, returns as labelled."""
        with self.stepper.precision():
            feature_BSL = over_frames(self.encoder, frames_BSHWC)
            found: Tensor = self.gpt(feature_BSL, return_BS / self.config.return_scale, action_BSA, step_BS, task_B)
        return found.float()

    @torch.no_grad()
    def act(self, episode: Told, task: int) -> Tensor:
        """(A,) physical action of the episode's newest frame."""
        device = next(self.gpt.parameters()).device
        kept = slice(-self.config.window, None)
        steps = torch.arange(len(episode.frames))[kept]
        blank = torch.zeros(1, len(self.gpt.normalizer.low))
        actions = torch.cat([*episode.actions, blank]) if episode.actions else blank  # the newest is yet to come
        parts = (torch.stack(episode.frames[kept]), torch.tensor(episode.returns[kept]), actions[kept], steps)
        frames, returns, taken, steps = (part[None].to(device) for part in parts)
        encoded = self.gpt.normalizer.encode(taken)
        found = self.predict(frames, returns, encoded, steps, torch.tensor([task], device=device))
        action: Tensor = self.gpt.normalizer.decode(found[0, -1])
        return action

    def state_dict(self) -> dict[str, Tensor]:
        return self.stepper.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.stepper.load_state_dict(state)


@final
class ReturnConditioned(nn.Module):
    """The transformer over (return, state, action) tokens."""

    def __init__(self, latent: int, task_slots: int, bounds: Bounds, config: DecisionTransformerConfig):
        super().__init__()
        width, actions = config.width, len(bounds.low)
        self.normalizer = ActionNormalizer(bounds)
        self.embed_return, self.embed_state = nn.Linear(1, width), nn.Linear(latent, width)
        self.embed_action = nn.Linear(actions, width)
        self.embed_task, self.embed_time = nn.Embedding(task_slots, width), nn.Embedding(config.longest, width)
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(Block(width, config.heads, causal=True) for _ in range(config.layers)))
        self.head = nn.Linear(width, actions)
        for table in (self.embed_task, self.embed_time):
            nn.init.normal_(table.weight, std=0.02)

    def forward(
        self, feature_BSL: Tensor, return_BS: Tensor, action_BSA: Tensor, step_BS: Tensor, task_B: Tensor
    ) -> Tensor:
        """(B, S, A) in (-1, 1); returns scaled, actions normalised."""
        time_BSD = self.embed_time(step_BS.clamp(max=self.embed_time.num_embeddings - 1))
        state_BSD = self.embed_state(feature_BSL) + self.embed_task(task_B)[:, None]
        parts = (self.embed_return(return_BS[..., None]), state_BSD, self.embed_action(action_BSA))
        tokens = torch.stack([part + time_BSD for part in parts], dim=2).flatten(1, 2)  # R_0 s_0 a_0 R_1 ...
        out = self.after(self.blocks(self.before(tokens)))
        found: Tensor = self.head(out[:, 1::3]).tanh()
        return found


class Told:
    """An episode being acted out as training would see it: every step keeps the return asked of it, its action and its number.

    Args:
        target: the return that is asked for, in the units of the labels.
        gamma: of the returns that were trained on.
    """

    def __init__(self, target: float, gamma: float = 1.0):
        self.frames: list[Tensor] = []
        self.returns: list[float] = []
        self.actions: list[Tensor] = []
        self._left, self._gamma = target, gamma

    def see(self, frame_HWC: Tensor) -> None:
        """The frame that the next action is to answer, uint8."""
        if len(self.actions) != len(self.frames):
            raise UserError(
                "the episode waits for what was done about its last frame; call did before it sees another."
            )
        self.frames.append(frame_HWC)
        self.returns.append(self._left)

    def did(self, action_A: Tensor, reward: float) -> None:
        """The physical action that was taken, and its reward as labelled: what is still asked for falls by it at the next frame."""
        if len(self.actions) == len(self.frames):
            raise UserError("an action answers a frame; call see first.")
        self.actions.append(action_A.detach().cpu()[None])
        self._left = (self._left - reward) / self._gamma


def action_loss(found_BSA: Tensor, action_BSA: Tensor, valid_BS: Tensor) -> Tensor:
    """Mean squared error of normalised actions, over steps that exist."""
    return masked_mean((found_BSA - action_BSA).square().mean(-1), valid_BS)
