"""CQL, Cal-QL and Q-learning where every value is known: a chain with two kinds of action, first as a table, then learned.

In the table the policy always goes right, the data goes left and right alike; values of both follow by iteration, and what a
table must satisfy at the minimum is written out here without the code under test.
"""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robot_pt.agents import conservative
from robot_pt.agents.cal_ql import CalQL, CalQLConfig
from robot_pt.agents.conservative import Sampled
from robot_pt.agents.conservative_agent import ConservativeAgent
from robot_pt.agents.cql import CQL, CQLConfig
from tests.core.chain import GAMMA, STATES, build, chain_batch, fixed_point, modes, q_table, step_of

OPTIMAL = fixed_point(lambda q: q.max(1))  # also the value of the table's policy
REFERENCE = torch.from_numpy(fixed_point(lambda q: q.mean(1)).mean(1))  # (4,) value of the data's policy
LEFT, RIGHT = 0, 1


def backups(q_SA: Tensor) -> Tensor:
    """(4, 2) r + gamma * Q(s', right)."""
    states, columns = np.arange(STATES), []
    for side in (LEFT, RIGHT):
        following, reward = step_of(states, np.full(STATES, bool(side)))
        columns.append(torch.from_numpy(reward) + GAMMA * torch.from_numpy(1 - reward) * q_SA[following, RIGHT])
    return torch.stack(columns, 1)


def samples(q_SA: Tensor) -> Sampled:
    """Per state and data action: both actions as uniform samples of density 1/2, right twice from pi(s) and from pi(s')."""
    both, right = q_SA[:, None].expand(-1, 2, -1), q_SA[:, RIGHT, None, None].expand(-1, 2, 2)
    rows = [q_SA.reshape(1, -1), *(x.reshape(1, -1, 2) for x in (both, right, right))]
    return Sampled(*rows, *[torch.zeros(2 * STATES, 2, dtype=torch.float64)] * 2)


def gap_of(q_SA: Tensor, calibrate: bool) -> Tensor:
    q = samples(q_SA)
    return conservative.gap(conservative.calibrated(q, REFERENCE.repeat_interleave(2)) if calibrate else q, 1)[0]


@cache
def table(weight: float, calibrate: bool = False) -> np.ndarray:
    """(4, 2) Q by gradient descent on squared error + weight * gap, the backup held still at each step."""
    q_SA = torch.zeros(STATES, 2, dtype=torch.float64, requires_grad=True)
    for step in range(3000):
        y_SA = backups(q_SA.detach())
        loss = (q_SA - y_SA).square().mean() + weight * gap_of(q_SA, calibrate)
        (gradient,) = torch.autograd.grad(loss, [q_SA])
        q_SA = (q_SA - 2.0 / (1 + step / 300) * gradient / (1 + weight)).detach().requires_grad_()
    return q_SA.detach().numpy()


def slope(q_SA: np.ndarray, pressed: float, value_S: np.ndarray) -> np.ndarray:
    """(4, 2) derivative of each state's soft maximum, `pressed` = share of policy samples that are felt."""
    left, right = np.exp(q_SA[:, LEFT]), np.exp(q_SA[:, RIGHT])
    whole = 2 * left + 2 * right + 4 * np.exp(value_S)
    return np.stack([2 * left / whole, (2 * right + 4 * pressed * np.exp(value_S)) / whole], 1)


def test_without_the_term_the_table_is_the_policys_value() -> None:
    assert table(0.0) == pytest.approx(OPTIMAL, abs=1e-6)


@pytest.mark.parametrize("weight", [0.2, 1.0, 4.0])
def test_cqls_table_balances_squared_error_and_pressure(weight: float) -> None:
    """At the minimum (Q - y) + w (softmax - mu) = 0 in every state and action, mu = 1/2."""
    q_SA = table(weight)
    y_SA = backups(torch.from_numpy(q_SA)).numpy()
    assert (q_SA - y_SA) + weight * (slope(q_SA, 1.0, q_SA[:, RIGHT]) - 0.5) == pytest.approx(
        np.zeros((4, 2)), abs=1e-4
    )


@pytest.mark.parametrize("weight", [0.2, 1.0, 4.0])
def test_cql_is_a_lower_bound_of_the_policys_value(weight: float) -> None:
    assert (table(weight)[:, RIGHT] < OPTIMAL[:, RIGHT] - 0.02).all()


