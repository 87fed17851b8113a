"""Multi-game Decision Transformer, on tasks instead of games (arXiv 2205.15241; google-research multi_game_dt, its public colab).

Everything but the image is a token that is also predicted. One step of the window is

    o_t   R_t   a_t,1 ... a_t,A   r_t       o predicts R, R predicts a_1, each a_d the next one, a_A the reward

so nothing sees what it predicts. R is the return to go in bins of a fixed range, an action dimension one of `action_bins` over its
bounds, r one of {0, +, ended, -}. L = (CE of returns + CE of actions + CE of rewards) / 3 over steps that exist.

To act, a return is drawn from p(R | o) tilted towards high ones, p(R | o) exp(kappa (R - low) / (high - low)), then the action given it.
Published, low and high are the ends of the range of all games; here those of the returns the *state itself* makes probable. On a shared
range a task whose best return is 1 of 100 is tilted by exp(kappa / 100), hardly at all; and asking every task for 100 asks for what
none of its data has.

Where the published model has 36 patches a step, this one has the encoder's feature, the thing being learned. All tasks share the
robot's actions, so there are no action sets to mask.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robot_pt import noise
from robot_pt.agents import GradSync, no_sync
from robot_pt.augment import AugmentConfig
from robot_pt.clips import Around, ClipBatch
from robot_pt.errors import UserError
from robot_pt.networks.autoregressive import bin_of, centre_of
from robot_pt.networks.categorical import returns_of
from robot_pt.networks.encoders import EncoderConfig, ImageEncoder
from robot_pt.networks.vit import Block
from robot_pt.normalize import BRIDGE_BOUNDS, ActionNormalizer, Bounds
from robot_pt.objectives import Needs
from robot_pt.objectives.across import masked_mean
from robot_pt.objectives.stepper import StepConfig, Stepper
from robot_pt.objectives.views import frames_of, over_frames, view
from robot_pt.rewards import RewardLabel
from robot_pt.schema import Spec

NOTHING, GAIN, ENDED, LOSS = range(4)
"""Reward tokens."""

_VIEW, _RETURN = 0, 2  # streams


@dataclass(frozen=True, kw_only=True)
class MultiTaskDTConfig:
    window: int = 4
    """Steps of a window, as published."""
    layers: int = 4
    """Published: 4 of width 512 for 10M parameters, 10 of 1280 for 200M."""
    heads: int = 4
    width: int = 128
    return_bins: int = 64
    """Tokens of the return (published: 120, one per point)."""
    action_bins: int = 256
    """Tokens of each action dimension, over its bounds."""
    kappa: float = 10.0
    """How strongly high returns are preferred when acting."""
    least_probable: float = 0.05
    """Returns less probable than this share of the most probable one are not drawn."""
    reward: RewardLabel = field(default_factory=RewardLabel)
    """PTR's: with it a return says how soon the task succeeds, which a 0/1 return does not."""
    gamma: float = 0.96
    returns: tuple[float, float] | None = None
    """Ends of the range of returns; None: those that `reward` can give at `gamma`. To be given for stored rewards."""
    augment: AugmentConfig | None = field(default_factory=AugmentConfig)
    """One crop and jitter for the whole window."""
    optim: StepConfig = field(default_factory=lambda: StepConfig(learning_rate=3e-4, weight_decay=1e-4))
    """Published: LAMB at 3e-4 for batches of 2048; AdamW serves smaller ones."""

    def __post_init__(self) -> None:
        for name, least in (("window", 1), ("layers", 1), ("heads", 1), ("return_bins", 2), ("action_bins", 2)):
            if getattr(self, name) < least:
                raise UserError(f"the multi-task transformer's {name} is {getattr(self, name)}; give at least {least}.")
        if self.kappa < 0 or not 0 < self.least_probable <= 1:
            raise UserError(
                f"the multi-task transformer draws returns with kappa {self.kappa} and least_probable {self.least_probable}; give a "
                "kappa from 0 and a share in (0, 1]."
            )

    def range(self) -> tuple[float, float]:
        """(lowest, highest) return that has a token of its own. Raises UserError where it is neither given nor told by the labels."""
        low, high = self.returns or returns_of(self.reward, self.gamma)
        if not low < high:
            raise UserError(f"the range of returns is {low} to {high}; give the least and the largest return, rising.")
        return low, high


