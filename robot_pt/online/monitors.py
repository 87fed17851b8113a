"""What the critic believes, on one probe: Q of data, policy and random actions, how often Q lies below the return, the return.

Computed from outside for any agent with a critic, on stored transitions, images as they are; the agent does not change.
Shapes: B transitions of the probe, A action.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from robot_pt import noise
from robot_pt.agents import Agent
from robot_pt.errors import UserError
from robot_pt.networks.modes import evaluating
from robot_pt.schema import Batch

_STREAM = 99


class QProbe(NamedTuple):
    """Means over the probe, and the spread of Q over its states."""

    data: float  # Q(s, a of the data)
    policy: float  # Q(s, the policy's action)
    random: float  # Q(s, uniform action)
    return_to_go: float
    bound_rate: (
        float  # share of states in which Q of the policy's action lies below the return: where Cal-QL's bound binds
    )
    spread: float  # standard deviation over states of Q(s, a of the data)

    def metrics(self) -> dict[str, float]:
        """As they are logged and drawn together."""
        return {f"probe/{name}": value for name, value in self._asdict().items()}


@torch.no_grad()
def probe(agent: Agent, batch: Batch, *, seed: int = 0) -> QProbe | None:
    """Ask `agent` about stored transitions on its device; None where it has no critic."""
    with evaluating(agent.acting):
        distribution = agent.acting(batch.images, batch.proprio, batch.task, batch.language)
    decode = agent.acting.normalizer.decode
    uniform = 2 * noise.uniform(batch.sample_key, 0, _STREAM, (batch.action.shape[1],), seed=seed) - 1
    try:
        data = agent.values(batch).float()
        policy = agent.values(batch._replace(action=decode(distribution.mode()))).float()
        random = agent.values(batch._replace(action=decode(uniform))).float()
    except UserError:  # no critic: the agent says so in this way
        return None
    below = (policy < batch.return_to_go).float()
    numbers = torch.stack([
        data.mean(), policy.mean(), random.mean(), batch.return_to_go.float().mean(), below.mean(), data.std(correction=0),
    ])  # fmt: skip
    return QProbe(*numbers.tolist())
