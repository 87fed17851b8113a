"""benchmarks/online_critic.py: a table read by interpolation, against scipy's, and as the critic of agents in benchmarks/online.py."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from online_cell import Schedule, Task, run_cell
from online_critic import Shape, Table, TableCritic
from online_learners import Rates
from online_task import Problem, arrives

sys.path.pop(0)
LOW, HIGH, KNOTS = (0.0, -1.0, -0.4), (7.0, 1.0, 0.4), (8, 3, 5)
SHAPE = Shape(columns=5, rows=5, per_metre=3, steps=9, grips=5)


def _table(heads=2):
    table = Table(LOW, HIGH, KNOTS, heads).double()
    with torch.no_grad():
        table.weight.normal_(generator=torch.Generator().manual_seed(0))
    return table


def _points(count):
    rng = np.random.default_rng(0)
    return rng.uniform(LOW, HIGH, (count, len(LOW)))


def test_between_its_knots_a_table_is_what_scipy_interpolates_and_beyond_its_rim_what_is_there():
    interpolate = pytest.importorskip("scipy.interpolate")
    table, points = _table(), _points(500)
    grid = [np.linspace(a, b, k) for a, b, k in zip(LOW, HIGH, KNOTS, strict=True)]
    for head in range(2):
        values = table.weight.detach().numpy()[:, head].reshape(KNOTS)
        known = interpolate.RegularGridInterpolator(grid, values)
        np.testing.assert_allclose(table(torch.from_numpy(points)).detach().numpy()[:, head], known(points), atol=1e-6)
        beyond = points + np.array([9.0, 0, 0])
        rim = np.concatenate([np.full((len(points), 1), HIGH[0]), points[:, 1:]], axis=1)
        np.testing.assert_allclose(table(torch.from_numpy(beyond)).detach().numpy()[:, head], known(rim), atol=1e-6)


def test_heads_apart_are_what_scipy_interpolates_on_grids_half_a_step_apart():
    interpolate = pytest.importorskip("scipy.interpolate")
    table, points = Table(LOW, HIGH, KNOTS, 2, apart=True).double(), _points(500)
    with torch.no_grad():
        table.weight.normal_(generator=torch.Generator().manual_seed(0))
    for head in range(2):
        step = [(b - a) / (k - 1) for a, b, k in zip(LOW, HIGH, KNOTS, strict=True)]
        grid = [a - head * s / 2 + s * np.arange(k + 1) for a, s, k in zip(LOW, step, KNOTS, strict=True)]
        values = table.weight.detach().numpy()[:, head].reshape([k + 1 for k in KNOTS])
        known = interpolate.RegularGridInterpolator(grid, values)
        np.testing.assert_allclose(table(torch.from_numpy(points)).detach().numpy()[:, head], known(points), atol=1e-6)
        beyond = table(torch.from_numpy(np.tile(np.add(HIGH, 3.0), (1, 1)))).detach().numpy()[0, head]
        np.testing.assert_allclose(beyond, np.ravel(known(HIGH))[0], atol=1e-6)


def test_a_knot_that_overshoots_is_seen_by_heads_apart_alone():
    """Learned to be -3 between knots that stay low, one head on one grid and two on it are above -3 at the knot; the lesser of two apart is not."""
    at, highest = torch.linspace(0.15, 0.85, 8, dtype=torch.float64)[:, None] + 1.0, {}
    for apart in (False, True):
        table = Table((0.0,), (4.0,), (5,), 2, apart=apart).double()
        torch.nn.init.constant_(table.weight, -16.0)
        held = torch.full((8, 2), -16.0, dtype=torch.float64)
        for _ in range(4_000):  # lies at -16 half a step below what is learned, as what is pressed does
            loss = (table(at) + 3).square().mean() + (table(at - 0.75) - held).square().mean()
            (gradient,) = torch.autograd.grad(loss, table.weight)
            with torch.no_grad():
                table.weight -= 0.3 * gradient
        highest[apart] = float(table(torch.linspace(0, 4, 81, dtype=torch.float64)[:, None]).detach().amin(1).max())
    assert highest[False] > -3 + 1
    assert highest[True] < highest[False] - 1


def test_its_gradients_are_those_of_finite_differences():
    table, points = _table(), torch.from_numpy(_points(6)).requires_grad_()
    assert torch.autograd.gradcheck(table, (points,))
    assert torch.autograd.gradcheck(
        lambda weight: torch.func.functional_call(table, {"weight": weight}, (points.detach(),)), (table.weight,)
    )


def _critic(**kind):
    critic = TableCritic(SHAPE, 2, **kind)
    with torch.no_grad():
        critic.q.weight.normal_(generator=torch.Generator().manual_seed(1))
    return critic


def _q(critic, proprio, action):
    state = critic.state({}, torch.tensor([proprio]), torch.zeros(1, dtype=torch.int64), torch.zeros(1, 0))
    return critic(*state, torch.tensor([[action]]))[:, 0, 0]


def test_steps_that_lead_to_the_same_place_at_the_same_speed_have_one_q():
    """At rest half of what is asked for is done in the first step; what moves goes on by half of its last displacement (0.2 m) besides."""
    critic = _critic()
    resting, moving = [1.5, 1.4, 0.0, 0.0], [1.5, 1.4, 1.0, 0.0]
    torch.testing.assert_close(_q(critic, resting, [0.5, -0.3]), _q(critic, moving, [0.0, -0.3]))
    assert (_q(critic, resting, [0.5, -0.3]) != _q(critic, resting, [0.0, -0.3])).all()


def test_copies_count_by_their_mean_and_a_grip_by_itself():
    place = [1.5, 1.4, 0.0, 0.0]
    two = _critic(copies=2, grip=True)
    one = TableCritic(SHAPE, 2, grip=True)
    one.load_state_dict(two.state_dict())
    torch.testing.assert_close(_q(two, place, [0.6, 0.0, 0.8, 0.2, 0.2, -0.4]), _q(one, place, [0.4, 0.1, 0.2]))
    assert (_q(one, place, [0.4, 0.1, 0.2]) != _q(one, place, [0.4, 0.1, -0.2])).all()


def test_what_is_learned_of_one_step_leaves_others_at_the_same_place_as_they_are():
    critic = _critic(grip=True)
    place = [1.5, 1.4, 0.0, 0.0]
    held, let_go = [0.5, 0.0, 0.75], [0.5, 0.0, -0.75]
    before = _q(critic, place, held).detach()
    _q(critic, place, let_go).sum().backward()
    torch.optim.Adam(critic.parameters(), lr=0.1).step()
    torch.testing.assert_close(_q(critic, place, held), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["cql", "cal_ql", "iql", "awac", "bc"])
def test_agents_learn_on_a_table(name):
    problem = Problem(maze="maze-pits", grip=0.5, episodes=4, evaluation_episodes=4, anywhere=False)
    task = Task(
        problem=problem,
        schedule=Schedule(offline_updates=3, online_steps=60, evaluate_every=20, explore=0.3),
        rates=Rates(batch_size=16, critic="table"),
    )
    cell = run_cell(name, 0, task)
    assert cell["settings"]["critic"] == "table"
    if name != "bc":
        assert 0 <= cell["values"][-1]["spared"] <= 1
        assert np.isfinite(list(cell["values"][-1].values())).all()
        other = run_cell(name, 0, replace(task, rates=replace(task.rates, critic="network")))
        assert other["values"][0] != cell["values"][0]


def test_of_falls_it_is_told_whether_who_acts_would_have_arrived():
    """Straight to the goal from its row; from beside the pit, once moving towards it, nothing helps."""
    problem = Problem(maze="maze-shelves")
    proprio = np.array([[2.5, 1.5, 0, 0], [2.5, 1.9, 0, 2.0], [1.5, 3.5, 0, 0]], np.float32)
    along = lambda proprio_NP: np.tile(np.float32([0.4, 0.0]), (len(proprio_NP), 1))  # noqa: E731
    assert arrives(along, problem, proprio).tolist() == [True, False, False]