@pytest.mark.parametrize("weight", [0.2, 1.0, 4.0])
def test_cal_ql_stays_at_or_above_the_reference_where_cql_sinks_below_it(weight: float) -> None:
    """Calibration (arXiv 2303.05479, definition 4.1), and still no more than the policy's value."""
    held, sunk, reference = table(weight, True)[:, RIGHT], table(weight)[:, RIGHT], REFERENCE.numpy()
    assert (held >= reference - 1e-2).all()
    assert (held >= sunk - 1e-2).all()
    assert (held <= OPTIMAL[:, RIGHT] + 1e-6).all()
    if weight >= 1:
        assert (sunk < reference).any()


def test_at_the_bound_the_pressure_is_off_on_one_side_and_on_at_the_other() -> None:
    """Where Cal-QL's table rests on the reference, the balance holds for some share of the policy samples between 0 and 1."""
    weight, reference = 4.0, REFERENCE.numpy()
    q_SA = table(weight, True)
    resting = np.abs(q_SA[:, RIGHT] - reference) < 1e-2
    assert resting.any()
    y_SA = backups(torch.from_numpy(q_SA)).numpy()
    value_S = np.maximum(q_SA[:, RIGHT], reference)
    free, pressed = ((q_SA - y_SA) + weight * (slope(q_SA, share, value_S) - 0.5) for share in (0.0, 1.0))
    assert (free[resting, RIGHT] <= 2e-2).all()
    assert (pressed[resting, RIGHT] >= -2e-2).all()
    assert free[:, LEFT] == pytest.approx(np.zeros(4), abs=2e-2)


@pytest.mark.parametrize("start", [0.05, 20.0])
def test_the_multiplier_brings_the_gap_to_its_target_from_either_side(start: float) -> None:
    free, held = (float(gap_of(torch.from_numpy(table(weight)), False)) for weight in (0.0, 4.0))
    target_gap = 0.5 * (free + held)
    q_SA = torch.zeros(STATES, 2, dtype=torch.float64, requires_grad=True)
    log = torch.tensor(np.log(start), requires_grad=True)
    gap = torch.zeros(())
    for _ in range(2500):
        gap = gap_of(q_SA, False)
        loss = (q_SA - backups(q_SA.detach())).square().mean() + log.exp().detach() * (gap - target_gap)
        (gradient,) = torch.autograd.grad(loss, [q_SA])
        (rise,) = torch.autograd.grad(conservative.multiplier_loss(log.exp(), 1.0, gap[None], target_gap), [log])
        q_SA = (q_SA - 0.3 * gradient).detach().requires_grad_()
        log = (log - 0.3 * rise).detach().requires_grad_()
    assert float(gap.detach()) == pytest.approx(target_gap, abs=5e-3)


SMALL: dict[str, Any] = {
    "actor_hidden": (32,), "critic_hidden": (32, 32), "actions": 4, "actor_learning_rate": 3e-3, "critic_learning_rate": 3e-3,
    "temperature_learning_rate": 3e-3, "initial_temperature": 0.1, "tau": 0.05, "target_gap": None,
}  # fmt: skip


def learned(kind: type[ConservativeAgent], config: Any) -> ConservativeAgent:
    agent: ConservativeAgent = build(kind, config)
    for step in range(400):
        batch = chain_batch(32, step)
        agent.update(batch._replace(return_to_go=REFERENCE.float()[batch.proprio.argmax(1)]), step)
    return agent


def test_networks_without_the_term_find_the_optimum() -> None:
    agent = learned(CQL, CQLConfig(**SMALL, weight=0.0))
    assert q_table(agent) == pytest.approx(OPTIMAL, abs=0.1)
    assert (modes(agent) > 0).all()


@pytest.mark.parametrize(("kind", "config"), [(CQL, CQLConfig), (CalQL, CalQLConfig)])
def test_networks_under_a_conservative_critic_go_right_too(kind: type[ConservativeAgent], config: Any) -> None:
    agent = learned(kind, config(**SMALL, weight=0.5))
    assert (modes(agent) > 0).all()
    assert (q_table(agent)[:, RIGHT] < OPTIMAL[:, RIGHT] + 0.02).all()
