"""A chain of states where every value is known: go right to the end for a reward of 1, left leads back.

State s of 0..3 is a one-hot proprio, an action in [-1, 1] goes right where it is above 0; right of state 3 the episode ends.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from robot_pt.agents.off_policy import OffPolicyAgent
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import Bounds
from robot_pt.schema import Batch, Spec

STATES, GAMMA = 4, 0.9
SPEC = Spec(cameras={}, embodiment="chain", action_names=("a",), proprio_names=("s0", "s1", "s2", "s3"))
BOUNDS = Bounds(low=(-1.0,), high=(1.0,), origin="chain")


def build(kind: type[OffPolicyAgent], config: Any, seed: int = 0) -> Any:
    return kind.build(
        SPEC,
        cameras=(),
        image_size=(0, 0),
        task_slots=1,
        encoder=EncoderConfig(),
        bounds=BOUNDS,
        config=config,
        seed=seed,
    )


def step_of(state: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(next state, reward); at the end the next state is the last one and nothing follows."""
    done = right & (state == STATES - 1)
    return np.clip(state + np.where(right, 1, -1), 0, STATES - 1), done.astype(np.float32)


def chain_batch(size: int, number: int, right_share: float = 0.5) -> Batch:
    """Batch `number` of a policy that goes right with that probability, by an action uniform over its half of the range."""
    rng = np.random.default_rng([7, number])
    state, next_state = rng.integers(STATES, size=size), rng.integers(STATES, size=size)
    sign = lambda: np.where(rng.random(size) < right_share, 1, -1)  # noqa: E731
    draw = lambda: (sign() * rng.uniform(0.02, 1, size)).astype(np.float32)[:, None]  # noqa: E731
    action, following = draw(), draw()
    next_state, reward = step_of(state, action[:, 0] > 0)
    one_hot = lambda s: torch.eye(STATES)[torch.from_numpy(s)]  # noqa: E731
    return Batch(
        images={}, proprio=one_hot(state), task=torch.zeros(size, dtype=torch.int64), language=torch.zeros(size, 0),
        action=torch.from_numpy(action), reward=torch.from_numpy(reward), discount=torch.from_numpy(GAMMA * (1 - reward)).float(),
        next_images={}, next_proprio=one_hot(next_state), return_to_go=torch.zeros(size),
        sample_key=torch.arange(size) + number * size, source=torch.zeros(size, dtype=torch.int64),
        next_action=torch.from_numpy(following),
    )  # fmt: skip


def learn(agent: Any, updates: int, *, size: int = 128, right_share: float = 0.5) -> dict[str, Tensor]:
    last: dict[str, Tensor] = {}
    for step in range(updates):
        last |= agent.update(chain_batch(size, step, right_share), step)
    return last


def modes(agent: Any) -> Tensor:
    """(4,) the policy's action in each state."""
    return agent.acting.mode({}, torch.eye(STATES), torch.zeros(STATES, dtype=torch.int64), torch.zeros(STATES, 0))[
        :, 0
    ]


def q_table(agent: Any) -> np.ndarray:
    """(4, 2) mean over actions of each half of the least head's Q: left, right."""
    half = torch.linspace(0.1, 0.9, 9)
    action_BKA = torch.cat([-half, half]).expand(STATES, 18)[..., None]
    with torch.no_grad():
        state = agent.critic.state(
            {}, torch.eye(STATES), torch.zeros(STATES, dtype=torch.int64), torch.zeros(STATES, 0)
        )
        return agent.q_values(agent.critic(*state, action_BKA)).amin(0).view(STATES, 2, 9).mean(2).numpy()


def fixed_point(value_of: Any) -> np.ndarray:
    """(4, 2) the Q that is its own backup where the value of a state is `value_of(Q of its actions (4, 2))`, by iteration."""
    q, states = np.zeros((STATES, 2)), np.arange(STATES)
    for _ in range(500):
        value = value_of(q)
        for side in (0, 1):
            following, reward = step_of(states, np.full(STATES, bool(side)))
            q[:, side] = reward + GAMMA * (1 - reward) * value[following]
    return q