class Tokens(NamedTuple):
    """What a window is made of beside its images, int64."""

    returns_BS: Tensor
    action_BSA: Tensor
    reward_BS: Tensor


class TokenLogits(NamedTuple):
    returns_BSO: Tensor
    action_BSAO: Tensor
    reward_BS4: Tensor


@final
class MultiTaskDT:
    """Implements `robot_pt.objectives.Objective`."""

    needs: ClassVar[Needs] = Needs("trajectory", actions=True, returns=True)
    trains: Literal["backbone", "encoder"] = "encoder"

    def __init__(self, encoder: ImageEncoder, gpt: TokenTransformer, config: MultiTaskDTConfig, *, seed: int = 0):
        self.encoder, self.gpt, self.config, self.seed = encoder, gpt, config, seed
        self.plan = Around(range(config.window))
        self.grad_sync: GradSync = no_sync
        self.stepper = Stepper({"encoder": encoder, "gpt": gpt}, config.optim)

    @classmethod
    def build(
        cls, spec: Spec, *, image_size: tuple[int, int], task_slots: int, encoder: EncoderConfig, config: MultiTaskDTConfig | None = None,
        bounds: Bounds = BRIDGE_BOUNDS, device: torch.device | str = "cpu", seed: int = 0,
    ) -> MultiTaskDT:  # fmt: skip
        """Fresh weights, fixed by `seed`. Raises UserError where the range of returns is not known."""
        config = config or MultiTaskDTConfig()
        config.range()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = ImageEncoder(encoder, image_size)
            gpt = TokenTransformer(encoder.latent, bounds, config)
        return cls(network.to(device), gpt.to(device), config, seed=seed)

    def update(self, batch: ClipBatch, step: int) -> dict[str, Tensor]:
        frames = view(frames_of(batch), batch.sample_key, step, _VIEW, self.config.augment, seed=self.seed)
        tokens = self.tokens(batch)
        losses = token_losses(self.predict(frames, tokens), tokens, batch.valid)
        loss = torch.stack(losses).mean()
        self.stepper.step(loss, step, self.grad_sync)
        names = ("objective/return_loss", "objective/action_loss", "objective/reward_loss")
        return {"objective/loss": loss.detach()} | {n: v.detach() for n, v in zip(names, losses, strict=True)}

    def tokens(self, batch: ClipBatch) -> Tokens:
        """A batch's returns, actions and rewards as tokens."""
        low, high = self.config.range()
        return Tokens(
            bin_of((batch.return_to_go - low) / (high - low) * 2 - 1, self.config.return_bins),
            bin_of(self.gpt.normalizer.encode(batch.action), self.config.action_bins),
            reward_token(batch.reward, batch.terminal),
        )

    def predict(self, frames_BSHWC: Tensor, tokens: Tokens) -> TokenLogits:
        with self.stepper.precision():
            found: TokenLogits = self.gpt(over_frames(self.encoder, frames_BSHWC), tokens)
        return TokenLogits(*(logits.float() for logits in found))

    @torch.no_grad()
    def act(self, frames_BSHWC: Tensor, earlier: Tokens, key_B: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """(drawn return token (B,), physical action (B, A)) for the newest frame of windows; a draw belongs to its key and step.

        earlier: tokens of the same S steps; what stands for the newest one is not looked at.
        """
        low, high = self.config.range()
        values_O = (
            low + (high - low) * (centre_of(torch.arange(self.config.return_bins), self.config.return_bins) + 1) / 2
        )
        tokens = Tokens(*(part.clone() for part in earlier))
        feature_BSL = over_frames(self.encoder, frames_BSHWC)
        likely_BO = self.gpt(feature_BSL, tokens).returns_BSO[:, -1].float()
        tilted_BO = tilted(likely_BO, values_O.to(likely_BO), self.config.kappa, self.config.least_probable)
        uniform_BO = noise.uniform(key_B, step, _RETURN, (self.config.return_bins,), seed=self.seed)
        tokens.returns_BS[:, -1] = (tilted_BO - (-uniform_BO.log()).log()).argmax(-1)  # Gumbel: a draw from the softmax
        for d in range(tokens.action_BSA.shape[2]):
            tokens.action_BSA[:, -1, d] = self.gpt(feature_BSL, tokens).action_BSAO[:, -1, d].argmax(-1)
        action_BA: Tensor = self.gpt.normalizer.decode(centre_of(tokens.action_BSA[:, -1], self.config.action_bins))
        return tokens.returns_BS[:, -1], action_BA

    def state_dict(self) -> dict[str, Tensor]:
        return self.stepper.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.stepper.load_state_dict(state)


@final
class TokenTransformer(nn.Module):
    """Features and tokens of a window -> logits of every token, each from the place before it."""

    def __init__(self, latent: int, bounds: Bounds, config: MultiTaskDTConfig):
        super().__init__()
        width, self.actions = config.width, len(bounds.low)
        self.normalizer = ActionNormalizer(bounds)
        self.embed_state = nn.Linear(latent, width)
        self.embed_return, self.embed_reward = nn.Embedding(config.return_bins, width), nn.Embedding(4, width)
        self.embed_action = nn.Embedding(config.action_bins, width)
        self.place = nn.Parameter(torch.empty(config.window * (self.actions + 3), width))
        self.blocks = nn.Sequential(*(Block(width, config.heads, causal=True) for _ in range(config.layers)))
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleList([nn.Linear(width, n) for n in (config.return_bins, config.action_bins, 4)])
        for table in (self.embed_return.weight, self.embed_action.weight, self.embed_reward.weight, self.place):
            nn.init.trunc_normal_(table, std=0.02)

    def forward(self, feature_BSL: Tensor, tokens: Tokens) -> TokenLogits:
        parts = [
            self.embed_state(feature_BSL)[:, :, None],
            self.embed_return(tokens.returns_BS)[:, :, None],
            self.embed_action(tokens.action_BSA),
            self.embed_reward(tokens.reward_BS)[:, :, None],
        ]
        x_BSWD = torch.cat(parts, dim=2)
        x_BND = x_BSWD.flatten(1, 2)
        out_BSWD = self.norm(self.blocks(x_BND + self.place[: x_BND.shape[1]])).view_as(x_BSWD)
        returns, action, reward = self.heads
        return TokenLogits(
            returns(out_BSWD[:, :, 0]),
            action(out_BSWD[:, :, 1 : self.actions + 1]),
            reward(out_BSWD[:, :, self.actions + 1]),
        )


# Losses and the choice of a return.


def token_losses(found: TokenLogits, tokens: Tokens, valid_BS: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropy [nats] of return, action (mean over dimensions) and reward tokens, over steps that exist."""
    returns = _entropy(found.returns_BSO, tokens.returns_BS)
    action = _entropy(found.action_BSAO, tokens.action_BSA).mean(-1)
    reward = _entropy(found.reward_BS4, tokens.reward_BS)
    return masked_mean(returns, valid_BS), masked_mean(action, valid_BS), masked_mean(reward, valid_BS)


def reward_token(reward: Tensor, terminal: Tensor) -> Tensor:
    """int64 of the same shape: GAIN for a reward above 0, else ENDED at a terminal step, else LOSS below 0 and NOTHING at 0."""
    token = torch.where(reward < 0, LOSS, NOTHING)
    token = torch.where(terminal, ENDED, token)
    return torch.where(reward > 0, GAIN, token)


def tilted(logits_BO: Tensor, values_O: Tensor, kappa: float, least_probable: float) -> Tensor:
    """(B, O) logits of p(R | o) exp(kappa (R - low) / (high - low)) over returns at least `least_probable` times as probable as the most
    probable one; -inf for the others. low and high are the ends of those that are left."""
    likely_BO = logits_BO - logits_BO.amax(-1, keepdim=True) >= torch.tensor(least_probable).log()
    low_B1 = values_O.expand_as(logits_BO).masked_fill(~likely_BO, torch.inf).amin(-1, keepdim=True)
    high_B1 = values_O.expand_as(logits_BO).masked_fill(~likely_BO, -torch.inf).amax(-1, keepdim=True)
    reach_B1 = torch.where(high_B1 > low_B1, high_B1 - low_B1, torch.ones_like(low_B1))
    return (logits_BO + kappa * (values_O - low_B1) / reach_B1).masked_fill(~likely_BO, -torch.inf)


def _entropy(logits: Tensor, token: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, -2), token.flatten(), reduction="none").view(token.shape)
