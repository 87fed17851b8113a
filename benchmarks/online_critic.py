"""A critic that reads a table: what is learned of one step leaves all others as they are, which no network of a few hundred units does.

A point's next place and velocity follow from its place and from the displacement that it is asked for and its inertia allow, so Q is a
function of these four numbers alone. The table holds Q at the knots of a grid over them and is read by multilinear interpolation between
the 16 knots around. Shapes: B states, K actions, E heads, N points, D numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robot_pt.agents.inputs import Inputs
from robot_pt.networks.ensembles import State
from robot_pt_sim.point_maze import CONTROL_HZ, MAX_STEP_M, RESPONSE


class Shape(NamedTuple):
    """Of a maze's table."""

    columns: int
    rows: int
    """Of the maze; a cell is 1 m."""
    per_metre: int
    """Knots along each axis."""
    steps: int
    """Knots over the displacements along one axis, from one longest step to the other."""
    grips: int
    """Knots over the grip's range, where there is one."""
    apart: bool = False
    """See `Table`."""


class Table(nn.Module):
    """E functions of D numbers, linear in each of them between the knots; held at the rim beyond it.

    What is learned between knots lies on lines, so that a knot itself may overshoot all of it. Heads on one grid learn the same of the same
    steps and overshoot alike, and their minimum does not see it. Apart, one head's knots lie where another is between its own, as tilings do.

    Args:
        low, high: (D,) rim. knots: (D,) at least 2 each, evenly apart.
        heads: E, all 0 at the start.
        apart: along every axis head e's knots are moved by e / E of what is between two, with one knot more.
    """

    def __init__(
        self,
        low: tuple[float, ...],
        high: tuple[float, ...],
        knots: tuple[int, ...],
        heads: int,
        *,
        apart: bool = False,
    ):
        super().__init__()
        self.heads, self._apart = heads, int(apart)
        self._knots = tuple(number + apart for number in knots)
        count = torch.tensor(self._knots)
        strides = torch.cat([count[1:].flip(0).cumprod(0).flip(0), torch.ones(1, dtype=torch.int64)])
        corners = torch.tensor(list(product((0, 1), repeat=len(knots))))
        self.weight = nn.Parameter(torch.zeros(int(count.prod()), heads))
        self.register_buffer("_low", torch.tensor(low), persistent=False)
        self.register_buffer(
            "_per_unit", (torch.tensor(knots) - 1) / (torch.tensor(high) - torch.tensor(low)), persistent=False
        )
        self.register_buffer("_last", count - 1, persistent=False)
        self.register_buffer("_strides", strides, persistent=False)
        self.register_buffer("_corners", corners, persistent=False)

    def forward(self, point_ND: Tensor) -> Tensor:
        """(N, E)"""
        own: Any = self
        at_ND = ((point_ND - own._low) * own._per_unit).clamp(min=0)
        at_ND = torch.minimum(at_ND, (own._last - self._apart).to(at_ND.dtype))
        if not self._apart:
            return self._read(at_ND, self.weight)
        heads = [self._read(at_ND + e / self.heads, self.weight[:, e : e + 1]) for e in range(self.heads)]
        return torch.cat(heads, dim=1)

    def _read(self, at_ND: Tensor, weight: Tensor) -> Tensor:
        """(N, heads of `weight`) at so many knots from the first."""
        own: Any = self
        below_ND = torch.minimum(at_ND.detach().floor().long(), own._last - 1)
        inside_ND = at_ND - below_ND
        row_NC = (below_ND * own._strides).sum(1, keepdim=True) + (own._corners * own._strides).sum(1)
        share_ND2 = torch.stack([1 - inside_ND, inside_ND], dim=2)
        share_NC = share_ND2[:, 0]
        for number in range(1, len(self._knots)):  # corners count up with the last number fastest, as strides do
            share_NC = (share_NC[:, :, None] * share_ND2[:, number, None]).flatten(1)
        corner_NCE = weight.index_select(0, row_NC.flatten()).view(*row_NC.shape, -1)  # embedding_bag's gradient sorts
        return (share_NC[:, :, None] * corner_NCE).sum(1)


class TableCritic(nn.Module):
    """Q of a point in a maze. Implements `robot_pt.networks.ensembles.Critic` but for its features.

    copies: of the numbers of a step and, with `grip`, of one more, as `Problem` says; 0 makes it a
    function of place and velocity, of which the step without an action is read.
    """

    def __init__(self, shape: Shape, heads: int, *, copies: int = 1, grip: bool = False):
        super().__init__()
        self._copies = copies
        low, high = (
            (0.0, 0.0, -MAX_STEP_M, -MAX_STEP_M),
            (float(shape.columns), float(shape.rows), MAX_STEP_M, MAX_STEP_M),
        )
        knots = (shape.per_metre * shape.columns + 1, shape.per_metre * shape.rows + 1, shape.steps, shape.steps)
        if grip and copies:
            low, high, knots = (*low, -1.0), (*high, 1.0), (*knots, shape.grips)
        self.q = Table(low, high, knots, heads, apart=shape.apart)

    def state(self, images: Mapping[str, Tensor], proprio_BP: Tensor, task_B: Tensor, language_BL: Tensor) -> State:
        """(place (B, 2) [m], displacement that is left of the last step (B, 2) [m])."""
        return proprio_BP[:, :2], (1 - RESPONSE) * proprio_BP[:, 2:] / CONTROL_HZ

    def forward(self, place_B2: Tensor, left_B2: Tensor, action_BKA: Tensor) -> Tensor:
        """(E, B, K) Q of normalised actions."""
        batch, count, _ = action_BKA.shape
        place_BK2, asked_BK2 = (x[:, None].expand(-1, count, -1) for x in (place_B2, left_B2))
        point = [place_BK2, asked_BK2]
        if self._copies:
            sent_BKM = action_BKA.view(batch, count, self._copies, -1).mean(2)
            point = [place_BK2, asked_BK2 + RESPONSE * MAX_STEP_M * sent_BKM[..., :2], sent_BKM[..., 2:]]
        q_NE: Tensor = self.q(torch.cat(point, dim=2).flatten(0, 1))
        return q_NE.T.reshape(-1, batch, count)


@dataclass(frozen=True, kw_only=True)
class TableInputs(Inputs):
    """What makes an agent's critic, and its state values, a table."""

    table: Shape
    start: float = 0.0
    """Q, and value, of what nothing has been learned of."""

    def ensemble(self, *, actions: bool = True, heads: int = 2, **shape: Any) -> Any:
        names = self.spec.action_names
        copies = sum(name.startswith("dx") for name in names) if actions else 0
        critic = TableCritic(self.table, heads, copies=copies, grip=any(name.startswith("grip") for name in names))
        nn.init.constant_(critic.q.weight, self.start)
        return critic
