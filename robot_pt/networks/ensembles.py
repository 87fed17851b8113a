"""Critics of low-dimensional or image features: E fully connected networks as batched products, LayerNorm optional.

The critic of SAC and of everything after it reads (state, action) once, at its first layer; REDQ and RLPD (arXiv 2302.02948) add
more heads and LayerNorm. What belongs to the state is multiplied once per state, so K sampled actions do not repeat it. Both this
and PTR's `CriticNetwork` are used as ``critic(*critic.state(...), action_BKA)``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robot_pt.networks import linear
from robot_pt.networks.conditioning import task_context
from robot_pt.networks.encoders import CameraEncoder, EncoderConfig
from robot_pt.networks.plain_head import ROWS, plain_head
from robot_pt.normalize import ProprioNormalizer

State = tuple[Tensor, ...]
"""What a critic makes of an observation and a task, before any action; rows belong together."""


class Critic(Protocol):
    """`CriticNetwork` (PTR's shape) and `EnsembleCritic`; both are `nn.Module`s."""

    def state(self, images: Mapping[str, Tensor], proprio_BP: Tensor, task_B: Tensor, language_BL: Tensor) -> State: ...

    def __call__(self, *state_and_actions: Tensor) -> Tensor:
        """(*state, (B, K, A) normalised actions) -> (E, B, K) float32, or (E, B, K, outputs)."""
        ...

    def penultimate(self, *state_and_actions: Tensor) -> Tensor:
        """The same arguments -> (E, B, K, H) what the last layer reads."""
        ...


class EnsembleHeads(nn.Module):
    """E heads of layers `hidden` + `outputs` on (state, action). With `actions` = 0, a function of the state."""

    def __init__(
        self,
        state: int,
        actions: int,
        hidden: tuple[int, ...],
        heads: int,
        *,
        outputs: int = 1,
        layer_norm: bool = False,
    ):
        super().__init__()
        self.heads, self.outputs, self._layer_norm = heads, outputs, layer_norm
        self.state_weight = nn.Parameter(torch.empty(state, heads * hidden[0]))
        self.action_weight = nn.Parameter(torch.empty(actions, heads * hidden[0]))
        self.first_bias = nn.Parameter(torch.zeros(heads * hidden[0]))
        widths = list(zip(hidden, (*hidden[1:], outputs), strict=True))
        self.weight = nn.ParameterList([nn.Parameter(torch.empty(heads, i, o)) for i, o in widths])
        self.bias = nn.ParameterList([nn.Parameter(torch.zeros(heads, 1, o)) for _, o in widths])
        normed = hidden if layer_norm else ()
        self.scale = nn.ParameterList([nn.Parameter(torch.ones(heads, 1, h)) for h in normed])
        self.shift = nn.ParameterList([nn.Parameter(torch.zeros(heads, 1, h)) for h in normed])
        self._initialise(state, hidden[0])

    @torch.no_grad()
    def _initialise(self, state: int, width: int) -> None:
        """Orthogonal over each layer's whole input, gain sqrt(2), the last layer 1e-2 (nakamotoo/Cal-QL JaxCQL/model.py)."""
        for head in range(self.heads):
            whole = torch.empty(state + len(self.action_weight), width)
            nn.init.orthogonal_(whole, math.sqrt(2))
            columns = slice(head * width, (head + 1) * width)
            self.state_weight[:, columns], self.action_weight[:, columns] = whole[:state], whole[state:]
            for weight in self.weight:
                nn.init.orthogonal_(weight[head], 1e-2 if weight is self.weight[-1] else math.sqrt(2))

    def forward(self, state_BS: Tensor, action_BKA: Tensor) -> Tensor:
        """(E, B, K), or (E, B, K, outputs) with several outputs; float32."""
        layers = self._by_head if state_BS.is_cpu else self._batched
        out = layers(state_BS, action_BKA).view(self.heads, *action_BKA.shape[:2], self.outputs).float()
        return out[..., 0] if self.outputs == 1 else out

    def penultimate(self, state_BS: Tensor, action_BKA: Tensor) -> Tensor:
        """(E, B, K, H) what the last layer reads, float32."""
        return self._hidden(state_BS, action_BKA).reshape(self.heads, *action_BKA.shape[:2], -1).float()

    def _batched(self, state_BS: Tensor, action_BKA: Tensor) -> Tensor:
        """(E, B * K, outputs), all heads in one product per layer: few launches on a GPU."""
        return torch.baddbmm(self.bias[-1], self._hidden(state_BS, action_BKA), self.weight[-1]).contiguous()

    def _hidden(self, state_BS: Tensor, action_BKA: Tensor) -> Tensor:
        """(E, B * K, H)."""
        state_BW = torch.addmm(self.first_bias, state_BS, self.state_weight)
        first = (action_BKA @ self.action_weight).add_(state_BW[:, None])
        hidden = first.view(-1, self.heads, first.shape[-1] // self.heads).transpose(0, 1)
        for layer in range(len(self.weight)):
            if layer > 0:
                hidden = torch.baddbmm(self.bias[layer - 1], hidden, self.weight[layer - 1])
            if self._layer_norm:
                hidden = F.layer_norm(hidden, hidden.shape[-1:]) * self.scale[layer] + self.shift[layer]
            hidden = F.relu(hidden, inplace=layer > 0 or self._layer_norm)
        return hidden

    def _by_head(self, state_BS: Tensor, action_BKA: Tensor) -> Tensor:
        """The same head by head, some rows at a time, so that a layer's input is still in the cache at the next: faster on a CPU."""
        state_BW = torch.addmm(self.first_bias, state_BS, self.state_weight)
        width = state_BW.shape[-1] // self.heads
        state_EB1W = torch.split(state_BW[:, None], width, dim=-1)
        first_EAW = torch.split(self.action_weight, width, dim=-1)
        layers = [torch.unbind(p) for p in (*self.weight, *self.bias, *self.scale, *self.shift)]
        if self._is_plain():
            pairs = [[p[head] for p in layers] for head in range(self.heads)]
            depth = len(self.weight)
            inputs = zip(state_EB1W, first_EAW, pairs, strict=True)
            return torch.stack([plain_head(action_BKA, s[:, 0], a, p[:depth], p[depth:]) for s, a, p in inputs])
        pieces = torch.split(action_BKA, max(1, ROWS // max(len(action_BKA), 1)), dim=1)
        out_E: list[Tensor] = []
        for head in range(self.heads):
            own = [parts[head] for parts in layers]
            firsts = [(piece @ first_EAW[head]).add_(state_EB1W[head]) for piece in pieces]
            outs = [self._head(first.view(-1, width), own).view(*first.shape[:2], -1) for first in firsts]
            out_E.append(outs[0] if len(outs) == 1 else torch.cat(outs, dim=1))
        return torch.stack(out_E)

    def _is_plain(self) -> bool:
        """Whether `plain_head` does what is asked: not where autocast or a compiler wants each operation."""
        return not (self._layer_norm or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling())

    def _head(self, hidden: Tensor, own: list[Tensor]) -> Tensor:
        """(N, W) before the first ReLU -> (N, outputs); `own`: this head's weights, biases and, with LayerNorm, scales and shifts."""
        depth = len(self.weight)
        for layer in range(depth):
            if self._layer_norm:
                scale, shift = own[2 * depth + layer], own[3 * depth + layer]
                hidden = F.layer_norm(hidden, hidden.shape[-1:], scale[0], shift[0])
            hidden = linear.layer(F.relu(hidden, inplace=True), own[layer], own[depth + layer])
        return hidden


class EnsembleCritic(nn.Module):
    """Image features (where there are cameras), standardised proprio and task, then `EnsembleHeads`."""

    def __init__(
        self,
        *,
        task_slots: int,
        action_size: int,
        proprio_mean: tuple[float, ...],
        proprio_std: tuple[float, ...],
        hidden: tuple[int, ...] = (256, 256),
        heads: int = 2,
        layer_norm: bool = False,
        outputs: int = 1,
        encoder: EncoderConfig | None = None,
        cameras: tuple[str, ...] = (),
        image_size: tuple[int, int] = (0, 0),
        language_size: int = 0,
    ):
        """`action_size` 0 makes it a state-value network, to be called with actions of shape (B, 1, 0)."""
        super().__init__()
        self.encoder = CameraEncoder(encoder or EncoderConfig(), cameras, image_size)
        self.proprio = ProprioNormalizer(proprio_mean, proprio_std)
        self.task_slots, self.language_size = task_slots, language_size
        width = self.encoder.width + len(proprio_mean) + task_slots + language_size
        self.q = EnsembleHeads(width, action_size, hidden, heads, outputs=outputs, layer_norm=layer_norm)

    def state(self, images: Mapping[str, Tensor], proprio_BP: Tensor, task_B: Tensor, language_BL: Tensor) -> State:
        """uint8 (B, H, W, 3) per camera, physical proprio, task slots, sentence features -> ((B, S),)."""
        context_BC = task_context(task_B, language_BL, self.task_slots, self.language_size)
        seen = [self.encoder(images)] if self.encoder.cameras else []
        return (torch.cat([*seen, self.proprio(proprio_BP), context_BC], dim=1),)

    def forward(self, state_BS: Tensor, action_BKA: Tensor) -> Tensor:
        """(E, B, K) Q-values of normalised actions, float32; (E, B, K, outputs) with several outputs."""
        q: Tensor = self.q(state_BS, action_BKA)
        return q

    def penultimate(self, state_BS: Tensor, action_BKA: Tensor) -> Tensor:
        """(E, B, K, H) features of (state, action) that the last layer reads, float32."""
        return self.q.penultimate(state_BS, action_BKA)
